"""Which frames of a traceback are the user's: those after the ones with which a runtime reaches user code.

AWS's runtime omits its own frames from the errors that it reports. Between them and a streaming handler there
are more: this package's, the event loop's, and those of a tool that wraps the handler, such as a tracer.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

_ON_THE_WAY: Final = frozenset(
    {"lambda_streaming", "awslambdaric", "asyncio", "concurrent", "contextlib", "importlib"}
)
"""The packages whose frames lie between the runtime and user code."""

_ENTRY_POINT: Final = ("lambda_streaming.streaming", "handler")
"""Module and function that stand for a streaming handler; what is outside of it is no user code."""


def user_traceback(found: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame of user code on, and the whole of one without any."""
    first = each = found
    while each is not None:
        if (_module(each), each.tb_frame.f_code.co_name) == _ENTRY_POINT:
            first = each.tb_next
            break
        each = each.tb_next
    while first is not None and _module(first).partition(".")[0] in _ON_THE_WAY:
        first = first.tb_next
    return first or found


def _module(entry: TracebackType) -> str:
    name = entry.tb_frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""
