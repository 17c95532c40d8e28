"""A proxy that cuts one event stream in the middle of a block, exactly once; it also serves files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from support.connections import accepting, port_of

#: In a block that moves the cursor past some text, so that cutting the next block is a real test.
_HAS_CURSOR = (b'"type":"chunk"', b"\nid: ")
#: Inside the data of a block, well after the beginning of its line.
_CUT_AT = b'"content":"'


@dataclass
class Passed:
    """A forwarded request; `status` is 0 until there is a response."""

    method: str
    target: str
    headers: Mapping[str, str]
    status: int = 0

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))


@dataclass
class CuttingProxy:
    """Forwards requests to a port of this machine.

    Attributes:
        files: folders whose contents are served, by path prefix.
        passed: all requests except those for files.
        comments: the number of comments in the streams.
        has_cut: whether a stream has been cut.
    """

    port: int
    files: Mapping[str, Path] = field(default_factory=dict)
    url: str = ""
    passed: list[Passed] = field(default_factory=list)
    comments: int = 0
    has_cut: bool = False

    @property
    def of_streams(self) -> list[Passed]:
        """The requests for a stream; browsers also request an icon."""
        return [passed for passed in self.passed if "/stream" in passed.path]

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request, and close the connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            request, *lines = head.decode("latin-1").rstrip().split("\r\n")
            method, target, _ = request.split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            file = self._file(urlsplit(target).path)
            if file is not None:
                writer.write(_document(file))
                await writer.drain()
            else:
                passed = Passed(method, target, headers)
                self.passed.append(passed)
                head = head.removesuffix(b"\r\n").replace(b"onnection: keep-alive", b"onnection: close")
                await self._pass_on(head + b"X-Proxied: 1\r\n\r\n" + body, passed, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one end has disconnected
        finally:
            writer.close()

    def _file(self, path: str) -> Path | None:
        for beginning, folder in self.files.items():
            if path.startswith(beginning):
                file = folder / path.removeprefix(beginning)
                # Some packages omit the extension and leave it to a bundler.
                return file if file.suffix else file.with_name(file.name + ".js")
        return None

    async def _pass_on(self, request: bytes, passed: Passed, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            upstream.write(request)
            head = await upstream_reader.readuntil(b"\r\n\r\n")
            passed.status = int(head.split(b" ", 2)[1])
            writer.write(head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n")
            if self.has_cut or b"text/event-stream" not in head:
                while data := await upstream_reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            else:
                await self._pass_until_cut(upstream_reader, writer)
        finally:
            upstream.close()

    async def _pass_until_cut(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held, is_next_cut = b"", False
        while data := await reader.read(65536):
            held += data
            self.comments += data.count(b": keep-alive\n")
            while (end := held.find(b"\n\n")) >= 0:
                block, held = held[: end + 2], held[end + 2 :]
                if is_next_cut and _CUT_AT in block:
                    writer.write(block[: block.index(_CUT_AT) + len(_CUT_AT)])
                    await writer.drain()
                    self.has_cut = True
                    # Closed in the middle of a chunk, which is not a clean end. A reset would also discard
                    # the bytes that the client has not read yet.
                    return
                is_next_cut = is_next_cut or all(part in block for part in _HAS_CURSOR)
                writer.write(block)
            if not is_next_cut:
                writer.write(held)
                held = b""
            await writer.drain()
        writer.write(held)


def _document(file: Path) -> bytes:
    content = file.read_bytes()
    kind = b"text/javascript" if file.suffix == ".js" else b"text/html"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (kind, len(content)) + content


@asynccontextmanager
async def cutting_proxy(port: int, files: Mapping[str, Path]) -> AsyncIterator[CuttingProxy]:
    """Put a proxy in front of a server on the loopback."""
    proxy = CuttingProxy(port, files)
    async with accepting(proxy.carry) as server:
        proxy.url = f"http://127.0.0.1:{port_of(server)}/"
        yield proxy
