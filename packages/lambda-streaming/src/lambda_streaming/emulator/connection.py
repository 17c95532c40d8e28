"""One keep-alive HTTP/1.1 connection of a runtime: h11 over asyncio streams.

ASGI servers hide request trailers, in which runtimes report errors; hence this thin server of our own.
Nothing is read ahead: while a caller holds a chunk the socket is not read, so a slow client exerts
backpressure on the runtime.

Timeouts apply where a runtime has no reason to be slow: to the rest of a request head once it has begun, and
to bodies that are read whole. A streamed response may take as long as the invocation. An idle connection is
not a fault: runtimes connect before their first response.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from asyncio.trsock import TransportSocket
from collections.abc import AsyncGenerator, Callable
from typing import Final, TypeAlias

import h11

from lambda_streaming.emulator.peer import Ends
from lambda_streaming.emulator.runtime_api import ApiResponse, Headers, TruncatedRequest

HEAD_TIMEOUT_S: Final = 10.0
"""From the first byte of a request to the end of its head."""

BODY_TIMEOUT_S: Final = 30.0
"""For a body that is read whole: an error report, or the rest of a refused request."""

LINGER_S: Final = 1.0
"""How long a refused client may take to finish sending: closing earlier would discard our response."""

READ_BYTES: Final = 65_536

MAX_HEAD_BYTES: Final = 2 * 1024 * 1024
"""The longest request head. Runtimes send X-Ray error causes of up to 1 MiB in a header."""


class ConnectionEnded(Exception):
    """Raised when the runtime closed its connection between requests, or while it waited for a response."""


class _Stream(asyncio.StreamReaderProtocol):
    """Acknowledges at once what it receives, where the system can be told to (Linux).

    A client that leaves Nagle's algorithm on, as the Lambda Web Adapter does, sends a second small piece only
    when the first one is acknowledged, for which Linux waits 40 ms while we send nothing. On localhost, that
    would be most of what a measurement of such a client shows.
    """

    _socket: TransportSocket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection."""
        super().connection_made(transport)
        self._socket = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        """Pass the bytes on, and acknowledge them."""
        super().data_received(data)
        if sys.platform == "linux":
            # Each time: the kernel returns to delayed acknowledgements once a response follows a request.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


Accept: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]
"""Takes a connection that was made."""


async def listen(accept: Accept, host: str) -> asyncio.Server:
    """Listen on a free port of a host."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: _Stream(asyncio.StreamReader(loop=loop), accept, loop=loop), host, 0
    )


class Connection:
    """An accepted connection. Handle its requests one after the other, from one task."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    @property
    def ends(self) -> Ends:
        """The client's address and the server's."""
        client, server = (self._writer.get_extra_info(end) for end in ("peername", "sockname"))
        return Ends(client, server)

    @property
    def is_open(self) -> bool:
        """Whether the client still holds its address: after a reset, another process may get the port."""
        try:
            self._writer.get_extra_info("socket").getpeername()
        except OSError:
            return False
        return True

    async def next_request(self) -> h11.Request:
        """Wait for a request to begin, for as long as it takes, and then for the rest of its head.

        Raises:
            ConnectionEnded: the connection is closed, or the head is not complete after `HEAD_TIMEOUT_S`.
            h11.RemoteProtocolError: the request is not HTTP/1.1; a response can still be sent.
        """
        try:
            if self._h11.our_state is h11.DONE:
                self._h11.start_next_cycle()
            if self._h11.our_state is not h11.IDLE:
                raise ConnectionEnded
            if not any(self._h11.trailing_data):
                self._h11.receive_data(await self._reader.read(READ_BYTES))
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                event = await self._next_event()
        except (OSError, h11.LocalProtocolError) as error:
            raise ConnectionEnded from error
        if not isinstance(event, h11.Request):
            raise ConnectionEnded
        return event

    async def body(self) -> AsyncGenerator[bytes | Headers, None]:
        """Yield the chunks of the request's body as they arrive, and finally its trailers.

        Raises:
            TruncatedRequest: the body is cut off, or its framing is wrong.
        """
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        while True:
            try:
                event = await self._next_event()
            except (OSError, h11.RemoteProtocolError) as error:
                raise TruncatedRequest from error
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                yield Headers(event.headers)
                return
            else:
                raise TruncatedRequest

    async def read_body(self, max_bytes: int) -> bytes:
        """Return the request's body; bytes past `max_bytes` are discarded.

        Raises:
            TruncatedRequest: the body is cut off, or not complete after `BODY_TIMEOUT_S`.
        """
        received = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S), contextlib.aclosing(self.body()) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, bytes):
                        received += chunk[: max_bytes - len(received)]
        except TimeoutError as error:
            raise TruncatedRequest from error
        return bytes(received)

    async def discard_body(self) -> None:
        """Read the rest of the request, so that the next one can be read."""
        if self._h11.their_state is h11.SEND_BODY:
            with contextlib.suppress(TruncatedRequest):
                await self.read_body(0)

    async def closed(self) -> None:
        """Return when the runtime has closed the connection. May be cancelled without losing data.

        Also returns when the runtime has pipelined more than a request head, which no runtime needs to do.
        """
        ahead = 0
        with contextlib.suppress(OSError):
            while ahead <= MAX_HEAD_BYTES and (data := await self._reader.read(READ_BYTES)):
                ahead += len(data)
                self._h11.receive_data(data)

    async def turn_away(self, response: ApiResponse) -> None:
        """Respond to a client whose requests are not processed, and discard what it is sending."""
        await self.respond(response, close=True)
        with contextlib.suppress(OSError):
            self._writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(READ_BYTES):
                    pass

    async def respond(self, response: ApiResponse, *, close: bool = False) -> None:
        """Send a whole response; does nothing if the runtime has disconnected.

        Args:
            response: to the request that was read last.
            close: whether to send `Connection: close`.
        """
        headers = [*response.headers, ("Content-Length", str(len(response.body)))]
        if close:
            headers.append(("Connection", "close"))
        with contextlib.suppress(OSError, h11.LocalProtocolError):
            head = h11.Response(status_code=response.status, headers=headers)
            data = (self._h11.send(head) or b"") + (self._h11.send(h11.Data(data=response.body)) or b"")
            self._writer.write(data + (self._h11.send(h11.EndOfMessage()) or b""))
            await self._writer.drain()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection gracefully; a response that was sent still arrives."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _send(self, event: h11.Event) -> None:
        self._writer.write(self._h11.send(event) or b"")
        await self._writer.drain()

    async def _next_event(self) -> h11.Event | None:
        """Return the next event, or None when h11 waits for the current exchange to end."""
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                return None
            self._h11.receive_data(await self._reader.read(READ_BYTES))
