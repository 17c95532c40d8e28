"""A Litestar app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, get
from litestar.datastructures import State
from litestar.response import ServerSentEvent, Stream


@get("/count")
async def count(state: State) -> dict[str, Any]:
    """Count requests."""
    state.count += 1
    return {"count": state.count}


@get("/lines")
async def lines() -> Stream:
    """Send lines."""

    async def body() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"

    return Stream(body(), media_type="text/plain")


@get("/events")
async def events() -> ServerSentEvent:
    """Send Server-Sent Events."""

    async def body() -> AsyncIterator[str]:
        for number in range(3):
            yield str(number)

    return ServerSentEvent(body())


async def start(app: Litestar) -> None:
    """Start the count."""
    app.state.count = 0


app = Litestar([count, lines, events], on_startup=[start])
