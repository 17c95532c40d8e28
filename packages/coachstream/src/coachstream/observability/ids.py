"""Validates client-supplied ids before they are logged."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

NOT_AN_ID = "(not an id)"

# Every id format in use fits (existing system, section 1.1); signed tokens are longer, sentences have blanks.
_ID = re.compile(r"[A-Za-z0-9_.:@|+-]{1,128}")

# X-Ray developer guide, "Tracing header": Root=1-5759e988-bd862e3fe1be46a994272793;Parent=...;Sampled=1
_TRACE_ROOT = re.compile(r"(?:^|;)\s*Root=(1-[0-9a-f]{8}-[0-9a-f]{24})\s*(?:;|$)")


def loggable_id(text: str) -> str:
    """The id, or `NOT_AN_ID`: a client can put anything into a path, even a token or a message."""
    return text if _ID.fullmatch(text) else NOT_AN_ID


def trace_id_of(event: object) -> str | None:
    """The X-Ray trace id of an invocation; `None` if it is not traced.

    The runtime sets it in `_X_AMZN_TRACE_ID`, for a process that handles one invocation at a time. In a
    server that handles many, only the event's own header distinguishes them.
    """
    headers = event.get("headers") if isinstance(event, Mapping) else None
    in_event = headers.get("x-amzn-trace-id") if isinstance(headers, Mapping) else None
    header = os.environ.get("_X_AMZN_TRACE_ID") or in_event
    root = _TRACE_ROOT.search(header) if isinstance(header, str) else None
    return None if root is None else root.group(1)
