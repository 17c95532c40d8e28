"""The keep-alive connection of streamed responses to the Runtime API.

The guide asks a custom runtime to close it after each response; the Node, Rust and Go clients keep theirs
open, and connecting would delay the first byte of each invocation. The first invocation connects, so the
connection is never part of a SnapStart snapshot, and one that Lambda has closed meanwhile is replaced.

Only what Lambda sends is parsed: one response with a status, which closes the connection unless its length is
known (RFC 9112, section 6.3). A library for all of HTTP/1.1 was a third of what a cold start imports here.
"""

from __future__ import annotations

import asyncio
from typing import Final

from lambda_streaming.response_stream import ResponseBroken

HIGH_WATER_BYTES: Final = 64 * 1024
"""Bytes that may be buffered for Lambda; above it, writers wait (backpressure)."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""A longer head of a response is an error."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_FIRST_FINAL_STATUS: Final = 200


class RuntimeApiConnection:
    """Sends one request after the other, on one event loop.

    Args:
        address: `host:port` of the Runtime API.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._protocol: _Protocol | None = None

    @property
    def is_congested(self) -> bool:
        """Whether more than `HIGH_WATER_BYTES` are buffered."""
        return self._protocol is not None and self._protocol.is_congested

    @property
    def status(self) -> int | None:
        """The status of the current request, once the whole response to it has arrived.

        Raises:
            ResponseBroken: the connection ended without one.
        """
        if self._protocol is None or (self._protocol.is_lost and self._protocol.status is None):
            raise ResponseBroken("The connection to the Runtime API was lost")
        return self._protocol.status

    async def reuse(self) -> bool:
        """Prepare for another request on the open connection; False if there is none."""
        if self._protocol is None:
            return False
        await asyncio.sleep(0)  # lets the loop notice that Lambda closed the connection while it was idle
        if self._protocol.is_lost:
            await self.drop()
            return False
        self._protocol.begin()
        return True

    async def connect(self) -> None:
        """Make a new connection.

        Raises:
            OSError: the Runtime API cannot be reached.
        """
        host, _, port = self.address.rpartition(":")
        loop = asyncio.get_running_loop()
        _, self._protocol = await loop.create_connection(lambda: _Protocol(loop), host, int(port))

    def write(self, data: bytes) -> None:
        """Send bytes of the request, now if the socket takes them."""
        if self._protocol is not None:
            self._protocol.transport.write(data)

    async def changed(self) -> None:
        """Wait until there is room for more, a status, or no connection any more."""
        if self._protocol is not None and not self._protocol.is_lost:
            await self._protocol.change()

    async def finish(self, *, request_is_complete: bool) -> None:
        """Keep the connection if request and response are complete, and drop it otherwise."""
        if self._protocol is not None and not (request_is_complete and self._protocol.can_be_reused):
            await self.drop()

    async def drop(self) -> None:
        """Close the connection at once; an unfinished request is cut off."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.transport.abort()
            await protocol.closed


class _Protocol(asyncio.Protocol):
    """Reads the responses, bytes in, a status out.

    Attributes:
        transport: the connection.
        status: of the response to the current request, once it has arrived.
        is_congested: whether too much is buffered.
        is_lost: whether Lambda has closed the connection.
        can_be_reused: whether the response to the current request has arrived and allows another one.
        closed: done when the connection has been closed on our side.
    """

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status: int | None = None
        self.is_congested = False
        self.is_lost = False
        self.can_be_reused = False
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._received = b""
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        """Expect the response to a new request."""
        self._received = b""
        self.can_be_reused = False
        self.status = None

    def change(self) -> asyncio.Future[None]:
        """Return what is done at the next change; for one waiter, who may cancel it."""
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiting)
        return waiting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Limit what is buffered."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (what a connection is)
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived of the response."""
        if self.status is not None:
            self.can_be_reused = False  # nothing may follow a response
            return
        self._received += data
        try:
            self._parse_received()
        except ValueError:
            self._lose()
            self.transport.abort()

    def eof_received(self) -> None:
        """Note that no response will come any more."""
        self._lose()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (as asyncio calls it)
        """Wake all that wait, because nothing will change any more."""
        self._lose()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Make writers wait: too much is buffered."""
        self.is_congested = True

    def resume_writing(self) -> None:
        """Let writers continue."""
        self.is_congested = False
        self._changed()

    def _parse_received(self) -> None:
        head, mark, body = self._received.partition(_END_OF_HEAD)
        if not mark:
            if len(head) > MAX_HEAD_BYTES:
                raise ValueError("the head is too long")
            return
        status, length = _parse(head)
        if status < _FIRST_FINAL_STATUS:
            self._received = body
            self._parse_received()
        elif length is None or len(body) >= length:
            self.can_be_reused = len(body) == length
            self.status = status
            self._changed()

    def _lose(self) -> None:
        self.is_lost = True
        self.can_be_reused = False
        self._changed()

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)


def _parse(head: bytes) -> tuple[int, int | None]:
    """Return the status of a response, and the length of its body if the connection can be reused after it.

    Raises:
        ValueError: it is not HTTP/1.x.
    """
    first, *lines = head.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ValueError(f"{first!r} is no status line of HTTP/1.x")
    headers = {
        name.strip().lower(): value.strip().lower()
        for name, _, value in (line.partition(b":") for line in lines)
    }
    length = headers.get(b"content-length")
    is_kept = version == b"HTTP/1.1" and headers.get(b"connection") != b"close"
    if not is_kept or length is None or b"transfer-encoding" in headers:
        return int(rest[:3]), None
    return int(rest[:3]), int(length)
