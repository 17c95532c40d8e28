"""An event loop on which external calls are made one at a time, in a reproducible order.

Time advances only when every task waits for it: it stands still while a call is in progress, however long the
other side takes. A call begins when all tasks wait, and a seed selects which of the requested calls it is. So
nothing on this loop depends on the speed of a thread, a disk or a server.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar, cast

from support.patience import PATIENCE_S

T = TypeVar("T")

TICK_S = 1e-6
"""The virtual duration of each loop iteration, so that very short timeouts expire."""


class CallsInTurn:
    """The requested calls, of which at most one is in progress.

    Attributes:
        is_one_under_way: whether a call is in progress.
    """

    def __init__(self, order: Random) -> None:
        self.is_one_under_way = False
        self._order = order
        self._waiting: list[asyncio.Future[None]] = []
        self._urgent: list[asyncio.Future[None]] = []
        self._left = 0
        self._on_reached: Callable[[], None] | None = None

    async def make(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call when its turn comes."""
        async with self._turn(self._waiting, on_end=self._count):
            return await call()

    async def look(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call before all others, without counting it."""
        async with self._turn(self._urgent, on_end=lambda: None):
            return await call()

    async def made(self, number: int, then: Callable[[], None], *, within_s: float) -> None:
        """Wait for this many more calls, or until the time is up; then do something.

        It is done before the task that made the last call gets its result.
        """
        reached = asyncio.get_running_loop().create_future()

        def reach() -> None:
            self._on_reached = None
            then()
            reached.set_result(None)

        self._left, self._on_reached = number, reach
        if number == 0:
            reach()
        await asyncio.wait((reached,), timeout=within_s)
        if not reached.done():
            reach()

    def begin_one(self) -> bool:
        """Begin a call, if one is requested and none is under way; return whether one is under way."""
        asked_for = self._urgent or self._waiting
        if asked_for and not self.is_one_under_way:
            self.is_one_under_way = True
            asked_for.pop(self._order.randrange(len(asked_for))).set_result(None)
        return self.is_one_under_way

    @asynccontextmanager
    async def _turn(
        self, queue: list[asyncio.Future[None]], on_end: Callable[[], None]
    ) -> AsyncGenerator[None, None]:
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
            yield
        finally:
            if turn in queue:
                queue.remove(turn)
            else:
                self.is_one_under_way = False
                on_end()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0 and self._on_reached is not None:
            self._on_reached()


class _InTurn:
    def __init__(self, target: object, calls: CallsInTurn) -> None:
        self._target = target
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        method = getattr(self._target, name)

        async def call(*args: object, **more: object) -> object:
            return await self._calls.make(lambda: method(*args, **more))

        return call


def in_turn(target: T, calls: CallsInTurn) -> T:
    """Wrap an object so that each of its coroutine methods becomes a call made in turn."""
    return cast("T", _InTurn(target, calls))


class CallsInTurnLoop(asyncio.SelectorEventLoop):
    """An event loop that makes external calls through `CallsInTurn` only.

    Attributes:
        calls: the calls made on this loop.
    """

    def __init__(self, order: Random) -> None:
        self.calls = CallsInTurn(order)
        self._selector_of_time = _Selector(self.calls)
        super().__init__(self._selector_of_time)

    def time(self) -> float:
        """Seconds since an arbitrary moment."""
        return self._selector_of_time.now_s


class _Selector(selectors.DefaultSelector):
    """Waits for the call in progress; otherwise begins one, or moves the clock to the next timer."""

    def __init__(self, calls: CallsInTurn) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self._calls = calls

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._calls.is_one_under_way:
            if timeout is not None and timeout <= 0:
                return super().select(0)
            ready = super().select(PATIENCE_S)
            assert ready, "a call did not return"
            return ready
        self.now_s += TICK_S
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0) or self._calls.begin_one():
            return ready
        assert timeout is not None, "deadlock: all tasks wait for each other"
        self.now_s += timeout
        return ready
