"""The first response of a cold execution environment: what it waits for, and what it must not wait for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.token_verifier import UserPool
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.invoker import FunctionFailed
from support.cold_environment import StreamedResponse, cognito_environment, cold, message, package_keys
from support.environments import until
from support.key_server import KeyServer, document, key_server
from support.patience import PATIENCE_S

START = {"type": "start", "status": "initialized"}
NO_CONVERSATION = "CONVERSATION_NOT_FOUND"
"""This error comes from the store, so a caller that gets it was authorized."""


@pytest.fixture
def pool() -> UserPool:
    return UserPool()


@pytest.fixture
async def keys_at(pool: UserPool) -> AsyncIterator[KeyServer]:
    async with key_server() as server:
        server.answers = [document(pool.jwks())]
        yield server


async def answer_to(environments: ExecutionEnvironments, token: str) -> tuple[int, list[dict[str, Any]]]:
    """Status and events of a complete response, once its environment is idle again."""
    async with asyncio.timeout(PATIENCE_S):
        answer = StreamedResponse(await environments.invoke(message(token)))
        events = [event async for event in answer.events()]
        while len(environments._idle) < len(environments.environments):  # noqa: ASYNC110 (there is no event)
            await asyncio.sleep(0.01)
    return answer.status, events


def codes_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["code"] for event in events if event["type"] == "error"]


async def test_start_does_not_wait_for_the_pool(tmp_path: Path, pool: UserPool, keys_at: KeyServer) -> None:
    """The pool responds only after `start` was read; its keys then authorize the user."""
    has_started = asyncio.Event()
    keys_at.answers = [[has_started, *document(pool.jwks())]]
    environment = cognito_environment(tmp_path, keys_at.url) | package_keys(tmp_path, pool)
    async with cold(environment) as environments, asyncio.timeout(PATIENCE_S):
        answer = StreamedResponse(await environments.invoke(message(pool.token())))
        events = answer.events()
        assert await anext(events) == START
        assert answer.status == 200
        has_started.set()
        assert codes_of([event async for event in events]) == [NO_CONVERSATION]
    assert len(keys_at.requests) == 1


async def test_a_cold_environment_without_any_network_verifies_the_token(
    tmp_path: Path, pool: UserPool
) -> None:
    """A valid token gets `start` and others are refused, but a key that may be revoked grants no access."""
    environment = cognito_environment(tmp_path, "http://127.0.0.1:9") | package_keys(tmp_path, pool)
    async with cold(environment) as environments:
        status, [start, failed] = await answer_to(environments, pool.token())
        assert (status, start) == (200, START)
        assert (failed["code"], failed["retryable"]) == ("PROCESSING_ERROR", True)
        refused = await answer_to(environments, pool.token({"exp": int(time.time()) - 60}))
        assert (refused[0], codes_of(refused[1])) == (401, ["TOKEN_EXPIRED"])
    assert not (tmp_path / "conversations.db").exists()


async def test_a_token_refused_by_a_packaged_key_needs_no_request_to_the_pool(
    tmp_path: Path, pool: UserPool, keys_at: KeyServer
) -> None:
    """Forged and expired tokens are recognised without a request."""
    environment = cognito_environment(tmp_path, keys_at.url) | package_keys(tmp_path, pool)
    async with cold(environment) as environments:
        for token, code in (
            (pool.token(key_number=2, kid="key-1"), "INVALID_TOKEN"),
            (pool.token({"exp": int(time.time()) - 60}), "TOKEN_EXPIRED"),
        ):
            status, events = await answer_to(environments, token)
            assert (status, codes_of(events)) == (401, [code])
    assert keys_at.requests == []


async def test_a_rotated_key_is_fetched_once(tmp_path: Path, pool: UserPool, keys_at: KeyServer) -> None:
    """`start` then waits for the pool, as it does without packaged keys; the next request does not."""
    environment = cognito_environment(tmp_path, keys_at.url) | package_keys(tmp_path, pool)
    pool.key_numbers = [2]
    keys_at.answers = [document(pool.jwks())]
    async with cold(environment) as environments:
        for _ in range(2):
            status, events = await answer_to(environments, pool.token(key_number=2))
            assert (status, codes_of(events)) == (200, [NO_CONVERSATION])
    assert len(keys_at.requests) == 1


async def test_a_revoked_key_gets_start_and_nothing_else(
    tmp_path: Path, pool: UserPool, keys_at: KeyServer
) -> None:
    """Not even the store is opened; once the pool's keys are known, the token is refused outright."""
    environment = cognito_environment(tmp_path, keys_at.url) | package_keys(tmp_path, pool)
    pool.key_numbers = [2]
    keys_at.answers = [document(pool.jwks())]
    async with cold(environment) as environments:
        status, [start, failed] = await answer_to(environments, pool.token(key_number=1))
        assert (status, start, failed["code"]) == (200, START, "INVALID_TOKEN")
        assert not failed["retryable"]
        status, [refused] = await answer_to(environments, pool.token(key_number=1))
        assert (status, refused["code"]) == (401, "INVALID_TOKEN")
    assert not (tmp_path / "conversations.db").exists()


async def test_without_a_package_the_pool_is_asked_first(
    tmp_path: Path, pool: UserPool, keys_at: KeyServer
) -> None:
    """One request per environment; no token is accepted provisionally."""
    async with cold(cognito_environment(tmp_path, keys_at.url)) as environments:
        for _ in range(2):
            assert codes_of((await answer_to(environments, pool.token()))[1]) == [NO_CONVERSATION]
    assert len(keys_at.requests) == 1
    async with cold(cognito_environment(tmp_path, "http://127.0.0.1:9")) as environments:
        status, events = await answer_to(environments, pool.token())
        assert (status, codes_of(events)) == (500, ["PROCESSING_ERROR"])


async def test_a_function_with_another_pools_keys_does_not_start(
    tmp_path: Path, pool: UserPool, keys_at: KeyServer
) -> None:
    """A package built for one pool and deployed to another fails at start-up, with the reason."""
    other = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_OtherPool"
    environment = cognito_environment(tmp_path, keys_at.url) | package_keys(tmp_path, pool, issuer=other)
    async with cold(environment) as environments:
        with pytest.raises(FunctionFailed):
            await answer_to(environments, pool.token())
    assert keys_at.requests == []


@pytest.mark.parametrize("kind", ["snap-start", "provisioned-concurrency"])
async def test_a_preinitialized_environment_responds_like_any_other(
    tmp_path: Path, pool: UserPool, keys_at: KeyServer, kind: str
) -> None:
    """Also after a restore; the pool's current keys are fetched on use, not before."""
    environment = cognito_environment(tmp_path, keys_at.url) | package_keys(tmp_path, pool)
    environment["AWS_LAMBDA_INITIALIZATION_TYPE"] = kind
    async with cold(environment) as environments:
        for _ in range(2):
            status, events = await answer_to(environments, pool.token())
            assert (status, events[0], codes_of(events)) == (200, START, [NO_CONVERSATION])
    assert len(keys_at.requests) == 1


async def test_one_process_serves_users_at_once_and_confuses_none(
    tmp_path: Path, pool: UserPool, keys_at: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """On a Managed Instance with one event loop: each is authorized as its own user, and logged."""
    caplog.set_level("INFO", "lambda_streaming.emulator.output")
    environment = cognito_environment(tmp_path, keys_at.url) | package_keys(tmp_path, pool)
    environment["LAMBDA_STREAMING_CONCURRENCY"] = "asyncio"
    path = "/users/{}/coaches/coach-1/conversations/conv-1/stream"
    async with cold(environment, at_once=8) as environments, asyncio.timeout(PATIENCE_S):

        async def codes(owner: str, caller: str) -> tuple[str, list[str]]:
            request = message(pool.token({"custom:user_id": caller}), path=path.format(owner))
            answer = StreamedResponse(await environments.invoke(request))
            return request.request_id, codes_of([event async for event in answer.events()])

        own = [codes(f"user-{number}", f"user-{number}") for number in range(4)]
        foreign = [codes(f"user-{number}", f"user-{number + 1}") for number in range(4)]
        found = await asyncio.gather(*own, *foreign)
        assert [each for _, each in found] == [[NO_CONVERSATION]] * 4 + [["USER_ID_MISMATCH"]] * 4
        assert len(environments.environments) == 1

        def logged() -> list[str]:
            lines = [json.loads(record.getMessage().partition("] ")[2]) for record in caplog.records]
            return [line["requestId"] for line in lines if "outcome" in line]

        await until(lambda: len(logged()) == len(found), "a line for each request")
    assert sorted(logged()) == sorted(request_id for request_id, _ in found)
