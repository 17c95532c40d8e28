"""One kept-alive HTTP/1.1 connection of a runtime: h11 over asyncio streams.

ASGI servers hide the trailers of a request, in which runtimes report errors; hence our own thin one. Nothing
is read ahead: while a caller holds a chunk the socket is not read, so the runtime feels a slow client.

Time is limited where a runtime has no reason to be slow: for the rest of a head once it has begun, and for
bodies that are read whole. A streamed response may take as long as the invocation. An idle connection is no
fault either: runtimes connect ahead of their first response.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

import h11

from lambda_streaming.emulator.peer import Ends
from lambda_streaming.emulator.runtime_api import Answer, Headers, TruncatedRequest

HEAD_TIMEOUT_S: Final = 10.0
"""From the first byte of a request to the end of its head."""

BODY_TIMEOUT_S: Final = 30.0
"""For a body that is read whole: an error report, or what is left of a refused request."""

LINGER_S: Final = 1.0
"""How long a refused client may take to end what it sends: closing before that would destroy the answer."""

READ_BYTES: Final = 65_536

MAX_HEAD_BYTES: Final = 2 * 1024 * 1024
"""Of a request's head. Runtimes send X-Ray error causes of up to 1 MiB in a header."""


class ConnectionEnded(Exception):
    """Raised when the runtime closed its connection between requests, or while it waited for an answer."""


class Connection:
    """A connection that was accepted. Use it for one request after the other, from one task."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    @property
    def ends(self) -> Ends:
        """The client's address and ours."""
        client, server = (self._writer.get_extra_info(end) for end in ("peername", "sockname"))
        return Ends(client, server)

    @property
    def is_open(self) -> bool:
        """Whether the client's address is still the client's: once it is reset, another may be given it."""
        try:
            self._writer.get_extra_info("socket").getpeername()
        except OSError:
            return False
        return True

    async def next_request(self) -> h11.Request:
        """Wait for a request to begin, for as long as it takes, and then for the rest of its head.

        Raises:
            ConnectionEnded: there is none any more, or the head is not complete after `HEAD_TIMEOUT_S`.
            h11.RemoteProtocolError: what came is not HTTP/1.1; it may still be answered.
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
        """Yield the chunks of the request's body as they arrive, and its trailers at last.

        Raises:
            TruncatedRequest: it broke off, or its framing is wrong.
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
        """Return the request's body; what exceeds `max_bytes` is thrown away.

        Raises:
            TruncatedRequest: it broke off, or is not complete after `BODY_TIMEOUT_S`.
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
        """Return when the runtime has closed the connection. May be cancelled; loses nothing that arrives.

        Also returns when more than a head has been sent ahead, which nobody has a reason to do.
        """
        ahead = 0
        with contextlib.suppress(OSError):
            while ahead <= MAX_HEAD_BYTES and (data := await self._reader.read(READ_BYTES)):
                ahead += len(data)
                self._h11.receive_data(data)

    async def turn_away(self, answer: Answer) -> None:
        """Answer a client whose requests are not read, and take what it was sending."""
        await self.answer(answer, close=True)
        with contextlib.suppress(OSError):
            self._writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(READ_BYTES):
                    pass

    async def answer(self, answer: Answer, *, close: bool = False) -> None:
        """Send a whole answer; does nothing when the runtime has gone.

        Args:
            answer: to the request that was read last.
            close: whether to announce that it is the last one.
        """
        headers = [*answer.headers, ("Content-Length", str(len(answer.body)))]
        if close:
            headers.append(("Connection", "close"))
        with contextlib.suppress(OSError, h11.LocalProtocolError):
            head = h11.Response(status_code=answer.status, headers=headers)
            data = (self._h11.send(head) or b"") + (self._h11.send(h11.Data(data=answer.body)) or b"")
            self._writer.write(data + (self._h11.send(h11.EndOfMessage()) or b""))
            await self._writer.drain()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection; what was answered still arrives."""
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
