"""Histories of a run store: who called what when, what came back, and whether that is linearizable.

A history is linearizable if every call can be given a moment between its start and its return, so that the
calls, made one after another in the order of these moments, would have returned the same (Herlihy and Wing,
1990). The sequential specification is in `history_checker/model.go`, where porcupine searches for an order.

A call whose process died or whose response was lost has no result: it may take effect at any later time, or
never.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from coachstream.conversation.errors import (
    IdempotencyMismatch,
    MessageWithdrawn,
    QuotaExceeded,
    RunNotFound,
)
from coachstream.conversation.model import ConversationKey, Message, Role
from coachstream.conversation.quotas import QuotaLimits, QuotaUse, Spent, minute_of
from coachstream.conversation.run_log import Broken, Finished, LogEntry, Opened, Said
from coachstream.conversation.run_queue import RunQueue
from coachstream.conversation.run_store import (
    AlreadyAnswered,
    ConversationBusy,
    QueueIsFull,
    RunBegun,
    RunQueued,
)
from contracts.store_records import SeedableStore
from support.patience import PATIENCE_S
from support.places import CACHE

T = TypeVar("T")

DECIDED_WITHIN_S = PATIENCE_S
"""Most searches take milliseconds."""

CHECKER = CACHE / "history-checker" / "history_checker"
INSTALL = "tests/support/history_checker/install.sh"


class Entry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A log entry.

    Attributes:
        content: its kind, and what makes it unique among the entries of its writer.
        is_leased: whether its lease is not over at the time of the history.
    """

    number: int
    writer: str
    content: str
    is_leased: bool


class Result(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a call returned, by its kind.

    begun (is_first, id), answered (reply), busy (run, is_stored, queue), mismatch, withdrawn,
        refused (quota): `begin_run`.
    saved (id), ended, mismatch, withdrawn: `save_waiting_message`.
    queued (run, is_first, id), full, ended, mismatch, withdrawn: `enqueue_run`.
    begun (is_first, id), not next, refused (quota): `begin_queued`.
    left, absent: `leave_queue`.
    appended, finished, taken (entries: the one that is there), lost: `append` and `finish_run`.
    read: all others (run with queue, entries, names with ids, or runs with turns and tokens).
    """

    kind: str
    id: str = ""
    run: str = ""
    reply: str = ""
    quota: str = ""
    is_first: bool = False
    is_stored: bool = False
    queue: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    runs: int = 0
    turns: int = 0
    tokens: int = 0


class Operation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One call of the store.

    Attributes:
        client: who called; a client makes one call at a time.
        name: begin, wait, enqueue, beginQueued, leave, append or finish; or what is read: unfinished, queue,
            log, messages or use.
        run: the run that the call begins, queues, takes out of the queue, waits for, writes or reads.
        message: the idempotency key of the user message.
        id: its id as it is stored, if any result shows that (`bounded`).
        text: its text.
        behind, most: as passed to `enqueue_run`.
        is_withdrawn: whether the message of the run is to be deleted.
        minute: the minute whose turns count.
        entry: the entry to append.
        reply: the reply to save; is_complete unless it was interrupted.
        spent: the tokens of the run.
        is_alone: whether no other call can overlap.
        call: when it was called, in nanoseconds of this machine's monotonic clock.
        returned: when it returned; 0 if it did not.
        result: what it returned; None if that is unknown.
    """

    client: int
    name: str
    user: str
    conversation: str = ""
    run: str = ""
    message: str = ""
    id: str = ""
    text: str = ""
    behind: str = ""
    most: int = 0
    is_withdrawn: bool = False
    minute: int = 0
    entry: Entry | None = None
    reply: str = ""
    is_complete: bool = False
    spent: int = 0
    is_alone: bool = False
    call: int = 0
    returned: int = 0
    result: Result | None = None


class Limits(msgspec.Struct, frozen=True, rename="camel"):
    """The quotas of one user; 0 is no limit, but there is always one of runs."""

    runs: int
    turns: int
    tokens: int


class History(msgspec.Struct, frozen=True, rename="camel"):
    """All calls, and what the specification leaves to the store.

    Attributes:
        limits: the quotas of each user.
        tokens: when a day's tokens refuse a run: as soon as they are used up, or when that becomes known.
        use: whether `quota_use` is one read of everything, or one of each conversation.
        operations: in any order.
        kills: how many processes were killed while they were at work.
    """

    limits: Mapping[str, Limits]
    tokens: Literal["exact", "late"]
    use: Literal["exact", "late"]
    operations: Sequence[Operation]
    kills: int = 0


class Sink:
    """Keeps operations in memory: called with each of them twice, before and after the call.

    Attributes:
        kills: `History.kills`.
    """

    def __init__(self) -> None:
        self._latest: dict[tuple[int, int], Operation] = {}
        self.kills = 0

    def __call__(self, operation: Operation) -> None:
        """Keep an operation, in place of the same one without its result."""
        self._latest[operation.client, operation.call] = operation

    @property
    def operations(self) -> list[Operation]:
        """All operations, in the order of their calls."""
        return sorted(self._latest.values(), key=lambda each: each.call)


class RecordedStore:
    """The calls of one client on a store, recorded.

    Each method does what the one of `RunStore` does, except that `QuotaExceeded`, `IdempotencyMismatch`,
    `MessageWithdrawn` and `RunNotFound` are results, for which it returns None (`leave_queue` False). If the
    outcome is unknown, `StorageUnavailable` is raised.
    """

    def __init__(
        self,
        store: SeedableStore,
        client: int,
        sink: Callable[[Operation], None],
        *,
        at: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Record to a sink, which is called with each operation before and after the call.

        Args:
            store: the store.
            client: the number of this client.
            sink: receives the operations.
            at: the time of the history in milliseconds since 1970: a lease that ends later is not over.
            clock: increases with each call, also from one process to another.
        """
        self._store = store
        self._client = client
        self._sink = sink
        self._at = at
        self._clock = clock

    async def begin_run(
        self,
        key: ConversationKey,
        message: Message,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy | None:
        """Save the user message and begin a run for it."""
        assert isinstance(opened.content, Opened)

        def result(value: RunBegun | AlreadyAnswered | ConversationBusy) -> Result:
            match value:
                case RunBegun(message, is_first):
                    return Result("begun", message.id, is_first=is_first)
                case AlreadyAnswered(reply=reply):
                    return Result("answered", reply=reply.id)
                case ConversationBusy(run, stored, queue):
                    names = tuple(each.run_id for each in queue)
                    return Result("busy", run=run, is_stored=stored is not None, queue=names)

        operation = msgspec.structs.replace(
            self._operation("begin", key, run_id),
            message=_name_of(message),
            text=message.content,
            minute=minute_of(opened.content.at),
            entry=self._entry(opened),
        )
        return await self._record(
            operation, lambda: self._store.begin_run(key, message, run_id, opened, quotas), result
        )

    async def save_waiting_message(
        self, key: ConversationKey, message: Message, run_id: str
    ) -> Message | None:
        """Save a message that waits."""
        operation = msgspec.structs.replace(
            self._operation("wait", key, run_id), message=_name_of(message), text=message.content
        )
        return await self._record(
            operation,
            lambda: self._store.save_waiting_message(key, message, run_id),
            lambda saved: Result("ended") if saved is None else Result("saved", saved.id),
        )

    async def enqueue_run(
        self, key: ConversationKey, message: Message, run_id: str, *, behind: str, most: int
    ) -> RunQueued | QueueIsFull | None:
        """Save a message and queue a run for it."""

        def result(value: RunQueued | QueueIsFull | None) -> Result:
            match value:
                case RunQueued(message, run):
                    return Result("queued", message.id, run=run.run_id, is_first=run.is_first_attempt)
                case QueueIsFull():
                    return Result("full")
                case None:
                    return Result("ended")

        operation = msgspec.structs.replace(
            self._operation("enqueue", key, run_id),
            message=_name_of(message),
            text=message.content,
            behind=behind,
            most=most,
        )
        return await self._record(
            operation,
            lambda: self._store.enqueue_run(key, message, run_id, behind=behind, most=most),
            result,
        )

    async def begin_queued(
        self, key: ConversationKey, run_id: str, opened: LogEntry, quotas: QuotaLimits
    ) -> RunBegun | None:
        """Begin the first run of the queue."""
        assert isinstance(opened.content, Opened)
        operation = msgspec.structs.replace(
            self._operation("beginQueued", key, run_id),
            minute=minute_of(opened.content.at),
            entry=self._entry(opened),
        )
        return await self._record(
            operation,
            lambda: self._store.begin_queued(key, run_id, opened, quotas),
            lambda begun: (
                Result("not next")
                if begun is None
                else Result("begun", begun.user_message.id, is_first=begun.is_first_attempt)
            ),
        )

    async def leave_queue(
        self, key: ConversationKey, run_id: str, ended: LogEntry, *, is_withdrawn: bool
    ) -> bool:
        """Take a run out of the queue."""
        operation = msgspec.structs.replace(
            self._operation("leave", key, run_id), entry=self._entry(ended), is_withdrawn=is_withdrawn
        )
        has_left = await self._record(
            operation,
            lambda: self._store.leave_queue(key, run_id, ended, is_withdrawn=is_withdrawn),
            lambda has_left: Result("left" if has_left else "absent"),
        )
        return bool(has_left)

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
        """Append an entry."""
        operation = msgspec.structs.replace(self._operation("append", key, run_id), entry=self._entry(entry))
        return await self._record(
            operation,
            lambda: self._store.append(key, run_id, entry),
            lambda there: self._written("appended", there),
        )

    async def finish_run(
        self,
        key: ConversationKey,
        run_id: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
    ) -> LogEntry | None:
        """End a run."""
        operation = msgspec.structs.replace(
            self._operation("finish", key, run_id),
            entry=self._entry(ended),
            reply="" if reply is None else reply.id,
            is_complete=reply is not None and not reply.is_interrupted,
            spent=0 if spent is None else spent.tokens,
        )
        return await self._record(
            operation,
            lambda: self._store.finish_run(key, run_id, ended, reply, spent),
            lambda there: self._written("finished", there),
        )

    async def read_queue(self, key: ConversationKey) -> RunQueue:
        """Read the unfinished run and the queue."""
        queue = await self._record(
            self._operation("queue", key),
            lambda: self._store.read_queue(key),
            lambda queue: Result(
                "read", run=queue.run_id or "", queue=tuple(each.run_id for each in queue.queued)
            ),
        )
        assert queue is not None
        return queue

    async def read_log(self, key: ConversationKey, run_id: str) -> Sequence[LogEntry]:
        """Read a log from its beginning."""
        log = await self._record(
            self._operation("log", key, run_id),
            lambda: self._store.read_log(key, run_id),
            lambda entries: Result("read", entries=tuple(map(self._entry, entries))),
        )
        return log or ()

    async def load_messages(self, key: ConversationKey) -> None:
        """Read the names of all messages and replies, in order."""
        await self._record(
            self._operation("messages", key),
            lambda: self._store.load_messages(key),
            lambda messages: Result(
                "read",
                names=tuple(map(_name_of, messages)),
                ids=tuple(message.id for message in messages),
            ),
        )

    async def quota_use(
        self, user_id: str, limits: QuotaLimits, *, at: int, is_alone: bool = False
    ) -> QuotaUse:
        """Read what a user has taken."""
        operation = Operation(self._client, "use", user_id, minute=minute_of(at), is_alone=is_alone)
        used = await self._record(
            operation,
            lambda: self._store.quota_use(user_id, limits, at=at),
            lambda use: Result("read", runs=use.concurrent_runs, turns=use.turns, tokens=use.tokens),
        )
        assert used is not None
        return used

    def _operation(self, name: str, key: ConversationKey, run_id: str = "") -> Operation:
        return Operation(self._client, name, key.user_id, key.conversation_id, run_id)

    async def _record(
        self, operation: Operation, call: Callable[[], Awaitable[T]], result_of: Callable[[T], Result]
    ) -> T | None:
        operation = msgspec.structs.replace(operation, call=self._clock())
        self._sink(operation)
        value: T | None = None
        try:
            value = await call()
            result = result_of(value)
        except IdempotencyMismatch:
            result = Result("mismatch")
        except MessageWithdrawn:
            result = Result("withdrawn")
        except QuotaExceeded as error:
            result = Result("refused", quota=error.quota.quota)
        except RunNotFound:
            result = Result("lost")
        returned = self._clock()
        self._sink(msgspec.structs.replace(operation, returned=returned, result=result))
        return value

    def _written(self, done: str, there: LogEntry | None) -> Result:
        return Result(done) if there is None else Result("taken", entries=(self._entry(there),))

    def _entry(self, entry: LogEntry) -> Entry:
        return Entry(entry.number, entry.writer, _content_of(entry), entry.leased_until > self._at)


def _content_of(entry: LogEntry) -> str:
    match entry.content:
        case Said(text):
            return f"said {text}"
        case Finished(reply_id):
            return f"finished {reply_id}"
        case Broken(partial_reply_id=reply_id):
            return f"broken {reply_id}"
        case content:
            return type(content).__name__.lower()


def _name_of(message: Message) -> str:
    if message.role is Role.ASSISTANT:
        return message.id
    assert message.metadata.client_message_id is not None
    return message.metadata.client_message_id


def bounded(operations: Iterable[Operation]) -> list[Operation]:
    """Narrow down what calls without a result may have done, as far as the results of others show it.

    A call that has begun or written a run has put an entry into its log, and one that has queued a run has
    put that into the queue. The history must end with a read of everything. So if no call has returned that
    entry or run, the call had no effect, or later than all others, and needs no place in the order: it is
    left out. If one has, the effect was before that; if that was before the call, an earlier attempt had it.
    A message that waits has an effect if it is found anywhere.

    This changes no verdict, but without it, each unknown outcome doubles the search, and so does each message
    whose place in the conversation only the last read shows.
    """
    operations = list(operations)
    seen: dict[tuple[str, ...], int] = {}
    ids: dict[tuple[str, str], str] = {}
    for each in operations:
        for mark in _shown_by(each):
            seen[mark] = min(each.returned, seen.get(mark, each.returned))
        ids |= _ids_in(each)
    kept: list[Operation] = []
    for each in operations:
        found = ids.get((each.conversation, each.message), "")
        if each.result is not None:
            kept.append(msgspec.structs.replace(each, id=each.result.id or found))
        elif each.name == "wait":
            kept += [msgspec.structs.replace(each, id=found)] if found else []
        else:
            mark = _mark_of(each.conversation, each.run, each.entry)
            if seen.get(mark, 0) >= each.call:
                kept.append(msgspec.structs.replace(each, id=found, returned=seen[mark]))
    return kept


def _ids_in(operation: Operation) -> dict[tuple[str, str], str]:
    """The ids of messages in a result, by their conversations and names."""
    result = operation.result
    if result is None:
        return {}
    found = dict(zip(result.names, result.ids, strict=False))
    if result.id and operation.message:
        found[operation.message] = result.id
    return {(operation.conversation, name): message_id for name, message_id in found.items()}


def _shown_by(operation: Operation) -> Iterator[tuple[str, ...]]:
    """What has an effect, as the result of a call shows."""
    result = operation.result
    if result is not None:
        for run in (result.run, *result.queue):
            yield _mark_of(operation.conversation, run, None)
        for entry in result.entries:
            yield _mark_of(operation.conversation, operation.run, entry)


def _mark_of(conversation: str, run: str, entry: Entry | None) -> tuple[str, ...]:
    return (conversation, run) if entry is None else (conversation, run, entry.writer, entry.content)


def missing_for_checker() -> str | None:
    """What the checker still needs on this machine, or None."""
    return None if CHECKER.exists() else f"needs the checker of histories: run {INSTALL}"


def check(history: History, *, within_s: float = DECIDED_WITHIN_S, picture: Path | None = None) -> str | None:
    """Check a history.

    Args:
        history: the history.
        within_s: the time after which the search is given up.
        picture: where to write an interactive picture, in HTML, of a history that is not linearizable.

    Returns:
        None if it is linearizable, else an explanation.

    Raises:
        AssertionError: the check is undecided, or the history cannot be read.
    """
    arguments = ["-timeout", f"{within_s:f}s"]
    if picture is not None:
        arguments += ["-html", str(picture)]
    checked = subprocess.run(
        [CHECKER, *arguments],
        input=msgspec.json.encode(history),
        capture_output=True,
        check=False,
        timeout=within_s + PATIENCE_S,
    )
    assert checked.returncode in {0, 1}, checked.stderr.decode()
    return None if checked.returncode == 0 else checked.stdout.decode()
