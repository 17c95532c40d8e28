"""Requests the Runtime API refuses even from its own environment, because a function may run a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from lambda_streaming.emulator import connection
from support.one_environment import OneEnvironment, one_environment
from support.raw_runtime import PREFIX, RawRuntime, raw_runtime

NEXT = f"GET {PREFIX}/invocation/next HTTP/1.1"
PING = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
async def environment() -> AsyncIterator[OneEnvironment]:
    async with one_environment() as one:
        yield one


@pytest.fixture
async def runtime(environment: OneEnvironment) -> AsyncIterator[RawRuntime]:
    async with raw_runtime(environment.api.address) as connected:
        yield connected


@pytest.mark.parametrize(
    ("lines", "error_type"),
    [
        ((NEXT, "Host: evil.example"), "ForeignRequest"),
        ((NEXT, "Host: localhost"), "ForeignRequest"),
        ((NEXT, "Host: 127.0.0.1:1"), "ForeignRequest"),
        ((NEXT, "Host: 127.0.0.1:evil.example"), "ForeignRequest"),
        ((NEXT, "Host: 127.0.0.1@evil.example"), "ForeignRequest"),
        ((NEXT, "Host: [127.0.0.1"), "ForeignRequest"),
        ((NEXT, "Host: 127.0.0.1", "Origin: null"), "ForeignRequest"),
        ((NEXT, "Host: 127.0.0.1", "Origin: http://127.0.0.1"), "ForeignRequest"),
        ((NEXT, "Host: 127.0.0.1", "Sec-Fetch-Site: none"), "ForeignRequest"),
        ((NEXT, "Host: 127.0.0.1", "Sec-Fetch-Something-New: x"), "ForeignRequest"),
        ((NEXT.replace("1.1", "1.0"),), "ForeignRequest"),
        ((NEXT,), "TruncatedHTTPRequest"),
        ((NEXT, "Host: 127.0.0.1", "Host: 127.0.0.1"), "TruncatedHTTPRequest"),
        ((NEXT, "Host: 127.0.0.1", "Host: evil.example"), "TruncatedHTTPRequest"),
        ((NEXT, "Host: 127.0.0.1\r X: 1"), "TruncatedHTTPRequest"),
        (
            (NEXT, "Host: 127.0.0.1", "Content-Length: 5", "Transfer-Encoding: chunked", "", "0"),
            "AmbiguousRequest",
        ),
        (
            (NEXT.replace("1.1", "1.0"), "Host: 127.0.0.1", "Transfer-Encoding: chunked", "", "0"),
            "AmbiguousRequest",
        ),
    ],
    ids=str,
)
async def test_a_request_that_no_runtime_sends_gets_no_event_and_ends_the_connection(
    environment: OneEnvironment, runtime: RawRuntime, lines: tuple[str, ...], error_type: str
) -> None:
    """The bytes after it are not parsed as another request, and the runtime can still poll for its event."""
    async with raw_runtime(environment.api.address) as foreign:
        await foreign.send("\r\n".join((*lines, "", "")).encode() + PING)
        refused = await foreign.response()
        assert refused.status in {400, 403}
        assert error_type in refused.body.decode()
        assert await foreign.ended() == b""
    await runtime.ask_next()
    await environment.api.ready()


async def test_a_client_that_addresses_the_port_is_served(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """All clients derive `Host` from AWS_LAMBDA_RUNTIME_API; the port may be missing."""
    for host in (environment.api.address, "127.0.0.1"):
        await runtime.send(f"GET /ping HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await runtime.response()).body == b"pong"


@pytest.mark.parametrize(
    "begun",
    [
        b"G",
        b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
        f"POST {PREFIX}/init/error HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{{".encode(),
        b"POST /unknown HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_an_unfinished_request_times_out(
    environment: OneEnvironment, runtime: RawRuntime, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds for new and for reused connections; a connection that is merely idle stays open."""
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(connection, "BODY_TIMEOUT_S", 0.2)
    async with raw_runtime(environment.api.address) as new:
        await new.send(begun)
        await runtime.send(PING)
        await runtime.response()
        await new.ended()
    await runtime.send(PING)
    assert (await runtime.response()).body == b"pong", "an idle connection must stay open"
    await runtime.send(begun)
    await runtime.ended()


async def test_bytes_sent_while_waiting_for_an_event_are_bounded(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """A client that waits for an event and keeps writing must not fill the emulator's memory."""
    await runtime.ask_next()
    await environment.api.ready()
    sending = asyncio.create_task(runtime.send(b"x" * 64 * 1024 * 1024))
    await runtime.ended()
    sending.cancel()
    await asyncio.wait((sending,))
    assert sending.cancelled() or isinstance(sending.exception(), ConnectionError)
