"""The rules of ASGI between an app and `from_asgi`, message by message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from lambda_streaming import (
    LifespanMode,
    asgi,
    from_asgi,
    invoke_streaming,
    lifespan_state,
    streamify_response,
    to_asgi,
)
from lambda_streaming.asgi_app.protocol import AsgiProtocolError

HEADERS = [(b"content-type", b"text/plain")]
START = {"type": "http.response.start", "status": 200, "headers": HEADERS}
LAST = {"type": "http.response.body", "body": b"last"}
EVENT = {
    "version": "2.0",
    "rawPath": "/v1/a%20b",
    "requestContext": {"http": {"method": "POST", "sourceIp": "203.0.113.9"}, "stage": "$default"},
    "headers": {"x-name": "ó"},
    "body": "text",
}


class Reader:
    """A transport that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.has_room = asyncio.Event()
        self.has_room.set()

    async def open(self, content_type: str) -> None:  # noqa: ARG002
        self.sent.append("open")

    async def send(self, data: bytes) -> None:
        self.sent.append(data if not data.endswith(b"\0" * 8) else json.loads(data[:-8]))
        await self.has_room.wait()

    async def close(self, last: bytes = b"") -> None:
        if last:
            await self.send(last)
        self.sent.append("close")


Endpoint = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


def app_of(endpoint: Endpoint) -> Endpoint:
    """An app with that endpoint and without a lifespan."""

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        if scope["type"] != "http":
            raise ValueError("only http")
        await endpoint(scope, receive, send)

    return app


async def served(endpoint: Endpoint, event: object = EVENT, **options: Any) -> Reader:  # noqa: ANN401
    reader = Reader()
    await invoke_streaming(from_asgi(app_of(endpoint), **options), event, reader, "the context")
    return reader


async def test_the_scope_has_everything_that_servers_give() -> None:
    """And the event and the context."""
    scopes = []

    async def keeps_scope(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
        scopes.append(scope)
        await send(START)
        await send(LAST)

    await served(keeps_scope, root_path="/v1/")
    (scope,) = scopes
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": "/v1/a b",
        "raw_path": b"/v1/a%20b",
        "root_path": "/v1",
        "query_string": b"",
        "headers": [(b"x-name", "ó".encode())],
        "client": ("203.0.113.9", 0),
        "server": None,
        "extensions": {},
        "aws.event": EVENT,
        "aws.context": "the context",
    }


async def test_the_body_comes_once_and_a_disconnect_only_after_the_response() -> None:
    """Lambda does not report that a client has gone; waiting for it can be cancelled."""
    received: list[Any] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
        received.append(await receive())
        await send(START)
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        await send(LAST)
        received.append(await waiting)
        received.append(await receive())

    await served(endpoint)
    assert received == [
        {"type": "http.request", "body": b"text", "more_body": False},
        {"type": "http.disconnect"},
        {"type": "http.disconnect"},
    ]


async def test_the_head_is_sent_with_the_first_part_of_the_body() -> None:
    """So an app that fails before it has sent any is an error of the invocation."""
    reader = Reader()

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
        await send(START)
        assert reader.sent == []
        await send({"type": "http.response.body", "more_body": True})
        assert reader.sent == [
            "open",
            {"statusCode": 200, "headers": {"content-type": "text/plain"}, "cookies": []},
        ]
        await send(LAST)
        assert reader.sent[2:] == [b"last", "close"]
        await send(LAST)  # ignored, as the specification says

    await invoke_streaming(from_asgi(app_of(endpoint)), EVENT, reader, None)
    assert reader.sent[2:] == [b"last", "close"]


async def test_a_slow_client_holds_the_app_back() -> None:
    """`send` returns when Lambda can take more."""
    reader = Reader()
    sent: list[int] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
        await send(START)
        for number in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent.append(number)
        await send(LAST)

    reader.has_room.clear()
    running = asyncio.create_task(invoke_streaming(from_asgi(app_of(endpoint)), EVENT, reader, None))
    for _ in range(50):
        await asyncio.sleep(0)
    assert sent == []
    reader.has_room.set()
    await running
    assert sent == [0, 1, 2]


async def test_a_response_to_head_has_no_body() -> None:
    """As other servers ensure."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
        await send(START)
        await send(LAST)

    event = EVENT | {"requestContext": {"http": {"method": "HEAD"}}}
    assert (await served(endpoint, event)).sent[2:] == ["close"]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "without a response"),
        ([START], "before its response was complete"),
        ([START, {"type": "http.response.body", "more_body": True}], "before its response was complete"),
        ([LAST], "'http.response.body', which is not allowed now"),
        ([START, START], "'http.response.start', which is not allowed now"),
        ([{"type": "websocket.accept"}], "'websocket.accept', which is not allowed now"),
    ],
)
async def test_a_broken_protocol_is_an_error_and_never_a_complete_response(
    messages: list[Any], reason: str
) -> None:
    """The message says what was wrong."""
    reader = Reader()

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
        for message in messages:
            await send(message)

    with pytest.raises(AsgiProtocolError, match=reason):
        await invoke_streaming(from_asgi(app_of(endpoint)), EVENT, reader, None)
    assert "close" not in reader.sent


def test_under_the_stock_runtime_a_response_is_whole(caplog: pytest.LogCaptureFixture) -> None:
    """In the format of the event, with what is done after the response; a failure there is logged."""
    done: list[str] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
        await send({**START, "headers": [*HEADERS, (b"set-cookie", b"a=1")]})
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await send(LAST)
        done.append("background")
        raise ValueError("boom in the background")

    handler = from_asgi(app_of(endpoint), lifespan=LifespanMode.OFF)
    assert handler({"httpMethod": "GET", "path": "/"}, None) == {
        "statusCode": 200,
        "headers": {"content-type": "text/plain"},
        "multiValueHeaders": {"set-cookie": ["a=1"]},
        "body": "first last",
        "isBase64Encoded": False,
    }
    assert done == ["background"]
    assert "boom in the background" in caplog.text


# Lifespans.


class App:
    """An app that sends the given message when its lifespan starts, or raises."""

    def __init__(self, reply: Any = None, *, error: Exception | None = None) -> None:  # noqa: ANN401
        self.reply = reply
        self.error = error
        self.seen: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        if scope["type"] == "http":
            self.seen.append(scope.get("state"))
            scope.get("state", {})["changed"] = True
            await send(START)
            await send(LAST)
            return
        self.seen.append((await receive())["type"])
        scope["state"]["pool"] = "pool"
        if self.reply is not None:
            await send(self.reply)
        if self.error is not None:
            raise self.error
        if self.reply == {"type": "lifespan.startup.complete"}:
            self.seen.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})


async def test_each_request_has_a_copy_of_the_lifespans_state() -> None:
    """What one changes, the next does not see."""
    app = App({"type": "lifespan.startup.complete"})
    handler = from_asgi(app)
    for _ in range(2):
        await invoke_streaming(handler, EVENT, Reader(), None)
    assert app.seen == [
        "lifespan.startup",
        {"pool": "pool", "changed": True},
        {"pool": "pool", "changed": True},
    ]
    assert "changed" not in app.seen[0]


async def test_an_app_that_fails_its_start_up_serves_nothing() -> None:
    """Its own exception, or its message."""
    failed = {"type": "lifespan.startup.failed", "message": "no database"}
    for mode in (LifespanMode.AUTO, LifespanMode.ON):
        with pytest.raises(RuntimeError, match="no database"):
            await invoke_streaming(from_asgi(App(failed), lifespan=mode), EVENT, Reader(), None)
        app = App(failed, error=LookupError("the cause"))
        with pytest.raises(LookupError, match="the cause"):
            await invoke_streaming(from_asgi(app, lifespan=mode), EVENT, Reader(), None)


@pytest.mark.parametrize("error", [None, ValueError("what lifespan?")])
async def test_an_app_without_a_lifespan_is_served_unless_it_must_have_one(error: Exception | None) -> None:
    """`AUTO` goes on, `ON` does not, `OFF` does not ask."""
    app = App(error=error)
    await invoke_streaming(from_asgi(app), EVENT, Reader(), None)
    assert app.seen == ["lifespan.startup", None]
    with pytest.raises(ValueError if error else RuntimeError):
        await invoke_streaming(from_asgi(App(error=error), lifespan=LifespanMode.ON), EVENT, Reader(), None)
    app = App(error=error)
    await invoke_streaming(from_asgi(app, lifespan=LifespanMode.OFF), EVENT, Reader(), None)
    assert app.seen == [None]


# The pair of names.


def a_wsgi_app(environ: object, start_response: object) -> list[bytes]:
    del environ, start_response
    return []


@pytest.mark.parametrize(
    ("app", "remedy"),
    [
        (streamify_response(lambda event, context: None), "to_asgi"),  # noqa: ARG005
        (a_wsgi_app, "a2wsgi"),
        (lambda event, context: None, "not an ASGI app"),  # noqa: ARG005
        (1, "not an ASGI app"),
    ],
)
def test_from_asgi_refuses_what_is_no_asgi_app(app: Any, remedy: str) -> None:  # noqa: ANN401
    """With what to do instead."""
    with pytest.raises(TypeError, match=remedy):
        from_asgi(app)


def test_to_asgi_refuses_an_asgi_app() -> None:
    """It would fail at each request."""
    with pytest.raises(TypeError, match=r"from_asgi\(app\)"):
        to_asgi(App())  # type: ignore[arg-type]


def test_the_old_name_works_and_says_which_one_to_use() -> None:
    """`asgi` did not say which way it goes."""
    handler = streamify_response(lambda event, context: None)  # noqa: ARG005
    with pytest.warns(DeprecationWarning, match=r"to_asgi\(handler\)"):
        assert asgi(handler) is not None


async def test_a_server_runs_the_lifespan_of_a_handler() -> None:
    """`to_asgi` starts it with the server and stops it with the server; a failure is a failed start-up."""
    log: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[str]:
        if log:
            raise LookupError("no database")
        log.append("started")
        yield "pool"
        log.append("stopped")

    @streamify_response(lifespan=lifespan)
    def handler(event: object, context: object) -> str:  # noqa: ARG001
        return str(lifespan_state())

    async def served_for(during: Callable[[], Awaitable[None]]) -> list[Any]:
        received: asyncio.Queue[Any] = asyncio.Queue()
        sent: asyncio.Queue[Any] = asyncio.Queue()
        await received.put({"type": "lifespan.startup"})
        serving = asyncio.ensure_future(app({"type": "lifespan"}, received.get, sent.put))
        first = (await sent.get())["type"]
        if first == "lifespan.startup.failed":
            with pytest.raises(LookupError):
                await serving
            return [first]
        await during()
        await received.put({"type": "lifespan.shutdown"})
        await serving
        return [first, (await sent.get())["type"]]

    async def asks() -> None:
        assert log == ["started"]
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/")).text == "pool"

    app = to_asgi(handler)
    assert await served_for(asks) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert log == ["started", "stopped"]
    app = to_asgi(handler)
    assert await served_for(asks) == ["lifespan.startup.failed"]
