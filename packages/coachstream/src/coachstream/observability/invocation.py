"""One invocation as the log and the metrics record it: ids, codes, counts, durations, and nothing else.

Its fields are typed, so that no text, token or header can get into a log by mistake.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec

from coachstream.conversation.errors import ErrorCode, describe_exception

if TYPE_CHECKING:
    from coachstream.conversation.model import ConversationKey
    from coachstream.conversation.turn.report import TurnReport
    from coachstream.settings import Logs


class InvocationIds(msgspec.Struct, frozen=True):
    """The ids of an invocation; `trace_id` is X-Ray's, `None` if it is not traced."""

    request_id: str
    function_name: str
    trace_id: str | None


current_invocation: ContextVar[InvocationIds | None] = ContextVar("current_invocation", default=None)
"""The current invocation; every line that it logs has its ids.

They contain no user data: a connection that is opened meanwhile keeps them for its lifetime.
"""


class Invocation:
    """The state of one invocation. Durations are whole milliseconds from its beginning.

    Attributes:
        key: the conversation, once the request is authorized for it.
        error: why it was rejected or failed.
        cause: type and place of an uncaught exception.
        is_cut_off: whether it was cancelled.
        started_ms: until the first frame was sent; `None` if nothing is streamed.
        report: the report of its turn.
        logs: the log settings; no metrics are written before they are known.
    """

    def __init__(self, ids: InvocationIds, *, is_cold_start: bool) -> None:
        self.ids = ids
        self.is_cold_start = is_cold_start
        self.key: ConversationKey | None = None
        self.error: ErrorCode | None = None
        self.cause: str | None = None
        self.is_cut_off = False
        self.started_ms: int | None = None
        self.report: TurnReport | None = None
        self.logs: Logs | None = None
        self._began = time.monotonic()

    def started(self) -> None:
        """Record that the first frame was sent."""
        self.started_ms = self.elapsed_ms()

    def turn_ended(self, report: TurnReport) -> None:
        """Record a turn's report; the last attempt at a turn counts."""
        self.report = report
        self.error = report.error

    def broke(self, error: Exception) -> None:
        """Record an uncaught exception."""
        self.error = self.error or ErrorCode.PROCESSING_ERROR
        self.cause = self.cause or describe_exception(error)

    def elapsed_ms(self) -> int:
        """Milliseconds since the beginning."""
        return round((time.monotonic() - self._began) * 1000)
