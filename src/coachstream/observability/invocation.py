"""One invocation as the log and the metrics tell it: ids, codes, counts, durations, and nothing else.

What goes in here is typed, so that no text, token or header can get into a log by mistake. The heavy parts,
which format and count, are imported when it is over, not before its first byte, and off the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from coachstream.conversation.errors import ErrorCode
    from coachstream.conversation.model import ConversationKey
    from coachstream.conversation.report import TurnReport
    from coachstream.settings import Logs

logger = logging.getLogger("coachstream.invocation")

# Of the process, and nothing of a user's.
_is_cold = True
_is_loaded = False


class InvocationContext(Protocol):
    """What is needed of Lambda's context object."""

    aws_request_id: str
    function_name: str


class InvocationIds(msgspec.Struct, frozen=True):
    """What names an invocation; `trace_id` is X-Ray's, `None` where nothing is traced."""

    request_id: str
    function_name: str
    trace_id: str | None


current_invocation: ContextVar[InvocationIds | None] = ContextVar("current_invocation", default=None)
"""The invocation that is being handled; every line that is logged meanwhile carries its ids."""


class Invocation:
    """What is known of one invocation. Durations are whole milliseconds from its beginning.

    Attributes:
        key: the conversation, once the request names one that its sender may see.
        error: why it was refused or failed.
        started_ms: until the first frame was handed over; `None` where nothing is streamed.
        report: of its turn.
        logs: where metrics go; none are written before it is known.
    """

    def __init__(self, ids: InvocationIds, *, is_cold_start: bool) -> None:
        self.ids = ids
        self.is_cold_start = is_cold_start
        self.key: ConversationKey | None = None
        self.error: ErrorCode | None = None
        self.started_ms: int | None = None
        self.report: TurnReport | None = None
        self.logs: Logs | None = None
        self._began = time.monotonic()

    def started(self) -> None:
        """The first frame was handed over."""
        self.started_ms = self.elapsed_ms()

    def turn_ended(self, report: TurnReport) -> None:
        """Take a turn's report; of several attempts at a turn, the last one counts."""
        self.report = report
        self.error = report.error

    def elapsed_ms(self) -> int:
        """Milliseconds since the beginning."""
        return round((time.monotonic() - self._began) * 1000)


@asynccontextmanager
async def observed(context: InvocationContext) -> AsyncIterator[Invocation]:
    """Observe one invocation; however it ends, it is logged and counted before Lambda freezes."""
    global _is_cold  # noqa: PLW0603 (a process is cold once)
    ids = InvocationIds(context.aws_request_id, context.function_name, _trace_id())
    invocation = Invocation(ids, is_cold_start=_is_cold)
    _is_cold = False
    token = current_invocation.set(ids)
    try:
        yield invocation
    finally:
        try:
            if not _is_loaded:
                await asyncio.to_thread(load)
        finally:
            # Also when the wait is cancelled.
            _emit(invocation)
            current_invocation.reset(token)


def load() -> None:
    """Import what formats and counts: some 50 ms, once a process."""
    global _is_loaded  # noqa: PLW0603 (of the process)
    import coachstream.observability.line

    with suppress(ModuleNotFoundError):  # Powertools is there where metrics are wanted
        import coachstream.observability.metrics  # noqa: F401

    _is_loaded = True


def _emit(invocation: Invocation) -> None:
    from coachstream.observability.line import fields_of, level_of, sentence_of

    total_ms = invocation.elapsed_ms()
    logger.log(level_of(invocation), sentence_of(invocation, total_ms), extra=fields_of(invocation, total_ms))
    namespace = None if invocation.logs is None else invocation.logs.metrics_namespace
    if namespace is not None:
        from coachstream.observability.metrics import write_metrics

        write_metrics(invocation, namespace=namespace)


def _trace_id() -> str | None:
    """The root of `Root=1-…;Parent=…;Sampled=1` (X-Ray developer guide, "Tracing header")."""
    header = os.environ.get("_X_AMZN_TRACE_ID", "")
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == "Root" and value:
            return value
    return None
