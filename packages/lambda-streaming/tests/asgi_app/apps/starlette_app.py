"""A Starlette app: routes, a mounted app, a file, and a lifespan without state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.routing import Mount, Route


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Keep a count of requests on the app."""
    app.state.count = 0
    yield


async def count(request: Request) -> JSONResponse:
    """Count requests."""
    request.app.state.count += 1
    return JSONResponse(
        {"count": request.app.state.count, "root": request.scope["root_path"], "url": request.url.path}
    )


async def source(request: Request) -> FileResponse:  # noqa: ARG001 (Starlette's)
    """Send this file."""
    return FileResponse(Path(__file__))


async def stream(request: Request) -> StreamingResponse:
    """Send the request's body back, piece by piece."""

    async def body() -> AsyncIterator[bytes]:
        async for piece in request.stream():
            yield piece

    return StreamingResponse(body(), media_type="application/octet-stream")


async def boom(request: Request) -> StreamingResponse:  # noqa: ARG001 (Starlette's)
    """Fail in the middle of the response."""

    async def body() -> AsyncIterator[str]:
        yield "first\n"
        raise ValueError("boom in the stream")

    return StreamingResponse(body(), media_type="text/plain")


app = Starlette(
    routes=[
        Route("/source", source),
        Route("/stream", stream, methods=["POST"]),
        Route("/boom", boom),
        Mount("/v1", routes=[Route("/count", count)]),
    ],
    lifespan=lifespan,
)
