"""An event loop whose time passes only when everything waits, so that deadlines do not depend on the machine.

Time stands still while a thread of the loop's executor works. Code that waits for another process or a socket
needs real time: here the clock would jump to the next timer while the other side is still working.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

TICK_S = 1e-6
"""How far each reading of the clock advances it, so that code that never waits still reaches its deadline."""


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.working_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or (timeout > 0 and self.working_threads):
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.now_s += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds since an arbitrary moment."""
        self._clock.now_s += TICK_S
        return self._clock.now_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Arguments]], T], *args: *Arguments
    ) -> asyncio.Future[T]:
        """As the base class does; the clock stops until the result is there, which wakes the selector."""
        self._clock.working_threads += 1
        result = super().run_in_executor(executor, func, *args)
        result.add_done_callback(self._note_result)
        return result

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        """Wait for the threads as long as it takes: virtual time would be up at once."""
        await super().shutdown_default_executor()

    def _note_result(self, _: asyncio.Future[T]) -> None:
        self._clock.working_threads -= 1


VIRTUAL_TIME: tuple[str, Mapping[str, object]] = ("asyncio", {"loop_factory": VirtualTimeLoop})
"""An `anyio_backend` for tests that need no real time."""
