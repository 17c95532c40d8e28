"""A proxy in front of DynamoDB or Bedrock that notes each request and its response."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_OPERATION = re.compile(
    rb"x-amz-target: *DynamoDB_\d+\.(\w+)\r\n|POST /model/\S+/(converse|converse-stream) ", re.IGNORECASE
)
_LONGEST_LINE_BYTES = 256
_READ_BYTES = 65_536


@dataclass
class Call:
    """A request, and when it was answered.

    Attributes:
        operation: the operation, such as `Query` or `converse-stream`.
        asked_at: when the request arrived, on the clock `time.monotonic`.
        answered_at: when the response began; 0 until then.
    """

    operation: str
    asked_at: float
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


@asynccontextmanager
async def tapped(url: str) -> AsyncIterator[Wire]:
    """Put a proxy in front of a server of this machine; it keeps connections open as their clients do."""
    address = urlsplit(url)
    wire = Wire()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
            task.add_done_callback(connections.discard)
        upstream_reader, upstream = await asyncio.open_connection(address.hostname, address.port)
        waiting: list[Call] = []

        async def forward() -> None:
            head = b""
            while data := await reader.read(_READ_BYTES):
                head += data
                # A request's head may come in parts; no body contains such a line.
                while found := _OPERATION.search(head):
                    call = Call(found[found.lastindex or 0].decode(), time.monotonic())
                    wire.calls.append(call)
                    waiting.append(call)
                    head = head[found.end() :]
                    wire.on_event()
                head = head[-_LONGEST_LINE_BYTES:]
                upstream.write(data)
            upstream.write_eof()

        async def back() -> None:
            while data := await upstream_reader.read(_READ_BYTES):
                if waiting:
                    waiting.pop(0).answered_at = time.monotonic()
                    wire.on_event()
                writer.write(data)
            writer.close()

        with suppress(ConnectionError):
            await asyncio.gather(forward(), back())
        upstream.close()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
