"""The types of ASGI 3 that apps and servers share (specification: asgi.readthedocs.io)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""`async def app(scope, receive, send)`."""

VERSION: Final = "3.0"


class AsgiProtocolError(RuntimeError):
    """Raised for a message that is not allowed, or a response that an app leaves unfinished."""
