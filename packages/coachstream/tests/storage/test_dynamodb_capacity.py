"""A run's known capacity use does not depend on the conversation's length; queries follow every page."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from coachstream.conversation.another_try import TryRequest
from coachstream.conversation.errors import ErrorCode, NotTheLastExchange, QuotaExceeded
from coachstream.conversation.events import Completed
from coachstream.conversation.model import ConversationKey, Message, MessageMetadata, Role, StopReason
from coachstream.conversation.quotas import QuotaLimits
from coachstream.conversation.run_log import Broken, LogEntry
from coachstream.conversation.run_store import QueueIsFull, RunBegun, RunQueued
from coachstream.conversation.runs.closer import RunCloser
from coachstream.conversation.runs.settings import RunSettings
from coachstream.conversation.runs.watcher import RunWatcher
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import TurnRequest
from coachstream.conversation.turn.settings import ContextLimits, TurnSettings
from coachstream.conversation.turn.turn import run_turn
from coachstream.conversation.user_data import delete_user_data
from coachstream.language.demo import DemoModel
from coachstream.services import SystemClock
from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.dynamodb.attribute_values import from_item, to_item
from coachstream.storage.dynamodb.item_size import KIB, item_bytes
from coachstream.storage.dynamodb.items import message_item
from contracts.another_try import go_on, regenerate, replace, reply_of
from contracts.quotas import AT, Talk
from contracts.store_records import (
    COACH,
    KEY,
    NEXT_RUN,
    RUN,
    begin,
    conversation,
    ended,
    memory,
    opened,
    reply_to,
    said,
    store_reply,
    user_message,
    workout,
)
from support.dynamodb import Spent, Table, a_kept_table
from support.patience import PATIENCE_S
from support.turn_events import events_of, followed

PK = f"user#{KEY.user_id}"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def earlier_messages(first: int, last: int, *, chars: int = 400) -> Iterator[Message]:
    """Messages numbered from `first` up to `last`, all of one length, a second apart."""
    for number in range(first, last + 1):
        moment = BEGAN + timedelta(seconds=number)
        role = Role.USER if number % 2 else Role.ASSISTANT
        yield Message(
            f"msg_{int(moment.timestamp() * 1000):013d}_{number:09d}_{role.value}",
            role,
            f"{number:09d} ".ljust(chars, "x"),
            moment,
            MessageMetadata(stop_reason=None if role is Role.USER else StopReason.END_TURN),
        )


async def seed(table: Table, first: int, last: int) -> None:
    await table.put_all(
        message_item(KEY, message, at=message.timestamp) for message in earlier_messages(first, last)
    )


async def prepared(store: DynamoDbStore) -> DynamoDbStore:
    """The store, with a coach, a conversation, a memory and a workout."""
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    await store.create_conversation(conversation())
    await store.put_memory(KEY.user_id, "m", memory("m"))
    await store.put_workout(KEY.user_id, "w", workout("w", "2026-01-01T10:00:00.000Z"))
    return store


@pytest.fixture
async def store(table: Table) -> DynamoDbStore:
    return await prepared(table.store())


LONG = 5_200


@dataclass
class KeptConversation:
    """A table with `LONG` messages, and its other items as they were before the first test."""

    table_name: str
    others: Sequence[Mapping[str, Any]] = ()


@pytest.fixture(scope="module")
def kept() -> KeptConversation:
    """The long conversation, shared because writing it takes longer than all tests that use it."""
    return KeptConversation(f"coachstream-{uuid.uuid4().hex}")


@pytest.fixture
async def long(
    dynamodb_local_url: str,
    aws_credentials: None,  # noqa: ARG001
    kept: KeptConversation,
) -> AsyncIterator[Table]:
    """The table with the long conversation, reset to its state before other tests."""
    async with a_kept_table(dynamodb_local_url, kept.table_name) as (table, is_new):
        if is_new:
            await seed(table, 1, LONG)
            await prepared(table.store())
            kept.others = await items_except_seeded(table)
        else:
            await restore(table, kept.others)
        yield table


async def items_except_seeded(table: Table) -> list[Mapping[str, Any]]:
    """All items except the seeded messages."""
    prefix = f"coachMessage#{KEY.conversation_id}#"
    first, last = (message.id for message in (*earlier_messages(1, 1), *earlier_messages(LONG, LONG)))
    found: list[Mapping[str, Any]] = []
    for condition, sk in (("sk < :sk", prefix + first), ("sk > :sk", prefix + last)):
        pages = (
            (await table.client())
            .get_paginator("query")
            .paginate(
                TableName=table.name,
                KeyConditionExpression=f"pk = :pk AND {condition}",
                ExpressionAttributeValues=to_item({":pk": PK, ":sk": sk}),
                ConsistentRead=True,
            )
        )
        async for page in pages:
            found += map(from_item, page["Items"])
    return found


async def restore(table: Table, others: Sequence[Mapping[str, Any]]) -> None:
    """Restore the initial items and delete the others."""
    for item in await items_except_seeded(table):
        await table.raw("delete_item", Key=to_item({"pk": item["pk"], "sk": item["sk"]}))
    await table.put_all(others)


async def a_turn(store: DynamoDbStore, text: str, settings: TurnSettings) -> None:
    """A whole turn, as the handlers run it."""
    parts = TurnDependencies(
        runs=store,
        context=store,
        conversations=store,
        memories=store,
        model=DemoModel(delay_s=0),
        recall=None,
        clock=SystemClock(),
    )
    request = TurnRequest(KEY, text, time.monotonic() + 30, client_message_id=f"c-{text}")
    events = [event async for event in events_of(run_turn, request, parts, settings)]
    assert isinstance(events[-1], Completed)


def without_segments(spent: Spent) -> tuple[float, float, dict[str, int]]:
    """Reads, writes and calls without the segments, whose number depends on timing."""
    segments = spent.calls.get("PutItem", 0)
    calls = {name: count for name, count in spent.calls.items() if name != "PutItem"}
    return spent.reads, spent.writes - segments, calls


async def spent_by_a_turn(table: Table, store: DynamoDbStore, text: str, settings: TurnSettings) -> Spent:
    async with table.metered() as spent:
        await a_turn(store, text, settings)
    return spent


@pytest.mark.parametrize(
    ("limits", "budget_chars"),
    [(ContextLimits(messages=8), 60_000), (ContextLimits(messages=200), 1_600)],
    ids=["window full by count", "window full by length"],
)
async def test_a_turn_consumes_the_same_at_message_10_and_at_message_5000(
    table: Table, store: DynamoDbStore, long: Table, limits: ContextLimits, budget_chars: int
) -> None:
    """The metered reads and writes of a whole turn are equal once the prompt's window is full."""
    settings = TurnSettings(history_budget_chars=budget_chars, limits=limits)
    await seed(table, 1, 10)
    early = await spent_by_a_second_turn(table, store, settings)
    late = await spent_by_a_second_turn(long, long.store(), settings)
    assert early.writes > 0
    assert without_segments(late) == without_segments(early)


async def spent_by_a_second_turn(table: Table, store: DynamoDbStore, settings: TurnSettings) -> Spent:
    """What a turn consumes after a first turn has done the one-time work."""
    await a_turn(store, "warm", settings)
    return await spent_by_a_turn(table, store, "Hi", settings)


async def test_until_the_window_is_full_a_turn_reads_what_it_shows_and_writes_the_same(
    table: Table, store: DynamoDbStore, long: Table
) -> None:
    """With the default window, reads grow up to 200 messages or 60,000 characters, and no further.

    How many messages fit is estimated from replies of different lengths: one read unit more or less.
    """
    settings = TurnSettings()
    await seed(table, 1, 10)
    ten = await spent_by_a_second_turn(table, store, settings)
    await seed(table, 11, 300)
    hundreds = await spent_by_a_turn(table, store, "Hi 2", settings)
    await spent_by_a_second_turn(long, long.store(), settings)
    thousands = await spent_by_a_turn(long, long.store(), "Hi 2", settings)
    spent = (ten, hundreds, thousands)
    assert len({without_segments(each)[1] for each in spent}) == 1
    assert ten.reads < hundreds.reads
    assert abs(hundreds.reads - thousands.reads) <= 1


SEGMENTS = 25
SEGMENT = "x" * 59 + " "


async def a_run_with_its_log(table: Table, store: DynamoDbStore, number: int) -> dict[str, Spent]:
    """A message, a reply in 25 segments of 60 characters, and the end; returns what each step consumes."""
    message = user_message(number, "How was it?", client_id=f"c-{number}")
    reply = reply_to(message, number + 1, SEGMENT * SEGMENTS)
    run = f"run_{number:013d}_aaaaaaaaa"
    async with table.metered() as beginning:
        await begin(store, message, run)
    async with table.metered() as appending:
        for segment in range(SEGMENTS):
            assert await store.append(KEY, run, said(1 + segment, SEGMENT, offset=60 * segment)) is None
    async with table.metered() as finishing:
        assert await store.finish_run(KEY, run, ended(1 + SEGMENTS, reply), reply) is None
    return {"begin": beginning, f"{SEGMENTS} segments": appending, "finish": finishing}


async def test_a_run_with_its_log_writes_47_units_and_reads_none(
    table: Table, store: DynamoDbStore, long: Table
) -> None:
    """Two transactions of five items at two units per KB, and one unit per segment."""
    await seed(table, 1, 10)
    early = await a_run_with_its_log(table, store, 100)
    late = await a_run_with_its_log(long, long.store(), 110)
    for step, spent in early.items():
        print(f"{step}: {spent.writes} WCU, {spent.reads} RCU, {spent.calls}")  # noqa: T201 (what a run costs)
    assert late == early
    assert sum(spent.reads for spent in early.values()) == 0
    # The reply has 1,500 characters, so its item takes two KB.
    assert [spent.writes for spent in early.values()] == [10, SEGMENTS, 12]


async def what_tries_cost(table: Table, store: DynamoDbStore, number: int) -> dict[str, Spent]:
    """Another reply, an edit, a continuation, a choice and a list, of replies of 1,500 characters."""
    prices: dict[str, Spent] = {}

    @asynccontextmanager
    async def priced(operation: str) -> AsyncIterator[None]:
        async with table.metered() as spent:
            yield
        prices[operation] = spent

    async def tried(name: str, request: TryRequest, message: Message | None = None) -> Message:
        run = f"run_{number:013d}_{name.ljust(9, '0')}"
        async with priced(f"begin to {name}"):
            begun = await store.begin_try(KEY, request, message, run, opened())
        assert isinstance(begun, RunBegun)
        reply = reply_of(begun, SEGMENT * SEGMENTS, run=run, stop=StopReason.STOPPED)
        end = ended(1 + bool(begun.said), reply)
        async with priced(f"finish: {name}"):
            assert await store.finish_run(KEY, run, end, reply, None, begun.another_try) is None
        return reply

    def sent(name: str) -> Message:
        """A message that comes after the seeded ones."""
        message = user_message(number, f"How was it, {name}?", client_id=f"{name}-{number}")
        return msgspec.structs.replace(message, id=f"msg_{1_790_000_000_000 + number:013d}_user")

    begun = await begin(store, sent("c"), NEXT_RUN)
    reply = reply_of(begun, SEGMENT * SEGMENTS)
    assert await store.finish_run(KEY, NEXT_RUN, ended(1, reply), reply) is None
    async with priced("refuse"):
        with pytest.raises(NotTheLastExchange):
            await store.begin_try(
                KEY, regenerate(begun.user_message, f"no-{number}"), None, "run_0", opened()
            )
    again = await tried("generate", regenerate(reply, f"re-{number}"))
    await tried("continue", go_on(again, f"go-{number}"))
    await tried("replace", replace(begun.user_message, f"ed-{number}"), sent("ed"))
    [*_, last] = await store.load_newest(KEY, limit=1)
    async with priced("list 3 versions"):
        assert len(await store.load_versions(KEY, last.id)) == 3
    async with priced("choose"):
        await store.choose_version(KEY, last.id, again.id)
    return prices


async def test_each_operation_on_versions_has_its_price(
    table: Table, store: DynamoDbStore, long: Table
) -> None:
    """It is the same at message 10 and at message 5,000, and bounded by a few times that of a run.

    Two units a kilobyte for each item of a transaction; a version that is moved is written and deleted.
    """
    await seed(table, 1, 10)
    early = await what_tries_cost(table, store, 100)
    late = await what_tries_cost(long, long.store(), 200)
    for operation, spent in early.items():
        print(f"{operation}: {spent.writes} WCU, {spent.reads} RCU, {spent.calls}")  # noqa: T201 (its price)
    assert late == early
    writes = {operation: spent.writes for operation, spent in early.items()}
    assert writes == {
        "refuse": 0,
        "begin to generate": 8,
        "finish: generate": 18,
        "begin to continue": 12,
        "finish: continue": 12,
        "begin to replace": 10,
        "finish: replace": 28,
        "list 3 versions": 0,
        "choose": 28,
    }
    assert max(spent.reads for spent in early.values()) <= 12


QUOTAS = QuotaLimits(concurrent_runs=3, turns_per_minute=100, tokens_per_day=1_000_000)


async def test_quotas_cost_a_turn_two_write_units_and_no_round_trip(
    table: Table, store: DynamoDbStore
) -> None:
    """One more item in the claim's transaction, and none in the one that ends the run.

    What is left is read while the model writes: one read of the quota item, one of each open conversation.
    """
    limited = TurnSettings(runs=RunSettings(quotas=QUOTAS))
    without = await spent_by_a_second_turn(table, store, TurnSettings())
    await a_turn(store, "first with quotas", limited)
    with_quotas = await spent_by_a_turn(table, store, "second with quotas", limited)
    for name, spent in (("without", without), ("with", with_quotas)):
        reads, writes, calls = without_segments(spent)
        print(f"a turn {name} quotas: {writes} WCU, {reads} RCU, {calls}")  # noqa: T201 (what quotas cost)
    (reads, writes, calls), (more_reads, more_writes, more_calls) = map(
        without_segments, (without, with_quotas)
    )
    assert more_writes - writes == 2
    assert more_reads - reads <= 2 + 1  # the history has grown by a turn
    assert more_calls == calls | {"GetItem": calls["GetItem"] + 2}


async def test_each_operation_on_quotas_has_its_price(table: Table, store: DynamoDbStore) -> None:
    """A claim, an end, what is left, the refusals, and a claim that has to look for a place."""
    prices: dict[str, Spent] = {}

    @asynccontextmanager
    async def priced(operation: str) -> AsyncIterator[None]:
        async with table.metered() as spent:
            yield
        prices[operation] = spent

    talk, limits = Talk(store), msgspec.structs.replace(QUOTAS, concurrent_runs=2)
    for name in "abcde":
        await talk.key(name)
    async with priced("claim without quotas"):
        unlimited = await talk.begin("a", QuotaLimits())
    async with priced("end without quotas"):
        await unlimited.finish()
    async with priced("claim"):
        run = await talk.begin("c", limits)
    async with priced("end"):
        await run.finish(tokens=10)
    run = await talk.begin("c", limits)
    other = await talk.begin("d", limits)
    async with priced("what is left, 2 conversations"):
        await talk.use(limits)
    async with priced("refusal: 2 runs"):
        with pytest.raises(QuotaExceeded):
            await talk.send("e", limits)
    await run.finish(tokens=10)
    async with priced("claim that looks for a place"):
        run = await talk.begin("e", limits)
    await run.finish(tokens=10)
    use = (await talk.use(limits)).after_turn(limits.tokens_per_day, at=AT)
    async with priced("end that uses up the day"):
        await other.finish(tokens=limits.tokens_per_day, use=use)
    async with priced("refusal: tokens"):
        with pytest.raises(QuotaExceeded):
            await talk.send("e", limits)
    for operation, spent in prices.items():
        print(f"{operation}: {spent.writes} WCU, {spent.reads} RCU, {spent.calls}")  # noqa: T201 (its price)
    claim, end = prices["claim without quotas"], prices["end without quotas"]
    assert (prices["claim"].writes, prices["claim"].calls) == (claim.writes + 2, claim.calls)
    assert prices["end"] == end
    assert (prices["end that uses up the day"].writes, prices["end"].calls) == (end.writes + 2, end.calls)
    assert prices["what is left, 2 conversations"].calls == {"GetItem": 3}
    assert prices["refusal: tokens"].calls == {"TransactWriteItems": 1}
    assert prices["refusal: 2 runs"].calls == {"TransactWriteItems": 1, "GetItem": 3, "Query": 2}
    assert prices["claim that looks for a place"].calls == {"TransactWriteItems": 3, "GetItem": 2, "Query": 1}
    # The failed attempt is billed like the one that succeeds.
    assert prices["claim that looks for a place"].writes == 2 * prices["claim"].writes + 4


class PollCountingStore(DynamoDbStore):
    """A store that counts the reads of a log."""

    polls = 0

    async def read_log(self, key: ConversationKey, run_id: str, *, after: int = -1) -> Sequence[LogEntry]:
        self.polls += 1
        return await super().read_log(key, run_id, after=after)


async def test_a_reader_asks_once_a_poll(long: Table) -> None:
    """A poll is one consistent query, which costs at most one unit below 4 KB of new entries."""
    store = long.store()
    await store_reply(store, user_message(1), reply_to(user_message(1), 2))
    message = user_message(3)
    reply = reply_to(message, 4, "Well done.")
    await begin(store, message, NEXT_RUN)
    clock, reading = SystemClock(), PollCountingStore(long.client, long.name)
    watcher = RunWatcher(
        KEY,
        NEXT_RUN,
        after=-1,
        store=reading,
        clock=clock,
        closer=RunCloser(reading, clock, RunSettings(), model_name="demo"),
        settings=RunSettings(first_poll_s=0.01, longest_poll_s=0.01),
        deadline=clock.monotonic() + 30,
        can_continue=False,
    )
    async with long.metered() as spent:
        assert await watcher.open() is not None
        following = asyncio.ensure_future(followed(watcher))
        async with asyncio.timeout(PATIENCE_S):
            while reading.polls < 20:  # noqa: ASYNC110 (another task's count)
                await asyncio.sleep(0.01)
        polls, queries, reads = reading.polls, dict(spent.calls), spent.reads
    print(f"{polls} polls: {reads} RCU, {queries}")  # noqa: T201 (what reading along costs)
    assert queries.keys() == {"Query"}
    # The last one may still be in flight.
    assert polls - 1 <= queries["Query"] <= polls
    # DynamoDB Local meters nothing for an empty result; the service has a minimum charge.
    assert reads <= queries["Query"]
    await store.append(KEY, NEXT_RUN, said(1, "Well"))
    await store.finish_run(KEY, NEXT_RUN, ended(2, reply), reply)
    told, _ = await following
    assert isinstance(told[-1], Completed)
    assert told[-1].reply == reply


async def test_a_conversation_passes_5000_messages_and_a_megabyte_and_goes_on(long: Table) -> None:
    """Every message is there in order, the next turn succeeds, and deleting leaves nothing."""
    store = long.store()
    await a_turn(store, "Still there?", TurnSettings())
    messages = await store.load_messages(KEY)
    assert len(messages) == LONG + 2
    assert sum(len(message.content) for message in messages) > 2_000_000
    assert list(messages[:LONG]) == list(earlier_messages(1, LONG))
    assert messages[-2].content == "Still there?"
    newest = await store.load_history(KEY, limit=200, budget_chars=60_000)
    assert list(newest) == list(messages[-len(newest) :])
    assert sum(len(message.content) for message in newest) >= 60_000
    await store.delete_conversation(KEY)
    assert [item["entityType"] for item in await long.items()] == ["coachConfig", "userMemory", "workout"]
    await long.raw("delete_table")


async def test_the_profile_and_the_summary_cost_a_turn_two_small_reads(
    table: Table, store: DynamoDbStore
) -> None:
    """The profile and the summary are one request each, for half a unit per 4 KB, and nothing is written."""
    async with table.metered() as without:
        await store.load_profile(KEY.user_id)
        await store.load_summary(KEY)
    await store.put_profile(
        KEY.user_id,
        {
            "firstName": "Ana",
            "athleteProfile": {"summary": "x" * 6_000},
            "criticalTrainingDirective": {"enabled": True, "content": "No jumps."},
        },
    )
    await store.put_summary(KEY, {"narrative": "y" * 6_000, "structuredData": {"key_insights": ["z"] * 10}})
    async with table.metered() as spent:
        profile = await store.load_profile(KEY.user_id)
        summary = await store.load_summary(KEY)
    print(f"profile and summary: {without.reads} RCU without, {spent.reads} RCU with 6 KB each")  # noqa: T201
    assert (without.calls, spent.calls) == ({"GetItem": 2}, {"GetItem": 2})
    assert (without.reads, spent.reads, spent.writes) == (1, 2, 0)
    assert (len(profile.athlete_profile), profile.directive) == (6_000, "No jumps.")
    assert (len(summary.narrative), summary.key_insights) == (6_000, ("z",) * 10)


async def test_in_a_long_conversation_the_summary_is_there_for_what_is_not_read(long: Table) -> None:
    """Of 5,200 stored messages a turn reads its window; the rest is known from the summary."""
    store = long.store()
    await store.put_summary(KEY, {"coachId": KEY.coach_id, "narrative": "It began with a knee operation."})
    history = await store.load_history(KEY, limit=200, budget_chars=60_000)
    assert len(history) < LONG / 20
    assert (await store.load_summary(KEY)).narrative == "It began with a knee operation."
    async with long.metered() as spent:
        await a_turn(store, "How did it begin?", TurnSettings())
    print(f"a turn after {LONG} messages: {spent.reads} RCU, {spent.writes} WCU, {spent.calls}")  # noqa: T201
    assert spent.reads < 100


async def test_an_export_reads_the_partition_once(table: Table, store: DynamoDbStore) -> None:
    """Strongly consistent: a unit for each 4 KB, rounded up for each page; nothing is written."""
    await seed(table, 1, 1_000)
    stored = sum(item_bytes(item) for item in await table.items())
    pages, after = 0, None
    async with table.metered() as spent:
        while pages == 0 or after is not None:
            after = (await store.read_records(KEY.user_id, after=after)).next
            pages += 1
    kib = stored / KIB
    print(f"an export of {kib:.0f} KiB in {pages} pages: {spent.reads} RCU, {spent.calls}")  # noqa: T201
    assert (spent.calls, spent.writes) == ({"Query": pages}, 0)
    assert kib / 4 <= spent.reads <= kib / 4 + pages


async def test_a_deletion_reads_each_item_a_few_times_and_writes_it_once(
    table: Table, store: DynamoDbStore
) -> None:
    """What stays is read once, to be counted; a repetition reads only that."""
    await seed(table, 1, 1_000)
    kib = sum(item_bytes(item) for item in await table.items()) / KIB
    async with table.metered() as spent:
        report = await delete_user_data(KEY.user_id, store=store, recall=None)
    async with table.metered() as again:
        assert (await delete_user_data(KEY.user_id, store=store, recall=None)).is_complete
    print(f"a deletion of {kib:.0f} KiB: {spent.reads} RCU, {spent.writes} WCU, {spent.calls}")  # noqa: T201
    print(f"a repetition: {again.reads} RCU, {again.writes} WCU, {again.calls}")  # noqa: T201
    assert (report.conversations, report.left) == (1, {"coach": 1, "workout": 1})
    assert spent.reads <= kib / 4 + 20
    assert again.writes == 0
    assert again.reads <= 10


async def test_the_newest_workouts_are_the_newest_of_all_pages(table: Table, store: DynamoDbStore) -> None:
    """Three megabytes of workouts whose ids are unrelated to their dates."""
    ballast = "x" * 30_000
    for number in range(100):
        moment = BEGAN + timedelta(days=number * 37 % 100)
        attributes = {**workout(f"ws_{number:03d}", f"{moment:%Y-%m-%d}T10:00:00.000Z"), "notes": ballast}
        await store.put_workout(KEY.user_id, f"ws_{number:03d}", attributes)
    async with table.metered() as spent:
        found = await store.load_recent_workouts(KEY.user_id, limit=14)
    assert spent.calls["Query"] > 1
    days = [(each.completed_at - BEGAN).days for each in found]
    assert days == list(range(99, 85, -1))
    assert found[0].summary.startswith("Did ws_")


async def test_every_memory_is_ranked_also_those_on_later_pages(table: Table, store: DynamoDbStore) -> None:
    """The most important memory may be the last one read."""
    for number in range(50):
        attributes = {**memory(f"m{number:02d}", importance="low"), "notes": "x" * 30_000}
        await store.put_memory(KEY.user_id, f"m{number:02d}", attributes)
    await store.put_memory(KEY.user_id, "z", memory("z", importance="high", uses=9))
    async with table.metered() as spent:
        found = await store.load_memories(KEY.user_id, KEY.coach_id, limit=3)
    assert spent.calls["Query"] > 1
    assert [each.id for each in found][:2] == ["z", "m"]


async def test_conversations_are_listed_from_all_pages(table: Table, store: DynamoDbStore) -> None:
    """Large conversations written by the existing functions fill several pages."""
    for number in range(8):
        key = ConversationKey(KEY.user_id, KEY.coach_id, f"conv-{number + 2}")
        await store.create_conversation(conversation(key, age_days=number + 2))
        item = await table.get(PK, f"coachConversation#{KEY.coach_id}#{key.conversation_id}")
        entries = [{"id": f"msg_{n}_user", "role": "user", "content": "x" * 1_000} for n in range(300)]
        await table.put({**item, "attributes": {**item["attributes"], "messages": entries}})
    async with table.metered() as spent:
        listed = await store.list_conversations(KEY.user_id, KEY.coach_id)
    assert spent.calls["Query"] > 1
    assert [each.key.conversation_id for each in listed] == [f"conv-{number + 1}" for number in range(9)]


async def test_each_operation_on_the_queue_has_its_price(table: Table, store: DynamoDbStore) -> None:
    """Queueing costs as much as storing a message; waiting, two small reads at each look."""
    prices: dict[str, Spent] = {}

    @asynccontextmanager
    async def priced(operation: str) -> AsyncIterator[None]:
        async with table.metered() as spent:
            yield
        prices[operation] = spent

    def message(number: int) -> Message:
        return user_message(number, "How was it?", client_id=f"c-{number}")

    async def queue(number: int, *, behind: str) -> None:
        found = await store.enqueue_run(KEY, message(number), f"run_q{number}", behind=behind, most=3)
        assert isinstance(found, RunQueued)

    ending = msgspec.structs.replace(ended(1), content=Broken(ErrorCode.MESSAGE_WITHDRAWN, retryable=False))
    async with priced("begin a run"):
        await begin(store, message(10))
    async with priced("a message that waits"):
        await store.save_waiting_message(KEY, message(20), RUN)
    await queue(30, behind=RUN)
    async with priced("queue a message"):
        await queue(40, behind=RUN)
    async with priced("queue a message that is stored"):
        found = await store.enqueue_run(KEY, message(20), "run_q20", behind=RUN, most=3)
        assert isinstance(found, RunQueued)
    async with priced("a full queue"):
        full = await store.enqueue_run(KEY, message(50), "run_q50", behind=RUN, most=3)
        assert full == QueueIsFull()
    async with priced("look, while waiting"):
        assert (await store.read_queue(KEY)).position_of("run_q40") == 2
        await store.read_last(KEY, RUN)
    async with priced("withdraw"):
        assert await store.leave_queue(KEY, "run_q40", ending, is_withdrawn=True)
    async with priced("end the run before"):
        await store.finish_run(KEY, RUN, ended(1), None)
    async with priced("begin the next"):
        assert await store.begin_queued(KEY, "run_q30", opened()) is not None
    async with priced("begin one that is not the next"):
        assert await store.begin_queued(KEY, "run_q20", opened()) is None
    for operation, spent in prices.items():
        print(f"{operation}: {spent.writes} WCU, {spent.reads} RCU, {spent.calls}")  # noqa: T201 (its price)
    # A transaction costs two write units for each item of up to a KB.
    assert prices["queue a message"] == prices["a message that waits"]
    assert prices["queue a message"].writes == prices["begin a run"].writes - 2
    assert prices["queue a message that is stored"].writes <= 4 * 2 + 1
    assert prices["a full queue"].writes <= prices["queue a message"].writes
    assert (prices["look, while waiting"].reads, prices["look, while waiting"].writes) == (2, 0)
    assert (prices["withdraw"].reads, prices["withdraw"].writes) == (2, 10)
    assert (prices["begin the next"].reads, prices["begin the next"].writes) == (2, 6)
    assert (
        prices["begin one that is not the next"].reads,
        prices["begin one that is not the next"].writes,
    ) == (1, 0)


async def test_a_turn_without_a_queue_consumes_what_it_did_before(table: Table, store: DynamoDbStore) -> None:
    """The queue is an attribute of an item that every turn writes anyway."""
    early = await a_run_with_its_log(table, store, 100)
    assert [spent.writes for spent in early.values()] == [10, SEGMENTS, 12]
    await begin(store, user_message(200), NEXT_RUN)
    await store.enqueue_run(KEY, user_message(210, "next"), "run_q", behind=NEXT_RUN, most=3)
    await store.finish_run(KEY, NEXT_RUN, ended(1), None)
    begun = await store.begin_queued(KEY, "run_q", opened())
    assert begun is not None
    await store.finish_run(KEY, "run_q", ended(1), None)
    late = await a_run_with_its_log(table, store, 300)
    assert late == early
