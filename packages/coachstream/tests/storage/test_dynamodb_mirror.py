"""The mirror copies a run's messages into the conversation's list, where existing functions read them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coachstream.conversation.another_try import TryKind, TryRequest
from coachstream.conversation.errors import NotTheLastExchange
from coachstream.conversation.model import Message, StopReason
from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.dynamodb.attribute_values import to_attribute
from coachstream.storage.dynamodb.item_size import KIB, item_bytes
from coachstream.storage.dynamodb.items import message_attributes
from contracts.another_try import begin_try, reply_of
from contracts.store_records import (
    COACH,
    KEY,
    NEXT_RUN,
    RUN,
    begin,
    conversation,
    ended,
    opened,
    reply_to,
    store_reply,
    user_message,
)
from support.dynamodb import Table

PK = f"user#{KEY.user_id}"
SK = f"coachConversation#{KEY.coach_id}#{KEY.conversation_id}"


@pytest.fixture
async def store(table: Table) -> DynamoDbStore:
    """A mirroring store with one conversation."""
    store = table.store(mirror_messages=True)
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    await store.create_conversation(conversation())
    return store


async def a_run(store: DynamoDbStore, number: int, text: str = "Yes.") -> tuple[Message, Message]:
    said = user_message(number)
    reply = reply_to(said, number + 1, text)
    await store_reply(store, said, reply)
    return said, reply


async def mirrored(table: Table) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = (await table.get(PK, SK))["attributes"]["messages"]
    return messages


async def append_as_the_existing_functions_might(table: Table, message_id: str) -> None:
    """One atomic append by another writer."""
    await table.raw(
        "update_item",
        Key={"pk": {"S": PK}, "sk": {"S": SK}},
        UpdateExpression="SET attributes.messages = list_append(attributes.messages, :m)",
        ExpressionAttributeValues={":m": to_attribute([{"id": message_id, "role": "user", "content": "x"}])},
    )


async def test_a_run_appears_in_the_list_as_it_is_stored(table: Table, store: DynamoDbStore) -> None:
    """Both messages have the shape that the existing functions expect, and are read back only once."""
    said, reply = await a_run(store, 1)
    assert await mirrored(table) == [message_attributes(said), message_attributes(reply)]
    assert list(await store.load_messages(KEY)) == [said, reply]
    assert await store.load_history(KEY, limit=10, budget_chars=1000) == [said, reply]


async def test_a_list_that_is_missing_is_made(table: Table, store: DynamoDbStore) -> None:
    """Some conversations have no list."""
    await table.raw(
        "update_item", Key={"pk": {"S": PK}, "sk": {"S": SK}}, UpdateExpression="REMOVE attributes.messages"
    )
    said, reply = await a_run(store, 1)
    assert [message["id"] for message in await mirrored(table)] == [said.id, reply.id]


async def test_a_list_that_is_something_else_is_left_alone(table: Table, store: DynamoDbStore) -> None:
    """The reply is still saved."""
    await table.raw(
        "update_item",
        Key={"pk": {"S": PK}, "sk": {"S": SK}},
        UpdateExpression="SET attributes.messages = :m",
        ExpressionAttributeValues={":m": {"S": "none"}},
    )
    said, reply = await a_run(store, 1)
    assert (await table.get(PK, SK))["attributes"]["messages"] == "none"
    assert list(await store.load_messages(KEY)) == [said, reply]


async def test_a_retry_is_mirrored_once(table: Table, store: DynamoDbStore) -> None:
    """A complete reply replaces the interrupted one; saving it again appends nothing."""
    said = user_message(1, client_id="c-1")
    partial = reply_to(said, 2, "Well", stop=StopReason.INTERRUPTED)
    await store_reply(store, said, partial)
    await append_as_the_existing_functions_might(table, "theirs")
    await begin(store, said, NEXT_RUN)
    whole = reply_to(said, 4)
    for _ in range(2):
        assert await store.finish_run(KEY, NEXT_RUN, ended(1, whole), whole) is None
    assert [message["id"] for message in await mirrored(table)] == [said.id, whole.id, "theirs"]


async def test_a_blocked_message_is_not_mirrored(table: Table, store: DynamoDbStore) -> None:
    """The existing functions would put it into their prompts; this store still reads it."""
    said, reply = await a_run(store, 1)
    blocked = user_message(3, "Something forbidden")
    withheld = reply_to(blocked, 4, "", stop=StopReason.CONTENT_FILTERED)
    await store_reply(store, blocked, withheld)
    assert [message["id"] for message in await mirrored(table)] == [said.id, reply.id]
    assert list(await store.load_messages(KEY)) == [said, reply, blocked, withheld]


async def test_a_message_that_is_blocked_at_a_later_attempt_leaves_the_mirror(
    table: Table, store: DynamoDbStore
) -> None:
    """Only the message and its interrupted reply are removed."""
    before, _ = await a_run(store, 1)
    blocked = user_message(3, "Something forbidden", client_id="c-1")
    await store_reply(store, blocked, reply_to(blocked, 4, "Well", stop=StopReason.INTERRUPTED))
    await append_as_the_existing_functions_might(table, "theirs")
    assert len(await mirrored(table)) == 5
    await begin(store, blocked, NEXT_RUN)
    withheld = reply_to(blocked, 6, "No.", stop=StopReason.CONTENT_FILTERED)
    for _ in range(2):
        assert await store.finish_run(KEY, NEXT_RUN, ended(1, withheld), withheld) is None
    ids = [message["id"] for message in await mirrored(table)]
    assert ids == [before.id, reply_to(before, 2).id, "theirs"]
    loaded = await store.load_messages(KEY)
    assert [message.id for message in loaded if message.id not in ids] == [blocked.id, withheld.id]


@pytest.mark.parametrize("kind", TryKind)
async def test_a_list_has_the_chosen_version_only(table: Table, store: DynamoDbStore, kind: TryKind) -> None:
    """In the place of what it replaces; saving it again changes nothing."""
    before, answer = await a_run(store, 1)
    said = user_message(3, client_id="c-1")
    short = reply_to(said, 4, "Well", stop=StopReason.STOPPED)
    await store_reply(store, said, short)
    named = said if kind is TryKind.REPLACE else short
    edit = user_message(5, "New", client_id="again") if kind is TryKind.REPLACE else None
    begun = await begin_try(store, TryRequest(kind, named.id, "again"), edit)
    assert len(await mirrored(table)) == 4
    reply = reply_of(begun, "Well done.")
    end = ended(1 + bool(begun.said), reply)
    for _ in range(2):
        assert await store.finish_run(KEY, NEXT_RUN, end, reply, None, begun.another_try) is None
        chosen = [before, answer, begun.user_message, reply]
        assert await mirrored(table) == [message_attributes(message) for message in chosen]
    assert list(await store.load_messages(KEY)) == chosen

    if kind is not TryKind.CONTINUE:
        await store.choose_version(KEY, reply.id, short.id)
        ids = [message["id"] for message in await mirrored(table)]
        assert ids == [before.id, answer.id, said.id, short.id]


async def test_an_older_version_leaves_a_list_that_is_full(table: Table, store: DynamoDbStore) -> None:
    """Rather than stay there although it is not the chosen one."""
    said, reply = await a_run(store, 1)
    begun = await begin_try(store, TryRequest(TryKind.REGENERATE, reply.id, "again"))
    longer = reply_of(begun, "x" * 351 * KIB)
    assert await store.finish_run(KEY, NEXT_RUN, ended(1, longer), longer, None, begun.another_try) is None
    assert [message["id"] for message in await mirrored(table)] == [said.id]


async def test_an_exchange_of_the_existing_functions_is_not_tried_again(
    table: Table, store: DynamoDbStore
) -> None:
    """It has no items; and what they have appended comes after the last exchange with items."""
    _, reply = await a_run(store, 1)
    await append_as_the_existing_functions_might(table, "msg_0000000000009_user")
    for named in (reply.id, "msg_0000000000009_user"):
        for kind in TryKind:
            text = user_message(20, "New", client_id="again") if kind is TryKind.REPLACE else None
            with pytest.raises(NotTheLastExchange):
                await store.begin_try(KEY, TryRequest(kind, named, "again"), text, RUN, opened())
    assert len(await mirrored(table)) == 3


async def test_what_others_append_meanwhile_is_not_lost(table: Table, store: DynamoDbStore) -> None:
    """Every append of another writer survives; the mirror's own may be skipped under constant contention."""
    theirs = [f"msg_{number}_user" for number in range(10)]

    async def others() -> None:
        for message_id in theirs:
            await append_as_the_existing_functions_might(table, message_id)

    async def ours() -> None:
        for number in range(10, 20, 2):
            await a_run(store, number)

    await asyncio.gather(others(), ours())
    ids = [message["id"] for message in await mirrored(table)]
    assert [message_id for message_id in ids if message_id in theirs] == theirs
    assert len(ids) == len(set(ids))
    assert len(await store.load_messages(KEY)) == 20


async def test_the_mirror_stops_before_the_item_is_full_and_nothing_is_lost(
    table: Table, store: DynamoDbStore
) -> None:
    """With 1.2 MB of text the item stays below 350 KiB; runs continue to work, and each stop is reported."""
    stops = 0

    async def count() -> None:
        nonlocal stops
        stops += 1

    store = table.store(mirror_messages=True, on_mirror_stop=count)
    said: list[Message] = []
    for number in range(0, 24, 2):
        said += await a_run(store, number, "ü" * 50_000)
    item = await table.get(PK, SK)
    assert 240 * KIB < item_bytes(item) < 350 * KIB
    shown = len(await mirrored(table))
    assert (stops, shown) == (12 - shown // 2, shown)
    assert stops > 0
    assert list(await store.load_messages(KEY)) == said
    assert await store.load_history(KEY, limit=3, budget_chars=10**6) == said[-3:]
    assert (await store.get_conversation(KEY)).total_messages == 24


async def test_an_end_that_is_repeated_is_mirrored_if_it_was_not(table: Table, store: DynamoDbStore) -> None:
    """The process that saved the reply may have died before it could mirror it."""
    said = user_message(1)
    reply = reply_to(said, 2)
    without_mirror = table.store()
    await begin(without_mirror, said)
    assert await without_mirror.finish_run(KEY, RUN, ended(1, reply), reply) is None
    assert await mirrored(table) == []
    assert await store.finish_run(KEY, RUN, ended(1, reply), reply) is None
    assert [message["id"] for message in await mirrored(table)] == [said.id, reply.id]


async def test_a_reply_whose_message_has_gone_is_mirrored_alone(table: Table, store: DynamoDbStore) -> None:
    """Another writer has deleted the message's item."""
    said = user_message(1)
    reply = reply_to(said, 2)
    await begin(store, said)
    sk = f"coachMessage#{KEY.conversation_id}#{said.id}"
    await table.raw("delete_item", Key={"pk": {"S": PK}, "sk": {"S": sk}})
    assert await store.finish_run(KEY, RUN, ended(1, reply), reply) is None
    assert [message["id"] for message in await mirrored(table)] == [reply.id]
