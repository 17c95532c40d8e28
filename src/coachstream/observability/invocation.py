"""One invocation as the log and the metrics tell it: ids, codes, counts, durations, and nothing else.

What goes in here is typed, so that no text, token or header can get into a log by mistake. The heavy parts,
which format and count, are imported when it is over, not before its first byte.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from coachstream.conversation.errors import ErrorCode, whereabouts
from coachstream.observability.ids import InvocationIds, current_invocation, loggable_id, trace_id_of

if TYPE_CHECKING:
    from coachstream.conversation.model import ConversationKey
    from coachstream.conversation.report import TurnReport
    from coachstream.settings import Logs

logger = logging.getLogger("coachstream.invocation")

# Of the process, and nothing of a user's; counting is one step, also where threads handle invocations.
_invocations = itertools.count()


class InvocationContext(Protocol):
    """What is needed of Lambda's context object."""

    aws_request_id: str
    function_name: str


class Invocation:
    """What is known of one invocation. Durations are whole milliseconds from its beginning.

    Attributes:
        key: the conversation, once the request names one that its sender may see.
        error: why it was refused or failed.
        cause: where an exception came from that nobody caught; never its text.
        is_cut_off: whether it was cancelled.
        started_ms: until the first frame was handed over; `None` where nothing is streamed.
        report: of its turn.
        turn_began_ms: until that turn began.
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
        self.turn_began_ms: int | None = None
        self.logs: Logs | None = None
        self._began = time.monotonic()

    @property
    def first_chunk_ms(self) -> int | None:
        """Until the first chunk; `None` where there was none, or the reply had been there already."""
        report = self.report
        if self.turn_began_ms is None or report is None or report.first_chunk_ms is None:
            return None
        return None if report.was_answered else self.turn_began_ms + report.first_chunk_ms

    def started(self) -> None:
        """The first frame was handed over."""
        self.started_ms = self.elapsed_ms()

    def turn_ended(self, report: TurnReport) -> None:
        """Take a turn's report, at its end; of several attempts at a turn, the last one counts."""
        self.report = report
        self.error = report.error
        self.turn_began_ms = max(0, self.elapsed_ms() - report.total_ms)

    def broke(self, error: Exception) -> None:
        """An exception that nobody caught ends it."""
        self.error = self.error or ErrorCode.PROCESSING_ERROR
        self.cause = whereabouts(error)

    def elapsed_ms(self) -> int:
        """Milliseconds since the beginning."""
        return round((time.monotonic() - self._began) * 1000)


@contextmanager
def observed(context: InvocationContext, event: object = None) -> Iterator[Invocation]:
    """Observe one invocation; however it ends, it is logged and counted before Lambda freezes.

    Args:
        context: gives the request's id.
        event: gives the trace where many invocations share a process; nothing else of it is looked at.
    """
    ids = InvocationIds(
        request_id=loggable_id(context.aws_request_id),
        function_name=loggable_id(context.function_name or ""),
        trace_id=trace_id_of(event),
    )
    invocation = Invocation(ids, is_cold_start=_is_cold_start())
    token = current_invocation.set(ids)
    try:
        yield invocation
    except Exception as error:
        invocation.broke(error)
        raise
    except BaseException:
        invocation.is_cut_off = True
        raise
    finally:
        _emit(invocation)
        current_invocation.reset(token)


def _is_cold_start() -> bool:
    """Whether the user waited for the process to start: the first invocation, unless started ahead of it."""
    is_first = next(_invocations) == 0
    return is_first and os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "provisioned-concurrency"


def _emit(invocation: Invocation) -> None:
    """Log and count; what fails here fails nothing else."""
    from coachstream.observability.line import fields_of, level_of, sentence_of

    total_ms = invocation.elapsed_ms()
    logger.log(level_of(invocation), sentence_of(invocation, total_ms), extra=fields_of(invocation, total_ms))
    namespace = None if invocation.logs is None else invocation.logs.metrics_namespace
    if namespace is not None:
        try:
            from coachstream.observability.metrics import metrics_of
            from coachstream.observability.output import print_line

            print_line(metrics_of(invocation, namespace=namespace))
        except Exception as error:  # noqa: BLE001 (the response has been given)
            logger.error("The metrics are lost: %s", whereabouts(error))  # noqa: TRY400
