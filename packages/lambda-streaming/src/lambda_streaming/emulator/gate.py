"""Refuses requests that a local server must not serve, before its application sees them.

It refuses requests for another host (a page of another site that rebinds its own name to 127.0.0.1 sends that
name), requests from other origins where the application lists its origins, and requests whose end is
ambiguous, so that what follows on the connection could be read as another request (request smuggling).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import msgspec

from lambda_streaming.emulator.authority import AllowedHosts, Authority, parse_authority, parse_origin

AsgiMessage: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiMessage]]
Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]
App: TypeAlias = Callable[[AsgiMessage, Receive, Send], Awaitable[None]]


class Refusal(msgspec.Struct, frozen=True):
    """The response sent instead of the application's; the connection is closed after it."""

    status: int
    code: str
    error: str


BAD_TARGET = Refusal(400, "BAD_REQUEST", "The request's target is neither a path nor an http address.")
BAD_FRAMING = Refusal(
    400, "BAD_REQUEST", "A request has either a Content-Length or, in HTTP/1.1, a Transfer-Encoding."
)
NO_HOST = Refusal(400, "BAD_REQUEST", "A request has exactly one Host header.")
WRONG_HOST = Refusal(
    403, "WRONG_HOST", "Open this page by its own address, or name this one with --allow-host when you start."
)
WRONG_ORIGIN = Refusal(403, "WRONG_ORIGIN", "Pages of this origin may not call this server.")


class Gate:
    """An ASGI middleware that passes on only the requests meant for its application.

    Args:
        app: the application behind it.
        hosts: the hosts that the `Host` header may name.
        origins: which foreign origins may send requests, `*` for all; None leaves the `Origin` header to the
            application. A page of the same host and port always may.
    """

    def __init__(self, app: App, *, hosts: AllowedHosts, origins: frozenset[str] | None = None) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await _refuse(refusal, send)

    def _refusal(self, scope: AsgiMessage) -> Refusal | None:
        if _is_ambiguous(scope):
            return BAD_FRAMING
        hosts = _values(scope, b"host")
        if len(hosts) != 1:
            return NO_HOST
        target: str = scope["raw_path"].decode("latin-1")
        if not target.startswith("/"):
            # The absolute form, as sent to a proxy: its authority takes precedence (RFC 9112, section 3.2.2).
            scheme, separator, rest = target.partition("://")
            if scheme.lower() not in {"http", "https"} or not separator:
                return BAD_TARGET
            hosts.append(rest.partition("/")[0])
        if not all(map(self._hosts.allow, hosts)):
            return WRONG_HOST
        return None if self._is_from_an_allowed_origin(scope, parse_authority(hosts[-1])) else WRONG_ORIGIN

    def _is_from_an_allowed_origin(self, scope: AsgiMessage, host: Authority | None) -> bool:
        origins = _values(scope, b"origin")
        if self._origins is None or not origins or "*" in self._origins:
            return True
        return len(origins) == 1 and (origins[0] in self._origins or parse_origin(origins[0]) == host)


def _is_ambiguous(scope: AsgiMessage) -> bool:
    """Whether two servers could place the request's end differently (RFC 9112, section 6.1)."""
    encoded, measured = _values(scope, b"transfer-encoding"), _values(scope, b"content-length")
    return bool(encoded) and (bool(measured) or scope["http_version"] == "1.0")


def _values(scope: AsgiMessage, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = msgspec.json.encode({"error": refusal.error, "code": refusal.code})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
