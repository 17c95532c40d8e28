"""Clients that disconnect, slow clients, and servers that shut down."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from contracts.invoker import gate
from lambda_streaming import ResponseStream, streamify_response
from lambda_streaming.function_url import FunctionUrlApp, InvocationRequest, InvocationResponse, to_asgi
from support.http_server import connected, exchange, serving
from support.patience import PATIENCE_S

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Recorded:
    """Records what a handler did."""

    def __init__(self) -> None:
        self.written = 0
        self.go_on = asyncio.Event()
        self.finished = asyncio.Event()


def writer_of(recorded: Recorded, chunks: int, chunk: bytes) -> Any:  # noqa: ANN401 (what the decorator returns)
    """Return a handler that writes one chunk, waits for the test, and writes the others."""

    @streamify_response
    async def handler(_event: object, response_stream: ResponseStream, _context: object) -> None:
        await response_stream.write(chunk)
        await recorded.go_on.wait()
        for _ in range(chunks - 1):
            await response_stream.write(chunk)
            recorded.written += len(chunk)
        recorded.finished.set()

    return handler


async def test_a_client_that_leaves_does_not_stop_the_handler() -> None:
    """The handler writes the rest into the void and runs to completion (case 22)."""
    recorded = Recorded()
    async with serving(to_asgi(writer_of(recorded, 1000, b"x" * 10_000))) as port:
        async with connected(port) as client:
            await client.send(GET)
            await client.read_until(b"x" * 10_000)
            client.abort()
        recorded.go_on.set()
        async with asyncio.timeout(PATIENCE_S):
            await recorded.finished.wait()


async def test_a_client_that_leaves_before_the_first_byte_does_not_stop_the_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once invoked, the handler runs to completion; the disconnect is not logged as an error."""
    caplog.set_level(logging.WARNING)
    finished = asyncio.Event()

    @streamify_response
    async def handler(event: dict[str, Any], response_stream: ResponseStream, _context: object) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(event["rawPath"][1:]))
        writer.write(b"waiting\n")
        await reader.readline()
        writer.close()
        await response_stream.write("nobody reads this")
        finished.set()

    async with gate() as gate_, serving(to_asgi(handler)) as port:
        async with connected(port) as client:
            await client.send(b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % gate_.port)
            await asyncio.wait_for(gate_.someone_waits(), PATIENCE_S)
            client.abort()
        await gate_.open()
        async with asyncio.timeout(PATIENCE_S):
            await finished.wait()
    assert caplog.records == []


async def test_a_client_that_leaves_during_its_request_invokes_nothing() -> None:
    """A request with an incomplete body is not invoked."""
    invoked = []

    @streamify_response
    async def handler(event: object, response_stream: ResponseStream, _context: object) -> None:
        invoked.append(event)
        await response_stream.end()

    async with serving(to_asgi(handler)) as port:
        async with connected(port) as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        await exchange(port, b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert [event["rawPath"] for event in invoked] == ["/last"]  # type: ignore[index]


async def test_a_slow_client_slows_the_writer_down() -> None:
    """Backpressure blocks the writer early, and it resumes when the client reads (case 29)."""
    recorded = Recorded()
    total = 64 * 1024 * 1024
    chunk = b"x" * (256 * 1024)
    async with (
        serving(to_asgi(writer_of(recorded, total // len(chunk), chunk))) as port,
        connected(port) as client,
    ):
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.read_until(b"\r\n\r\n")
        recorded.go_on.set()
        await _stands_still(lambda: recorded.written)
        assert not recorded.finished.is_set()
        assert recorded.written < total // 2
        assert len(await client.read_to_end()) == total
        assert recorded.finished.is_set()


async def _stands_still(measure: Callable[[], int]) -> None:
    """Wait until the measure is stable for a thousand iterations of the event loop."""
    async with asyncio.timeout(PATIENCE_S):
        last, idle = -1, 0
        while idle < 1000:
            await asyncio.sleep(0)
            idle = idle + 1 if measure() == last else 0
            last = measure()


class _OnMessage(logging.Handler):
    """Sets an event when a message with this beginning is logged."""

    def __init__(self, beginning: str, event: asyncio.Event) -> None:
        super().__init__()
        self._beginning = beginning
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self._beginning):
            self._event.set()


async def test_shutdown_waits_for_handlers_without_a_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The lifespan shutdown drains invocations whose client has gone."""
    caplog.set_level(logging.INFO, "lambda_streaming")
    recorded = Recorded()
    handler = _OnMessage("Waiting for 1 running invocations", recorded.go_on)
    logger = logging.getLogger("lambda_streaming.function_url")
    logger.addHandler(handler)
    try:
        async with serving(to_asgi(writer_of(recorded, 3, b"x"))) as port, connected(port) as client:
            await client.send(GET)
            await client.read_until(b"x\r\n")
            client.abort()
    finally:
        logger.removeHandler(handler)
    assert recorded.finished.is_set()


class HeldBody:
    """A body of two chunks, the second released by the test; it records how it was consumed."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.read_to_its_end = False
        self.closed = False
        self._chunks = iter((b"one", b"two"))

    async def invoke(self, _request: InvocationRequest) -> InvocationResponse:
        return InvocationResponse(content_type="text/plain", body=self)

    def __aiter__(self) -> HeldBody:
        return self

    async def __anext__(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk == b"two":
            await self.go_on.wait()
            for _ in range(50):  # yield to the loop, so that code that does not wait is caught
                await asyncio.sleep(0)
        if chunk is None:
            self.read_to_its_end = True
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self.closed = True


async def test_shutdown_drains_and_closes_a_response_without_a_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The app closes the response itself, whichever invoker is behind it."""
    caplog.set_level(logging.INFO, "lambda_streaming")
    held = HeldBody()
    handler = _OnMessage("Waiting for 1 running invocations", held.go_on)
    logger = logging.getLogger("lambda_streaming.function_url")
    logger.addHandler(handler)
    try:
        async with serving(FunctionUrlApp(held)) as port, connected(port) as client:
            await client.send(GET)
            await client.read_until(b"one\r\n")
            client.abort()
    finally:
        logger.removeHandler(handler)
    assert held.read_to_its_end
    assert held.closed


async def test_shutdown_cancels_handlers_after_the_drain_timeout(caplog: pytest.LogCaptureFixture) -> None:
    """The cancellation is logged."""
    caplog.set_level(logging.WARNING, "lambda_streaming")
    cancelled = asyncio.Event()

    @streamify_response
    async def handler(_event: object, response_stream: ResponseStream, _context: object) -> None:
        await response_stream.write("x")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(to_asgi(handler, drain_timeout_s=0.05)) as port, connected(port) as client:
        await client.send(GET)
        await client.read_until(b"x\r\n")
        client.abort()
    assert cancelled.is_set()
    assert "Cancelled 1 invocations that were still running" in caplog.text


async def test_shutdown_waits_for_work_after_the_response() -> None:
    """A handler that continues after `end` keeps its task until it is done."""
    go_on, finished = asyncio.Event(), asyncio.Event()

    @streamify_response
    async def handler(_event: object, response_stream: ResponseStream, _context: object) -> None:
        await response_stream.end("done")
        await go_on.wait()
        finished.set()

    async with serving(to_asgi(handler)) as port:
        async with httpx.AsyncClient() as client:
            response = await client.get(f"http://127.0.0.1:{port}/")
        assert response.content == b"done"
        assert not finished.is_set()
        go_on.set()
    assert finished.is_set()


async def test_a_cancelled_connection_does_not_stop_the_handler() -> None:
    """A server or middleware that cancels the app does not cancel the invocation."""
    recorded = Recorded()
    app = to_asgi(writer_of(recorded, 3, b"x"))
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
    }
    sent: list[str] = []
    first_chunk = asyncio.Event()
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(message: Any) -> None:  # noqa: ANN401 (an ASGI message)
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            first_chunk.set()
            await asyncio.Event().wait()

    connection = asyncio.create_task(app(scope, messages.get, send))
    async with asyncio.timeout(PATIENCE_S):
        await first_chunk.wait()
        connection.cancel()
        await asyncio.wait({connection})
        recorded.go_on.set()
        await recorded.finished.wait()
    await app.aclose()
    assert sent == ["http.response.start", "http.response.body"]


async def test_five_hundred_streams_at_once_in_one_process() -> None:
    """All are open at the same time; each receives its own bytes and sees only its own context."""
    streams = 500
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    all_here = asyncio.Barrier(streams)

    @streamify_response
    async def handler(event: dict[str, Any], response_stream: ResponseStream, _context: object) -> None:
        seen = variable.get()
        variable.set(event["rawPath"])
        await response_stream.write(event["rawPath"])
        await all_here.wait()
        for _ in range(5):
            await response_stream.write(f" {variable.get()}")
        await response_stream.end(f" {seen}")

    async def one(port: int, number: int) -> bytes:
        return await exchange(port, b"GET /%d HTTP/1.0\r\n\r\n" % number)

    async with serving(to_asgi(handler), backlog=streams) as port:
        responses = await asyncio.gather(*(one(port, number) for number in range(streams)))
    for number, response in enumerate(responses):
        expected = " ".join([f"/{number}"] * 6) + " unset"
        assert response.partition(b"\r\n\r\n")[2] == expected.encode()


async def test_plain_handlers_run_at_the_same_time() -> None:
    """Each runs in its own thread, so none blocks the event loop."""
    both_here = threading.Barrier(2)

    def handler(event: dict[str, Any], context: Any) -> str:  # noqa: ANN401 (a Lambda context)
        both_here.wait(PATIENCE_S)
        assert context.get_remaining_time_in_millis() > 0
        return f"{event['rawPath']} {context.aws_request_id == event['requestContext']['requestId']}"

    async with serving(to_asgi(handler)) as port, httpx.AsyncClient() as client:
        responses = await asyncio.gather(*(client.get(f"http://127.0.0.1:{port}/{n}") for n in "ab"))
    assert sorted(json.loads(response.content) for response in responses) == ["/a True", "/b True"]


async def test_a_websocket_is_refused() -> None:
    """Function URLs do not support WebSockets; the server refuses the handshake."""
    sent = []

    async def receive() -> Any:  # noqa: ANN401 (an ASGI message)
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:  # noqa: ANN401 (an ASGI message)
        sent.append(message)

    app: FunctionUrlApp = to_asgi(lambda event, context: None)  # noqa: ARG005 (the shape of a handler)
    await app({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close"}]
