"""One event loop for invocations that run at once: threads request them, the loop runs their handlers.

Each thread requests an invocation, calls awslambdaric and so the handler with whatever wraps it, and waits
while the handler runs on the loop. So tools that wrap or patch what the stock runtime calls see each
invocation from its beginning to its end, and a thread costs a fraction of a process.

SIGTERM lets invocations finish for a while, then cancels them, so that they can save their state: see
`shutdown`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from lambda_streaming.current_invocation import CurrentInvocation, current
from lambda_streaming.event_loop import HandlerCancelled
from lambda_streaming.invocation_tasks import InvocationTasks
from lambda_streaming.shutdown import Shutdown

logger = logging.getLogger("lambda_streaming")

T = TypeVar("T")

MAX_BLOCKED_S: Final = 1.0
"""How long the event loop may be blocked before the log says so."""

_STACK_FRAMES: Final = 4


class InvocationTimedOut(Exception):
    """Raised in place of an invocation that has not ended at its deadline."""

    def __init__(self) -> None:
        super().__init__("The invocation was cancelled at its deadline; the others go on")


class _ProcessEnds(Exception):
    """Carries what ends the process out of a task: asyncio would leave the event loop with it at once."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class SharedLoop:
    """Runs invocations at once.

    Args:
        loop: the event loop.
        tasks: what belongs to its invocations.
        workers: each requests and handles one invocation whenever it is called; each has a thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tasks: InvocationTasks,
        workers: Sequence[Callable[[SharedLoop], None]],
    ) -> None:
        self._loop = loop
        self._tasks = tasks
        self._workers = workers
        self._running: set[CurrentInvocation] = set()  # changed by the threads
        self._handlers: set[asyncio.Task[Any]] = set()  # changed on the loop, as the rest
        self._is_closed = False
        self._stopping: asyncio.Future[Shutdown] = loop.create_future()
        self._broken: asyncio.Future[None] = loop.create_future()
        self._ended = asyncio.Event()

    async def serve(self) -> None:
        """Let invocations run until `stop` has been called and they have ended.

        Raises:
            BaseException: whatever ends the process; the log names the invocations that it ends. They are
                cancelled before, and may save their state.
        """
        for number, worker in enumerate(self._workers, 1):
            self._start_thread(f"invocation {number}", self._work, worker)
        self._start_thread("event loop watch", self._watch)
        await asyncio.wait((self._stopping, self._broken), return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            await self._cancel(Shutdown())
            self._broken.result()
        await self._drain(self._stopping.result())

    def stop(self, shutdown: Shutdown) -> None:
        """Begin no more invocations."""
        if not self._stopping.done():
            self._stopping.set_result(shutdown)

    @contextmanager
    def handling(self, invocation: CurrentInvocation) -> Iterator[None]:
        """Count an invocation as in flight; used in its thread and its context."""
        self._running.add(invocation)
        try:
            yield
        except BaseException as error:
            logger.critical("The process ends because of %r; invocations in flight: %s", error, self._names())
            raise
        finally:
            self._running.discard(invocation)
            self._call(self._ended.set)

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run the handler of the current invocation on the loop; called in the invocation's thread.

        Raises:
            HandlerCancelled: the work was cancelled.
            InvocationTimedOut: it has not ended at its deadline.
        """
        invocation = current.get()
        if invocation is None:
            raise RuntimeError("A streaming handler can be called only while an invocation is being handled")

        async def within_deadline() -> T:
            remaining_s = max(invocation.deadline_s - time.time(), 0)
            try:
                with self._cancellable():
                    async with asyncio.timeout(remaining_s) as deadline:
                        return await work()
            except TimeoutError:
                if deadline.expired():
                    raise InvocationTimedOut from None
                raise
            except (SystemExit, KeyboardInterrupt) as error:
                raise _ProcessEnds(error) from error

        running = self._tasks.run(within_deadline, is_alone=False)
        try:
            return asyncio.run_coroutine_threadsafe(running, self._loop).result()
        except concurrent.futures.CancelledError as error:
            raise HandlerCancelled from error
        except _ProcessEnds as ends:
            raise ends.error from None

    async def _drain(self, shutdown: Shutdown) -> None:
        is_drained = await self._all_ended(shutdown.drain_s())
        self._is_closed = True
        if not is_drained:
            logger.warning("SIGTERM cancels the invocations in flight: %s", self._names())
            await self._cancel(shutdown)

    async def _cancel(self, shutdown: Shutdown) -> None:
        self._is_closed = True
        for handler in self._handlers:
            # Not the future that its thread waits for: the thread must wait until the handler has ended.
            handler.cancel()
        await self._all_ended(shutdown.clean_up_s())

    @contextmanager
    def _cancellable(self) -> Iterator[None]:
        """Let SIGTERM cancel the current task, at once if the others have been waited for."""
        if self._is_closed:
            raise asyncio.CancelledError
        handler = asyncio.current_task()
        assert handler is not None, "it is entered by a coroutine"  # noqa: S101
        self._handlers.add(handler)
        try:
            yield
        finally:
            self._handlers.discard(handler)

    async def _all_ended(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                while self._running:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            return False
        return True

    @staticmethod
    def _start_thread(name: str, target: Callable[..., None], *arguments: object) -> None:
        # A daemon: a thread that waits for an invocation must not keep the process from ending.
        threading.Thread(target=target, args=arguments, name=name, daemon=True).start()

    def _work(self, worker: Callable[[SharedLoop], None]) -> None:
        try:
            while not (self._stopping.done() or self._broken.done()):
                worker(self)
        except BaseException as error:  # noqa: BLE001 (it ends the process, as on the main thread)
            self._call(self._break, error)

    def _break(self, error: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            logger.debug("The event loop was closed before the thread ended")

    def _names(self) -> str:
        return ", ".join(sorted(each.request_id for each in self._running.copy())) or "none"

    # --- what blocks the loop ---

    def _watch(self) -> None:
        """Ask the loop for a sign of life every `MAX_BLOCKED_S`, and report that none comes."""
        while True:
            time.sleep(MAX_BLOCKED_S)
            alive = threading.Event()
            self._call(alive.set)
            if not alive.wait(MAX_BLOCKED_S):
                if self._running:
                    self._report_blocked()
                alive.wait()

    def _report_blocked(self) -> None:
        main_thread = threading.main_thread().ident or 0
        frame = sys._current_frames().get(main_thread)  # noqa: SLF001 (documented for this purpose)
        stack = "".join(traceback.format_stack(frame)[-_STACK_FRAMES:])
        culprit = self._invocation_of_running_task()
        if culprit is not None:
            current.set(culprit)
        logger.warning(
            "The event loop has been blocked for %g s%s, so that no invocation goes on: await what takes "
            "long, or run it with asyncio.to_thread. In flight: %s\n%s",
            MAX_BLOCKED_S,
            "" if culprit is None else f" by {culprit.request_id}",
            self._names(),
            stack,
        )
        current.set(None)

    def _invocation_of_running_task(self) -> CurrentInvocation | None:
        task = asyncio.current_task(self._loop)
        # Python 3.11 does not reveal a task's context; Managed Instances have 3.13 and later.
        context: contextvars.Context | None = getattr(task, "get_context", lambda: None)()
        return None if context is None else context.get(current)
