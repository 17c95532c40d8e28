"""Clients of a run store that do at random what requests do, and record it.

`python -m support.history_worker WORK` is one process with some of them: it prints `ready`, begins when it
has read a line, and prints each operation before and after the call. So a killed process has printed every
call that it had begun.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from random import Random

import msgspec

from coachstream.aws.clients import AwsSession, Connection
from coachstream.conversation.errors import ErrorCode, StorageUnavailable
from coachstream.conversation.ids import id_after, message_id, moment_of, run_id
from coachstream.conversation.model import (
    ConversationKey,
    Message,
    MessageMetadata,
    Role,
    SemanticContextUse,
    StopReason,
    Timings,
    Usage,
)
from coachstream.conversation.quotas import MINUTE_MS, QuotaLimits, Spent
from coachstream.conversation.run_log import (
    Broken,
    Claimed,
    Content,
    Ending,
    Finished,
    LogEntry,
    Opened,
    Released,
    RunState,
    Said,
    StopAsked,
    first_waiting_id,
    reply_time,
)
from coachstream.conversation.run_store import ConversationBusy, RunBegun
from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.sqlite import SqliteStore
from contracts.store_records import SeedableStore
from support.histories import Operation, RecordedStore

MESSAGES = 16
"""The messages of a conversation, which clients send again and again."""

MOST_QUEUED = 2
"""The maximum number of queued runs of a conversation."""

ATTEMPTS = 3
"""How often a lease holder writes an entry while the outcome is unknown."""

LEASE_MS = 3_600_000
"""Longer than any history takes."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients of one process do, and where.

    Attributes:
        seed: decides what they do.
        clients: their numbers.
        steps: of each client; the second half is in the next minute.
        at: the time of the history in milliseconds since 1970, at the beginning of a minute.
        keys: the conversations.
        limits: the quotas of all users.
        store: the SQLite file, or DynamoDB's table.
        connection: how to reach DynamoDB; None for SQLite.
    """

    seed: int
    clients: tuple[int, ...]
    steps: int
    at: int
    keys: tuple[ConversationKey, ...]
    limits: QuotaLimits
    store: str
    connection: Connection | None = None


class Held(msgspec.Struct):
    """A run that a client writes.

    Attributes:
        number: of the next entry.
        leased_until: the end of its lease. It may be over from the beginning, as if its process were dead; a
            lease that is over is never renewed.
    """

    key: ConversationKey
    run_id: str
    writer: str
    number: int
    user_message_id: str
    opened_at: int
    leased_until: int


class RandomClient:
    """One client."""

    def __init__(self, store: RecordedStore, work: Work, client: int) -> None:
        self._store = store
        self._work = work
        self._random = Random(f"{work.seed} {client}")  # noqa: S311 (no secret)
        self._at = work.at
        self._held: Held | None = None
        self._said = 0

    async def run(self) -> None:
        """Do all steps."""
        for step in range(self._work.steps):
            self._at = self._work.at + (MINUTE_MS if 2 * step >= self._work.steps else 0)
            try:
                await self._step()
            except StorageUnavailable:
                self._held = None

    async def _step(self) -> None:
        if self._held is not None and self._random.random() < 0.6:
            await self._go_on(self._held)
            return
        steps = [self._send, self._begin_queued, self._withdraw, self._stop, self._take_over, self._close]
        (step,) = self._random.choices([*steps, self._look], [45, 15, 4, 12, 8, 12, 8])
        await step(self._random.choice(self._work.keys))

    async def _send(self, key: ConversationKey) -> None:
        """Send a message; if a run is unfinished or queued, queue a run for the message, or let it wait."""
        message, run = self._message(), run_id(moment_of(self._at), self._below)
        opened = self._opened(message.id)
        begun = await self._store.begin_run(key, message, run, opened, self._work.limits)
        if isinstance(begun, RunBegun):
            self._held = _held(key, run, begun, opened)
        elif isinstance(begun, ConversationBusy) and self._is_likely(0.7):
            stored = begun.user_message
            if stored is not None and stored.id in {each.user_message_id for each in begun.queued}:
                return
            log = RunState.of(await self._store.read_log(key, begun.run_id))
            if log is not None:
                if stored is not None and stored.id == log.opened.user_message_id:
                    return  # its own run
                waiting_id = id_after(message.id, first_waiting_id(log.opened.at))
                message = msgspec.structs.replace(message, id=waiting_id)
            if self._is_likely(0.7):
                await self._store.enqueue_run(
                    key, stored or message, run, behind=begun.run_id, most=MOST_QUEUED
                )
            elif stored is None:
                await self._store.save_waiting_message(key, message, begun.run_id)

    async def _begin_queued(self, key: ConversationKey) -> None:
        """Begin the first run of the queue, or try it with another one."""
        queue = await self._store.read_queue(key)
        if queue.queued and (queue.run_id is None or self._is_likely(0.1)):
            queued = queue.queued[0] if self._is_likely(0.9) else queue.queued[-1]
            opened = self._opened(queued.user_message_id)
            begun = await self._store.begin_queued(key, queued.run_id, opened, self._work.limits)
            if begun is not None:
                self._held = _held(key, queued.run_id, begun, opened)

    async def _withdraw(self, key: ConversationKey) -> None:
        """Take a run out of the queue, with or without its message."""
        queue = await self._store.read_queue(key)
        if queue.queued:
            is_withdrawn = self._is_likely(0.6)
            code = ErrorCode.MESSAGE_WITHDRAWN if is_withdrawn else ErrorCode.QUOTA_EXCEEDED
            ended = LogEntry(1, 0, 0, self._name(), Broken(code, retryable=not is_withdrawn))
            run = self._random.choice(queue.queued).run_id
            await self._store.leave_queue(key, run, ended, is_withdrawn=is_withdrawn)

    def _opened(self, message_id: str) -> LogEntry:
        leased_until = self._work.at + (LEASE_MS if self._is_likely(0.85) else 0)
        return LogEntry(0, 1, leased_until, self._name(), Opened(message_id, at=self._at))

    async def _stop(self, key: ConversationKey) -> None:
        """Ask the unfinished run to stop."""
        held = await self._unfinished(key)
        if held is not None:
            await self._append(held, StopAsked())

    async def _take_over(self, key: ConversationKey) -> None:
        """Continue the unfinished run in place of its lease holder."""
        held = await self._unfinished(key)
        if held is not None and await self._append(held, Claimed()):
            self._held = held

    async def _close(self, key: ConversationKey) -> None:
        """End the unfinished run in place of its lease holder."""
        held = await self._unfinished(key)
        if held is not None:
            await self._finish(held, StopReason.INTERRUPTED)

    async def _look(self, key: ConversationKey) -> None:
        """Read something else."""
        await self._store.quota_use(key.user_id, self._work.limits, at=self._at)

    async def _go_on(self, held: Held) -> None:
        """Write the run that this client holds."""
        what = self._random.choices(["say", "finish", "break", "release", "die"], [50, 30, 8, 6, 6])
        match what:
            case ["say"]:
                self._said += 1
                is_written = await self._append(held, Said(str(self._said), 0))
            case ["release"]:
                held.leased_until = self._work.at
                await self._append(held, Released())
                is_written = False
            case ["finish"]:
                is_written = await self._finish(held, StopReason.END_TURN)
            case ["break"]:
                is_written = await self._finish(held, StopReason.INTERRUPTED)
            case _:
                is_written = False
        if not is_written:
            self._held = None

    async def _append(self, held: Held, content: Content) -> bool:
        """Append an entry, after stop requests that have taken its number; return whether it is written."""
        while True:
            entry = LogEntry(held.number, 1, held.leased_until, held.writer, content)
            there = await self._written(lambda: self._store.append(held.key, held.run_id, entry))  # noqa: B023
            held.number += 1
            if there is None or not isinstance(there.content, StopAsked):
                return there is None

    async def _finish(self, held: Held, stop_reason: StopReason) -> bool:
        """End a run likewise; the client no longer holds it."""
        reply = self._reply(held, stop_reason)
        spent = await self._spent(held.key.user_id)
        while True:
            entry = LogEntry(held.number, 1, held.leased_until, held.writer, _ending_of(reply))
            there = await self._written(
                lambda: self._store.finish_run(held.key, held.run_id, entry, reply, spent)  # noqa: B023
            )
            held.number += 1
            if there is None or not isinstance(there.content, StopAsked):
                return False

    async def _written(self, write: Callable[[], Awaitable[LogEntry | None]]) -> LogEntry | None:
        for _ in range(ATTEMPTS - 1):
            try:
                return await write()
            except StorageUnavailable:
                continue
        return await write()

    async def _unfinished(self, key: ConversationKey) -> Held | None:
        """The unfinished run, as another process sees it."""
        run = (await self._store.read_queue(key)).run_id
        if run is None:
            return None
        state = await self._state(key, run)
        if state.ending is not None:
            return None
        last, opened = state.last, state.opened
        return Held(
            key, run, self._name(), last.number + 1, opened.user_message_id, opened.at, last.leased_until
        )

    async def _state(self, key: ConversationKey, run: str) -> RunState:
        state = RunState.of(await self._store.read_log(key, run))
        assert state is not None
        return state

    async def _spent(self, user_id: str) -> Spent | None:
        if self._is_likely(0.2):
            return None
        tokens = 1 + self._below(30)
        if self._is_likely(0.3):
            return Spent(self._at, tokens)
        use = await self._store.quota_use(user_id, self._work.limits, at=self._at)
        return Spent(self._at, tokens, use.after_turn(tokens, at=self._at))

    def _message(self) -> Message:
        """One of few messages, by a clock that is wrong, and sometimes with another text."""
        name = f"m{self._below(MESSAGES)}"
        moment = moment_of(self._at + self._below(30_000))
        return Message(
            id=message_id(moment, Role.USER, self._below),
            role=Role.USER,
            content=name if self._is_likely(0.95) else "another text",
            timestamp=moment,
            metadata=MessageMetadata(client_message_id=name),
        )

    def _reply(self, held: Held, stop_reason: StopReason) -> Message | None:
        if stop_reason is StopReason.INTERRUPTED and self._is_likely(0.4):
            return None
        moment = reply_time(held.opened_at)
        return Message(
            id=message_id(moment, Role.ASSISTANT, self._below),
            role=Role.ASSISTANT,
            content="Well done.",
            timestamp=moment,
            metadata=MessageMetadata(
                stop_reason=stop_reason, reply_to=held.user_message_id, run_id=held.run_id
            ),
        )

    def _name(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    def _below(self, end: int) -> int:
        return self._random.randrange(end)

    def _is_likely(self, probability: float) -> bool:
        return self._random.random() < probability


def _held(key: ConversationKey, run: str, begun: RunBegun, opened: LogEntry) -> Held:
    return Held(key, run, opened.writer, 1, begun.user_message.id, begun.at, opened.leased_until)


def _ending_of(reply: Message | None) -> Ending:
    if reply is None or reply.is_interrupted:
        return Broken(ErrorCode.TURN_INTERRUPTED, True, None if reply is None else reply.id)
    return Finished(reply.id, StopReason.END_TURN, SemanticContextUse(), Usage(), Timings(0, 0, 0))


@asynccontextmanager
async def opened_store(store: str, connection: Connection | None) -> AsyncIterator[SeedableStore]:
    """A store as production opens it."""
    if connection is None:
        sqlite = SqliteStore(Path(store))
        try:
            yield sqlite
        finally:
            await sqlite.aclose()
    else:
        async with aclosing(AwsSession().dynamodb_requests(connection)) as client:
            yield DynamoDbStore(client, store)


async def main(work: Work) -> None:
    """Let the clients of this process work at the same time."""
    async with opened_store(work.store, work.connection) as store:
        _print(b"ready")
        await asyncio.to_thread(sys.stdin.readline)
        async with asyncio.TaskGroup() as all_clients:
            for client in work.clients:
                recorded = RecordedStore(store, client, _print_operation, at=work.at)
                all_clients.create_task(RandomClient(recorded, work, client).run())


def _print_operation(operation: Operation) -> None:
    _print(msgspec.json.encode(operation))


def _print(line: bytes) -> None:
    """Print at once, and not less because the process is killed later."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Work)))
