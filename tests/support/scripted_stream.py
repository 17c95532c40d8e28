"""A server that responds to requests for a conversation's stream from a script, and cuts connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import coachstream.local
from support.connections import accepting, port_of
from support.patience import PATIENCE_S

MODULE = Path(coachstream.local.__file__).parent / "page" / "js" / "coachstream.js"
RUN = "run_1795428000123_6v1or0she"
CUT_AFTER_S = 0.1


class Then(Enum):
    """The end of a connection after everything has been sent."""

    END = auto()  # the response ends as if it were complete
    CUT = auto()  # it breaks in the middle of the response
    HOLD = auto()  # it stays open until the client leaves
    GONE = auto()  # it breaks, and the server accepts no more connections


class ScriptedResponse(NamedTuple):
    """One response: its `parts` are sent with `pause_s` between them, each after `released` is, if given."""

    status: int
    content_type: str
    parts: Sequence[bytes]
    then: Then = Then.END
    pause_s: float = 0.0
    released: asyncio.Semaphore | None = None


class Asked(NamedTuple):
    """A request of the client; `at` is the loop's time, header names are in lower case."""

    at: float
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Mapping[str, Any]


Script = Sequence[ScriptedResponse | Callable[[Asked], ScriptedResponse]]


class ScriptedStream:
    """Responds to requests under `/conversation`, each with the next response of the script.

    Attributes:
        url: the address of an empty page that can import `/coachstream.js`.
        requests: all received requests.
        left: the number of held connections that the client has closed.
    """

    def __init__(self, script: Script) -> None:
        self.url = ""
        self.requests: list[Asked] = []
        self.left = 0
        self._script = list(script)
        self._server: asyncio.Server | None = None
        self._news = asyncio.Condition()

    async def asked(self, times: int) -> None:
        """Wait until this many requests have been received."""
        await self._until(lambda: len(self.requests) >= times)

    async def was_left(self, times: int = 1) -> None:
        """Wait until the client has closed this many held connections."""
        await self._until(lambda: self.left >= times)

    def summary(self) -> list[str]:
        """One line for each request: its method, the path after `stream`, and its cursor."""
        lines = []
        for asked in self.requests:
            rest = asked.path.removeprefix("/conversation/stream").replace(RUN, "R")
            after = asked.query.get("after", "").replace(RUN, "R")
            lines.append(f"{asked.method} {rest}{f' after {after}' if after else ''}".strip())
        return lines

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(condition)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Accept connections on a free port."""
        async with accepting(self._serve) as self._server:
            self.url = f"http://127.0.0.1:{port_of(self._server)}/"
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request, and close the connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await _read(reader)
            await self._send(await self._response_to(asked), reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _response_to(self, asked: Asked) -> ScriptedResponse:
        if asked.path == "/":
            return ScriptedResponse(200, "text/html", [b"<!doctype html><link rel=icon href=data:,>"])
        if asked.path == "/coachstream.js":
            return ScriptedResponse(200, "text/javascript", [await asyncio.to_thread(MODULE.read_bytes)])
        async with self._news:
            self.requests.append(asked)
            self._news.notify_all()
        if not self._script:
            return ScriptedResponse(418, "text/plain", [b"there is nothing more in the script"])
        response = self._script.pop(0)
        return response if isinstance(response, ScriptedResponse) else response(asked)

    async def _send(
        self, response: ScriptedResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        has_body = response.status != 204
        coding = "Transfer-Encoding: chunked\r\n" if has_body else ""
        writer.write(
            f"HTTP/1.1 {response.status} Scripted\r\nContent-Type: {response.content_type}\r\n"
            f"Cache-Control: no-cache\r\n{coding}Connection: close\r\n\r\n".encode()
        )
        await writer.drain()
        for part in response.parts:
            if response.released is not None:
                await response.released.acquire()
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(response.pause_s)
        if response.then is Then.GONE and self._server:
            self._server.close()
        if response.then in {Then.CUT, Then.GONE}:
            # A browser discards unread bytes when a response is cut off.
            await asyncio.sleep(CUT_AFTER_S)
        elif response.then is Then.HOLD:
            await reader.read()
            async with self._news:
                self.left += 1
                self._news.notify_all()
        elif has_body:
            writer.write(b"0\r\n\r\n")
            await writer.drain()


@asynccontextmanager
async def scripted(
    *script: ScriptedResponse | Callable[[Asked], ScriptedResponse],
) -> AsyncIterator[ScriptedStream]:
    """A server with a script, on a free port."""
    stream = ScriptedStream(script)
    async with stream.listening():
        yield stream


def event(number: int | None = None, *, run: str = RUN, **fields: object) -> bytes:
    """An event as the service writes it: one line of JSON, and its position in the run's log, if any."""
    place = "" if number is None else f"id: {run}:{number}\n"
    data = f"data: {json.dumps(fields, ensure_ascii=False)}\n" if fields else ""
    return f"{place}{data}\n".encode()


def chunk(text: str, offset: int, number: int | None = None, *, run: str = RUN) -> bytes:
    """The next piece of the reply."""
    return event(number, run=run, type="chunk", content=text, offset=offset)


def complete(text: str, number: int | None = 9, *, run: str = RUN, **more: object) -> bytes:
    """The end of a complete reply."""
    ai_message = {"id": "msg_2", "role": "assistant", "content": text}
    user_message = {"id": "msg_1", "role": "user", "content": "?"}
    return event(number, run=run, type="complete", aiMessage=ai_message, userMessage=user_message, **more)


def stream(*parts: bytes, then: Then = Then.END, pause_s: float = 0.0) -> ScriptedResponse:
    """An event stream."""
    return ScriptedResponse(200, "text/event-stream; charset=utf-8", parts, then, pause_s)


def document(status: int, /, **body: object) -> ScriptedResponse:
    """A JSON document."""
    return ScriptedResponse(status, "application/json", [json.dumps(body).encode()])


START = event(type="start", status="initialized")
KEEP_ALIVE = b": keep-alive\n\n"
NOTHING_LEFT = ScriptedResponse(204, "text/plain", [])
OPENED = document(202, runId=RUN, eventsUrl=f"stream/{RUN}?ticket=T")


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request, *lines = head.rstrip().split("\r\n")
    method, target, _ = request.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    return Asked(
        at=asyncio.get_running_loop().time(),
        method=method,
        path=url.path,
        query=dict(parse_qsl(url.query)),
        headers=headers,
        body=json.loads(body) if body else {},
    )
