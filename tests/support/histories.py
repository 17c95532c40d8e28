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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from coachstream.conversation.errors import (
    IdempotencyMismatch,
    QuotaExceeded,
    RunNotFound,
)
from coachstream.conversation.model import ConversationKey, Message, Role
from coachstream.conversation.ports import AlreadyAnswered, ConversationBusy, RunBegun
from coachstream.conversation.quotas import QuotaLimits, QuotaUse, Spent, minute_of
from coachstream.conversation.run_log import Broken, Finished, LogEntry, Opened, Said
from contracts.store_records import SeedableStore
from support.patience import PATIENCE_S
from support.places import CACHE

T = TypeVar("T")

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

    begun (is_first), answered (reply), busy (run, is_stored), mismatch, refused (quota): `begin_run`.
    saved, ended, mismatch: `save_waiting_message`.
    appended, finished, taken (entries: the one that is there), lost: `append` and `finish_run`.
    read: all others (run, entries, names, or runs with turns and tokens).
    """

    kind: str
    run: str = ""
    reply: str = ""
    quota: str = ""
    is_first: bool = False
    is_stored: bool = False
    entries: tuple[Entry, ...] = ()
    names: tuple[str, ...] = ()
    runs: int = 0
    turns: int = 0
    tokens: int = 0


class Operation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One call of the store.

    Attributes:
        client: who called; a client makes one call at a time.
        name: begin, wait, append, finish, unfinished, log, messages or use.
        run: the run that the call begins, waits for, writes or reads.
        message: the idempotency key of the user message.
        text: its text.
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
    text: str = ""
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
    """

    limits: Mapping[str, Limits]
    tokens: Literal["exact", "late"]
    use: Literal["exact", "late"]
    operations: Sequence[Operation]


class Sink:
    """Keeps operations in memory: called with each of them twice, before and after the call."""

    def __init__(self) -> None:
        self._latest: dict[tuple[int, int], Operation] = {}

    def __call__(self, operation: Operation) -> None:
        """Keep an operation, in place of the same one without its result."""
        self._latest[operation.client, operation.call] = operation

    @property
    def operations(self) -> list[Operation]:
        """All operations, in the order of their calls."""
        return sorted(self._latest.values(), key=lambda each: each.call)


class RecordedStore:
    """The calls of one client on a store, recorded.

    Each method does what the one of `RunStore` does, except that `QuotaExceeded`, `IdempotencyMismatch` and
    `RunNotFound` are results. If the outcome is unknown, `StorageUnavailable` is raised.
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
        """Return None if the run was refused."""
        assert isinstance(opened.content, Opened)

        def result(value: RunBegun | AlreadyAnswered | ConversationBusy) -> Result:
            match value:
                case RunBegun(is_first_attempt=is_first):
                    return Result("begun", is_first=is_first)
                case AlreadyAnswered(reply=reply):
                    return Result("answered", reply=reply.id)
                case ConversationBusy(run, stored):
                    return Result("busy", run=run, is_stored=stored is not None)

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
        """Return None also if the message is another one."""
        operation = msgspec.structs.replace(
            self._operation("wait", key, run_id), message=_name_of(message), text=message.content
        )
        return await self._record(
            operation,
            lambda: self._store.save_waiting_message(key, message, run_id),
            lambda saved: Result("ended" if saved is None else "saved"),
        )

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
        """Return None also if the run is lost."""
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

    async def unfinished_run(self, key: ConversationKey) -> str | None:
        """Read the unfinished run."""
        return await self._record(
            self._operation("unfinished", key),
            lambda: self._store.unfinished_run(key),
            lambda run: Result("read", run=run or ""),
        )

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
            lambda messages: Result("read", names=tuple(map(_name_of, messages))),
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
    """Without the calls that certainly had no effect, and with an upper bound for each that had one.

    The log entry of a call has a place in the log of one run if the call has taken effect. The history must
    end with a read of all logs: an entry that no call has returned is in none of them, or came later than all
    calls. So that call needs no place in the order. An entry that a call has returned was there before; if it
    was before the call, an earlier attempt has written it, and this one had no effect either.

    This changes no verdict, but without it, each unknown outcome doubles the search.
    """
    operations = list(operations)
    seen: dict[tuple[str, str, str, str], int] = {}
    for each in operations:
        if each.result is not None:
            for entry in each.result.entries:
                mark = each.conversation, each.run, entry.writer, entry.content
                seen[mark] = min(each.returned, seen.get(mark, each.returned))
    kept: list[Operation] = []
    for each in operations:
        if each.result is None and each.entry is not None:
            mark = each.conversation, each.run, each.entry.writer, each.entry.content
            if seen.get(mark, 0) >= each.call:
                kept.append(msgspec.structs.replace(each, returned=seen[mark]))
        elif each.result is not None or each.name == "wait":
            kept.append(each)
    return kept


def missing_for_checker() -> str | None:
    """What the checker still needs on this machine, or None."""
    return None if CHECKER.exists() else f"needs the checker of histories: run {INSTALL}"


def check(history: History, *, within_s: float = PATIENCE_S, picture: Path | None = None) -> str | None:
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
