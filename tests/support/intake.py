"""Servers that take in what monitoring tools send: HTTP, HTTPS and UDP, each on a free port."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from support.key_server import tls_of
from support.patience import PATIENCE_S


class Sent(msgspec.Struct, frozen=True):
    """One request of a tool, its body decompressed."""

    path: str
    headers: dict[str, str]
    body: bytes


class Intake:
    """What has arrived, in order.

    Attributes:
        url: where to send it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._received: list[Sent] = []
        self._frozen = 0
        self._changed = threading.Condition()

    def add(self, sent: Sent) -> None:
        """Add a request that has arrived."""
        with self._changed:
            self._received.append(sent)
            self._changed.notify_all()

    def freeze(self) -> None:
        """Note that the function is frozen: what arrived until now came in time."""
        with self._changed:
            self._frozen = len(self._received)

    def in_time(self) -> list[Sent]:
        """What arrived before the function was frozen, since the last call."""
        with self._changed:
            taken, self._received = self._received[: self._frozen], self._received[self._frozen :]
            self._frozen = 0
        return taken

    def received(self) -> list[Sent]:
        """What has arrived so far."""
        with self._changed:
            return list(self._received)

    def wait_for(self, found: Callable[[Sent], bool]) -> Sent:
        """Wait for a request, whether it comes in time or not."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(found, self._received)), PATIENCE_S), self._received
            return next(filter(found, self._received))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    intake: Intake

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its base class's name)
        """Log nothing."""

    def do_POST(self) -> None:
        """Take in a request."""
        body = self._body()
        encoding = self.headers.get("content-encoding")
        if encoding == "gzip":
            body = gzip.decompress(body)
        elif encoding == "deflate":
            body = zlib.decompress(body)
        self.intake.add(Sent(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_PUT = do_POST  # noqa: N815 (the base class's names)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that is gone: a function's process may end at any time."""


@contextlib.contextmanager
def intake(certificate: Path | None = None) -> Iterator[Intake]:
    """Take in requests during the block, with TLS if there is a certificate (`support.key_server`)."""
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {})) as server:
        scheme = "http"
        if certificate is not None:
            scheme = "https"
            server.socket = tls_of(certificate).wrap_socket(server.socket, server_side=True)
        taken = Intake(f"{scheme}://127.0.0.1:{server.server_address[1]}")
        server.RequestHandlerClass.intake = taken  # type: ignore[attr-defined]
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield taken
        finally:
            server.shutdown()
            serving.join()


@contextlib.contextmanager
def datagrams() -> Iterator[Intake]:
    """Take in UDP datagrams during the block; the address is without a scheme."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        taken = Intake(f"127.0.0.1:{listening.getsockname()[1]}")

        def receive() -> None:
            while datagram := listening.recv(65_536):
                taken.add(Sent("", {}, datagram))

        receiving = threading.Thread(target=receive)
        receiving.start()
        try:
            yield taken
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", listening.getsockname())
            receiving.join()
