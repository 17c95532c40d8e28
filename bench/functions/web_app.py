"""The app of `asgi_app.py`: JSON, an event stream and a download. It knows nothing of Lambda."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

EVENTS = 200
PIECE = b"x" * 65_536
PIECES = 160

app = FastAPI()


@app.get("/json")
async def get_json() -> dict[str, object]:
    """A small object."""
    return {"message": "hello", "numbers": list(range(10))}


@app.get("/events")
async def get_events() -> StreamingResponse:
    """Events of some 40 bytes, one after the other without a pause."""

    async def events() -> AsyncIterator[str]:
        for number in range(EVENTS):
            yield f'id: {number}\ndata: {{"token": "word {number}"}}\n\n'

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/download")
async def get_download() -> StreamingResponse:
    """10 MiB in pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(PIECES):
            yield PIECE

    return StreamingResponse(pieces(), media_type="application/octet-stream")
