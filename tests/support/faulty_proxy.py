"""A proxy in front of a real server that injects faults, for all or for some requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum

import h11

from support.connections import accepting, port_of


class Fault(StrEnum):
    """How a request fails."""

    REFUSED = "refused"  # the connection is reset as soon as the request has arrived
    SLOW = "slow"  # no response ever arrives
    ERROR = "error"  # HTTP 500
    THROTTLED = "throttled"  # the service's response to too many requests
    GARBAGE = "garbage"  # 200, and meaningless bytes
    LOST = "lost"  # the server executes the request, and its response never arrives


HttpResponse = tuple[int, Mapping[str, str], bytes]

AWS_THROTTLED: HttpResponse = (
    400,
    {"content-type": "application/x-amz-json-1.0", "x-amzn-errortype": "ThrottlingException"},
    b'{"__type":"com.amazonaws#ThrottlingException","message":"Rate exceeded"}',
)
HTTP_THROTTLED: HttpResponse = (429, {"content-type": "application/json"}, b'{"error":"too many requests"}')


class FaultyProxy:
    """Forwards requests to `port`, unless `fault` is set and `applies_to` selects the request.

    Attributes:
        applies_to: selects requests by target, headers (lower case) and body.
        met: the number of requests that met the fault.
        sees: called for every request, with the same arguments.
    """

    def __init__(self, port: int, *, throttled: HttpResponse) -> None:
        self.fault: Fault | None = None
        self.applies_to: Callable[[str, Mapping[str, str], bytes], bool] = lambda *_: True
        self.sees: Callable[[str, Mapping[str, str], bytes], None] = lambda *_: None
        self.met = 0
        self.url = ""
        self._port = port
        self._throttled = throttled

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: one request, then close it."""
        try:
            request, body = await _read_request(reader)
            headers = {name.decode().lower(): value.decode() for name, value in request.headers}
            self.sees(request.target.decode(), headers, body)
            if self.fault is not None and self.applies_to(request.target.decode(), headers, body):
                self.met += 1
                if self.fault is Fault.LOST:
                    await self._pass_on(request, body, None)
                await self._misbehave(self.fault, reader, writer)
            else:
                await self._pass_on(request, body, writer)
        except (OSError, h11.RemoteProtocolError, asyncio.IncompleteReadError):
            pass  # the client has disconnected
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _misbehave(
        self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        match fault:
            case Fault.REFUSED | Fault.LOST:
                writer.transport.abort()
            case Fault.SLOW:
                await reader.read()  # until the client gives up
            case Fault.ERROR:
                await _respond(writer, (500, {"content-type": "application/json"}, b'{"message":"broken"}'))
            case Fault.THROTTLED:
                await _respond(writer, self._throttled)
            case Fault.GARBAGE:
                await _respond(
                    writer, (200, {"content-type": "application/json"}, b"\x00\xff<not json at all")
                )

    async def _pass_on(self, request: h11.Request, body: bytes, writer: asyncio.StreamWriter | None) -> None:
        """Forward a request, and its response if there is a writer."""
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            kept = [
                (name, value)
                for name, value in request.headers.raw_items()
                if name.lower() not in {b"connection", b"transfer-encoding", b"content-length", b"expect"}
            ]
            kept += [(b"Connection", b"close"), (b"Content-Length", str(len(body)).encode())]
            head = request.method + b" " + request.target + b" HTTP/1.1\r\n"
            head += b"".join(name + b": " + value + b"\r\n" for name, value in kept)
            upstream.write(head + b"\r\n" + body)
            while data := await upstream_reader.read(65536):
                if writer is not None:
                    writer.write(data)
                    await writer.drain()
        finally:
            upstream.close()


@asynccontextmanager
async def proxied(port: int, *, throttled: HttpResponse = AWS_THROTTLED) -> AsyncIterator[FaultyProxy]:
    """Put a proxy in front of a server on the loopback."""
    proxy = FaultyProxy(port, throttled=throttled)
    async with accepting(proxy.serve) as server:
        proxy.url = f"http://127.0.0.1:{port_of(server)}"
        yield proxy


async def _read_request(reader: asyncio.StreamReader) -> tuple[h11.Request, bytes]:
    connection = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            return request, bytes(body)
        else:
            raise asyncio.IncompleteReadError(b"", None)


async def _respond(writer: asyncio.StreamWriter, response: HttpResponse) -> None:
    status, headers, body = response
    lines = [f"HTTP/1.1 {status} -", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()
