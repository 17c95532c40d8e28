"""A FastAPI app with what such apps have: a lifespan, middleware, dependencies, streams, background tasks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
from fastapi import BackgroundTasks, Cookie, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import EventSourceResponse as NativeEventSourceResponse
from pydantic import BaseModel
from sse_starlette import EventSourceResponse
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

_beats = 0


async def _beat() -> None:
    global _beats  # noqa: PLW0603 (of the process)
    while True:
        _beats += 1
        await asyncio.sleep(0.001)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG001 (FastAPI's)
    """Start what lives as long as the process."""
    print("started up", flush=True)  # noqa: T201
    heart = asyncio.create_task(_beat())
    async with anyio.create_task_group() as sessions:
        yield {"pool": f"pool of {os.getpid()}", "heart": heart, "sessions": sessions}
        sessions.cancel_scope.cancel()
    heart.cancel()
    print("shut down", flush=True)  # noqa: T201


app = FastAPI(lifespan=lifespan)


class Stamp(BaseHTTPMiddleware):
    """Adds a header to each response."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Pass the request on."""
        response = await call_next(request)
        response.headers["x-stamp"] = request.url.path
        return response


app.add_middleware(Stamp)


async def wait_at(port: int) -> None:
    """Wait until the test lets go."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.read()
    writer.close()


async def session() -> AsyncIterator[str]:
    """Be open during a request."""
    yield "session"
    print("session closed", flush=True)  # noqa: T201


@app.get("/process")
async def process(request: Request) -> dict[str, Any]:
    """Return what the process has."""
    seen = _beats
    while _beats == seen:  # noqa: ASYNC110 (until the heart beats during this invocation)
        await asyncio.sleep(0)
    return {"pid": os.getpid(), "pool": request.state.pool, "heart": request.state.heart.done()}


@app.post("/echo/{name:path}")
async def echo(
    name: str, request: Request, response: Response, sid: Annotated[str | None, Cookie()] = None
) -> dict[str, Any]:
    """Return the request as it was seen."""
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return {
        "name": name,
        "path": request.scope["path"],
        "raw_path": request.scope["raw_path"].decode(),
        "query": request.query_params.multi_items(),
        "cookie": sid,
        "client": request.client.host if request.client else None,
        "body": (await request.body()).decode(),
        "request_id": request.scope["aws.context"].aws_request_id,
        "event_version": request.scope["aws.event"]["version"],
        "header": request.headers["x-name"].encode("latin-1").decode(),
    }


@app.get("/lines")
async def lines(port: int, opened: Annotated[str, Depends(session)]) -> StreamingResponse:
    """Send one line, and another one when the test lets go."""

    async def body() -> AsyncIterator[str]:
        yield f"first of {opened}\n"
        await wait_at(port)
        yield "second\n"

    return StreamingResponse(body(), media_type="text/plain")


@app.get("/threaded")
def threaded() -> StreamingResponse:
    """Send lines from a synchronous generator, which runs in threads."""

    def body() -> Iterator[str]:
        for number in range(3):
            yield f"{number}\n"

    return StreamingResponse(body(), media_type="text/plain")


@app.get("/events")
async def events() -> EventSourceResponse:
    """Send Server-Sent Events."""

    async def body() -> AsyncIterator[dict[str, str]]:
        for number in range(3):
            yield {"event": "tick", "data": str(number)}

    return EventSourceResponse(body())


class Tick(BaseModel):
    """An event's data."""

    number: int


@app.get("/native-events", response_class=NativeEventSourceResponse)
async def native_events() -> AsyncIterator[Tick]:
    """Send Server-Sent Events as FastAPI itself does."""
    for number in range(3):
        yield Tick(number=number)


@app.get("/background")
async def background(port: int, tasks: BackgroundTasks) -> dict[str, bool]:
    """Respond, then go on until the test lets go."""

    async def go_on() -> None:
        await wait_at(port)
        print("background task done", flush=True)  # noqa: T201

    tasks.add_task(go_on)
    return {"accepted": True}


@app.get("/empty", status_code=204)
async def empty() -> None:
    """Respond without a body."""


@app.get("/disconnected")
async def disconnected(request: Request) -> bool:
    """Return whether the client has gone."""
    return await request.is_disconnected()


@app.get("/boom")
async def boom() -> JSONResponse:
    """Fail before the response."""
    raise ValueError("boom in the endpoint")


class Sessions:
    """One that begins in a request and ends in a later one."""

    ended = asyncio.Event()
    count = 0

    async def run(self) -> None:
        """Last until the end is requested."""
        await self.ended.wait()
        self.count += 1


_sessions = Sessions()


@app.get("/sessions/begin")
async def begin_session(request: Request) -> int:
    """Start a session in the task group of the lifespan."""
    request.state.sessions.start_soon(_sessions.run)
    return _sessions.count


@app.get("/sessions/end")
async def end_sessions() -> int:
    """End all of them, and return how many there were so far."""
    _sessions.ended.set()
    await asyncio.sleep(0)
    _sessions.ended.clear()
    return _sessions.count
