"""The one event loop of a process that handles invocations one after the other.

It is made at the first invocation, hence after a SnapStart restore and after a fork, and kept, so that
clients with open connections survive from one invocation to the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

logger = logging.getLogger("lambda_streaming")

T = TypeVar("T")


class HandlerCancelled(RuntimeError):
    """Raised when a handler let its own cancellation out.

    `asyncio.CancelledError` is no `Exception`, so the runtime would die of it instead of reporting it.
    """


class InvocationLoop:
    """Runs coroutines of invocations, one at a time, on a loop that outlives them."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run asynchronous work to its end, and leave no task behind that a later invocation would resume.

        Raises:
            RuntimeError: called on a running event loop; `lambda_streaming.asgi` serves there.
            HandlerCancelled: the work was cancelled from inside.
        """
        if _is_running():
            raise RuntimeError(
                "A streaming handler was called on a running event loop. Serve it there with "
                "lambda_streaming.asgi(handler), or await lambda_streaming.invoke_streaming(...)."
            )
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_leaving_no_task(work))


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _leaving_no_task(work: Callable[[], Awaitable[T]]) -> T:
    before = asyncio.all_tasks()
    try:
        return await work()
    except asyncio.CancelledError as error:
        raise HandlerCancelled("The handler was cancelled by something it started itself") from error
    finally:
        left = asyncio.all_tasks() - before
        if left:
            logger.warning(
                "The handler returned while %d of its tasks still ran; they are cancelled, as Lambda freezes "
                "a function between invocations: %s",
                len(left),
                ", ".join(sorted(_name(task) for task in left)),
            )
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


def _name(task: asyncio.Task[object]) -> str:
    work = task.get_coro()
    return getattr(work, "__qualname__", None) or task.get_name()
