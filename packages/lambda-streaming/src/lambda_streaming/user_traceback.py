"""Which frames of a traceback are the user's: those after the ones with which a runtime reaches user code.

AWS's runtime omits its own frames from the errors that it reports. Between them and a streaming handler there
are more: this package's, the event loop's, and those of a tool that wraps the handler or its tasks.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

_CALLERS: Final = frozenset(
    {
        ("lambda_streaming.asgi_app.cycle", "run"),
        ("lambda_streaming.asgi_app.lifespan", "_start"),
        ("lambda_streaming.asgi_app.lifespan", "_shut_down"),
        ("lambda_streaming.handler_kinds", "handle"),
        ("lambda_streaming.handler_kinds", "_write_pieces"),
        ("lambda_streaming.lifespan", "_live"),
        ("lambda_streaming.streaming", "handler"),
        ("lambda_streaming.threaded_handler", "work"),
        ("lambda_streaming.threaded_handler", "_write_pieces"),
    }
)
"""The functions of this package that call user code, by module and name; above them nothing is the user's."""

_ON_THE_WAY: Final = frozenset(
    {"lambda_streaming", "awslambdaric", "asyncio", "concurrent", "contextlib", "importlib"}
)
"""The packages whose frames may lie between them and user code."""


def user_traceback(found: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame of user code on, and the whole of one without any."""
    first = each = found
    while each is not None:
        if (_module(each), each.tb_frame.f_code.co_name) in _CALLERS:
            first = each.tb_next
        each = each.tb_next
    while first is not None and _module(first).partition(".")[0] in _ON_THE_WAY:
        first = first.tb_next
    return first or found


def _module(entry: TracebackType) -> str:
    name = entry.tb_frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""
