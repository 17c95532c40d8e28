"""The one event loop of a process that handles invocations one after the other.

It is created at the first invocation, hence after a SnapStart restore and after a fork, and kept, so that
clients with open connections survive from one invocation to the next. Nothing else survives: each invocation
has a copy of its caller's context variables, and tasks that it leaves running are cancelled.

SIGTERM during an invocation shuts down gracefully: it cancels the invocation, which can save its state, and
then ends the process. Between invocations, or where the signal has another handler, nothing changes.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final, TypeVar

logger = logging.getLogger("lambda_streaming")

T = TypeVar("T")

MAX_CLEAN_UP_S: Final = 1.0
"""How long leftover tasks may take to release their resources; the function is billed for it."""


class HandlerCancelled(RuntimeError):
    """Raised when a handler lets its own cancellation propagate.

    `asyncio.CancelledError` is not an `Exception`, so it would end the runtime instead of being reported.
    """

    def __init__(self) -> None:
        super().__init__("The handler was cancelled, by code that it called or by SIGTERM")


class InvocationLoop:
    """Runs the coroutines of invocations, one at a time, on a loop that outlives them."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run asynchronous work to completion, and leave no task running into a later invocation.

        Raises:
            RuntimeError: called on a running event loop; use `lambda_streaming.asgi` there.
            HandlerCancelled: the work was cancelled from inside.
            KeyboardInterrupt: SIGINT arrived, and the work was cancelled.
        """
        if _is_running():
            raise RuntimeError(
                "A streaming handler was called on a running event loop. Serve it there with "
                "lambda_streaming.asgi(handler), or await lambda_streaming.invoke_streaming(...)."
            )
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            # Without this argument, the runner would share one context between all invocations.
            return self._runner.run(_leaving_no_task(work), context=contextvars.copy_context())
        except asyncio.CancelledError as error:
            raise HandlerCancelled from error


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _leaving_no_task(work: Callable[[], Awaitable[T]]) -> T:
    before = asyncio.all_tasks()
    termination = _Termination()
    try:
        return await work()
    finally:
        termination.carry_out()
        if left := asyncio.all_tasks() - before:
            logger.warning(
                "The handler returned while %d of its tasks were still running; they are cancelled, because "
                "Lambda freezes a function between invocations: %s",
                len(left),
                _names(left),
            )
            await _cancel_all_but(before)


class _Termination:
    """Handles SIGTERM during an invocation: cancels its task, and terminates the process afterwards."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._arrived = False
        self._is_watched = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        )
        if self._is_watched:
            signal.signal(signal.SIGTERM, self._on_signal)

    def carry_out(self) -> None:
        """Terminate the process if the signal arrived; otherwise restore the default action."""
        # The invocation may have installed a signal handler of its own meanwhile.
        if self._is_watched and signal.getsignal(signal.SIGTERM) == self._on_signal:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if self._arrived:
                signal.raise_signal(signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (as signal calls it)
        if not self._arrived and self._task is not None:
            self._arrived = True
            # Thread-safe, so that it also wakes a loop that waits for I/O.
            self._loop.call_soon_threadsafe(self._task.cancel)


async def _cancel_all_but(kept: set[asyncio.Task[object]]) -> None:
    """Cancel tasks, and those that they start meanwhile; wait at most `MAX_CLEAN_UP_S`."""
    until = asyncio.get_running_loop().time() + MAX_CLEAN_UP_S
    cancelled: set[asyncio.Task[object]] = set()
    while left := asyncio.all_tasks() - kept:
        for task in left - cancelled:
            task.cancel()
        cancelled |= left
        remaining_s = until - asyncio.get_running_loop().time()
        if remaining_s <= 0:
            logger.error(
                "%d tasks ignore their cancellation; they will continue to run during a later invocation: %s",
                len(left),
                _names(left),
            )
            return
        await asyncio.wait(left, timeout=remaining_s, return_when=asyncio.FIRST_COMPLETED)


def _names(tasks: set[asyncio.Task[object]]) -> str:
    return ", ".join(sorted(_name(task) for task in tasks))


def _name(task: asyncio.Task[object]) -> str:
    work = task.get_coro()
    return getattr(work, "__qualname__", None) or task.get_name()
