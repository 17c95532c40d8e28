"""A process that holds the lease of a run on SQLite and kills itself at a given point of it.

    python dying_producer.py DATABASE POINT LEASE_S [regenerate|replaces|continue]

With the last argument it tries the last exchange of the conversation again.
Points are counted: one before and one after each call of the store, and one at each chunk. Each chunk is
printed as a line of JSON before its point, which shows what a reader had seen. The process prints `done` if
the turn ends before the given point.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from coachstream.conversation.another_try import AnotherTry, TryKind, TryRequest, last_exchange
from coachstream.conversation.events import Chunk
from coachstream.conversation.model import ConversationKey, Message, StopReason
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.quotas import UNLIMITED, QuotaLimits, Spent
from coachstream.conversation.run_log import LogEntry
from coachstream.conversation.runs.settings import RunSettings
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import TurnRequest
from coachstream.conversation.turn.settings import TurnSettings
from coachstream.conversation.turn.turn import run_turn
from coachstream.services import SystemClock
from coachstream.storage.sqlite import SqliteStore
from support.turn_events import events_of

KEY = ConversationKey("user-1", "coach-1", "conv-1")
TEXT = "How am I doing?"
EDITED = "How am I really doing?"
WORDS_DURING_A_WRITE = 1
WORDS = tuple(f"word{number} " for number in range(24))


def run_settings(lease_s: float) -> RunSettings:
    """Small segments, so that there are many writes."""
    return RunSettings(lease_s=lease_s, commit_every_s=0.0, segment_bytes=16, first_poll_s=0.01)


class Points:
    """Counts points, and kills the process at a given one."""

    def __init__(self, deadly: int) -> None:
        self._deadly = deadly
        self._count = 0

    def pass_one(self) -> None:
        """Count one more point, and die if it is the given one."""
        self._count += 1
        if self._count == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingStore(SqliteStore):
    """A store whose process may die before or after each call.

    Attributes:
        idle: set while nothing is being written.
    """

    points: Points

    def __init__(self, database: Path) -> None:
        super().__init__(database)
        self.idle = asyncio.Event()
        self.idle.set()

    async def _around(self, work: Callable[[], Awaitable[object]]) -> object:
        self.points.pass_one()
        self.idle.clear()
        result = await work()
        self.idle.set()
        self.points.pass_one()
        return result

    async def begin_run(  # type: ignore[no-untyped-def] # noqa: ANN201
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ):
        begin = super().begin_run
        return await self._around(lambda: begin(key, user_message, run_id, opened, quotas))

    async def begin_try(  # type: ignore[no-untyped-def] # noqa: ANN201
        self,
        key: ConversationKey,
        request: TryRequest,
        user_message: Message | None,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ):
        begin = super().begin_try
        return await self._around(lambda: begin(key, request, user_message, run_id, opened, quotas))

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry):  # type: ignore[no-untyped-def] # noqa: ANN201
        append = super().append
        return await self._around(lambda: append(key, run_id, entry))

    async def finish_run(  # type: ignore[no-untyped-def] # noqa: ANN201
        self,
        key: ConversationKey,
        run_id: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
        another_try: AnotherTry | None = None,
    ):
        finish = super().finish_run
        return await self._around(lambda: finish(key, run_id, ended, reply, spent, another_try))


class Talker:
    """A model that sends the words, one every few milliseconds.

    The number of words sent during a write would depend on the machine, so it sends one and waits for the
    write.
    """

    display_name = "talker"
    can_continue = True
    is_usable = True

    def __init__(self, idle: asyncio.Event) -> None:
        self._idle = idle

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        """Send the words."""
        assert deadline > 0
        said_meanwhile = 0
        for word in WORDS[prompt.said.count(" ") :]:
            yield TextDelta(word)
            await asyncio.sleep(0.002)
            said_meanwhile = 0 if self._idle.is_set() else said_meanwhile + 1
            if said_meanwhile >= WORDS_DURING_A_WRITE:
                await self._idle.wait()
                said_meanwhile = 0
        yield ModelStop(StopReason.END_TURN)


def _always() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def parts_over(store: SqliteStore) -> TurnDependencies:
    """The dependencies of a turn on this store."""
    return TurnDependencies(
        runs=store,
        context=store,
        conversations=store,
        memories=store,
        model=Talker(store.idle if isinstance(store, DyingStore) else _always()),
        recall=None,
        clock=SystemClock(),
    )


async def another_try(store: SqliteStore, kind: TryKind) -> TurnRequest:
    """The request to try the last exchange again."""
    last = last_exchange(await store.load_newest(KEY, limit=2))
    assert last is not None
    assert last.reply is not None
    named = last.user_message if kind is TryKind.REPLACE else last.reply
    return TurnRequest(
        KEY,
        EDITED if kind is TryKind.REPLACE else "",
        SystemClock().monotonic() + 30,
        datetime.now(UTC),
        client_message_id="again",
        streamed=True,
        another_try=TryRequest(kind, named.id, "again"),
    )


async def main(database: Path, deadly: int, lease_s: float, kind: str | None = None) -> None:
    """Write the reply, and perhaps die."""
    store = DyingStore(database)
    store.points = Points(deadly)
    parts = parts_over(store)
    settings = msgspec.structs.replace(TurnSettings(), runs=run_settings(lease_s))
    deadline = parts.clock.monotonic() + 30
    request = TurnRequest(KEY, TEXT, deadline, datetime.now(UTC), client_message_id="c-1", streamed=True)
    if kind is not None:
        request = await another_try(store, TryKind(kind))
    async for event in events_of(run_turn, request, parts, settings):
        if isinstance(event, Chunk):
            print(json.dumps(event.content), flush=True)  # noqa: T201 (who started it reads that)
            store.points.pass_one()
    print("done", flush=True)  # noqa: T201
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]))
