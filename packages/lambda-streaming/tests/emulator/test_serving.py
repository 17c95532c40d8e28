"""The sockets that the servers listen on."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from lambda_streaming.emulator import connection
from lambda_streaming.emulator.serving import listen
from support.patience import PATIENCE_S


def test_connections_send_what_they_have_at_once() -> None:
    """No small write waits for the acknowledgement of the previous one (Nagle's algorithm is off)."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_QUICKACK is Linux's")
async def test_the_runtime_api_acknowledges_at_once_what_it_receives() -> None:
    """Also after responses, when the kernel would wait for another one to send the acknowledgement with."""
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await connection.listen(lambda *streams: accepted.put_nowait(streams), "127.0.0.1")
    async with asyncio.timeout(PATIENCE_S), server:
        from_server, to_server = await asyncio.open_connection(*server.sockets[0].getsockname())
        from_client, to_client = await accepted.get()
        end = to_client.get_extra_info("socket")
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        for _ in range(10):
            to_server.write(b"request")
            assert await from_client.read(100) == b"request"
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
            to_client.write(b"response")
            assert await from_server.read(100) == b"response"
        for writer in (to_server, to_client):
            writer.close()
            await writer.wait_closed()
