"""The keep-alive connection of streamed responses to the Runtime API.

The guide asks a custom runtime to close it after each response; the Node, Rust and Go clients keep theirs
open, and connecting would delay the first byte of each invocation. The first invocation connects, so the
connection is never part of a SnapStart snapshot, and one that Lambda has closed meanwhile is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib

import h11

HIGH_WATER_BYTES = 64 * 1024
"""Bytes that may be buffered for Lambda; above it, writers wait (backpressure)."""


class RuntimeApiConnection:
    """Sends one request after the other, on one event loop.

    Args:
        address: `host:port` of the Runtime API.

    Attributes:
        http: the protocol state of the current request.
        reader: reads from Lambda.
        writer: writes to Lambda.
    """

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self, address: str) -> None:
        self.address = address
        self._is_open = False

    async def reuse(self) -> bool:
        """Prepare for another request on the open connection; False if there is none."""
        if not self._is_open:
            return False
        await asyncio.sleep(0)  # lets the loop notice that Lambda closed the connection while it was idle
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
        """Keep the connection if request and response are complete, and drop it otherwise."""
        if self._is_open and (self.http.our_state, self.http.their_state) != (h11.DONE, h11.DONE):
            await self.drop()

    async def drop(self) -> None:
        """Close the connection at once; an unfinished request is cut off."""
        if self._is_open:
            self._is_open = False
            self.writer.transport.abort()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
