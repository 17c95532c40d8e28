"""A turn costs the same in a long conversation as in a short one; queries follow every page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from coachstream.conversation.context import ContextLimits
from coachstream.conversation.events import Completed
from coachstream.conversation.model import ConversationKey, Message, MessageMetadata, Role, StopReason
from coachstream.conversation.parts import TurnParts
from coachstream.conversation.turn import TurnSettings, run_turn
from coachstream.conversation.turn_request import TurnRequest
from coachstream.language.demo import DemoModel
from coachstream.services import SystemClock
from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.dynamodb.items import message_item
from contracts.conversation_store import COACH, KEY, conversation, memory, workout
from support.dynamodb import Spent, Table

PK = f"user#{KEY.user_id}"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def earlier_messages(first: int, last: int, *, chars: int = 200) -> Iterator[Message]:
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


async def seed(table: Table, first: int, last: int, *, chars: int = 200) -> None:
    await table.put_all(
        message_item(KEY, message, at=message.timestamp)
        for message in earlier_messages(first, last, chars=chars)
    )


@pytest.fixture
async def store(table: Table) -> DynamoDbStore:
    store = table.store()
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    await store.create_conversation(conversation())
    await store.put_memory(KEY.user_id, "m", memory("m"))
    await store.put_workout(KEY.user_id, "w", workout("w", "2026-01-01T10:00:00.000Z"))
    return store


async def a_turn(store: DynamoDbStore, text: str, settings: TurnSettings) -> None:
    """A whole turn, as the handlers run it."""
    parts = TurnParts(
        turns=store,
        context=store,
        conversations=store,
        memories=store,
        model=DemoModel(delay_s=0),
        recall=None,
        clock=SystemClock(),
    )
    request = TurnRequest(KEY, text, time.monotonic() + 30, client_message_id=f"c-{text}")
    events = [event async for event in run_turn(request, parts, settings)]
    assert isinstance(events[-1], Completed)


async def spent_by_a_turn(table: Table, store: DynamoDbStore, text: str, settings: TurnSettings) -> Spent:
    async with table.metered() as spent:
        await a_turn(store, text, settings)
    return spent


@pytest.mark.parametrize(
    ("limits", "budget_chars"),
    [(ContextLimits(messages=8), 60_000), (ContextLimits(messages=200), 1_600)],
    ids=["window full by count", "window full by length"],
)
async def test_a_turn_consumes_the_same_at_message_10_and_at_message_2000(
    table: Table, store: DynamoDbStore, limits: ContextLimits, budget_chars: int
) -> None:
    """Reads and writes of a whole turn, as DynamoDB counts them, once the prompt's window is full."""
    settings = TurnSettings(history_budget_chars=budget_chars, limits=limits)
    await seed(table, 1, 10)
    await a_turn(store, "warm", settings)  # opens what is opened once
    early = await spent_by_a_turn(table, store, "Hi 1", settings)
    await seed(table, 15, 2_000)
    late = await spent_by_a_turn(table, store, "Hi 2", settings)
    assert early.writes > 0
    assert (late.reads, late.writes, late.calls) == (early.reads, early.writes, early.calls)


async def test_until_the_window_is_full_a_turn_reads_what_it_shows_and_writes_the_same(
    table: Table, store: DynamoDbStore
) -> None:
    """With the default window reading grows for 200 messages or 60,000 characters, and no further."""
    settings = TurnSettings()
    await seed(table, 1, 10)
    await a_turn(store, "warm", settings)
    spent: list[Spent] = []
    for number, seeded in enumerate((0, 300, 2_000)):
        if seeded:
            await seed(table, 15, seeded)
        spent.append(await spent_by_a_turn(table, store, f"Hi {number}", settings))
    assert len({each.writes for each in spent}) == 1
    assert spent[0].reads < spent[1].reads == spent[2].reads


async def test_a_conversation_passes_5000_messages_and_a_megabyte_and_goes_on(
    table: Table, store: DynamoDbStore
) -> None:
    """Everything is there and in order, the next turn is taken, and deleting leaves nothing."""
    await seed(table, 1, 5_200, chars=400)
    await a_turn(store, "Still there?", TurnSettings())
    messages = await store.load_messages(KEY)
    assert len(messages) == 5_202
    assert sum(len(message.content) for message in messages) > 2_000_000
    assert list(messages[:5_200]) == list(earlier_messages(1, 5_200, chars=400))
    assert messages[-2].content == "Still there?"
    newest = await store.load_history(KEY, limit=200, budget_chars=60_000)
    assert list(newest) == list(messages[-len(newest) :])
    assert sum(len(message.content) for message in newest) >= 60_000
    await store.delete_conversation(KEY)
    assert [item["entityType"] for item in await table.items()] == ["coachConfig", "userMemory", "workout"]


async def test_the_newest_workouts_are_the_newest_of_all_pages(table: Table, store: DynamoDbStore) -> None:
    """Three megabytes of workouts, whose ids have nothing to do with their dates."""
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
    """The most important one may be the last that is read."""
    for number in range(50):
        attributes = {**memory(f"m{number:02d}", importance="low"), "notes": "x" * 30_000}
        await store.put_memory(KEY.user_id, f"m{number:02d}", attributes)
    await store.put_memory(KEY.user_id, "z", memory("z", importance="high", uses=9))
    async with table.metered() as spent:
        found = await store.load_memories(KEY.user_id, KEY.coach_id, limit=3)
    assert spent.calls["Query"] > 1
    assert [each.id for each in found][:2] == ["z", "m"]


async def test_conversations_are_listed_from_all_pages(table: Table, store: DynamoDbStore) -> None:
    """Large ones, written by the existing functions, fill several pages."""
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
