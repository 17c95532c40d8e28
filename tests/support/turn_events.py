"""The events of a turn, one by one, as a slow reader receives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from coachstream.conversation.events import Event
from coachstream.conversation.runs.claim import RunClaim
from coachstream.conversation.runs.watcher import RunWatcher


def events_of(
    turn: Callable[..., Awaitable[None]], *arguments: object, **options: object
) -> AsyncGenerator[Event, None]:
    """The events that `run_turn` or `resume_run` sends; sending waits until they are read.

    Closing the generator cancels the turn, and waits for its end.
    """
    sent = _Sent()

    async def run() -> None:
        await turn(*arguments, send=sent.send, **options)

    return sent.by(run())


async def all_events(
    turn: Callable[..., Awaitable[None]], *arguments: object, **options: object
) -> list[Event]:
    """All events that `run_turn` or `resume_run` sends to a reader that never blocks it."""
    events: list[Event] = []

    async def send(event: Event) -> None:
        events.append(event)

    await turn(*arguments, send=send, **options)
    return events


async def followed(watcher: RunWatcher) -> tuple[list[Event], RunClaim | None]:
    """All events from a watcher, including the ending, and its claim of the run, if any."""
    events: list[Event] = []

    async def send(event: Event) -> None:
        events.append(event)

    found = await watcher.follow(send)
    if isinstance(found, RunClaim):
        return events, found
    return (events if found is None else [*events, found]), None


class _Sent:
    """A rendezvous: `send` returns when the next event is requested."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._wanted = asyncio.Event()

    async def send(self, event: Event) -> None:
        self._wanted.clear()
        self._events.put_nowait(event)
        await self._wanted.wait()

    async def by(self, work: Awaitable[None]) -> AsyncGenerator[Event, None]:
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda _: self._events.put_nowait(None))
        try:
            while (event := await self._events.get()) is not None:
                yield event
                self._wanted.set()
            await task
        finally:
            task.cancel()
            await asyncio.wait((task,))
