"""The stream that a handler writes to, tested without a network: states, prelude, decorator."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming import (
    ContentTypeInPrelude,
    HttpResponseStream,
    ResponseAlreadyStarted,
    ResponseBroken,
    ResponseMetadata,
    ResponseStream,
    StreamState,
    WriteAfterEnd,
    invoke_streaming,
    is_streaming,
    streamify_response,
)
from lambda_streaming.prelude import DELIMITER, MAX_PRELUDE_BYTES, PreludeParser, encode_prelude


class Recorder:
    """A transport that records its calls and blocks while `has_room` is not set."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.has_room = asyncio.Event()
        self.has_room.set()

    async def open(self, content_type: str) -> None:
        self.calls.append(("open", content_type))

    async def send(self, data: bytes) -> None:
        self.calls.append(data)
        await self.has_room.wait()

    async def close(self, last: bytes = b"") -> None:
        if last:
            await self.send(last)
        self.calls.append("close")


OPENED = ("open", "application/octet-stream")


async def test_pieces_of_every_kind_go_out_as_bytes_in_order() -> None:
    """Pieces may be bytes, bytearrays, memoryviews or text; nothing is sent for an empty piece."""
    transport = Recorder()
    stream = ResponseStream(transport)
    for piece in (b"a", "ü", b"", "", bytearray(b"b"), memoryview(b"c")):
        await stream.write(piece)
    await stream.end()
    assert transport.calls == [OPENED, b"a", "ü".encode(), b"b", b"c", "close"]


async def test_a_piece_of_another_kind_is_refused_before_the_response_begins() -> None:
    """The message names the remedy."""
    transport = Recorder()
    stream = ResponseStream(transport)
    with pytest.raises(TypeError, match="Encode it first"):
        await stream.write({"a": 1})  # type: ignore[arg-type]
    assert transport.calls == []
    assert stream.state is StreamState.OPEN


async def test_nothing_can_be_written_after_the_end() -> None:
    """Neither another piece nor another end is accepted."""
    transport = Recorder()
    stream = ResponseStream(transport)
    await stream.end("last")
    with pytest.raises(WriteAfterEnd):
        await stream.write("more")
    with pytest.raises(WriteAfterEnd):
        await stream.end()
    assert transport.calls == [OPENED, b"last", "close"]


async def test_the_head_cannot_change_after_the_first_write() -> None:
    """Content type and prelude are refused as `Runtime.InvalidStreamingOperation`."""
    stream = ResponseStream(Recorder())
    await stream.write("x")
    with pytest.raises(ResponseAlreadyStarted) as refused:
        stream.set_content_type("text/plain")
    assert refused.value.error_type == "Runtime.InvalidStreamingOperation"
    with pytest.raises(ResponseAlreadyStarted):
        HttpResponseStream.from_(stream, {"statusCode": 200})


@pytest.mark.parametrize("value", ["text/plain\r\nx: y", "täxt/plain", "a\0b"])
async def test_a_content_type_that_is_no_header_is_refused(value: str) -> None:
    """This prevents header injection."""
    with pytest.raises(ValueError, match="cannot be the value of a header"):
        ResponseStream(Recorder()).set_content_type(value)


async def test_a_writer_waits_until_the_transport_can_take_more() -> None:
    """Backpressure reaches the handler, and pieces of concurrent writers keep their order."""
    transport = Recorder()
    stream = ResponseStream(transport)
    transport.has_room.clear()
    first = asyncio.create_task(stream.write("first"))
    second = asyncio.create_task(stream.write("second"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not first.done()
    assert transport.calls == [OPENED, b"first"]
    transport.has_room.set()
    await asyncio.gather(first, second)
    assert transport.calls == [OPENED, b"first", b"second"]


async def test_an_empty_write_sends_the_prelude_alone() -> None:
    """A handler can send status and headers before it has a body."""
    transport = Recorder()
    stream = HttpResponseStream.from_(ResponseStream(transport), ResponseMetadata(status_code=202))
    await stream.write("")
    assert transport.calls == [
        ("open", "application/vnd.awslambda.http-integration-response"),
        b'{"statusCode":202,"headers":{},"cookies":[]}' + DELIMITER,
    ]


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"statusCode": 199}, "from 200 to 599"),
        ({"statusCode": "ok"}, "statusCode is 'ok'"),
        ({"statusCode": 200.5}, "statusCode is 200.5"),
        ({"statusCode": True}, "statusCode is True"),
        ({"status": 200}, "not status"),
        ({"headers": {"x-limit": {}}}, "the header x-limit is dict"),
        ({"headers": [1]}, "headers is list, not an object"),
        ({"headers": {1: "x"}}, "1 is not a header name"),
        ({"multiValueHeaders": {"link": "x"}}, "the header link in multiValueHeaders is str, not a list"),
        ({"multiValueHeaders": {"link": [object()]}}, "the header link is object"),
        ({"multiValueHeaders": {"link": ["a\r\nb"]}}, "the header link holds a control character"),
        ({"headers": {"x y": "1"}}, "not a header name"),
        ({"headers": {"x": "a\r\nb: c"}}, "line break"),
        ({"cookies": "a=1"}, "cookies is not a list of texts"),
        ({"cookies": [1]}, "cookies is not a list of texts"),
        ({"cookies": ["a=1\n"]}, "line break"),
        ({"headers": {"x": "a\0b"}}, "control character"),
        ({"headers": {"x": "a\x7fb"}}, "control character"),
        ({"headers": {"x": "y" * MAX_PRELUDE_BYTES}}, "bytes of 16384"),
    ],
)
def test_metadata_that_no_response_can_have_is_refused_with_the_reason(
    metadata: dict[str, object], complaint: str
) -> None:
    """The error appears where the mistake was made, not at the client."""
    with pytest.raises(ValueError, match=complaint):
        encode_prelude(metadata)


def test_a_tab_in_a_header_is_allowed() -> None:
    """The tab is the only control character that HTTP allows in a header value."""
    assert json.loads(encode_prelude({"headers": {"x": "a\tb"}})[:-8])["headers"] == {"x": "a\tb"}


_VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)


@given(
    status=st.integers(200, 599),
    headers=st.dictionaries(st.from_regex(r"\A[a-z-]{1,12}\Z"), _VALUES, max_size=4),
    cookies=st.lists(_VALUES, max_size=3),
    payload=st.binary(max_size=40) | st.just(b"\0" * 20),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_a_prelude_is_found_again_however_it_is_cut(
    status: int, headers: dict[str, str], cookies: list[str], payload: bytes, cuts: list[int]
) -> None:
    """The encoded metadata is decoded unchanged, and the payload keeps its NULs."""
    metadata = {"statusCode": status, "headers": headers, "cookies": cookies}
    wire = encode_prelude(metadata) + payload
    parser = PreludeParser()
    borders = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    found = b"".join(parser.feed(wire[a:b]) for a, b in pairwise(borders))
    assert parser.prelude is not None
    assert json.loads(parser.prelude) == metadata
    assert found == payload


def test_a_prelude_is_found_byte_by_byte_and_at_once() -> None:
    """The delimiter may be split anywhere."""
    wire = encode_prelude({}) + b"\0\0payload\0"
    parser = PreludeParser()
    assert b"".join(parser.feed(bytes([byte])) for byte in wire) == b"\0\0payload\0"
    assert PreludeParser().feed(wire) == b"\0\0payload\0"


@pytest.mark.parametrize("beyond", [0, 1, 1000])
def test_a_prelude_past_the_limit_is_cut_off_however_it_is_split(beyond: int) -> None:
    """At the limit it is whole; past it, feeding it at once and byte by byte gives the same result."""
    wire = b"x" * (MAX_PRELUDE_BYTES + beyond) + DELIMITER + b"payload"
    at_once, by_byte = PreludeParser(), PreludeParser()
    payload = at_once.feed(wire)
    assert b"".join(by_byte.feed(bytes([byte])) for byte in wire) == payload
    assert by_byte.prelude == at_once.prelude
    assert at_once.prelude is not None
    assert (len(at_once.prelude) <= MAX_PRELUDE_BYTES) == (beyond == 0)
    assert (payload == b"payload") == (beyond == 0)


def test_an_endless_prelude_uses_bounded_memory() -> None:
    """The parser ends the prelude at the limit, and its reader then refuses it."""
    parser = PreludeParser()
    for _ in range(1000):
        parser.feed(b"x" * 1000)
    assert parser.prelude is not None
    assert len(parser.prelude) < MAX_PRELUDE_BYTES + 2000


async def test_the_content_type_of_a_response_with_a_prelude_is_one_of_its_headers() -> None:
    """Set separately, it would expose the prelude to the client; the error names the remedy."""
    stream = HttpResponseStream.from_(ResponseStream(Recorder()), {"statusCode": 200})
    with pytest.raises(ContentTypeInPrelude, match="content-type") as refused:
        stream.set_content_type("text/plain")
    assert refused.value.error_type == "Runtime.InvalidStreamingOperation"


async def test_a_payload_never_goes_out_without_its_prelude() -> None:
    """If the first write is cancelled while it waits, the response is marked as broken."""
    transport = Recorder()
    transport.has_room.clear()
    stream = HttpResponseStream.from_(ResponseStream(transport), {"statusCode": 201})
    first = asyncio.create_task(stream.write("first"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    transport.has_room.set()
    assert stream.state is StreamState.BROKEN
    for attempt in (stream.write("second"), stream.end(), stream.end("third")):
        with pytest.raises(ResponseBroken):
            await attempt
    with pytest.raises(ResponseAlreadyStarted):
        stream.set_content_type("text/plain")
    assert len(transport.calls) == 2, "only the open and the prelude, which may or may not have been sent"


async def _stream_writer(event: Any, stream: ResponseStream, context: Any) -> str:  # noqa: ANN401, ARG001
    await stream.write(event)
    return "ignored"


async def test_what_a_streaming_handler_returns_is_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The handler writes its response, so a result has no destination."""
    transport = Recorder()
    await invoke_streaming(streamify_response(_stream_writer), "x", transport, None)
    assert transport.calls == [OPENED, b"x", "close"]
    assert "returned a str" in caplog.text


async def test_a_generator_is_closed_when_its_reader_breaks_off() -> None:
    """The resources it holds are released before the failure is reported."""
    closed = asyncio.Event()

    @streamify_response
    async def endless(event: object, context: object) -> AsyncIterator[str]:  # noqa: ARG001
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    class Breaking(Recorder):
        async def send(self, data: bytes) -> None:  # noqa: ARG002
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await invoke_streaming(endless, None, Breaking(), None)
    assert closed.is_set()


def _plain(event: object, context: object) -> None:
    del event, context


def _takes_too_much(event: object, stream: object, context: object, more: object) -> None:
    del event, stream, context, more


async def _takes_one(event: object) -> None:
    del event


async def _app(scope: object, receive: object, send: object) -> None:
    del scope, receive, send


def _wsgi_app(environ: object, start_response: object) -> list[bytes]:
    del environ, start_response
    return []


@pytest.mark.parametrize(
    ("handler", "remedy"),
    [
        (1, "async def handler"),
        (_takes_one, "async def handler"),
        (_takes_too_much, "async def handler"),
        (functools.partial(_stream_writer, 1, ResponseStream(Recorder())), "async def handler"),
        (_app, r"lambda_streaming\.from_asgi\(app\)"),
        (_wsgi_app, "a2wsgi"),
    ],
    ids=["1", "one argument", "four arguments", "too few left", "ASGI app", "WSGI app"],
)
def test_an_object_that_cannot_be_called_with_an_event_and_a_context_is_refused(
    handler: Any,  # noqa: ANN401
    remedy: str,
) -> None:
    """It is refused at decoration, and the error names the remedy."""
    with pytest.raises(TypeError, match=remedy):
        streamify_response(handler)


def test_the_marker_survives_wrapping_and_plain_functions_have_none() -> None:
    """Tracing decorators copy the marker with `functools.wraps`."""
    handler = streamify_response(_stream_writer)

    @functools.wraps(handler)
    def traced(event: object, context: object) -> object:
        return handler(event, context)

    assert is_streaming(handler)
    assert is_streaming(traced)
    assert not is_streaming(print)


async def test_a_plain_function_cannot_be_streamed_by_mistake() -> None:
    """The error names the remedy."""
    with pytest.raises(TypeError, match="@streamify_response"):
        await invoke_streaming(_plain, None, Recorder(), None)


async def test_calling_a_handler_on_a_running_loop_is_refused_with_the_remedy() -> None:
    """The call would block the event loop and with it every other task."""
    with pytest.raises(RuntimeError, match=r"lambda_streaming\.to_asgi"):
        streamify_response(_stream_writer)("x", None)


class _Endpoint:
    async def handle(self, event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG002
        await stream.write(event)

    async def default_context(self, event: Any, stream: ResponseStream, context: Any = None) -> None:  # noqa: ANN401, ARG002
        await stream.write(event)


@pytest.mark.parametrize(
    "handler",
    [_Endpoint().handle, _Endpoint().default_context, functools.partial(_Endpoint.handle, _Endpoint())],
    ids=["method", "default", "partial"],
)
async def test_any_callable_of_three_arguments_can_stream(handler: Any) -> None:  # noqa: ANN401
    """Bound methods, parameters with defaults and partial functions are accepted."""
    transport = Recorder()
    await invoke_streaming(streamify_response(handler), "x", transport, None)
    assert transport.calls == [OPENED, b"x", "close"]
