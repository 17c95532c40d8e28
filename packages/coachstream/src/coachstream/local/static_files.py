"""The chat page and its files, as an ASGI app.

The files are listed once, at start, so that no path can reach anything else; their content is read for each
request, so that an edited file appears at the next reload.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from coachstream.local.asgi import AsgiMessage, Receive, Send, request_header, respond

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",  # types, for readers and editors
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".json": "application/json",
}

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

SECURITY_HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class StaticFiles:
    """Serves the files of one folder; `/` is its `index.html`."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            "/" + path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix in CONTENT_TYPES
        }
        if index := self._files.get("/index.html"):
            self._files["/"] = index

    async def __call__(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Serve one request."""
        method = scope["method"]
        path = self._files.get(scope["path"])
        if path is None:
            return await _refuse(send, method, 404, "There is no such page.")
        if method not in {"GET", "HEAD"}:
            return await _refuse(send, method, 405, "Pages can only be read.", ("Allow", "GET, HEAD"))
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError:
            return await _refuse(send, method, 404, "This page no longer exists.")
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = [
            ("Content-Type", CONTENT_TYPES[path.suffix]),
            # Cached by the browser, but revalidated before each use.
            ("Cache-Control", "no-cache"),
            ("ETag", tag),
            *SECURITY_HEADERS,
        ]
        if request_header(scope, b"if-none-match") == tag:
            return await _send_not_modified(send, headers)
        return await respond(send, method=method, status=200, headers=headers, body=content)


async def _send_not_modified(send: Send, headers: list[tuple[str, str]]) -> None:
    """Respond that the cached content is still valid; a 304 has no content length."""
    lines = [(name.encode(), value.encode()) for name, value in headers if name != "Content-Type"]
    await send({"type": "http.response.start", "status": 304, "headers": lines})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, method: str, status: int, sentence: str, *headers: tuple[str, str]) -> None:
    plain = ("Content-Type", "text/plain; charset=utf-8")
    await respond(
        send,
        method=method,
        status=status,
        headers=[plain, *headers, *SECURITY_HEADERS],
        body=f"{sentence}\n".encode(),
    )
