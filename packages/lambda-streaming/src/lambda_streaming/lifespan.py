"""A lifetime between "one invocation" and "none": resources that live as long as the process.

A lifespan is an asynchronous context manager. It is entered once, in a task of its own that also leaves it
(cancel scopes require that), on the event loop that the invocations use. Under `lambda_streaming`'s runtime
that is in the INIT phase, or after the restore with SnapStart; elsewhere at the first invocation.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeAlias

from lambda_streaming.invocation_tasks import process_context

logger = logging.getLogger("lambda_streaming")

LifespanFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
"""Makes the context manager, as a function decorated with `contextlib.asynccontextmanager` does."""

_state: contextvars.ContextVar[Any] = contextvars.ContextVar("lifespan_state")


def lifespan_state() -> Any:  # noqa: ANN401 (whatever the lifespan yields)
    """Return what the lifespan of the running handler has yielded.

    Raises:
        LookupError: there is no invocation, or its handler has no lifespan.
    """
    try:
        return _state.get()
    except LookupError:
        raise LookupError(
            "There is no lifespan here: pass one as @streamify_response(lifespan=...), and ask during an "
            "invocation."
        ) from None


# In the order in which they were entered. An event loop refers to its tasks weakly: a lifespan must not end
# when its handler is collected.
_running: dict[asyncio.Task[None], Lifespan] = {}


def running_lifespans(loop: asyncio.AbstractEventLoop) -> list[Lifespan]:
    """Return the lifespans that were entered on a loop and not left, in that order."""
    return [lifespan for living, lifespan in _running.items() if living.get_loop() is loop]


class Lifespan:
    """One handler's lifespan: started once for each event loop, and stopped with it."""

    def __init__(self, make: LifespanFactory) -> None:
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._living: asyncio.Task[None] | None = None
        self._entered: asyncio.Future[Any] | None = None
        self._stopping: asyncio.Event | None = None

    async def start(self) -> None:
        """Enter the context manager, unless this loop has done so already, and wait until it has yielded.

        Raises:
            Exception: whatever the context manager raises; the next call tries again.
        """
        loop = asyncio.get_running_loop()
        if self._entered is None or self._loop is not loop:
            self._loop, self._entered, self._stopping = loop, loop.create_future(), asyncio.Event()
            self._living = process_context().run(loop.create_task, self._live(self._entered, self._stopping))
            _running[self._living] = self
            self._living.add_done_callback(_running.pop)
        try:
            await asyncio.shield(self._entered)
        except Exception:
            self._entered = None
            raise

    @contextmanager
    def available(self) -> Iterator[None]:
        """Let `lifespan_state` return the state inside the block; requires that `start` has returned."""
        token = None if self._entered is None else _state.set(self._entered.result())
        try:
            yield
        finally:
            if token is not None:
                _state.reset(token)

    async def stop(self, within_s: float) -> None:
        """Leave the context manager; a failure is logged.

        Args:
            within_s: how long that may take, in seconds; then it is cancelled.
        """
        living, self._living, self._entered = self._living, None, None
        if living is None or self._stopping is None or living.get_loop() is not asyncio.get_running_loop():
            return
        self._stopping.set()
        _, late = await asyncio.wait({living}, timeout=within_s)
        if late:
            logger.error("The lifespan has not shut down within %.2g s", within_s)
            living.cancel()
        elif not living.cancelled() and (error := living.exception()) is not None:
            logger.error("The lifespan failed when it shut down", exc_info=error)

    async def _live(self, entered: asyncio.Future[Any], stopping: asyncio.Event) -> None:
        try:
            async with self._make() as state:
                entered.set_result(state)
                await stopping.wait()
        except Exception as error:
            if entered.done():
                raise
            entered.set_exception(error)
        finally:
            if not entered.done():
                entered.cancel()
