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

from coachstream.conversation.errors import ErrorCode, describe_exception
from coachstream.observability.ids import loggable_id, trace_id_of

if TYPE_CHECKING:
    from coachstream.conversation.model import ConversationKey
    from coachstream.conversation.turn.report import TurnReport
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
"""The invocation that is being handled; every line that is logged meanwhile carries its ids.

They are nothing of a user's: a connection that is opened meanwhile keeps them for as long as it lives.
"""


class Invocation:
    """What is known of one invocation. Durations are whole milliseconds from its beginning.

    Attributes:
        key: the conversation, once the request names one that its sender may see.
        error: why it was refused or failed.
        cause: type and describe_exception of an exception that nobody caught.
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


@asynccontextmanager
async def observed(context: InvocationContext, event: object = None) -> AsyncIterator[Invocation]:
    """Observe one invocation; however it ends, it is logged and counted before Lambda freezes.

    Args:
        context: names the invocation.
        event: names the trace where many invocations share a process; nothing else of it is looked at.
    """
    global _is_cold  # noqa: PLW0603 (a process is cold once)
    ids = InvocationIds(
        loggable_id(context.aws_request_id), loggable_id(context.function_name or ""), trace_id_of(event)
    )
    invocation = Invocation(ids, is_cold_start=_is_cold and not _was_started_ahead())
    _is_cold = False
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


def _was_started_ahead() -> bool:
    """Whether nobody waited for this process to start, even at its first invocation."""
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "provisioned-concurrency"


def _emit(invocation: Invocation) -> None:
    """Log and count; what fails here fails nothing else."""
    from coachstream.observability.line import fields_of, level_of, sentence_of

    total_ms = invocation.elapsed_ms()
    logger.log(level_of(invocation), sentence_of(invocation, total_ms), extra=fields_of(invocation, total_ms))
    namespace = None if invocation.logs is None else invocation.logs.metrics_namespace
    if namespace is not None:
        try:
            from coachstream.observability.metrics import write_metrics

            write_metrics(invocation, namespace=namespace)
        except Exception as error:  # noqa: BLE001 (the response has been given)
            logger.error("The metrics are lost: %s", describe_exception(error))  # noqa: TRY400
