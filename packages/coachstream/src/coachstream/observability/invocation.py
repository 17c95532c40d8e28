"""One invocation as the log and the metrics show it: ids, codes, counts, durations, and nothing else.

What goes in here is typed, so that no text, token or header can get into a log by mistake.
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
    """What names an invocation; `trace_id` is X-Ray's, `None` where nothing is traced."""

    request_id: str
    function_name: str
    trace_id: str | None


current_invocation: ContextVar[InvocationIds | None] = ContextVar("current_invocation", default=None)
"""The invocation that is being handled; every line that is logged meanwhile carries its ids.

They are nothing of a user's: a connection that is opened meanwhile keeps them for as long as it lives.
"""


class Invocation:
    """What is known of one invocation. Durations are whole milliseconds from its beginning.

    Attributes:
        key: the conversation, once the request names one that its sender may see.
        error: why it was refused or failed.
        cause: type and place of an exception that nobody caught.
        is_cut_off: whether it was cancelled.
        started_ms: until the first frame was handed over; `None` where nothing is streamed.
        report: of its turn.
        logs: where metrics go; none are written before it is known.
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
        """The first frame was handed over."""
        self.started_ms = self.elapsed_ms()

    def turn_ended(self, report: TurnReport) -> None:
        """Take a turn's report; of several attempts at a turn, the last one counts."""
        self.report = report
        self.error = report.error

    def broke(self, error: Exception) -> None:
        """An exception that nobody caught ends it."""
        self.error = self.error or ErrorCode.PROCESSING_ERROR
        self.cause = self.cause or describe_exception(error)

    def elapsed_ms(self) -> int:
        """Milliseconds since the beginning."""
        return round((time.monotonic() - self._began) * 1000)
