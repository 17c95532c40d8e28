"""Every kind of handler streams; what none can be is refused."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from awslambdaric.lambda_runtime_exception import FaultException

from lambda_streaming import (
    BlockingResponseStream,
    HttpResponseStream,
    ResponseBroken,
    ResponseStream,
    ResultAfterStart,
    invoke_streaming,
    is_streaming,
    lifespan_state,
    streamify_response,
)
from lambda_streaming.function import as_handler
from lambda_streaming.prelude import PreludeParser
from support.environments import until
from support.patience import PATIENCE_S

user = contextvars.ContextVar("user", default="nobody")


class Reader:
    """A transport that keeps what it is sent, and takes nothing while it is `full`."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.is_closed = False

    async def open(self, content_type: str) -> None:
        """Begin."""

    async def send(self, data: bytes) -> None:
        self.pieces.append(data)
        await self.has_room.wait()

    async def close(self, last: bytes = b"") -> None:
        if last:
            await self.send(last)
        self.is_closed = True

    @property
    def head(self) -> dict[str, Any]:
        return dict(json.loads(self.pieces[0].removesuffix(b"\0" * 8)))


async def responded(handler: Callable[..., object], event: object = "x") -> Reader:
    reader = Reader()
    await invoke_streaming(streamify_response(handler), event, reader, "context")
    assert reader.is_closed
    return reader


def generates(event: Any, context: Any) -> Iterator[str]:  # noqa: ANN401
    yield event
    yield f"{context} on {threading.current_thread() is threading.main_thread()}"


def generates_with_stream(event: Any, stream: BlockingResponseStream, context: Any) -> Iterator[str]:  # noqa: ANN401, ARG001
    HttpResponseStream.from_(stream, {"statusCode": 202})
    yield event


def writes(event: Any, stream: BlockingResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    stream.write(event)
    stream.write(user.get())
    stream.end("end")


async def generates_asynchronously(event: Any, stream: ResponseStream, context: Any) -> AsyncIterator[str]:  # noqa: ANN401, ARG001
    HttpResponseStream.from_(stream, {"statusCode": 202})
    yield event


class Endpoint:
    """Objects whose call is a handler."""

    async def __call__(self, event: Any, context: Any) -> AsyncIterator[str]:  # noqa: ANN401, ARG002
        yield event


class WritingEndpoint:
    async def __call__(self, event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG002
        await stream.write(event)


class SynchronousEndpoint:
    def __call__(self, event: Any, context: Any) -> list[str]:  # noqa: ANN401, ARG002
        return [event]


async def test_a_synchronous_generator_streams_from_a_thread() -> None:
    """One yield is one piece."""
    assert (await responded(generates)).pieces == [b"x", b"context on False"]


async def test_a_synchronous_handler_writes_with_the_invocations_context_variables() -> None:
    """Its calls block where others await."""
    user.set("alice")
    assert (await responded(writes)).pieces == [b"x", b"alice", b"end"]


@pytest.mark.parametrize("handler", [generates_with_stream, generates_asynchronously])
async def test_a_generator_with_three_parameters_sets_its_head(handler: Callable[..., object]) -> None:
    """Synchronous and asynchronous."""
    reader = await responded(handler)
    assert reader.head["statusCode"] == 202
    assert reader.pieces[1:] == [b"x"]


@pytest.mark.parametrize(
    "handler",
    [Endpoint(), WritingEndpoint(), functools.partial(generates_asynchronously), Endpoint().__call__],
    ids=["yields", "writes", "partial", "method"],
)
async def test_a_callable_object_streams(handler: Callable[..., object]) -> None:
    """Whatever can be called with two or three arguments."""
    assert (await responded(handler)).pieces[-1] == b"x"


async def test_a_slow_reader_holds_back_a_synchronous_generator() -> None:
    """Backpressure reaches the thread: it is never more than a piece ahead."""
    taken: list[int] = []

    @streamify_response
    def counts(event: object, context: object) -> Iterator[str]:  # noqa: ARG001
        for number in range(3):
            taken.append(number)
            yield str(number)

    reader = Reader()
    reader.has_room.clear()
    running = asyncio.create_task(invoke_streaming(counts, None, reader, None))
    async with asyncio.timeout(PATIENCE_S):
        while not reader.pieces:  # noqa: ASYNC110 (nothing announces it)
            await asyncio.sleep(0.001)
    assert taken == [0]
    reader.has_room.set()
    await running
    assert (taken, reader.pieces) == ([0, 1, 2], [b"0", b"1", b"2"])


async def test_a_cancelled_invocation_ends_its_thread_at_the_next_write() -> None:
    """The generator is closed; nothing more arrives."""
    ended = threading.Event()

    @streamify_response
    def endless(event: object, context: object) -> Iterator[str]:  # noqa: ARG001
        try:
            while True:
                yield "x"
        finally:
            ended.set()

    reader = Reader()
    reader.has_room.clear()
    running = asyncio.create_task(invoke_streaming(endless, None, reader, None))
    async with asyncio.timeout(PATIENCE_S):
        while not reader.pieces:  # noqa: ASYNC110 (nothing announces it)
            await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await asyncio.to_thread(ended.wait, PATIENCE_S)
    assert not reader.is_closed


async def test_an_invocation_cancelled_while_a_write_begins_ends_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop cancels after the thread has looked, and before the write is known."""
    loop = asyncio.get_running_loop()
    reader = Reader()
    reader.has_room.clear()
    stream = BlockingResponseStream(ResponseStream(reader), loop)
    call_soon = loop.call_soon_threadsafe

    def cancelled_meanwhile(*arguments: Any, **options: Any) -> asyncio.Handle:  # noqa: ANN401
        stream.abandon()
        return call_soon(*arguments, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", cancelled_meanwhile)
    writing = asyncio.create_task(asyncio.to_thread(stream.write, "x"))
    done, _ = await asyncio.wait({writing}, timeout=PATIENCE_S)
    reader.has_room.set()
    assert done
    with pytest.raises(ResponseBroken):
        await writing


async def test_a_cancelled_invocation_ends_the_writes_of_all_threads_of_its_handler() -> None:
    """A handler may start further threads; none of them waits for a reader that is gone."""
    reader = Reader()
    reader.has_room.clear()
    stream = BlockingResponseStream(ResponseStream(reader), asyncio.get_running_loop())
    writing = [asyncio.create_task(asyncio.to_thread(stream.write, each)) for each in ("one", "two")]
    others = asyncio.all_tasks()
    await until(lambda: len(asyncio.all_tasks() - others) == len(writing), "the writes")
    stream.abandon()
    done, _ = await asyncio.wait(writing, timeout=PATIENCE_S)
    reader.has_room.set()
    assert [type(each.exception()) for each in done] == [ResponseBroken, ResponseBroken]


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), StopIteration("no"), ResponseBroken("no")]
)
async def test_what_a_synchronous_handler_raises_is_raised(error: BaseException) -> None:
    """`SystemExit` too, which ends the process; a future cannot hold `StopIteration`."""

    @streamify_response
    def fails(event: object, context: object) -> None:  # noqa: ARG001
        raise error

    expected = RuntimeError if isinstance(error, StopIteration) else type(error)
    try:
        await invoke_streaming(fails, None, Reader(), None)
    except BaseException as raised:  # noqa: BLE001 (SystemExit must not leave the test)
        assert isinstance(raised, expected)  # noqa: PT017
    else:
        pytest.fail("it raised nothing")


PROXY_RESULT = {
    "statusCode": "400",
    "headers": {"X-Count": 1},
    "cookies": ["a=1"],
    "body": {"error": "no body"},
}


def returns(result: object) -> list[Callable[..., object]]:
    async def asynchronous(event: object, stream: object, context: object) -> object:  # noqa: ARG001
        return result

    def synchronous(event: object, context: object) -> object:  # noqa: ARG001
        return result

    return [asynchronous, synchronous]


@pytest.mark.parametrize("handler", returns(PROXY_RESULT))
async def test_a_proxy_result_is_the_response(handler: Callable[..., object]) -> None:
    """Status, headers and cookies; a body that is no text is JSON."""
    reader = await responded(handler)
    assert reader.head == {
        "statusCode": 400,
        "headers": {"content-type": "application/json", "X-Count": "1"},
        "cookies": ["a=1"],
    }
    assert reader.pieces[1:] == [b'{"error":"no body"}']


@pytest.mark.parametrize(
    ("result", "content_type", "body"),
    [
        ({"statusCode": 200, "body": "AP8=", "isBase64Encoded": True}, "application/json", b"\x00\xff"),
        ({"statusCode": 204, "multiValueHeaders": {"Content-Type": ["a/b"]}}, "a/b", b""),
        ({"hello": "world"}, "application/json", b'{"hello":"world"}'),
        ([1, 2], "application/json", b"[1,2]"),
        ("text", "application/json", b"text"),
        (b"\x00", "application/octet-stream", b"\x00"),
    ],
)
async def test_a_returned_value_is_the_response_as_a_function_url_reads_it(
    result: object, content_type: str, body: bytes
) -> None:
    """An object without a status is JSON, a text is sent as it is."""
    for handler in returns(result):
        reader = await responded(handler)
        headers = {name.lower(): value for name, value in reader.head["headers"].items()}
        assert headers["content-type"] == content_type
        assert b"".join(reader.pieces[1:]) == body


async def test_a_proxy_result_after_a_write_fails_loudly() -> None:
    """It has nowhere to go, and the response must not look complete."""

    @streamify_response
    async def both(event: object, stream: ResponseStream, context: object) -> object:  # noqa: ARG001
        await stream.write("x")
        return PROXY_RESULT

    reader = Reader()
    with pytest.raises(ResultAfterStart, match="the proxy result that the handler returned"):
        await invoke_streaming(both, None, reader, None)
    assert not reader.is_closed


async def test_a_body_that_is_not_base64_is_an_error() -> None:
    """As the proxy result says that it is."""
    with pytest.raises(ValueError, match="not base64"):
        await responded(returns({"statusCode": 200, "body": "%", "isBase64Encoded": True})[0])


async def test_a_handler_may_return_an_iterable_of_pieces() -> None:
    """What a generator function would have yielded."""

    def makes_generator(event: object, context: object) -> object:
        return generates(event, context)

    def makes_asynchronous_generator(event: object, context: object) -> object:
        return Endpoint()(event, context)

    for handler in (makes_generator, makes_asynchronous_generator):
        assert (await responded(handler)).pieces[0] == b"x"


async def test_what_a_lifespan_yields_is_at_hand_in_a_thread_too() -> None:
    """And nowhere else."""
    entered: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[str]:
        entered.append("entered")
        yield "pool"

    @streamify_response(lifespan=lifespan)
    def handler(event: object, context: object) -> Iterator[str]:  # noqa: ARG001
        yield lifespan_state()

    for _ in range(2):
        reader = Reader()
        await invoke_streaming(handler, None, reader, None)
        assert reader.pieces == [b"pool"]
    assert entered == ["entered"]
    with pytest.raises(LookupError, match="There is no lifespan here"):
        await responded(lambda event, context: lifespan_state())  # noqa: ARG005


def test_multi_value_headers_are_understood_by_both_services() -> None:
    """A REST API reads the list, a Function URL the joined value (aws-lambda-go#603)."""
    from lambda_streaming.prelude import encode_prelude

    parser = PreludeParser()
    parser.feed(
        encode_prelude(
            {
                "statusCode": "503",
                "headers": {
                    "retry-after": 30,
                    "x-list": ["a", 1],
                    "link": "old",
                    "set-cookie": "c=3",
                    "x-none": None,
                },
                "multiValueHeaders": {"link": ["</a>", "</b>"], "set-cookie": ["d=4"], "x-one": [True]},
                "cookies": ["a=1"],
            }
        )
    )
    assert json.loads(parser.prelude or b"") == {
        "statusCode": 503,
        "headers": {"retry-after": "30", "x-list": "a, 1", "link": "</a>, </b>", "x-one": "true"},
        "multiValueHeaders": {"x-list": ["a", "1"], "link": ["</a>", "</b>"]},
        "cookies": ["a=1", "c=3", "d=4"],
    }


# What the runtime is given.


async def an_app(scope: object, receive: object, send: object) -> None:
    del scope, receive, send


class AnApp:
    async def __call__(self, scope: object, receive: object, send: object) -> None:
        del scope, receive, send


class CompiledApp:
    def __call__(self, scope: object, receive: object, send: object) -> object:
        del scope, receive, send
        return None


def a_wsgi_app(environ: object, start_response: object) -> list[bytes]:
    del environ, start_response
    return []


class Tracer:
    """Wraps a handler, as Datadog's decorator does."""

    def __init__(self, func: Callable[..., object]) -> None:
        self.func = func

    def __call__(self, event: object, context: object) -> object:
        return self.func(event, context)


@pytest.mark.parametrize("app", [an_app, AnApp(), CompiledApp(), functools.partial(an_app)])
def test_an_asgi_app_is_recognised_by_its_shape(app: object) -> None:
    """A function, an object, one whose call is not asynchronous itself."""
    assert is_streaming(as_handler(app, "main.app"))


def test_a_plain_handler_stays_as_it_is() -> None:
    """The stock runtime's contract."""
    for handler in (print, lambda event, context: None, SynchronousEndpoint(), functools.partial(print)):  # noqa: ARG005
        assert as_handler(handler, "main.handler") is handler
    decorated = streamify_response(generates)
    assert as_handler(decorated, "main.handler") is decorated


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        (1, "neither a function nor an ASGI app"),
        (generates, "@lambda_streaming.streamify_response"),
        (generates_asynchronously, "@lambda_streaming.streamify_response"),
        (Endpoint(), "@lambda_streaming.streamify_response"),
        (a_wsgi_app, "a2wsgi.WSGIMiddleware"),
        (Tracer(an_app), "handler = from_asgi(app)"),
    ],
    ids=["1", "generator", "asynchronous", "object", "WSGI app", "app wrapped as a handler"],
)
def test_what_is_no_handler_and_no_app_is_refused_at_start(found: object, remedy: str) -> None:
    """With the remedy, instead of failing at each request."""
    with pytest.raises(FaultException) as refused:
        as_handler(found, "main.found")
    assert refused.value.exception_type == "Runtime.UnusableHandler"
    assert remedy in refused.value.msg
