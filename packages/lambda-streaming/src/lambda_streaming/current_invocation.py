"""The invocation that the running code belongs to, where several run at once in one process."""

from __future__ import annotations

import contextvars
from typing import Final

import msgspec


class CurrentInvocation(msgspec.Struct, frozen=True, eq=False):
    """The invocation that the running code belongs to.

    Attributes:
        request_id: its request id.
        tenant_id: the tenant, if the caller named one.
        trace_id: its X-Ray header, if it is traced.
        deadline_s: when it times out, in seconds since the epoch.
    """

    request_id: str
    tenant_id: str | None
    trace_id: str | None
    deadline_s: float


current: Final[contextvars.ContextVar[CurrentInvocation | None]] = contextvars.ContextVar(
    "current_invocation", default=None
)
"""The invocation, or None outside of one."""
