"""What a request costs that is refused before its user is known: CPU time, and nothing over the network.

Printed with `-s`; nothing here depends on how fast the machine is. The environment is warm: the functions of
a service with DynamoDB, Bedrock and Cognito, which has accepted a token before and knows the pool's keys.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from coachstream.functions.coach_conversations import handler as conversations
from coachstream.functions.send_coach_conversation_message import handler as send
from coachstream.functions.stream_coach_conversation import handler as stream
from coachstream.services import Services
from coachstream.settings.parts import BedrockSettings, CognitoSettings, DynamoDbSettings
from coachstream.settings.settings import Settings
from contracts.token_verifier import AUDIENCE, ISSUER, UserPool
from lambda_streaming import to_asgi
from support.key_server import KeyServer, document, key_server

ROUNDS = 100
CONVERSATION = "/users/user-1/coaches/mara/conversations/conv1"
ROUTES = (
    (stream, "POST", f"{CONVERSATION}/stream"),
    (stream, "GET", f"{CONVERSATION}/stream"),
    (stream, "DELETE", f"{CONVERSATION}/stream/run_1"),
    (stream, "POST", f"{CONVERSATION}/ai-sdk"),
    (send, "POST", f"{CONVERSATION}/send-message"),
    (conversations, "GET", "/users/user-1/coaches/mara/conversations"),
)
LONG_BODY = b"x" * 4 * 1024 * 1024
"""Nearly what Lambda passes on: 6 MB, with the encoding of the event."""


@dataclass
class Connections:
    """The addresses that this process connects to, while it is watched."""

    made: list[object] = field(default_factory=list)
    is_watched: bool = False

    def note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_watched and event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen"}:
            self.made.append(arguments)

    @contextmanager
    def watched(self) -> Iterator[None]:
        self.made.clear()
        self.is_watched = True
        try:
            yield
        finally:
            self.is_watched = False


CONNECTIONS = Connections()
sys.addaudithook(CONNECTIONS.note)


@pytest.fixture
async def keys_at() -> AsyncIterator[KeyServer]:
    async with key_server() as server:
        yield server


@pytest.fixture
def pool() -> UserPool:
    return UserPool()


@pytest.fixture
async def services(keys_at: KeyServer, pool: UserPool) -> AsyncIterator[Services]:
    """A service as it is deployed, which knows the keys of its pool."""
    keys_at.answers = [document(pool.jwks())]
    pool_id = ISSUER.rpartition("/")[2]
    services = Services(
        Settings(
            DynamoDbSettings("coachstream"),
            BedrockSettings(),
            CognitoSettings(pool_id, (AUDIENCE,), keys_at.url),
            region="eu-central-1",
            quota_turns_per_minute=10,
        )
    )
    await asyncio.to_thread(services.load_all)
    await services.verifier.verify(pool.token())
    yield services
    await services.aclose()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def refused_headers(pool: UserPool) -> dict[str, dict[str, str]]:
    """The headers of requests whose user is not known, by what is wrong with them."""
    return {
        "no token": {},
        "another scheme": {"authorization": "Basic c2FtOnNhbQ=="},
        "not a JWT": bearer("let me in"),
        "a long text": bearer("x" * 8_000),
        "algorithm none": bearer(pool.token(headers={"alg": "none"})),
        "wrong signature": bearer(pool.token(key_number=2, kid="key-1")),
        "another issuer": bearer(pool.token({"iss": "https://example.com"})),
        "expired": bearer(pool.token({"exp": int(time.time()) - 3_600})),
        "no user id": bearer(pool.token({"custom:user_id": None})),
        "another user": bearer(pool.token({"custom:user_id": "user-2"})),
    }


async def test_a_request_is_refused_without_a_network_call(services: Services, pool: UserPool) -> None:
    """On every route, with every kind of token, and however long its body is."""
    for function, method, path in ROUTES:
        app = to_asgi(function.handler_for(lambda: services))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://service", trust_env=False
        ) as client:
            for wrong, headers in refused_headers(pool).items():
                with CONNECTIONS.watched():
                    response = await client.request(method, path, headers=headers)
                assert response.status_code in {401, 403}, (path, wrong, response.text)
                assert CONNECTIONS.made == [], (path, wrong)
            with CONNECTIONS.watched():
                response = await client.request(method, path, content=LONG_BODY)
            assert response.status_code == 401
            assert CONNECTIONS.made == []


async def test_unknown_keys_cost_one_request_for_the_keys_in_a_while(
    services: Services, pool: UserPool, keys_at: KeyServer
) -> None:
    """A made-up key id may be a new key; it is looked up once, and not again for the next tokens."""
    before = len(keys_at.requests)
    app = to_asgi(stream.handler_for(lambda: services))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://service", trust_env=False
    ) as client:
        for number in range(ROUNDS):
            token = pool.token(key_number=2, kid=f"made-up-{number}")
            response = await client.post(f"{CONVERSATION}/stream", headers=bearer(token), content=b"{}")
            assert response.status_code == 401
    assert len(keys_at.requests) - before <= 1


async def test_the_cpu_time_of_a_refusal_is_printed(services: Services, pool: UserPool) -> None:
    """Compared with a request to the same app that is refused by its path."""
    app = to_asgi(stream.handler_for(lambda: services))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://service", trust_env=False
    ) as client:

        async def cpu_ms(path: str, headers: dict[str, str]) -> float:
            gc.collect()  # what a whole collection of this process takes is not the request's
            began = time.process_time()
            for _ in range(ROUNDS):
                response = await client.post(path, headers=headers, content=b'{"userResponse":"Hello"}')
                assert response.status_code in {401, 403, 404}
            return 1000 * (time.process_time() - began) / ROUNDS

        nothing = await cpu_ms("/", {})
        rows = [f"no such route: {nothing:.2f} ms CPU, client included"]
        for wrong, headers in refused_headers(pool).items():
            refused = await cpu_ms(f"{CONVERSATION}/stream", headers)
            rows.append(f"{wrong}: {refused:.2f} ms CPU, {refused / nothing:.2f} times")
    print("\n".join(["", *rows]))  # noqa: T201 (what refusals cost)
