"""A small web app unaware of Lambda; it sends one server-sent event each time its gate is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]


async def app(
    scope: Message, _receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Handle one request; `/fails` ends in the middle of its response."""
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"x-several", b"1"),
        (b"x-several", b"2"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    port = parse_qs(scope["query_string"].decode()).get("gate")
    for number in range(3):
        event = f"data: {number} {scope['path']}\n\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        if scope["path"] == "/fails":
            raise ValueError("after the first byte")
        if port is not None:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port[0]))
            writer.write(b"waiting\n")
            await reader.readline()
            writer.close()
    await send({"type": "http.response.body", "body": b""})
