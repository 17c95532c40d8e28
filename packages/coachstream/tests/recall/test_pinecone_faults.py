"""Searching and remembering when Pinecone fails: every operation with every fault."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coachstream.conversation.errors import StorageUnavailable
from coachstream.conversation.model import Importance, Memory
from coachstream.recall.pinecone import PineconeOptions, PineconeRecall
from coachstream.recall.records import METHODOLOGY
from contracts.token_verifier import rsa_key
from support.key_server import certificate, document, key_server, tls_of
from support.patience import PATIENCE_S
from support.pinecone_server import API_KEY, Fault, Operation, PineconeServer, pinecone_server

USER = "user-1"
OWN = "user_user-1"
SECRET_QUERY = "squat in secret"
MEMORY = Memory("m-1", SECRET_QUERY, "preference", Importance.LOW, datetime.now(UTC))

IN_TIME_S = 0.8
"""For operations that must time out; a loaded machine may take ten times as long for the others."""

KINDS = {
    Fault.BROKEN: r"no connection \(RemoteProtocolError\)",
    Fault.SLOW: "no response in time",
    Fault.DRIP: "no response in time",
    Fault.ERROR: r"status 500, INTERNAL \(request request-1\)",
    Fault.THROTTLED: r"status 429, RESOURCE_EXHAUSTED \(request request-1\)",
    Fault.GARBAGE: "a malformed response",
    Fault.OTHER_JSON: "a malformed response",
    Fault.MISSING: r"status 404, NOT_FOUND \(request request-1\)",
}

ENDLESS = {Fault.SLOW, Fault.DRIP}

each_fault = pytest.mark.parametrize("fault", list(Fault))


@asynccontextmanager
async def impatient(
    options: PineconeOptions, fault: Fault, rerank_model: str | None = None
) -> AsyncIterator[PineconeRecall]:
    """A recall with a short timeout for silent faults, and with the SDK loaded."""
    timeout_s = IN_TIME_S if fault in ENDLESS else options.timeout_s
    recall = PineconeRecall(msgspec.structs.replace(options, timeout_s=timeout_s, rerank_model=rerank_model))
    try:
        await recall._client.index()
        yield recall
    finally:
        await recall.aclose()


def be_impatient(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    """The same timeout for remembering and forgetting."""
    within_s = IN_TIME_S if fault in ENDLESS else 20
    monkeypatch.setattr("coachstream.recall.pinecone.recall.REMEMBER_WITHIN_S", within_s)
    monkeypatch.setattr("coachstream.recall.pinecone.recall.FORGET_WITHIN_S", within_s)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages that the recall itself logs."""
    return [record.getMessage() for record in caplog.records if record.name == "coachstream.recall"]


def fill(server: PineconeServer) -> None:
    server.put(OWN, "own", text="squat deep in secret", record_type="workout_summary")
    server.put(METHODOLOGY, "shared", text="squat")
    server.put(METHODOLOGY, "far", text="row")


@each_fault
@pytest.mark.parametrize(("failing", "left"), [(OWN, ["shared", "far"]), (METHODOLOGY, ["own"])])
async def test_a_failing_namespace_does_not_affect_the_other(
    server: PineconeServer,
    options: PineconeOptions,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    failing: str,
    left: list[str],
) -> None:
    """The other's records are found; one log line gives the reason and quotes no user text."""
    fill(server)
    server.fail(fault, Operation.SEARCH, failing)
    with caplog.at_level(logging.WARNING, "coachstream"):
        async with impatient(options, fault) as recall:
            found = await recall.search(USER, SECRET_QUERY, limit=6)
    assert [match.id for match in found] == left
    [line] = logged(caplog)
    assert line.startswith("One of two searches failed and is left out: Pinecone: ")
    assert SECRET_QUERY not in caplog.text
    assert API_KEY not in caplog.text


@each_fault
async def test_where_nothing_can_be_searched_the_search_fails(
    server: PineconeServer, options: PineconeOptions, fault: Fault
) -> None:
    """The error names the cause once, without the question or the service's message."""
    server.fail(fault, Operation.SEARCH)
    async with impatient(options, fault) as recall:
        with pytest.raises(StorageUnavailable, match=f"^Pinecone: {KINDS[fault]}$") as failed:
            await recall.search(USER, SECRET_QUERY, limit=6)
    assert "secret" not in str(failed.value)


@each_fault
async def test_a_call_that_fails_is_not_tried_again(
    server: PineconeServer, options: PineconeOptions, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Neither searches, rankings nor writes: the SDK's own retries are off."""
    fill(server)
    be_impatient(monkeypatch, fault)
    for operation in Operation:
        server.fail(fault, operation)
        namespaces: list[str] = []
        while not namespaces:  # on a busy machine, the time may be over before the operation is reached
            server.requests.clear()
            async with impatient(options, fault, rerank_model="bge-reranker-v2-m3") as recall:
                with suppress(StorageUnavailable):
                    await recall.search(USER, "squat", limit=6)
                with suppress(StorageUnavailable):
                    await recall.remember(USER, MEMORY)
                with suppress(StorageUnavailable):
                    await recall.forget_conversation(USER, "conv-1")
            namespaces = [request.namespace for request in server.requests if request.operation is operation]
        assert len(namespaces) == len(set(namespaces))
        server.faults.clear()


@each_fault
async def test_a_ranking_that_fails_leaves_the_order_of_the_search(
    server: PineconeServer, options: PineconeOptions, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """No result is lost, and the failure is logged."""
    fill(server)
    server.fail(fault, Operation.RERANK)
    async with impatient(options, fault, rerank_model="bge-reranker-v2-m3") as recall:
        found = await recall.search(USER, SECRET_QUERY, limit=2)
    assert [match.id for match in found] == ["own", "shared"]
    [line] = logged(caplog)
    assert line.startswith("Reranking failed, so the search order is kept: Pinecone: ")
    assert "secret" not in caplog.text


async def test_an_unknown_rerank_model_leaves_the_order_of_the_search(options: PineconeOptions) -> None:
    """A misspelt setting causes a log line at each search."""
    async with pinecone_server() as server:
        fill(server)
        there = msgspec.structs.replace(options, index_host=server.url, api_host=server.url)
        async with impatient(there, Fault.ERROR, rerank_model="rerank-me") as recall:
            assert len(await recall.search(USER, SECRET_QUERY, limit=6)) == 3
        assert server.refused == ["model rerank-me"]


@each_fault
async def test_a_memory_that_cannot_be_stored_is_an_error(
    server: PineconeServer, options: PineconeOptions, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Pinecone's response to a write is empty, so garbage in its place is not an error."""
    server.fail(fault, Operation.UPSERT)
    be_impatient(monkeypatch, fault)
    async with impatient(options, fault) as recall:
        if fault in {Fault.GARBAGE, Fault.OTHER_JSON}:
            await recall.remember(USER, MEMORY)
            return
        with pytest.raises(StorageUnavailable, match=f"^Pinecone: {KINDS[fault]}$") as failed:
            await recall.remember(USER, MEMORY)
    assert "secret" not in str(failed.value)


async def test_a_wrong_key_is_reported_and_never_shown(options: PineconeOptions) -> None:
    """The log can distinguish it from an outage."""
    wrong = "pcsk-wrong-and-secret"
    async with pinecone_server() as server:
        recall = PineconeRecall(msgspec.structs.replace(options, index_host=server.url, api_key=wrong))
        with pytest.raises(StorageUnavailable, match="status 401, UNAUTHENTICATED") as failed:
            await recall.search(USER, "squat", limit=6)
        await recall.aclose()
    assert wrong not in repr(failed.value)
    assert wrong not in repr(recall)


async def test_an_unreachable_index_is_reported() -> None:
    """No server listens, or the host name does not exist."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for host in (f"http://127.0.0.1:{port}", "nobody.invalid"):
        recall = PineconeRecall(PineconeOptions(api_key=API_KEY, index_host=host, timeout_s=20))
        with pytest.raises(StorageUnavailable, match=r"no connection \(ConnectError\)"):
            await recall.search(USER, "squat", limit=6)
        await recall.aclose()


async def test_the_certificate_must_be_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other server gets the key; the TLS context is created in a thread, once for all hosts."""
    threads: list[threading.Thread] = []
    create = ssl.create_default_context

    def create_default_context(**options: Any) -> ssl.SSLContext:  # noqa: ANN401 (the original's)
        threads.append(threading.current_thread())
        return create(**options)

    monkeypatch.setattr(ssl, "create_default_context", create_default_context)
    path = certificate(tmp_path, rsa_key(1))
    async with key_server(tls_of(path)) as server:
        server.answers = [document(b'{"result": {"hits": []}, "usage": {"read_units": 1}}')]
        options = PineconeOptions(api_key=API_KEY, index_host=server.url, timeout_s=20)
        wary, trusting = PineconeRecall(options), PineconeRecall(options)
        with pytest.raises(StorageUnavailable, match=r"no connection \(ConnectError\)"):
            await wary.search(USER, "squat", limit=6)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        assert list(await trusting.search(USER, "squat", limit=6)) == []
        assert len(server.requests) == 2
        await wary.aclose()
        await trusting.aclose()
    assert len(threads) == 2
    assert threading.main_thread() not in threads


async def test_the_time_is_for_all_that_a_search_does(
    server: PineconeServer, options: PineconeOptions
) -> None:
    """A namespace and then the ranking are silent: the search ends in time with what it has found."""
    fill(server)
    server.fail(Fault.SLOW, Operation.RERANK)
    server.fail(Fault.SLOW, Operation.SEARCH, OWN)
    async with impatient(options, Fault.SLOW, rerank_model="bge-reranker-v2-m3") as recall:
        async with asyncio.timeout(PATIENCE_S):
            found = await recall.search(USER, "squat", limit=6)
    assert [match.id for match in found] == ["shared", "far"]


async def test_a_cancelled_search_cancels_its_calls(server: PineconeServer, options: PineconeOptions) -> None:
    """The next search works."""
    fill(server)
    server.fail(Fault.SLOW, Operation.SEARCH)
    recall = PineconeRecall(options)
    searching = asyncio.create_task(recall.search(USER, "squat", limit=6))
    await server.asked(2)
    searching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await searching
    server.faults.clear()
    assert len(await recall.search(USER, "squat", limit=6)) == 3
    await recall.aclose()


async def test_many_first_searches_load_the_sdk_once(server: PineconeServer, recall: PineconeRecall) -> None:
    """They share one client, and each gets its own user's records."""
    for number in range(20):
        server.put(f"user_{number}", f"own{number}", text="squat", record_type="workout_summary")
    found = await asyncio.gather(*(recall.search(str(number), "squat", limit=6) for number in range(20)))
    assert [[match.id for match in matches] for matches in found] == [[f"own{n}"] for n in range(20)]
    assert await recall._client.index() is await recall._client.index()


@each_fault
async def test_vectors_that_cannot_be_deleted_are_an_error(
    server: PineconeServer, options: PineconeOptions, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Also a 404, unless it says that the namespace is missing; a missing index may have been full."""
    fill(server)
    be_impatient(monkeypatch, fault)
    server.fail(fault, Operation.DELETE)
    async with impatient(options, fault) as recall:
        if fault in {Fault.GARBAGE, Fault.OTHER_JSON}:  # the SDK does not read what a success says
            await recall.forget_user(USER)
            return
        with pytest.raises(StorageUnavailable, match=f"^Pinecone: {KINDS[fault]}$"):
            await recall.forget_user(USER)
