"""The connection that streamed responses take to the Runtime API, kept alive from one to the next.

The guide asks a custom runtime to close it after each response; the Node, Rust and Go clients keep theirs,
and a new one would cost each invocation the time to connect before its first byte. It is first made by an
invocation, hence never part of a SnapStart snapshot, and one that Lambda has closed meanwhile is not used.
"""

from __future__ import annotations

import asyncio
import contextlib

import h11

HIGH_WATER_BYTES = 64 * 1024
"""What may wait in this process for Lambda to take it; then writers wait."""


class RuntimeApiConnection:
    """One request after the other, on one event loop.

    Args:
        address: `host:port` of the Runtime API.

    Attributes:
        http: the protocol's state for the current request.
        reader: what Lambda sends.
        writer: what is sent to Lambda.
    """

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self, address: str) -> None:
        self.address = address
        self._is_open = False

    async def reuse(self) -> bool:
        """Prepare for another request without connecting; False if that is not possible."""
        if not self._is_open:
            return False
        await asyncio.sleep(0)  # lets the loop see that the other side closed while nothing ran
        if self.reader.at_eof() or self.writer.is_closing():
            await self.drop()
            return False
        self.http.start_next_cycle()
        return True

    async def connect(self) -> None:
        """Make a new connection.

        Raises:
            OSError: the Runtime API cannot be reached.
        """
        host, _, port = self.address.rpartition(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        self.writer.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.http = h11.Connection(h11.CLIENT)
        self._is_open = True

    async def finish(self) -> None:
        """Keep the connection if the request and its answer are complete, and drop it otherwise."""
        if self._is_open and (self.http.our_state, self.http.their_state) != (h11.DONE, h11.DONE):
            await self.drop()

    async def drop(self) -> None:
        """Close the connection at once; a request that has not ended breaks off."""
        if self._is_open:
            self._is_open = False
            self.writer.transport.abort()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
