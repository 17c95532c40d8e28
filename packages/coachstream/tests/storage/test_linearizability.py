"""What several processes do to a store at the same time has an order in which it could have happened alone.

`support.histories` says what that means, `support.history_worker` what the processes do. The larger campaign
is `make torture`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.quotas import UNLIMITED, QuotaLimits, Spent
from coachstream.conversation.run_log import LogEntry
from coachstream.conversation.run_queue import RunQueue
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy, RunBegun
from coachstream.storage.sqlite import SqliteStore
from contracts.quotas import AT, LEASE_MS, first
from contracts.store_records import (
    ANOTHER_WRITER,
    COACH,
    KEY,
    NEXT_RUN,
    RUN,
    conversation,
    ended,
    reply_to,
    said,
    user_message,
)
from support.dynamodb import a_table
from support.histories import (
    Entry,
    History,
    Limits,
    Operation,
    RecordedStore,
    Result,
    Sink,
    bounded,
    check,
    missing_for_checker,
)
from support.history_recording import Campaign, losing_responses, record, record_in_turn

missing = missing_for_checker()
pytestmark = pytest.mark.skipif(missing is not None, reason=missing or "")

LIMITS = QuotaLimits(concurrent_runs=1, turns_per_minute=4, tokens_per_day=100)


@pytest.mark.parametrize("seed", [1, 2])
async def test_processes_that_share_a_file_have_a_linearizable_history(seed: int, tmp_path: Path) -> None:
    """Two of them are killed, in the middle of whatever they do."""
    history = await record(Campaign(seed=seed), str(tmp_path / "coachstream.db"))
    assert check(history) is None


@pytest.mark.usefixtures("aws_credentials")
async def test_processes_that_share_a_table_have_a_linearizable_history(dynamodb_local_url: str) -> None:
    """Two of them are killed, and the network loses responses, so that outcomes are unknown."""
    campaign = Campaign(seed=1, steps=40)
    async with (
        a_table(dynamodb_local_url) as table,
        losing_responses(table.connection, seed=campaign.seed) as through,
    ):
        history = await record(campaign, table.name, connection=table.connection, through=through)
    assert check(history) is None


@pytest.mark.usefixtures("aws_credentials")
@pytest.mark.parametrize("seed", [1, 2, 103])
def test_requests_to_a_table_in_any_order_have_a_linearizable_history(
    seed: int, dynamodb_local_url: str
) -> None:
    """Between any two requests of one operation there may be those of another one; some get no response."""
    assert check(record_in_turn(Campaign(seed=seed), dynamodb_local_url)) is None


# The check can fail


def message(number: int) -> Message:
    """A message that is sent later than all replies before it."""
    return msgspec.structs.replace(user_message(number, client_id=f"m{number}"), id=f"msg_{AT + number}_user")


REPLY = msgspec.structs.replace(reply_to(message(1), 2), id=f"msg_{AT + 2}_assistant")
QUEUED, LAST = "run_queued", "run_last"
OTHER_KEY = ConversationKey(KEY.user_id, KEY.coach_id, "conv-2")


class TwoStepBegin(SqliteStore):
    """A store that looks for an unfinished run in one transaction and begins another one in the next."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._both_have_looked = asyncio.Barrier(2)
        self._second_step = asyncio.Lock()

    async def begin_run(
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        if (await self.read_queue(key)).run_id is None:
            await self._both_have_looked.wait()
        async with self._second_step:
            free = "UPDATE conversations SET unfinished_run = NULL"
            await self._database.write(lambda db: db.execute(free))
            return await super().begin_run(key, user_message, run_id, opened, quotas)


class TwoStepAppend(SqliteStore):
    """A store that looks for an entry in one transaction and writes its own in the next."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._both_have_looked = asyncio.Barrier(2)
        self._second_step = asyncio.Lock()

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
        there = await self.read_log(key, run_id, after=entry.number - 1)
        if there:
            return there[0]
        await self._both_have_looked.wait()
        async with self._second_step:
            await self._database.write(lambda db: db.execute("DELETE FROM log_entries WHERE number > 0"))
            return await super().append(key, run_id, entry)


class StaleReads(SqliteStore):
    """A store that reads from a replica that is behind."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._behind = RunQueue()

    async def read_queue(self, key: ConversationKey) -> RunQueue:
        behind, self._behind = self._behind, await super().read_queue(key)
        return behind


class Talk:
    """Clients of one store, and their history."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.sink = Sink()
        self.clients = [RecordedStore(store, number, self.sink, at=AT) for number in range(2)]

    async def begin(self, client: int, number: int, run: str, *, key: ConversationKey = KEY) -> None:
        opened = msgspec.structs.replace(first(AT), writer=f"{number:016x}")
        await self.clients[client].begin_run(key, message(number), run, opened, LIMITS)

    async def append(self, client: int, entry: LogEntry) -> None:
        await self.clients[client].append(KEY, RUN, entry)

    def check(self) -> str | None:
        return check(history_of(self.sink.operations))


def history_of(operations: Sequence[Operation]) -> History:
    limits = Limits(LIMITS.concurrent_runs, LIMITS.turns_per_minute, LIMITS.tokens_per_day)
    return History({KEY.user_id: limits}, tokens="exact", use="exact", operations=operations)


def leased(entry: LogEntry) -> LogEntry:
    """The entry of a lease holder that is alive at the time of the history."""
    return msgspec.structs.replace(entry, leased_until=AT + LEASE_MS)


async def with_conversations(store: SqliteStore) -> Talk:
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    for key in (KEY, OTHER_KEY):
        await store.create_conversation(conversation(key))
    return Talk(store)


async def test_two_runs_that_begin_at_the_same_time_are_found(tmp_path: Path) -> None:
    """Both clients found no unfinished run, and both began one."""
    store = TwoStepBegin(tmp_path / "data.db")
    async with aclosing(store):
        talk = await with_conversations(store)
        await asyncio.gather(talk.begin(0, 1, RUN), talk.begin(1, 3, NEXT_RUN))
    refused = talk.check()
    assert refused is not None
    assert "user-1: at most 1 of 2 operations can be ordered" in refused


async def test_an_entry_that_replaces_another_one_is_found(tmp_path: Path) -> None:
    """Both clients found the number free, and both wrote it."""
    store = TwoStepAppend(tmp_path / "data.db")
    async with aclosing(store):
        talk = await with_conversations(store)
        await talk.begin(0, 1, RUN)
        entries = (leased(said(1)), leased(said(1, writer=ANOTHER_WRITER)))
        await asyncio.gather(*map(talk.append, (0, 1), entries))
    refused = talk.check()
    assert refused is not None
    assert "at most 2 of 3 operations can be ordered" in refused


async def test_a_read_of_what_was_true_before_is_found(tmp_path: Path) -> None:
    """The run had begun before the read was requested."""
    store = StaleReads(tmp_path / "data.db")
    async with aclosing(store):
        talk = await with_conversations(store)
        await talk.begin(0, 1, RUN)
        await talk.clients[1].read_queue(KEY)
    assert talk.check() is not None


@pytest.fixture
async def recorded(tmp_path: Path) -> list[Operation]:
    """A history in which most kinds of results occur, one call after another."""
    async with aclosing(SqliteStore(tmp_path / "data.db")) as store:
        talk = await with_conversations(store)
        holder, other = talk.clients
        await talk.begin(0, 1, RUN)
        await talk.begin(1, 3, NEXT_RUN)
        await other.save_waiting_message(KEY, message(3), RUN)
        await talk.append(0, leased(said(1)))
        await talk.append(1, leased(said(1, writer=ANOTHER_WRITER)))
        await talk.begin(1, 5, NEXT_RUN, key=OTHER_KEY)
        await other.read_log(KEY, RUN)
        await holder.finish_run(KEY, RUN, leased(ended(2, REPLY)), REPLY, Spent(AT, 60))
        await other.finish_run(KEY, RUN, leased(ended(2, writer=ANOTHER_WRITER)), None)
        await other.read_queue(KEY)
        await talk.begin(1, 1, NEXT_RUN)
        await talk.begin(1, 3, NEXT_RUN)
        await other.quota_use(KEY.user_id, LIMITS, at=AT)
        await other.load_messages(KEY)
        await other.enqueue_run(KEY, message(7), QUEUED, behind=NEXT_RUN, most=1)
        await other.enqueue_run(KEY, message(9), LAST, behind=NEXT_RUN, most=1)
        await talk.begin(1, 9, "run_9")
        await holder.finish_run(KEY, NEXT_RUN, leased(ended(1)), None)
        await holder.begin_queued(KEY, QUEUED, first(AT), LIMITS)
        await other.enqueue_run(KEY, message(9), LAST, behind=QUEUED, most=1)
        await other.read_queue(KEY)
        await other.leave_queue(KEY, LAST, ended(1, writer=ANOTHER_WRITER), is_withdrawn=True)
        await talk.begin(1, 9, "run_9")
        await other.load_messages(KEY)
        return bounded(talk.sink.operations)


async def test_what_was_recorded_has_every_kind_of_result(recorded: list[Operation]) -> None:
    """And is linearizable, as calls one after another are."""
    kinds = [(each.name, each.result.kind if each.result else None) for each in recorded]
    assert kinds == [
        ("begin", "begun"),
        ("begin", "busy"),
        ("wait", "saved"),
        ("append", "appended"),
        ("append", "taken"),
        ("begin", "refused"),
        ("log", "read"),
        ("finish", "finished"),
        ("finish", "taken"),
        ("queue", "read"),
        ("begin", "answered"),
        ("begin", "begun"),
        ("use", "read"),
        ("messages", "read"),
        ("enqueue", "queued"),
        ("enqueue", "full"),
        ("begin", "busy"),
        ("finish", "finished"),
        ("beginQueued", "begun"),
        ("enqueue", "queued"),
        ("queue", "read"),
        ("leave", "left"),
        ("begin", "withdrawn"),
        ("messages", "read"),
    ]
    assert check(history_of(recorded)) is None


@pytest.mark.parametrize(
    ("number", "result"),
    [
        (0, Result("begun")),
        (1, Result("begun", is_first=True)),
        (1, Result("busy", run=NEXT_RUN)),
        (1, Result("busy", run=RUN, is_stored=True)),
        (2, Result("ended")),
        (3, Result("taken")),
        (4, Result("appended")),
        (5, Result("begun", is_first=True)),
        (5, Result("refused", quota="turns-per-minute")),
        (6, Result("read")),
        (7, Result("lost")),
        (8, Result("finished")),
        (9, Result("read", run=RUN)),
        (10, Result("begun")),
        (10, Result("answered", reply="another")),
        (11, Result("begun", is_first=True)),
        (11, Result("refused", quota="concurrent-runs")),
        (12, Result("read", runs=2, turns=2, tokens=60)),
        (12, Result("read", runs=1, turns=3, tokens=60)),
        (12, Result("read", runs=1, turns=2, tokens=120)),
        (13, Result("read", names=("m1", "m3"))),
        (13, Result("read", names=("m1", "m3", REPLY.id))),
        (13, Result("read", names=("m1", REPLY.id, "m3", "m3"))),
        (14, Result("queued", run="another", is_first=True)),
        (14, Result("queued", run=QUEUED)),
        (15, Result("queued", run=LAST, is_first=True)),
        (16, Result("busy", run=NEXT_RUN)),
        (16, Result("busy", run=QUEUED, queue=(QUEUED,))),
        (18, Result("not next")),
        (18, Result("begun")),
        (19, Result("ended")),
        (20, Result("read", run=QUEUED)),
        (20, Result("read", run=NEXT_RUN, queue=(QUEUED, LAST))),
        (21, Result("absent")),
        (22, Result("begun", is_first=True)),
        (22, Result("busy", run=QUEUED, is_stored=True)),
        (23, Result("read", names=("m1", REPLY.id, "m3", "m7", "m9"))),
    ],
)
async def test_a_result_that_the_calls_before_do_not_allow_is_found(
    recorded: list[Operation], number: int, result: Result
) -> None:
    """Each result of a true history is replaced by a wrong one."""
    true = recorded[number].result
    assert true is not None
    wrong = msgspec.structs.replace(recorded[number], result=msgspec.structs.replace(result, id=true.id))
    assert check(history_of([*recorded[:number], wrong, *recorded[number + 1 :]])) is not None


def unknown(operation: Operation) -> Operation:
    return msgspec.structs.replace(operation, result=None, returned=0)


@pytest.mark.parametrize("number", [0, 2, 3, 7, 11, 14, 18, 21])
async def test_a_call_without_a_result_may_have_had_its_effect(
    recorded: list[Operation], number: int
) -> None:
    """At any time after it was made; the results of the other calls need it here."""
    call, others = unknown(recorded[number]), [*recorded[:number], *recorded[number + 1 :]]
    assert check(history_of([*others, call])) is None
    too_late = msgspec.structs.replace(call, call=recorded[-1].returned + 1)
    assert check(history_of([*others, too_late])) is not None


async def test_a_call_without_a_result_may_have_had_no_effect(recorded: list[Operation]) -> None:
    """Nothing shows that it had one."""
    call = unknown(recorded[0])
    entry = Entry(0, "another writer", "opened", is_leased=True)
    for run, key in ((NEXT_RUN, KEY), (RUN, OTHER_KEY)):
        unseen = msgspec.structs.replace(call, run=run, conversation=key.conversation_id, entry=entry)
        assert check(history_of([*recorded, unseen])) is None


async def test_a_call_whose_entry_was_returned_had_its_effect_before(recorded: list[Operation]) -> None:
    """A call whose entry was not needs no place in the order; so there is less to search."""
    for number, seen_by in ((0, 6), (3, 4)):
        call = unknown(recorded[number])
        kept = bounded([*recorded[:number], call, *recorded[number + 1 :]])
        assert kept[number] == msgspec.structs.replace(call, returned=recorded[seen_by].returned)
        assert len(kept) == len(recorded)
        assert check(history_of(kept)) is None
    unseen = unknown(msgspec.structs.replace(recorded[3], entry=Entry(2, "w", "said", is_leased=True)))
    again = unknown(msgspec.structs.replace(recorded[3], call=recorded[-1].returned))
    assert bounded([*recorded, unseen, again]) == recorded


async def test_a_search_that_takes_too_long_is_an_error(recorded: list[Operation]) -> None:
    """Not an approval: here each of forty messages may have been stored, in any order."""
    waiting = unknown(recorded[2])
    many = [msgspec.structs.replace(waiting, client=n, message=f"w{n}") for n in range(40)]
    reads = msgspec.structs.replace(recorded[13], result=Result("read", names=("never stored",)))
    with pytest.raises(AssertionError, match="undecided"):
        check(history_of([*recorded[:13], *many, reads]), within_s=0.2)


async def test_a_history_that_is_none_is_an_error() -> None:
    """As one of an older recorder would be."""
    with pytest.raises(AssertionError, match="empty"):
        check(history_of([]))
