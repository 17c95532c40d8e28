"""The reader of a turn and its bounded queue; the turn runs in its own task.

A slow reader does not slow the turn down: the model's connection may break at any time, and what was not
read from it by then is lost. For the same reason sending never yields to the event loop. Text for which the
queue has no place joins the text that is already there, so the queue never holds more than the reply, which
the turn keeps anyway. A reader that stalls, such as a locked phone, gets `Reconnect`, because others may
follow the same run. A reader that disconnects does not stop the turn. Leaving the `async with` waits for the
turn's end, because Lambda freezes a function that has responded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from coachstream.conversation.errors import DeadlineExceeded, ProcessingError, describe_exception
from coachstream.conversation.events import (
    Chunk,
    Completed,
    Contextual,
    Event,
    Failed,
    GuardrailWarning,
    LogPoint,
    Reconnect,
    Send,
    Started,
)
from coachstream.conversation.ports import Clock
from coachstream.conversation.runs.watcher import HasLeft
from coachstream.conversation.text import utf16_length

logger = logging.getLogger("coachstream.turn")

CAPACITY = 32
"""The number of events queued for the reader from which on text joins the last of them."""

STALLED_AFTER_S = 10.0
"""How long a reader may take nothing while the queue is full."""


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
        clock: the turn's clock.
    """

    def __init__(
        self,
        turn: Turn,
        *,
        clock: Clock,
        stalled_after_s: float = STALLED_AFTER_S,
        point: LogPoint | None = None,
    ) -> None:
        self._turn = turn
        self._clock = clock
        self._stalled_after_s = stalled_after_s
        self._point = point
        self._waiting: deque[Event | _Text] = deque()
        self._arrived = asyncio.Event()
        self._full_since: float | None = None
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
        self._full_since = None
        event = self._waiting.popleft()
        return event.joined() if isinstance(event, _Text) else event

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
        if len(self._waiting) >= CAPACITY and not self._has_ended and not self._has_left:
            self._reconnect_if_stalled()
        self._put(event)

    def _reconnect_if_stalled(self) -> None:
        now = self._clock.monotonic()
        if self._full_since is None:
            self._full_since = now
        if now - self._full_since >= self._stalled_after_s and self._point is not None:
            logger.warning("The reader has stalled; the run continues without it")
            self._put(Reconnect(self._point))
            self._has_left = True

    def _put(self, event: Event) -> None:
        if self._has_left:
            return
        if not isinstance(event, Started | Contextual | GuardrailWarning):
            self._point = event.point or self._point
        self._arrived.set()
        if not isinstance(event, Chunk) or len(self._waiting) < CAPACITY:
            self._waiting.append(event)
            return
        last = self._waiting[-1]
        if not isinstance(last, _Text) or last.end != event.offset:
            last = _Text(event.offset)
            self._waiting.append(last)
        last.add(event)


class _Text:
    """Chunks that wait for the reader as one."""

    def __init__(self, offset: int) -> None:
        self.end = self._offset = offset
        self._pieces: list[str] = []
        self._point: LogPoint | None = None

    def add(self, chunk: Chunk) -> None:
        self._pieces.append(chunk.content)
        self.end += utf16_length(chunk.content)
        self._point = chunk.point or self._point

    def joined(self) -> Chunk:
        return Chunk("".join(self._pieces), self._offset, self._point)


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
