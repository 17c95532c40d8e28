"""A FastAPI app that streams Server-Sent Events. Nothing in it knows of Lambda."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/")
async def ticks() -> StreamingResponse:
    """Send an event every half second."""

    async def events() -> AsyncIterator[str]:
        for number in range(1, 6):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(events(), media_type="text/event-stream")
