"""The deadline of a turn: how long it may work, save and finish, and what interrupts it earlier."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import TypeVar

from coachstream.conversation.errors import DeadlineExceeded
from coachstream.conversation.ports import Clock

T = TypeVar("T")

# How the reserve is spent if everything hangs. The rest is for sending the last event, because Lambda
# stops the process at the deadline.
SHARE_FOR_STOPPING_THE_MODEL = 0.1
SHARE_FOR_SAVING = 0.7


class WorkInterrupted(Exception):
    """The work must end before its deadline."""


class TurnDeadline:
    """The deadline of one turn. All times are in seconds on the monotonic clock.

    Attributes:
        at: when the turn must be over.
        save_at: when its work must end, so that the reply can be saved.
        save_reserve_s: the time between the two.
    """

    def __init__(self, clock: Clock, *, at: float, save_reserve_s: float) -> None:
        self.at = at
        self.save_at = at - save_reserve_s
        self.save_reserve_s = save_reserve_s
        self._clock = clock
        self._began = clock.monotonic()
        self._is_interrupted = False
        self._limit: asyncio.Timeout | None = None

    @property
    def queue_until(self) -> float:
        """When a turn stops waiting in the queue: a reply that begins then has the other half of the time."""
        return (self._began + self.save_at) / 2

    def begin_now(self) -> None:
        """Measure the turn from now on: it has waited for others until now."""
        self._began = self._clock.monotonic()

    def elapsed_ms(self) -> int:
        """Whole milliseconds since the turn began."""
        return round((self._clock.monotonic() - self._began) * 1000)

    def seconds_until(self, moment: float) -> float:
        """Seconds from now until a moment; never negative."""
        return max(0.0, moment - self._clock.monotonic())

    def seconds_to_save(self) -> float:
        """How long a save that starts now may take."""
        begins = min(self._clock.monotonic(), self.save_at)
        ends = begins + (SHARE_FOR_STOPPING_THE_MODEL + SHARE_FOR_SAVING) * self.save_reserve_s
        return self.seconds_until(ends)

    def interrupt(self) -> None:
        """Interrupt the work that is awaited with `bound`, now and from now on."""
        self._is_interrupted = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def lift_interruption(self) -> None:
        """Allow work to be awaited again."""
        self._is_interrupted = False

    def check(self) -> None:
        """Raise what `bound` would raise, for work that never suspends.

        Raises:
            WorkInterrupted, DeadlineExceeded: as named.
        """
        if self._is_interrupted:
            raise WorkInterrupted
        if self.seconds_until(self.save_at) == 0:
            raise DeadlineExceeded

    async def bound(self, work: Awaitable[T]) -> T:
        """Await work until the time reserved for saving begins.

        Raises:
            WorkInterrupted: the work was interrupted.
            DeadlineExceeded: there is no time left.
        """
        limit = asyncio.timeout(0 if self._is_interrupted else self.seconds_until(self.save_at))
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


async def run_shielded(work: Coroutine[object, object, T]) -> T:
    """Run work to its end even if this task is cancelled; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        with suppress(Exception):
            task.result()
        raise cancelled
    return task.result()
