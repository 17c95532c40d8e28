"""The part of ASGI that the local server uses directly (ASGI specification 3.0, HTTP)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
App = Callable[[AsgiMessage, Receive, Send], Awaitable[None]]


def request_header(scope: AsgiMessage, name: bytes) -> str | None:
    """Return the value of a header by lower-case name; None if it is absent or occurs several times."""
    values = [value for key, value in scope["headers"] if key == name]
    return str(values[0].decode("latin-1")) if len(values) == 1 else None


async def respond(
    send: Send, *, method: str, status: int, headers: Iterable[tuple[str, str]], body: bytes = b""
) -> None:
    """Send a whole response; the response to a HEAD request has the headers of a GET and no body."""
    lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
