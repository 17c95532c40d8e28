"""One streamed response as its handler writes it: the stream, preceded by status and headers.

A response goes through these states; anything not in the table is an error:

========  ==========================  =======================================
state     write, end                  set_content_type, HttpResponseStream
========  ==========================  =======================================
OPEN      begins the response         allowed
STARTED   allowed                     `ResponseAlreadyStarted`
ENDED     `WriteAfterEnd`             `ResponseAlreadyStarted`
BROKEN    `ResponseBroken`            `ResponseAlreadyStarted`
========  ==========================  =======================================

A `ResponseTransport` takes the bytes: to the Runtime API (`runtime_api_response`), to an ASGI server in the
same process (`function_url.in_process`), or into a buffer (`buffered_response`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import ClassVar, Protocol, TypeAlias, TypeVar

from lambda_streaming.prelude import PRELUDE_CONTENT_TYPE, ResponseMetadata, encode_prelude

DEFAULT_CONTENT_TYPE = "application/octet-stream"

Data: TypeAlias = bytes | bytearray | memoryview | str
"""What a handler may write; text is sent as UTF-8."""


class ResponseTransport(Protocol):
    """The destination of one response's bytes. Its calls never overlap."""

    async def open(self, content_type: str) -> None:
        """Begin the response; called once, before anything else."""
        ...

    async def send(self, data: bytes) -> None:
        """Send a non-empty piece as one chunk; returns when more can be sent (backpressure).

        A cancelled call has sent the whole piece or none of it.
        """
        ...

    async def close(self, last: bytes = b"") -> None:
        """Send a last piece, if any, and end the response cleanly. A failed response is never closed."""
        ...


Invocation: TypeAlias = Callable[[ResponseTransport], Awaitable[None]]
"""One call of a handler, waiting for the transport of its response."""


class StreamingError(Exception):
    """Base of the errors that a response stream raises.

    Attributes:
        error_type: the error type reported to Lambda, `Category.Reason`.
    """

    error_type: ClassVar[str] = "Runtime.StreamingError"


class WriteAfterEnd(StreamingError):
    """Raised by a write to a response that has ended; what was sent is unaffected."""

    error_type = "Runtime.WriteAfterEnd"

    def __init__(self) -> None:
        super().__init__("The response has ended; nothing more can be written to it.")


class ResponseAlreadyStarted(StreamingError):
    """Raised when status, headers or content type are set after the first byte."""

    error_type = "Runtime.InvalidStreamingOperation"

    def __init__(self, what: str) -> None:
        super().__init__(f"Cannot set {what}: the response has begun. Set it before the first write.")


class ContentTypeInPrelude(StreamingError):
    """Raised when a response with a prelude gets a content type outside of its headers."""

    error_type = "Runtime.InvalidStreamingOperation"

    def __init__(self) -> None:
        super().__init__(
            "This response has status and headers of its own: put the content type there, "
            'as HttpResponseStream.from_(stream, {"headers": {"content-type": ...}}).'
        )


class ResponseBroken(StreamingError):
    """Raised by a write that cannot arrive: Lambda refused the response, or the connection is lost."""

    error_type = "Runtime.ResponseBroken"


class StreamState(Enum):
    """How far a response has come.

    Attributes:
        OPEN: nothing has been sent; content type, status and headers can still be set.
        STARTED: the response has begun.
        ENDED: it is complete.
        BROKEN: its first write failed or was cancelled, so it is unknown what has arrived.
    """

    OPEN = auto()
    STARTED = auto()
    ENDED = auto()
    BROKEN = auto()


class ResponseStream:
    """The response of one invocation, written piece by piece.

    Several tasks may write to it: pieces are sent whole, in the order of the calls.
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
        """The response's content type."""
        return self._content_type

    @property
    def has_metadata(self) -> bool:
        """Whether `HttpResponseStream` has given it status, headers and cookies."""
        return self._prelude is not None

    def set_content_type(self, content_type: str) -> None:
        """Set a content type other than `application/octet-stream`.

        Raises:
            ResponseAlreadyStarted: the response has begun.
            ContentTypeInPrelude: `HttpResponseStream` gave it headers; set the content type there.
            ValueError: the value cannot be a header.
        """
        self._require_open("the content type")
        if self._prelude is not None:
            raise ContentTypeInPrelude
        if not content_type.isascii() or not content_type.isprintable():
            raise ValueError(f"{content_type!r} cannot be the value of a header")
        self._content_type = content_type

    async def write(self, data: Data) -> None:
        """Send a piece of the response; returns when Lambda can take more (backpressure).

        An empty first piece sends only the prelude; later empty pieces send nothing.

        Raises:
            WriteAfterEnd: the response has ended.
            ResponseBroken: the piece cannot arrive.
            TypeError: the piece is neither bytes nor text.
        """
        await self._send(data, last=False)

    async def end(self, data: Data | None = None) -> None:
        """Send a last piece, if any, and end the response; the prelude is sent in any case.

        Raises:
            WriteAfterEnd: the response has ended.
            ResponseBroken: the piece or the end cannot arrive.
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
                    raise ResponseBroken("The response was interrupted at its first write")
                case StreamState.OPEN:
                    await self._begin()
            if last:
                self._state = StreamState.ENDED
                await self._transport.close(piece)
            elif piece:
                await self._transport.send(piece)

    async def _begin(self) -> None:
        self._state = StreamState.STARTED
        try:
            await self._transport.open(self._content_type)
            if self._prelude is not None:
                await self._transport.send(self._prelude)
        except BaseException:
            # Also on cancellation: Lambda would parse a payload without its prelude as a prelude.
            self._state = StreamState.BROKEN
            raise

    def _require_open(self, what: str) -> None:
        if self._state is not StreamState.OPEN:
            raise ResponseAlreadyStarted(what)

    def _set_prelude(self, prelude: bytes) -> None:
        self._require_open("status, headers and cookies")
        self._content_type = PRELUDE_CONTENT_TYPE
        self._prelude = prelude


class _WithPrelude(Protocol):
    def _set_prelude(self, prelude: bytes) -> None: ...


_Stream = TypeVar("_Stream", bound=_WithPrelude)


class HttpResponseStream:
    """Gives a response an HTTP status, headers and cookies."""

    @staticmethod
    def from_(stream: _Stream, metadata: ResponseMetadata | Mapping[str, object]) -> _Stream:
        """Set the prelude of a response and return the same stream.

        It is sent with the first write or the end, whichever comes first: unlike on Node, a response
        without a body keeps its status.

        Args:
            stream: the handler's response stream, before its first write.
            metadata: `{"statusCode": int, "headers": {str: str}, "multiValueHeaders": {str: [str]},
                "cookies": [str]}`, each optional; numbers may be text and the other way round, and values
                that are None are left out.

        Raises:
            ResponseAlreadyStarted: the response has begun.
            ValueError: a value is invalid in an HTTP response.
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
    raise TypeError(f"A response consists of bytes or text, not {type(data).__name__}. Encode it first.")
