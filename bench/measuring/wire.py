"""A proxy in front of DynamoDB or Bedrock that notes each request and its response."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_OPERATION = re.compile(
    rb"x-amz-target: *DynamoDB_\d+\.(\w+)\r\n|POST /model/\S+/(converse|converse-stream) ", re.IGNORECASE
)
_KEYS = re.compile(rb'"S": ?"([A-Za-z]+)[#"]')
_PARTITION = b"user"
_LONGEST_LINE_BYTES = 256
_READ_BYTES = 65_536


@dataclass
class Call:
    """A request, and when it was answered.

    Attributes:
        operation: the operation, such as `Query` or `converse-stream`.
        item: the kind of the first item that it is about: the beginning of its sort key, such as `workout`.
        asked_at: when the request arrived, on the clock `time.monotonic`.
        answered_at: when the response began; 0 until then.
    """

    operation: str
    asked_at: float
    item: str = ""
    answered_at: float = 0.0


@dataclass
class Wire:
    """What went through the proxy.

    Attributes:
        url: the proxy's own.
        calls: in the order of their requests.
        on_event: called whenever a request arrives and whenever a response begins.
    """

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    on_event: Callable[[], None] = lambda: None

    def counted(self) -> dict[str, int]:
        """The number of calls of each operation since the last count."""
        counted = Counter(call.operation for call in self.calls)
        self.calls.clear()
        return dict(sorted(counted.items()))


class _Connection:
    """A client's connection and its counterpart to the server."""

    def __init__(
        self,
        wire: Wire,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._wire = wire
        self._client_reader, self._client = client
        self._server_reader, self._server = server
        self._unread = b""
        self._waiting: deque[Call] = deque()

    async def pass_on(self) -> None:
        """Copy both directions until both ends have closed."""
        try:
            with suppress(ConnectionError):
                await asyncio.gather(self._forward(), self._back())
        finally:
            self._server.close()
            self._client.close()

    async def _forward(self) -> None:
        while data := await self._client_reader.read(_READ_BYTES):
            self._note_requests(data)
            self._server.write(data)
            await self._server.drain()
        self._server.write_eof()

    async def _back(self) -> None:
        while data := await self._server_reader.read(_READ_BYTES):
            if self._waiting:
                self._waiting.popleft().answered_at = time.monotonic()
                self._wire.on_event()
            self._client.write(data)
            await self._client.drain()
        self._client.close()

    def _note_requests(self, data: bytes) -> None:
        """A request may come in pieces; no body contains the line that is searched for."""
        self._unread += data
        while found := _OPERATION.search(self._unread):
            call = Call(found[found.lastindex or 0].decode(), time.monotonic())
            self._wire.calls.append(call)
            self._waiting.append(call)
            self._unread = self._unread[found.end() :]
            self._wire.on_event()
        self._unread = self._unread[-_LONGEST_LINE_BYTES:]
        if self._waiting and not self._waiting[-1].item:
            self._waiting[-1].item = _item_in(data)


@asynccontextmanager
async def tapped(url: str) -> AsyncIterator[Wire]:
    """Put a proxy in front of a server of this machine; it keeps connections open as their clients do."""
    address = urlsplit(url)
    wire = Wire()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = await asyncio.open_connection(address.hostname, address.port)
        await _Connection(wire, (reader, writer), server).pass_on()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(connected(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        listening.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def _item_in(body: bytes) -> str:
    kinds = (found[1] for found in _KEYS.finditer(body) if found[1] != _PARTITION)
    return next(kinds, b"").decode()
