"""The one event loop of a process, which handles invocations one after the other.

It is created for the first invocation, or for a lifespan in the INIT phase, hence after a fork, and kept, so
that clients with open connections survive from one invocation to the next. Each invocation has a copy of its
caller's context variables; what it leaves running is cancelled (`invocation_tasks`).

SIGTERM during an invocation shuts down gracefully: it cancels the invocation, which can save its state,
leaves the lifespans and then ends the process. Between invocations it leaves the lifespans. SIGINT cancels
the invocation as well. Where SIGTERM has another handler, of the function or of a tool, that one decides
during an invocation; between invocations it runs after the lifespans are left.

On a Managed Instance the loop can be shared by invocations that run at once (`shared_loop`). There, SIGTERM
first lets them end, then leaves the lifespans, and then runs the other handler.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import signal
import threading
import warnings
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Final, Protocol, TypeVar

from lambda_streaming.invocation_tasks import InvocationTasks
from lambda_streaming.lifespan import Lifespan, running_lifespans
from lambda_streaming.shutdown import Shutdown

logger = logging.getLogger("lambda_streaming")

T = TypeVar("T")


class HandlerCancelled(RuntimeError):
    """Raised when a handler lets its own cancellation propagate.

    `asyncio.CancelledError` is not an `Exception`, so it would end the runtime instead of being reported.
    """

    def __init__(self) -> None:
        super().__init__("The handler was cancelled: by code that it called, at its deadline, or by SIGTERM")


class Sharing(Protocol):
    """Runs the coroutines of several invocations at once."""

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run an invocation to completion; called in its thread."""
        ...

    async def serve(self) -> None:
        """Let invocations run until `stop` has been called and they have ended."""
        ...

    def stop(self, shutdown: Shutdown) -> None:
        """Begin no more invocations; called on the loop."""
        ...


class InvocationLoop:
    """Runs the coroutines of invocations, one at a time unless it is shared, on a loop that outlives them."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._tasks: InvocationTasks | None = None
        self._invocation: _Invocation | None = None
        self._sharing: Sharing | None = None
        self._shuts_down = False
        self._shutdown: Shutdown | None = None
        self._other_handler: Callable[[int, FrameType | None], object] | None = None

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run an invocation to completion, and leave none of its tasks running into a later one.

        Raises:
            RuntimeError: called on a running event loop; use `lambda_streaming.to_asgi` there.
            HandlerCancelled: the work was cancelled from inside.
            KeyboardInterrupt: SIGINT arrived, and the work was cancelled.
        """
        if _is_running():
            raise RuntimeError(
                "A streaming handler was called on a running event loop. Serve it there with "
                "lambda_streaming.to_asgi(handler), or await lambda_streaming.invoke_streaming(...)."
            )
        if self._sharing is not None:
            return self._sharing.run(work)
        runner, tasks = self._opened()
        loop = runner.get_loop()
        self._invocation = invocation = _Invocation(loop)
        try:
            # Not `Runner.run`: to replace the handler of SIGINT and restore it costs more than the task.
            return loop.run_until_complete(
                loop.create_task(invocation.run(work, tasks), context=contextvars.copy_context())
            )
        except asyncio.CancelledError as error:
            if invocation.cancelled_by is signal.SIGINT:
                raise KeyboardInterrupt from error
            raise HandlerCancelled from error
        finally:
            self._invocation = None
            if invocation.cancelled_by is signal.SIGTERM:
                self._terminate()
            if running_lifespans(loop):
                self._shut_down_at_sigterm()

    def share(self, begin: Callable[[asyncio.AbstractEventLoop, InvocationTasks], Sharing]) -> None:
        """Let other threads run invocations at once, until SIGTERM has arrived and they have ended.

        Args:
            begin: makes what runs them, of the event loop and what belongs to its invocations.

        Raises:
            BaseException: whatever ends the process, such as SystemExit in a handler.
        """
        runner, tasks = self._opened()
        loop = runner.get_loop()
        # Kept until the process ends: a thread that has asked for an invocation may be given one until then.
        self._sharing = sharing = begin(loop, tasks)
        self._shut_down_at_sigterm()
        if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            loop.add_signal_handler(signal.SIGTERM, lambda: sharing.stop(self._shutdown_begun()))
        runner.run(sharing.serve(), context=contextvars.copy_context())
        self._terminate()

    def start(self, lifespan: Lifespan) -> None:
        """Enter a lifespan before the first invocation, and leave it when the process ends.

        Raises:
            Exception: whatever the lifespan raises.
        """
        runner, _ = self._opened()
        runner.run(lifespan.start(), context=contextvars.copy_context())
        self._shut_down_at_sigterm()

    def close(self) -> None:
        """Leave the lifespans, and cancel the tasks of the process; called when the process ends."""
        if self._runner is None or self._tasks is None or _is_running():
            return
        if not (lifespans := running_lifespans(self._runner.get_loop())):
            return
        shutting_down = _shut_down(lifespans, self._tasks, self._shutdown_begun())
        self._runner.run(shutting_down, context=contextvars.copy_context())
        self._shutdown = None  # a handler of SIGTERM may let the process go on

    def _shutdown_begun(self) -> Shutdown:
        """Return the shutdown, which begins with the first call."""
        self._shutdown = self._shutdown or Shutdown()
        return self._shutdown

    def _opened(self) -> tuple[asyncio.Runner, InvocationTasks]:
        if self._runner is None or self._tasks is None:
            self._runner = _runner()
            self._tasks = InvocationTasks(self._runner.get_loop())
            self._handle_signals()
        return self._runner, self._tasks

    def _handle_signals(self) -> None:
        """Replace the default handlers; another one is left alone, unless there is something to shut down."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._on_sigterm)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_sigint)

    def _shut_down_at_sigterm(self) -> None:
        """From now on, shut down before a handler that SIGTERM already has; ignoring it is left alone."""
        if self._shuts_down or threading.current_thread() is not threading.main_thread():
            return
        self._shuts_down = True  # a handler that is installed later calls ours, or wants to be alone
        present = signal.getsignal(signal.SIGTERM)
        if callable(present) and present != self._on_sigterm:
            self._other_handler = present
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        if self._invocation is None:
            self._terminate(frame)
        elif self._other_handler is not None:
            self._other_handler(number, frame)
        else:
            self._shutdown_begun()
            self._invocation.cancel(signal.SIGTERM)

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        # As `asyncio.Runner`: the second one does not wait for the handler.
        if self._invocation is None or not self._invocation.cancel(signal.SIGINT):
            signal.default_int_handler(number, frame)

    def _terminate(self, frame: FrameType | None = None) -> None:
        # A second signal must not cut the shutdown short; Lambda sends SIGKILL if it takes too long.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            self.close()
        finally:
            signal.signal(signal.SIGTERM, self._other_handler or signal.SIG_DFL)
            if self._other_handler is None:
                signal.raise_signal(signal.SIGTERM)
            else:
                self._other_handler(signal.SIGTERM, frame)


invocation_loop: Final = InvocationLoop()
"""The process's loop."""


class _Invocation:
    """One invocation's task, and the signal that has cancelled it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self.cancelled_by: signal.Signals | None = None

    async def run(self, work: Callable[[], Awaitable[T]], tasks: InvocationTasks) -> T:
        self._task = asyncio.current_task()
        if self.cancelled_by is not None:
            raise asyncio.CancelledError
        return await tasks.run(work)

    def cancel(self, number: signal.Signals) -> bool:
        """Cancel the invocation, once; whether this was the first signal."""
        if self.cancelled_by is not None:
            return False
        self.cancelled_by = number
        if self._task is not None:
            # Thread-safe, so that it also wakes a loop that waits for I/O.
            self._loop.call_soon_threadsafe(self._task.cancel)
        return True


async def _shut_down(lifespans: list[Lifespan], tasks: InvocationTasks, shutdown: Shutdown) -> None:
    for lifespan in reversed(lifespans):
        await lifespan.stop(shutdown.leave_s())
    await tasks.cancel_all(shutdown.end_s())


def _runner() -> asyncio.Runner:
    # A pool that was opened on a loop of the module's own while it was imported works only on that loop.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # raised where there is no such loop
            loop = asyncio.get_event_loop()
    except (RuntimeError, DeprecationWarning):
        return asyncio.Runner()
    return (
        asyncio.Runner() if loop.is_closed() else asyncio.Runner(loop_factory=functools.partial(_same, loop))
    )


def _same(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    return loop


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
