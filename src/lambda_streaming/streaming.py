"""Streamed responses as a handler sees them: the decorator, the stream, and the prelude of HTTP responses.

A response goes through these states; what the table lacks is an error:

========  ==========================  =======================================
state     write, end                  set_content_type, HttpResponseStream
========  ==========================  =======================================
OPEN      begins the response         allowed
STARTED   allowed                     `ResponseAlreadyStarted`
ENDED     `WriteAfterEnd`             `ResponseAlreadyStarted`
BROKEN    `ResponseBroken`            `ResponseAlreadyStarted`
========  ==========================  =======================================

Where the bytes go is a `ResponseTransport`'s business: to the Runtime API (`runtime_api_response`), to an
ASGI server in the same process (`function_url.in_process`), or into a buffer (`buffered_response`).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from enum import Enum, auto
from typing import Any, ClassVar, Protocol, TypeAlias, cast

from lambda_streaming.prelude import PRELUDE_CONTENT_TYPE, ResponseMetadata, encode_prelude

logger = logging.getLogger("lambda_streaming")

DEFAULT_CONTENT_TYPE = "application/octet-stream"

Data: TypeAlias = bytes | bytearray | memoryview | str
"""What a handler may write; text is sent as UTF-8."""


class LambdaContext(Protocol):
    """What a handler may rely on of its context, under every runtime (developer guide, "Context object")."""

    aws_request_id: str
    function_name: str
    function_version: str
    invoked_function_arn: str
    memory_limit_in_mb: str
    log_group_name: str
    log_stream_name: str

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left of the function's timeout."""
        ...


class ResponseTransport(Protocol):
    """Where the bytes of one response go. Its calls never overlap."""

    async def open(self, content_type: str) -> None:
        """Begin the response; called once, before anything else."""
        ...

    async def send(self, data: bytes) -> None:
        """Send a piece that is not empty, as one chunk; returns when more can be taken.

        A cancelled call has sent the whole piece or nothing of it.
        """
        ...

    async def close(self) -> None:
        """End the response cleanly. A failed response is never closed."""
        ...


class StreamingError(Exception):
    """Base of what a response stream raises.

    Attributes:
        error_type: how the failure is named to Lambda, `Category.Reason`.
    """

    error_type: ClassVar[str] = "Runtime.StreamingError"


class WriteAfterEnd(StreamingError):
    """Raised by a write to a response that has ended; what was sent is not touched."""

    error_type = "Runtime.WriteAfterEnd"

    def __init__(self) -> None:
        super().__init__("The response has ended; nothing can be written to it any more.")


class ResponseAlreadyStarted(StreamingError):
    """Raised when the head of a response is changed after its first byte."""

    error_type = "Runtime.InvalidStreamingOperation"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"Cannot set {what} any more: the response has begun. Set it before the first write."
        )


class ContentTypeInPrelude(StreamingError):
    """Raised when the content type of a response with a prelude is set beside its headers."""

    error_type = "Runtime.InvalidStreamingOperation"

    def __init__(self) -> None:
        super().__init__(
            "This response has status and headers of its own: put the content type there, "
            'as HttpResponseStream.from_(stream, {"headers": {"content-type": ...}}).'
        )


class ResponseBroken(StreamingError):
    """Raised by a write that cannot arrive: the platform refused the response or the connection is gone."""

    error_type = "Runtime.ResponseBroken"


class StreamState(Enum):
    """How far a response has come.

    Attributes:
        OPEN: nothing is sent; content type, status and headers can still be set.
        STARTED: the response is announced.
        ENDED: it is complete.
        BROKEN: the write that was to begin it failed or was cancelled, so nobody knows what has arrived.
    """

    OPEN = auto()
    STARTED = auto()
    ENDED = auto()
    BROKEN = auto()


class ResponseStream:
    """The response of one invocation, written piece by piece.

    Safe to be written from several tasks: pieces go out whole, in the order of the calls.
    """

    def __init__(self, transport: ResponseTransport) -> None:
        self._transport = transport
        self._content_type = DEFAULT_CONTENT_TYPE
        self._prelude: bytes | None = None
        self._state = StreamState.OPEN
        self._turn = asyncio.Lock()

    @property
    def state(self) -> StreamState:
        """How far the response has come."""
        return self._state

    @property
    def content_type(self) -> str:
        """What the response is, or will be, announced as."""
        return self._content_type

    def set_content_type(self, content_type: str) -> None:
        """Announce the response as something other than `application/octet-stream`.

        Raises:
            ResponseAlreadyStarted: it has been announced.
            ContentTypeInPrelude: `HttpResponseStream` gave it headers, of which this is one.
            ValueError: the value cannot be a header.
        """
        self._require_open("the content type")
        if self._prelude is not None:
            raise ContentTypeInPrelude
        if not content_type.isascii() or not content_type.isprintable():
            raise ValueError(f"{content_type!r} cannot be the value of a header")
        self._content_type = content_type

    async def write(self, data: Data) -> None:
        """Send a piece of the response; returns when the platform can take more.

        An empty piece sends the prelude, if it is the first, and nothing else.

        Raises:
            WriteAfterEnd: the response has ended.
            ResponseBroken: the piece cannot arrive any more.
            TypeError: the piece is neither bytes nor text.
        """
        await self._send(data, last=False)

    async def end(self, data: Data | None = None) -> None:
        """Send a last piece, if any, and end the response; the prelude goes out in any case.

        Raises:
            WriteAfterEnd: the response has ended.
            ResponseBroken: the piece or the end cannot arrive any more.
            TypeError: the piece is neither bytes nor text.
        """
        await self._send(b"" if data is None else data, last=True)

    async def _send(self, data: Data, *, last: bool) -> None:
        piece = _to_bytes(data)
        async with self._turn:
            match self._state:
                case StreamState.ENDED:
                    raise WriteAfterEnd
                case StreamState.BROKEN:
                    raise ResponseBroken("The response broke off while it began")
                case StreamState.OPEN:
                    await self._begin()
            if piece:
                await self._transport.send(piece)
            if last:
                self._state = StreamState.ENDED
                await self._transport.close()

    async def _begin(self) -> None:
        self._state = StreamState.STARTED
        try:
            await self._transport.open(self._content_type)
            if self._prelude is not None:
                await self._transport.send(self._prelude)
        except BaseException:
            # Also when cancelled: a payload without its prelude would be read as a prelude.
            self._state = StreamState.BROKEN
            raise

    def _require_open(self, what: str) -> None:
        if self._state is not StreamState.OPEN:
            raise ResponseAlreadyStarted(what)

    def _set_prelude(self, prelude: bytes) -> None:
        self._require_open("status, headers and cookies")
        self._content_type = PRELUDE_CONTENT_TYPE
        self._prelude = prelude


class HttpResponseStream:
    """Gives a response an HTTP status, headers and cookies."""

    @staticmethod
    def from_(stream: ResponseStream, metadata: ResponseMetadata | Mapping[str, object]) -> ResponseStream:
        """Put a prelude in front of a response and return the same stream.

        It goes out with the first write or the end, whichever comes first: unlike on Node, a response
        without a body keeps its status.

        Args:
            stream: the handler's; nothing may have been written to it.
            metadata: `{"statusCode": int, "headers": {str: str}, "cookies": [str]}`, each optional.

        Raises:
            ResponseAlreadyStarted: the response has begun.
            ValueError: a value that no HTTP response can have.
        """
        stream._set_prelude(encode_prelude(metadata))  # noqa: SLF001 (two halves of one thing)
        return stream


def _to_bytes(data: Data) -> bytes:
    match data:
        case bytes():
            return data
        case str():
            return data.encode()
        case bytearray() | memoryview():
            return bytes(data)
    raise TypeError(f"A response is made of bytes or text, not of {type(data).__name__}. Encode it first.")


StreamHandler: TypeAlias = Callable[[Any, ResponseStream, Any], Awaitable[object]]
"""`async def handler(event, response_stream, context)`."""

ChunkHandler: TypeAlias = Callable[[Any, Any], AsyncIterator[Data]]
"""`async def handler(event, context)` that yields the response."""

LambdaHandler: TypeAlias = Callable[[Any, Any], object]
"""What a Python runtime calls: `handler(event, context)`."""

Invocation: TypeAlias = Callable[[ResponseTransport], Awaitable[None]]
"""One call of a handler that only wants to know where its response goes."""

Driver: TypeAlias = Callable[[Invocation], object]
"""Runs an invocation for a synchronous caller and returns what the caller is to report."""

_MARKER = "__lambda_streaming_handler__"

# Set once a process, by the runtime that can stream.
_driver: Driver | None = None


def install_driver(driver: Driver | None) -> None:
    """Make decorated handlers stream through a runtime; without one they answer buffered."""
    global _driver  # noqa: PLW0603 (a process has one runtime)
    _driver = driver


def streamify_response(handler: StreamHandler | ChunkHandler) -> LambdaHandler:
    """Make a handler stream its response.

    Use on `async def handler(event, response_stream, context)`, which writes the response, or on an async
    generator `async def handler(event, context)`, which yields it. What the first kind returns is ignored;
    a response that it does not end is ended for it.

    The result is an ordinary `handler(event, context)` for Lambda. Started by `lambda_streaming`'s runtime it
    streams; under the stock runtime it returns the whole response. It carries its own behaviour, so tracing
    decorators may wrap it.

    Raises:
        TypeError: the handler is of neither kind.
    """
    stream_handler = _as_stream_handler(handler)

    @functools.wraps(handler)
    def entry_point(event: object, context: object) -> object:
        invocation = functools.partial(_respond, stream_handler, event, context)
        if _driver is not None:
            return _driver(invocation)
        from lambda_streaming.buffered_response import run_buffered

        return run_buffered(invocation)

    # Of the handler's own, and with other parameters: who inspects the entry point must not find it.
    del entry_point.__wrapped__
    setattr(entry_point, _MARKER, stream_handler)
    return entry_point


def is_streaming(handler: Callable[..., object]) -> bool:
    """Whether the handler was decorated with `streamify_response`, however often it was wrapped since."""
    return hasattr(handler, _MARKER)


async def invoke_streaming(
    handler: LambdaHandler, event: object, transport: ResponseTransport, context: object
) -> None:
    """Run a decorated handler on the running loop; its response goes to the transport.

    Raises:
        TypeError: the handler is not decorated.
        Exception: whatever the handler raises; the response is then not ended.
    """
    stream_handler: StreamHandler | None = getattr(handler, _MARKER, None)
    if stream_handler is None:
        raise TypeError(f"{handler!r} does not stream: decorate it with @streamify_response.")
    await _respond(stream_handler, event, context, transport)


async def _respond(
    handler: StreamHandler, event: object, context: object, transport: ResponseTransport
) -> None:
    stream = ResponseStream(transport)
    returned = await handler(event, stream, context)
    if returned is not None:
        logger.warning(
            "The handler returned a %s; streaming handlers write instead.", type(returned).__name__
        )
    if stream.state is not StreamState.ENDED:
        await stream.end()


def _as_stream_handler(handler: StreamHandler | ChunkHandler) -> StreamHandler:
    if inspect.isasyncgenfunction(handler) and _takes(handler, 2):
        chunks_of = cast("Callable[[Any, Any], AsyncGenerator[Data, None]]", handler)

        @functools.wraps(handler)
        async def write_chunks(event: object, stream: ResponseStream, context: object) -> None:
            async with aclosing(chunks_of(event, context)) as chunks:
                async for chunk in chunks:
                    await stream.write(chunk)

        return write_chunks
    if inspect.iscoroutinefunction(handler) and _takes(handler, 3):
        return cast("StreamHandler", handler)
    raise TypeError(
        f"@streamify_response cannot stream {handler!r}. Write it as 'async def handler(event, "
        "response_stream, context)', or as an async generator 'async def handler(event, context)' that "
        "yields the response."
    )


def _takes(handler: Callable[..., object], arguments: int) -> bool:
    try:
        inspect.signature(handler).bind(*[None] * arguments)
    except TypeError:
        return False
    return True
