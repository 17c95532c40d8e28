"""An ASGI app behind a real uvicorn on a free port, in the test's own loop, and raw sockets to reach it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn

from support.patience import PATIENCE_S


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[int]:  # noqa: ANN401 (uvicorn's own types)
    """Serve an app and give its port; shuts the server down gracefully, lifespan included."""
    # A connection that is idle on a busy machine must not be closed just when the client uses it again.
    options = {"timeout_keep_alive": int(PATIENCE_S), **options}
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on", **options)
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await server.listening.wait()
        port: int = server.servers[0].sockets[0].getsockname()[1]
        yield port
    finally:
        server.should_exit = True
        async with asyncio.timeout(PATIENCE_S):
            await task


class RawClient:
    """One HTTP connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def read_until(self, mark: bytes) -> bytes:
        """Return everything up to and including the mark."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.readuntil(mark)

    async def read_to_end(self) -> bytes:
        """Return everything up to the end of the connection, however it ends."""
        received = bytearray()
        async with asyncio.timeout(PATIENCE_S):
            try:
                while data := await self._reader.read(65_536):
                    received += data
            except ConnectionResetError:
                pass
        return bytes(received)

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._writer.transport.abort()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawClient]:
    """Connect to a local port."""
    client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        await client.close()


async def exchange(port: int, request: bytes) -> bytes:
    """Send one request on a new connection that it asks to close, and return the whole response."""
    async with connected(port) as client:
        await client.send(request)
        return await client.read_to_end()
