"""A web server for one document that can misbehave at any byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from support.connections import accepting, port_of

Piece: TypeAlias = bytes | asyncio.Event | None
"""Bytes to send; an event to wait for; or `None`: the connection is reset."""


def document(body: bytes, *, status: str = "200 OK", headers: str = "") -> list[Piece]:
    """A complete response."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return [head.encode() + body]


@dataclass
class KeyServer:
    """Responds to each connection's request with the next item of `answers`; the last one is repeated.

    Attributes:
        url: the base URL, without a trailing slash.
        requests: the heads of the requests, in order.
    """

    url: str = ""
    answers: list[list[Piece]] = field(default_factory=lambda: [document(b"")])
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                response = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                for piece in response:
                    if piece is None:
                        writer.transport.abort()
                    elif isinstance(piece, asyncio.Event):
                        await piece.wait()
                    else:
                        writer.write(piece)
                        await writer.drain()
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


@asynccontextmanager
async def key_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[KeyServer]:
    """Serve in this loop during the block."""
    server = KeyServer()
    scheme = "http" if tls is None else "https"
    async with accepting(server.serve, tls=tls) as listening:
        server.url = f"{scheme}://127.0.0.1:{port_of(listening)}"
        yield server


def certificate(folder: Path, key: RSAPrivateKey, *, address: str = "127.0.0.1") -> Path:
    """Write a self-signed certificate for an address, with its key, and return the file."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "coachstream test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{address}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


def tls_of(certificate_file: Path) -> ssl.SSLContext:
    """A server's TLS context for such a file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file)
    return context
