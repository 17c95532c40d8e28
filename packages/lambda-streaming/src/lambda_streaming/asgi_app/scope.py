"""The connection scope of a request (ASGI's HTTP specification, version 2.4)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from lambda_streaming.asgi_app.protocol import VERSION, Scope
from lambda_streaming.event_sources import ReceivedRequest

_SPEC_VERSION: Final = "2.4"
_NO_PORT: Final = 0  # no service reports the client's


def http_scope(
    request: ReceivedRequest,
    *,
    root_path: str | None,
    state: dict[str, Any] | None,
    event: object,
    context: object,
) -> Scope:
    """Return the scope.

    Args:
        request: the request.
        root_path: in place of the request's own.
        state: what the lifespan has put there; each request has a shallow copy, as the specification says.
            None without a lifespan.
        event: for `aws.event`.
        context: for `aws.context`.
    """
    scope: Scope = {
        "type": "http",
        "asgi": {"version": VERSION, "spec_version": _SPEC_VERSION},
        "http_version": request.http_version,
        "method": request.method,
        "scheme": request.scheme,
        # With the root path, as servers send it: frameworks take it off for routing.
        "path": unquote(request.raw_path),
        "raw_path": request.raw_path.encode(),
        "root_path": unquote(request.root_path) if root_path is None else root_path,
        "query_string": request.query_string.encode(),
        # Lambda delivers a header's bytes as UTF-8 text.
        "headers": [(name.encode(), value.encode(errors="replace")) for name, value in request.headers],
        "client": (request.client_host, _NO_PORT) if request.client_host else None,
        "server": (request.server_host, request.server_port) if request.server_host else None,
        "extensions": {},
        "aws.event": event,
        "aws.context": context,
    }
    if state is not None:
        scope["state"] = dict(state)
    return scope
