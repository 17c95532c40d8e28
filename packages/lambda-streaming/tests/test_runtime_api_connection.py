"""Lambda's response to a streamed response, in pieces of every size, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lambda_streaming import ResponseBroken
from lambda_streaming.runtime_api_connection import MAX_HEAD_BYTES, RuntimeApiConnection
from support.patience import PATIENCE_S

ACCEPTED = (
    b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'
)


@asynccontextmanager
async def connected(*pieces: bytes, then_close: bool = False) -> AsyncIterator[RuntimeApiConnection]:
    """A connection to a server that sends the pieces one by one, as soon as it is connected."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if not then_close:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    connection = RuntimeApiConnection(f"{host}:{port}")
    async with asyncio.timeout(PATIENCE_S):
        await connection.connect()
        yield connection
        await connection.drop()
        server.close()
        await server.wait_closed()


async def status_of(connection: RuntimeApiConnection) -> int:
    """Wait for the status."""
    while (status := connection.status) is None:
        await connection.changed()
    return status


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, len(ACCEPTED)])
@pytest.mark.parametrize(
    "before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["final", "after an interim one"]
)
async def test_a_response_is_read_in_pieces_of_any_size(size: int, before: bytes) -> None:
    """The connection is kept for the next request."""
    sent = before + ACCEPTED
    async with connected(*(sent[at : at + size] for at in range(0, len(sent), size))) as connection:
        assert await status_of(connection) == 202
        await connection.finish(request_is_complete=True)
        assert await connection.reuse()
        assert connection.status is None


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 413 Too large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 202 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 202 OK\r\n\r\n",
        b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ACCEPTED + b"more than it announced",
    ],
    ids=["close", "HTTP/1.0", "no length", "chunked", "too long"],
)
async def test_a_connection_whose_next_response_could_be_mistaken_is_not_reused(response: bytes) -> None:
    """The status counts in any case."""
    async with connected(response) as connection:
        assert await status_of(connection) in (202, 413)
        await connection.finish(request_is_complete=True)
        assert not await connection.reuse()


@pytest.mark.parametrize(
    "response",
    [
        b"",
        ACCEPTED[:40],
        ACCEPTED[:-1],
        b"SSH-2.0-server\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"x" * (MAX_HEAD_BYTES + 1),
    ],
    ids=["nothing", "half a head", "half a body", "not HTTP", "no status", "an endless head"],
)
async def test_what_is_no_response_breaks_the_connection(response: bytes) -> None:
    """Without a wait for what will never come."""
    async with connected(response, then_close=True) as connection:
        with pytest.raises(ResponseBroken, match="was lost"):
            await status_of(connection)
