"""A turn and its first reader are two things: the turn runs in a task of its own.

A reader that is slow makes the turn wait, but never past the point where its reply must be saved. One that
takes nothing for a while, a phone that was locked, is told to come again and holds nobody up: others may read
the same run. A reader that leaves does not stop the turn. Whoever leaves the `async with` waits for the
turn's end, because Lambda freezes a function that has answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Self

from coachstream.conversation.errors import ProcessingError, whereabouts
from coachstream.conversation.events import Completed, Event, Failed, LogPoint, Reconnect, Started
from coachstream.conversation.ports import Clock

logger = logging.getLogger("coachstream.turn")

CAPACITY = 32
"""Events that may wait for the reader."""

STALLED_AFTER_S = 10.0
"""How long a reader may take nothing while so many wait."""


class Audience:
    """Whether anybody still reads."""

    def __init__(self) -> None:
        self._has_left = False

    def has_left(self) -> bool:
        """Whether nobody does any more."""
        return self._has_left

    def leave(self) -> None:
        """Nobody does."""
        self._has_left = True


class TurnProducer:
    """Runs the events of a turn ahead of their reader; iterate over it to read them.

    Args:
        events: of the turn, made by `run_turn` or `resume_run`.
        audience: told when the reader leaves.
        stalled_after_s: how long the reader may take nothing.
        point: what the reader has of the run already, where the run is known.
        save_deadline: when the turn must not wait for the reader any more, in the clock's monotonic seconds.
        clock: the turn's.
    """

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        audience: Audience,
        *,
        save_deadline: float,
        clock: Clock,
        stalled_after_s: float = STALLED_AFTER_S,
        point: LogPoint | None = None,
    ) -> None:
        self._events = events
        self._audience = audience
        self._save_deadline = save_deadline
        self._clock = clock
        self._stalled_after_s = stalled_after_s
        self._point = point
        self._waiting: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def point(self) -> LogPoint | None:
        """What the reader can come back to, as soon as the run is known."""
        return self._point

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._produce(), name="turn")
        self._task.add_done_callback(lambda _: self._arrived.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._audience.leave()
        self._taken.set()
        task = self._task
        if task is None:
            return
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            task.cancel()  # whoever cancels the reader stops everything: the turn saves and ends
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait((task,))
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event as soon as it is there; the last one is `Completed` or `Failed`."""
        while not self._waiting:
            if self._task is None or self._task.done():
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        self._taken.set()
        return self._waiting.popleft()

    async def _produce(self) -> None:
        ended = False
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    ended = isinstance(event, Completed | Failed | Reconnect)
                    if not ended:
                        await self._wait_for_reader()
                    self._put(event)
        except Exception as error:  # noqa: BLE001 (a reader always gets a terminal event)
            logger.error("The turn broke: %s", whereabouts(error))  # noqa: TRY400 (its text may quote the user)
        finally:
            if not ended:
                self._put(Failed(ProcessingError.code, ProcessingError.sentence, ProcessingError.retryable))

    async def _wait_for_reader(self) -> None:
        while len(self._waiting) >= CAPACITY and not self._audience.has_left():
            self._taken.clear()
            left_s = max(0.0, self._save_deadline - self._clock.monotonic())
            try:
                async with asyncio.timeout(min(left_s, self._stalled_after_s)):
                    await self._taken.wait()
            except TimeoutError:
                if left_s <= self._stalled_after_s:
                    # The turn is told by its own clock, and ends: this event and the last are too many.
                    logger.warning("The reader is too slow; the turn ends without waiting for it")
                    return
                if self._point is not None:
                    logger.warning("The reader takes nothing; the run goes on without it")
                    self._put(Reconnect(self._point))
                    self._audience.leave()

    def _put(self, event: Event) -> None:
        if not self._audience.has_left():
            if not isinstance(event, Started):
                self._point = event.point or self._point
            self._waiting.append(event)
            self._arrived.set()
