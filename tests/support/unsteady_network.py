"""A network between a browser and a server that can be cut and restored."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from support.connections import accepting, port_of

_REQUEST = re.compile(rb"(GET|POST|PUT|DELETE) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)
_LAST_EVENT_ID = re.compile(rb"^last-event-id: *(\S+)", re.IGNORECASE | re.MULTILINE)


class Passed(NamedTuple):
    """A request that was forwarded."""

    method: str
    target: str
    last_event_id: str | None


class UnsteadyNetwork:
    """Forwards bytes between its own connections and a port of this machine.

    Attributes:
        url: the server's address on the client's side of the network.
        passed: all forwarded requests, parsed from their heads.
    """

    def __init__(self, port: int) -> None:
        self.url = ""
        self.passed: list[Passed] = []
        self._port = port
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break every existing and every new connection."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def restore(self) -> None:
        """Forward again."""
        self._is_cut = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until it ends."""
        if self._is_cut:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._port)
            ends = {writer, upstream}
            self._writers |= ends
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._up(reader, upstream))
                    both.create_task(_carry(upstream_reader, writer))
            finally:
                self._writers -= ends
                for end in ends:
                    end.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                seen += data
                while head := _REQUEST.search(seen):
                    seen = seen[head.end() :]
                    place = _LAST_EVENT_ID.search(head[3])
                    last_event_id = place[1].decode() if place else None
                    self.passed.append(Passed(head[1].decode(), head[2].decode(), last_event_id))
                writer.write(data)
                await writer.drain()
        writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def unsteady_network(port: int) -> AsyncIterator[UnsteadyNetwork]:
    """Put a network in front of a server on the loopback."""
    network = UnsteadyNetwork(port)
    async with accepting(network.carry) as server:
        network.url = f"http://127.0.0.1:{port_of(server)}/"
        yield network
