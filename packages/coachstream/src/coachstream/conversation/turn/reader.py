"""The reader of a turn and its bounded queue; the turn runs in its own task.

A slow reader causes backpressure, but never beyond the point where the reply must be saved. A reader that
stalls, such as a locked phone, gets `Reconnect`, because others may follow the same run. A reader that
disconnects does not stop the turn. Leaving the `async with` waits for the turn's end, because Lambda freezes
a function that has responded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from coachstream.conversation.errors import DeadlineExceeded, ProcessingError, describe_exception
from coachstream.conversation.events import (
    Completed,
    Contextual,
    Event,
    Failed,
    LogPoint,
    Reconnect,
    Send,
    Started,
)
from coachstream.conversation.ports import Clock
from coachstream.conversation.runs.watcher import HasLeft

logger = logging.getLogger("coachstream.turn")

CAPACITY = 32
"""The maximum number of events queued for the reader."""

STALLED_AFTER_S = 10.0
"""How long a reader may stall while the queue is full."""


class Turn(Protocol):
    """A coroutine function that runs a turn and sends its events."""

    async def __call__(self, *, send: Send, has_left: HasLeft) -> None:
        """Run the turn."""


class TurnReader:
    """Runs a turn ahead of its reader; iterate over it to read the turn's events.

    Args:
        turn: `run_turn` or `resume_run`, with all arguments bound except `send` and `has_left`.
        stalled_after_s: how long the reader may stall.
        point: the reader's current position, if the run is known.
        save_deadline: when the turn must stop waiting for the reader, in the clock's monotonic seconds.
        clock: the turn's clock.
    """

    def __init__(
        self,
        turn: Turn,
        *,
        save_deadline: float,
        clock: Clock,
        stalled_after_s: float = STALLED_AFTER_S,
        point: LogPoint | None = None,
    ) -> None:
        self._turn = turn
        self._save_deadline = save_deadline
        self._clock = clock
        self._stalled_after_s = stalled_after_s
        self._point = point
        self._waiting: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._has_left = False
        self._has_ended = False
        self._task: asyncio.Task[None] | None = None

    @property
    def point(self) -> LogPoint | None:
        """The position from which the reader can resume, as soon as the run is known."""
        return self._point

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="turn")
        self._task.add_done_callback(lambda _: self._arrived.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._has_left = True
        self._taken.set()
        task = self._task
        if task is None:
            return
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            task.cancel()  # cancelling the reader stops the turn as well: it saves and ends
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait((task,))
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event; the last one is an `Ending`."""
        while not self._waiting:
            if self._task is None or self._task.done():
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        self._taken.set()
        return self._waiting.popleft()

    async def _run(self) -> None:
        try:
            await self._turn(send=self._send, has_left=lambda: self._has_left)
        except Exception as error:  # noqa: BLE001 (a reader always gets a terminal event)
            # Its text may quote the user.
            logger.error("The turn broke: %s", describe_exception(error))  # noqa: TRY400
        finally:
            if not self._has_ended:
                self._put(Failed(ProcessingError.code, ProcessingError.sentence, ProcessingError.retryable))

    async def _send(self, event: Event) -> None:
        self._has_ended = isinstance(event, Completed | Failed | Reconnect)
        if not self._has_ended:
            await self._wait_for_reader()
        self._put(event)

    async def _wait_for_reader(self) -> None:
        while len(self._waiting) >= CAPACITY and not self._has_left:
            self._taken.clear()
            left_s = max(0.0, self._save_deadline - self._clock.monotonic())
            try:
                async with asyncio.timeout(min(left_s, self._stalled_after_s)):
                    await self._taken.wait()
            except TimeoutError:
                if left_s <= self._stalled_after_s:
                    # The turn's own deadline ends it: this event and the last exceed the capacity.
                    logger.warning("The reader is too slow; the turn ends without waiting for it")
                    return
                if self._point is not None:
                    logger.warning("The reader has stalled; the run continues without it")
                    self._put(Reconnect(self._point))
                    self._has_left = True

    def _put(self, event: Event) -> None:
        if not self._has_left:
            if not isinstance(event, Started | Contextual):
                self._point = event.point or self._point
            self._waiting.append(event)
            self._arrived.set()


async def collect_reply(turn: TurnReader) -> Completed | Failed:
    """Run a turn to its end and return its last event, for a client that wants one complete response.

    Such a reader cannot reconnect.
    """
    async with turn:
        async for event in turn:
            if isinstance(event, Completed | Failed):
                return event
            if isinstance(event, Reconnect):
                late = DeadlineExceeded()
                return Failed(late.code, late.sentence, late.retryable)
    broken = ProcessingError()
    return Failed(broken.code, broken.sentence, broken.retryable)
