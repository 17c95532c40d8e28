"""A Lambda runtime played by the test, byte by byte, against a Runtime API."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Self

import msgspec

from support.patience import PATIENCE_S

PREFIX = "/2018-06-01/runtime"


class RawResponse(msgspec.Struct, frozen=True):
    """A response of the Runtime API, with header names as they were sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        """The body, decoded."""
        return json.loads(self.body)


class RawRuntime:
    """One connection to a Runtime API."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, address: str) -> Self:
        """Connect without sending anything."""
        host, _, port = address.partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def ask_next(self) -> None:
        """Send a poll for the next event, as curl would."""
        head = f"GET {PREFIX}/invocation/next HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"
        await self.send(head.encode())

    async def next(self) -> RawResponse:
        """Poll for the next event and wait for it."""
        await self.ask_next()
        return await self.response()

    async def post(self, path: str, body: bytes = b"", *headers: str) -> RawResponse:
        """POST a body of a known length to a path after `/2018-06-01/runtime/`."""
        lines = [
            f"POST {PREFIX}/{path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Content-Length: {len(body)}",
            *headers,
            "",
            "",
        ]
        await self.send("\r\n".join(lines).encode() + body)
        return await self.response()

    async def begin_response(self, request_id: str, *headers: str) -> None:
        """Send the head of a streamed response as the Node runtime does, then any further headers."""
        lines = [
            f"POST {PREFIX}/invocation/{request_id}/response HTTP/1.1",
            "Lambda-Runtime-Function-Response-Mode: streaming",
            "Trailer: Lambda-Runtime-Function-Error-Type",
            "Trailer: Lambda-Runtime-Function-Error-Body",
            "Transfer-Encoding: chunked",
            "Host: 127.0.0.1",
            "Connection: keep-alive",
            *(headers or ("Content-Type: application/octet-stream",)),
        ]
        await self.send("\r\n".join((*lines, "", "")).encode())

    async def chunk(self, data: bytes) -> None:
        """Send one chunk."""
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_response(self, *trailers: str) -> RawResponse:
        """Send the last chunk and the trailers, and wait for the response."""
        await self.send("\r\n".join(("0", *trailers, "", "")).encode())
        return await self.response()

    async def response(self) -> RawResponse:
        """Read one response."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers["Content-Length"]))
        return RawResponse(int(status_line.split()[1]), headers, body)

    async def ended(self) -> bytes:
        """Wait for the end of the connection and return the remaining bytes."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""

    def drop(self) -> None:
        """Drop the connection at once."""
        self.writer.transport.abort()

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def raw_runtime(address: str) -> AsyncIterator[RawRuntime]:
    """Connect to a Runtime API for as long as the block lasts."""
    runtime = await RawRuntime.connect(address)
    try:
        yield runtime
    finally:
        await runtime.close()
