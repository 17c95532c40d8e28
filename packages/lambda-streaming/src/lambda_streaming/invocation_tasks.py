"""What an invocation leaves behind, and what belongs to the process.

The rule: **a task belongs to the invocation in whose context it was created.** Tasks created elsewhere belong
to the process: by a lifespan, by a task of the process, or inside `process_long()`. They live on from one
invocation to the next. Tasks of the invocation that still run when it returns are cancelled, because Lambda
freezes a function between invocations and they would resume in the middle of a later one. Likewise,
asynchronous generators that the invocation began and did not finish are closed. Where several invocations run
at once (`multi_concurrent`), the end of one leaves the tasks and generators of the others alone.

The tasks of an ASGI app are not cancelled: under other servers they live on, and the app may have started
them in a task group of its lifespan, which a cancellation would end. The invocation waits a while for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, TypeAlias, TypeVar

from lambda_streaming.current_invocation import current

logger = logging.getLogger("lambda_streaming")

T = TypeVar("T")

MAX_CLEAN_UP_S: Final = 1.0
"""How long leftover tasks may take to release their resources; the function is billed for it."""

MAX_LEFTOVER_S: Final = 1.0
"""How long an invocation waits for the tasks that an app has left; the function is billed for it."""


class _OfInvocation:
    """What one invocation has started.

    Attributes:
        is_alone: whether no other invocation runs at the same time.
        tasks: those that it created.
        generators: the asynchronous generators that it began.
        had_generators: whether there has been any.
    """

    def __init__(self, *, is_alone: bool) -> None:
        self.is_alone = is_alone
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self.had_generators = False

    def begun(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Note a generator."""
        self.had_generators = True
        self.generators.add(generator)

    def suspended(self) -> list[AsyncGenerator[Any, Any]]:
        """Return the generators that are not finished, and that no task is running."""
        return [each for each in self.generators if _is_suspended(each)]


class _OfApp:
    """The tasks of an app, and the invocation during which it started them, which closes its generators."""

    def __init__(self, invocation: _OfInvocation | None) -> None:
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.invocation = invocation


# None stands for the process.
_owner: contextvars.ContextVar[_OfInvocation | _OfApp | None] = contextvars.ContextVar("_owner", default=None)


def _invocation_of(owner: _OfInvocation | _OfApp | None) -> _OfInvocation | None:
    return owner.invocation if isinstance(owner, _OfApp) else owner


_Tasks: TypeAlias = set["asyncio.Task[Any]"]


@contextlib.contextmanager
def process_long() -> Iterator[None]:
    """Let the tasks that are started inside the block live as long as the process.

    For a client that starts its background tasks when it is first used, which is during an invocation:

        with process_long():
            await client.connect()

    A lifespan needs no such block: its tasks belong to the process. Where invocations run at once, what is
    logged or printed inside the block has no request id, and is not traced.
    """
    owner, invocation = _owner.set(None), current.set(None)
    try:
        yield
    finally:
        current.reset(invocation)
        _owner.reset(owner)


class TasksOfApp:
    """Lets the tasks that are started inside the block finish, or live as long as the process.

    Those that run for longer than `MAX_LEFTOVER_S` after the block freeze with the environment, and resume in
    the next invocation. A class, because an asynchronous generator would be one more to watch for.
    """

    async def __aenter__(self) -> None:
        self._app = _OfApp(_invocation_of(_owner.get()))
        self._token = _owner.set(self._app)

    async def __aexit__(self, error_type: type[BaseException] | None, *error: object) -> None:
        """Wait for the tasks, unless the app has failed."""
        _owner.reset(self._token)
        if error_type is not None:
            return
        if left := {task for task in self._app.tasks if not task.done()}:
            _, running = await asyncio.wait(left, timeout=MAX_LEFTOVER_S)
            if running:
                logger.info("The app's tasks freeze until the next invocation: %s", _names(running))


def process_context() -> contextvars.Context:
    """Return a copy of the current context whose tasks belong to the process."""
    context = contextvars.copy_context()
    context.run(_owner.set, None)
    context.run(current.set, None)
    return context


class InvocationTasks:
    """Distinguishes the tasks of the process from those of invocations, on one event loop.

    Args:
        loop: the event loop, not running yet; its tasks so far belong to the process.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._of_process: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet(asyncio.all_tasks(loop))
        self._make_task = loop.get_task_factory() or _make_task
        self._reported: set[str] = set()
        self._note_generator_of_loop: Callable[[AsyncGenerator[Any, Any]], object] | None = None
        loop.set_task_factory(self._create)  # type: ignore[arg-type]  # its protocol differs between Pythons

    async def run(self, work: Callable[[], Awaitable[T]], *, is_alone: bool = True) -> T:
        """Run the current task as an invocation, and afterwards close and cancel what it left behind.

        Args:
            work: what the invocation does.
            is_alone: whether no other invocation runs at the same time, so that each task that does not
                belong to the process must be its own.
        """
        invocation = _OfInvocation(is_alone=is_alone)
        _owner.set(invocation)
        self._watch_generators()
        try:
            return await work()
        finally:
            await self._clean_up(invocation)

    async def cancel_all(self, within_s: float) -> None:
        """Cancel every task but the current one, those of the process included, and wait for their end.

        Args:
            within_s: how long to wait, in seconds.
        """
        await _cancel(lambda: asyncio.all_tasks() - _current(), within_s)

    def _watch_generators(self) -> None:
        """Note each generator that is begun; the event loop sets its own hook whenever it starts."""
        hooks = sys.get_asyncgen_hooks()
        if hooks.firstiter != self._note_generator:
            self._note_generator_of_loop = hooks.firstiter
            sys.set_asyncgen_hooks(firstiter=self._note_generator)

    def _note_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        invocation = _invocation_of(_owner.get())
        if invocation is not None:
            invocation.begun(generator)
        if self._note_generator_of_loop is not None:
            self._note_generator_of_loop(generator)

    async def _clean_up(self, invocation: _OfInvocation) -> None:
        await self._close(invocation)
        if left := self._left(invocation):
            self._report(left)
            await _cancel(lambda: self._left(invocation), MAX_CLEAN_UP_S)
            await self._close(invocation)  # those that only a cancelled task held

    async def _close(self, invocation: _OfInvocation) -> None:
        """Close unfinished generators, in at most `MAX_CLEAN_UP_S`, except those that a task is running."""
        if not invocation.had_generators:
            return
        await asyncio.sleep(0)  # the loop itself closes, in a task, those that nothing refers to any more
        closing = {task for task in self._left(invocation) if _closes_generator(task)}
        closing |= {asyncio.ensure_future(_aclose(each)) for each in invocation.suspended()}
        if not closing:
            return
        done, late = await asyncio.wait(closing, timeout=MAX_CLEAN_UP_S)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("An asynchronous generator failed when it was closed", exc_info=error)
        if late:
            logger.error("%d asynchronous generators take too long to close", len(late))

    def _left(self, invocation: _OfInvocation) -> _Tasks:
        if invocation.is_alone:
            # A task that is not known is its own: another task factory may have replaced ours.
            left = {task for task in asyncio.all_tasks() if task not in self._of_process}
        else:
            left = {task for task in invocation.tasks if not task.done()}
        return left - _current()

    def _report(self, left: _Tasks) -> None:
        names = _names(left)
        # Some libraries start a watcher at each request; naming it once is enough.
        level = logging.DEBUG if names in self._reported else logging.WARNING
        self._reported.add(names)
        logger.log(
            level,
            "The handler returned while %d of its tasks were still running; they are cancelled, because "
            "Lambda freezes a function between invocations. Await them, or start those that should live as "
            "long as the process in the lifespan or inside lambda_streaming.process_long(): %s",
            len(left),
            names,
        )

    def _create(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Any],
        **options: Any,  # noqa: ANN401
    ) -> asyncio.Future[Any]:
        task = self._make_task(loop, work, **options)
        owner = _owner.get()
        if isinstance(task, asyncio.Task):
            if owner is not None:
                owner.tasks.add(task)
            if not isinstance(owner, _OfInvocation):
                self._of_process.add(task)
        return task


def _make_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any],
    **options: Any,  # noqa: ANN401
) -> asyncio.Task[Any]:
    return asyncio.Task(work, loop=loop, **options)


def _current() -> _Tasks:
    task = asyncio.current_task()
    return set() if task is None else {task}


async def _aclose(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


def _closes_generator(task: asyncio.Task[Any]) -> bool:
    return type(task.get_coro()).__name__ == "async_generator_athrow"


def _is_suspended(generator: AsyncGenerator[Any, Any]) -> bool:
    return getattr(generator, "ag_frame", None) is not None and not getattr(generator, "ag_running", True)


async def _cancel(left_of: Callable[[], _Tasks], within_s: float) -> None:
    """Cancel tasks, and those that they start meanwhile; wait for a limited time."""
    until = asyncio.get_running_loop().time() + within_s
    cancelled: _Tasks = set()
    while left := left_of():
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


def _names(tasks: _Tasks) -> str:
    return ", ".join(sorted(_name(task) for task in tasks))


def _name(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", None) or task.get_name()
