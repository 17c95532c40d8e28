"""One streamed response as its handler writes it: the stream, and status and headers in front of it.

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
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import ClassVar, Protocol, TypeAlias

from lambda_streaming.prelude import PRELUDE_CONTENT_TYPE, ResponseMetadata, encode_prelude

DEFAULT_CONTENT_TYPE = "application/octet-stream"

Data: TypeAlias = bytes | bytearray | memoryview | str
"""What a handler may write; text is sent as UTF-8."""


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


Invocation: TypeAlias = Callable[[ResponseTransport], Awaitable[None]]
"""One call of a handler that only wants to know where its response goes."""


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
