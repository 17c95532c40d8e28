"""Labels the logs, the output and the traces of invocations that run at once in one process.

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
from collections.abc import Iterator
from typing import Any, Final, TextIO

import msgspec
from awslambdaric.lambda_runtime_log_utils import _DATETIME_FORMAT

from lambda_streaming.current_invocation import CurrentInvocation, current

TRACE_VARIABLE: Final = "_X_AMZN_TRACE_ID"
"""Where libraries look for the invocation's trace header."""


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


class _AssignedTrace(msgspec.Struct, frozen=True):
    """What code has assigned to the variable.

    Attributes:
        invocation: the one that the code belonged to; the value is not for others.
        value: None if the variable was deleted.
    """

    invocation: CurrentInvocation | None
    value: str | None


_assigned: Final[contextvars.ContextVar[_AssignedTrace | None]] = contextvars.ContextVar(
    "assigned_trace", default=None
)


class _TracedEnvironment(os._Environ[str]):  # noqa: SLF001 (the class of `os.environ`)
    """`os.environ` whose trace header is that of the current invocation, also after an assignment."""

    def __getitem__(self, key: str) -> str:
        if key != TRACE_VARIABLE:
            return super().__getitem__(key)
        if (trace := _current_trace()) is None:
            raise KeyError(key)
        return trace

    def __setitem__(self, key: str, value: str) -> None:
        if key == TRACE_VARIABLE:
            _assigned.set(_AssignedTrace(current.get(), value))
        else:
            super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        if key == TRACE_VARIABLE:
            self[key]  # raises KeyError
            _assigned.set(_AssignedTrace(current.get(), None))
        else:
            super().__delitem__(key)

    def __iter__(self) -> Iterator[str]:
        yield from (key for key in super().__iter__() if key != TRACE_VARIABLE)
        if _current_trace() is not None:
            yield TRACE_VARIABLE

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _current_trace() -> str | None:
    invocation, assigned = current.get(), _assigned.get()
    if assigned is not None and assigned.invocation is invocation:
        return assigned.value
    return None if invocation is None else invocation.trace_id


def trace_by_context() -> None:
    """Let `os.environ["_X_AMZN_TRACE_ID"]` be that of the invocation that asks."""
    os.environ.__class__ = _TracedEnvironment
