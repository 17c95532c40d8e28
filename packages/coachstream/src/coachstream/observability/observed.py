"""Observes invocations: logs and counts each one when it is over.

The formatting and metrics modules are imported then, not before the first byte, and off the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from coachstream.conversation.errors import describe_exception
from coachstream.observability.ids import loggable_id, trace_id_of
from coachstream.observability.invocation import Invocation, InvocationIds, current_invocation

logger = logging.getLogger("coachstream.invocation")

# State of the process; nothing of a user.
_is_cold = True
_is_loaded = False


class InvocationContext(Protocol):
    """The attributes used from Lambda's context object."""

    aws_request_id: str
    function_name: str


@asynccontextmanager
async def observed(context: InvocationContext, event: object = None) -> AsyncIterator[Invocation]:
    """Observe one invocation; however it ends, it is logged and counted before Lambda freezes the process.

    Args:
        context: has the ids of the invocation.
        event: has the trace id if many invocations share a process; nothing else of it is read.
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
            # Also if the wait is cancelled.
            _emit(invocation)
            current_invocation.reset(token)


def load() -> None:
    """Import the formatting and metrics modules: some 50 ms, once per process."""
    global _is_loaded  # noqa: PLW0603 (per process)
    import coachstream.observability.line

    with suppress(ModuleNotFoundError):  # Powertools is installed only if metrics are enabled
        import coachstream.observability.metrics  # noqa: F401

    _is_loaded = True


def _was_started_ahead() -> bool:
    """Whether the process was initialized before its first invocation, so that no client waited for it."""
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "provisioned-concurrency"


def _emit(invocation: Invocation) -> None:
    """Log and count; a failure here has no other effect."""
    from coachstream.observability.line import fields_of, level_of, sentence_of

    total_ms = invocation.elapsed_ms()
    logger.log(level_of(invocation), sentence_of(invocation, total_ms), extra=fields_of(invocation, total_ms))
    namespace = None if invocation.logs is None else invocation.logs.metrics_namespace
    if namespace is not None:
        try:
            from coachstream.observability.metrics import write_metrics

            write_metrics(invocation, namespace=namespace)
        except Exception as error:  # noqa: BLE001 (the response has been sent)
            logger.error("The metrics are lost: %s", describe_exception(error))  # noqa: TRY400
