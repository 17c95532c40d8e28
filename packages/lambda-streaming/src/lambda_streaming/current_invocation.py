"""Tells apart the logs, the output and the traces of invocations that run at once in one process.

Libraries find the request and its trace where the stock runtime has them: in a module of awslambdaric, and in
the environment variable `_X_AMZN_TRACE_ID`, which the AWS SDK, the X-Ray SDK and OpenTelemetry's propagator
read. Both are one for the whole process, so here they depend on the context that asks: what an invocation
awaits and the tasks and threads that it starts (`asyncio.to_thread`) share its context.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
from typing import Any, Final, TextIO

import msgspec
from awslambdaric.lambda_runtime_log_utils import _DATETIME_FORMAT

TRACE_VARIABLE: Final = "_X_AMZN_TRACE_ID"
"""Where libraries look for the invocation's trace header."""


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


class RequestFilter(logging.Filter):
    """Puts the current invocation on each record, after awslambdaric's filter has put its global one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the fields that awslambdaric's formatters read."""
        invocation = current.get()
        record.aws_request_id = "" if invocation is None else invocation.request_id
        record.tenant_id = None if invocation is None else invocation.tenant_id
        return True


class LabelledOutput:
    """Standard output or error in which every line is a JSON object with its invocation's `requestId`.

    What is an object already, such as a line of a logger or a metric, keeps its members.

    Args:
        stream: where the lines go.
        level: the level of lines that are no objects.
    """

    def __init__(self, stream: TextIO, level: str) -> None:
        self._stream = stream
        self._level = level
        self._lock = threading.RLock()  # a signal handler may print
        self._unfinished: dict[CurrentInvocation | None, str] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever a stream has)
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the lines that are complete; the rest waits for its end."""
        invocation = current.get()
        with self._lock:
            *lines, rest = (self._unfinished.pop(invocation, "") + text).split("\n")
            if rest:
                self._unfinished[invocation] = rest
            self._write(lines, invocation)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several pieces."""
        self.write("".join(lines))

    def finish(self, invocation: CurrentInvocation) -> None:
        """Write what an invocation has left without a line ending."""
        with self._lock:
            if rest := self._unfinished.pop(invocation, ""):
                self._write([rest], invocation)
                self._stream.flush()

    def _write(self, lines: list[str], invocation: CurrentInvocation | None) -> None:
        if lines:
            self._stream.write("".join(f"{self._labelled(line, invocation)}\n" for line in lines))

    def _labelled(self, line: str, invocation: CurrentInvocation | None) -> str:
        label = {} if invocation is None else {"requestId": invocation.request_id}
        if (members := _members(line)) is None:
            timestamp = time.strftime(_DATETIME_FORMAT, time.gmtime())
            record = {"timestamp": timestamp, "level": self._level, "message": line, **label}
            return msgspec.json.encode(record).decode()
        if not label or "requestId" in members:
            return line
        separator = "," if members else ""
        return f"{line.rstrip()[:-1]}{separator}{msgspec.json.encode(label).decode()[1:]}"


def _members(line: str) -> dict[str, msgspec.Raw] | None:
    """The members of a line that is a JSON object."""
    if not line.startswith("{"):
        return None
    try:
        return msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return None


class _TracedEnvironment(os._Environ[str]):  # noqa: SLF001 (the class of `os.environ`)
    """`os.environ` whose trace header is that of the current invocation."""

    def __getitem__(self, key: str) -> str:
        if key != TRACE_VARIABLE:
            return super().__getitem__(key)
        invocation = current.get()
        if invocation is None or invocation.trace_id is None:
            raise KeyError(key)
        return invocation.trace_id


def trace_by_context() -> None:
    """Let `os.environ["_X_AMZN_TRACE_ID"]` be that of the invocation that asks."""
    os.environ.__class__ = _TracedEnvironment
