"""The time of a turn: until when it may work, save and end, and what ends its work sooner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from coachstream.conversation.errors import DeadlineExceeded
from coachstream.conversation.ports import Clock

T = TypeVar("T")

# How the reserve is spent when everything hangs: what remains is for sending the last event, because Lambda
# stops the process at the deadline.
SHARE_FOR_STOPPING_THE_MODEL = 0.1
SHARE_FOR_SAVING = 0.7


class WorkInterrupted(Exception):
    """The work must end before its time."""


class TurnTime:
    """One turn's. Work that is waited for with `in_time` ends at the save deadline, or when interrupted."""

    def __init__(self, clock: Clock, *, deadline: float, save_reserve_s: float) -> None:
        self.deadline = deadline
        self.save_deadline = deadline - save_reserve_s
        self.save_reserve_s = save_reserve_s
        self._clock = clock
        self._began = clock.monotonic()
        self._is_interrupted = False
        self._limit: asyncio.Timeout | None = None

    def elapsed_ms(self) -> int:
        """Whole milliseconds since the turn began."""
        return round((self._clock.monotonic() - self._began) * 1000)

    def seconds_until(self, moment: float) -> float:
        """From now, not less than 0."""
        return max(0.0, moment - self._clock.monotonic())

    def saving_ends(self) -> float:
        """When a save that begins now must be over."""
        begins = min(self._clock.monotonic(), self.save_deadline)
        return begins + (SHARE_FOR_STOPPING_THE_MODEL + SHARE_FOR_SAVING) * self.save_reserve_s

    def interrupt(self) -> None:
        """End the work that is waited for, and all that would be."""
        self._is_interrupted = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def go_on(self) -> None:
        """Let work be waited for again."""
        self._is_interrupted = False

    def check(self) -> None:
        """Raise what `in_time` would, for work that never waits.

        Raises:
            WorkInterrupted, DeadlineExceeded: as named.
        """
        if self._is_interrupted:
            raise WorkInterrupted
        if self.seconds_until(self.save_deadline) == 0:
            raise DeadlineExceeded

    async def in_time(self, work: Awaitable[T]) -> T:
        """Wait for work while there is time to save what it may lead to.

        Raises:
            WorkInterrupted: it must end now.
            DeadlineExceeded: there is no time left.
        """
        limit = asyncio.timeout(0 if self._is_interrupted else self.seconds_until(self.save_deadline))
        try:
            async with limit:
                self._limit = limit
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise (WorkInterrupted if self._is_interrupted else DeadlineExceeded) from None
        finally:
            self._limit = None
