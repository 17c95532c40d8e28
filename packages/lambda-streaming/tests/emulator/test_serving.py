"""The socket that the servers listen on."""

from __future__ import annotations

import socket

from lambda_streaming.emulator.serving import listen


def test_connections_send_what_they_have_at_once() -> None:
    """No small write waits for the acknowledgement of the previous one (Nagle's algorithm is off)."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
