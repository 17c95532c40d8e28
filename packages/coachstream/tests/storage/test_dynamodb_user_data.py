"""A user's data in DynamoDB: whatever the partition holds is read, and remnants are found and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal

import msgspec
import pytest

from coachstream.conversation.errors import InvalidCursor, StorageUnavailable
from coachstream.conversation.run_log import is_tombstone
from coachstream.conversation.user_data import delete_user_data
from coachstream.storage.dynamodb import DynamoDbStore
from contracts.store_records import (
    COACH,
    KEY,
    RUN,
    begin,
    conversation,
    memory,
    reply_to,
    said,
    store_reply,
    user_message,
    workout,
)
from contracts.user_data import kinds_of, read_all, without_runs
from support.dynamodb import Table

PK = f"user#{KEY.user_id}"
LEFT = {"coach": 1, "workout": 1}

DAMAGED = (
    {"sk": "\x01"},
    {"sk": "coach"},
    {"sk": "coach#", "attributes": "no map"},
    {"sk": "coachConversation#", "attributes": 1},
    {"sk": "coachConversation#coach-1"},
    {"sk": "coachConversation#coach-1#conv-1#more", "attributes": {"messages": [{"content": "Secret"}]}},
    {"sk": "coachMessage#", "attributes": {"content": "Secret"}},
    {"sk": "coachMessage#conv-1", "attributes": None},
    {"sk": "coachMessage#gone#msg_1", "attributes": {"content": "Secret"}},
    {"sk": "coachRun#gone#run_1#00000001", "kind": "said", "content": "Secret"},
    {"sk": "coachTurn#gone", "runId": 7},
    {"sk": "userMemory#", "attributes": {}},
    {"sk": "workout#w-1#more"},
    {"sk": "\U0010ffff" * 256},
)
"""Items that nothing writes, with the least and the greatest possible sort key."""


@pytest.fixture
async def filled(table: Table, dynamodb_store: DynamoDbStore) -> DynamoDbStore:
    """A conversation with a running reply, a memory, a workout."""
    store = dynamodb_store
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    await store.create_conversation(conversation())
    await store_reply(store, user_message(1, client_id="c-1"), reply_to(user_message(1), 2))
    await begin(store, user_message(3))
    await store.append(KEY, RUN, said(1))
    await store.put_summary(KEY, {"coachId": KEY.coach_id, "narrative": "A long talk."})
    await store.put_memory(KEY.user_id, "m", memory("m"))
    await store.put_workout(KEY.user_id, "w", workout("w", "2026-01-01T10:00:00.000Z"))
    await table.put({"pk": "user#user-10", "sk": "coachMessage#gone#msg_1"})
    return store


async def test_items_of_any_shape_are_read_as_they_are_stored(
    table: Table, dynamodb_store: DynamoDbStore
) -> None:
    """All but the partition's key; JSON has numbers for numbers, base64 for bytes, arrays for sets."""
    await table.put(
        {
            "pk": PK,
            "sk": "later#1",
            "entityType": "later",
            "numbers": [1, -1.5, Decimal("1E+30"), 0.1],
            "bytes": b"\x00\xff",
            "sets": [{"b", "a"}, {2, 1.5}, {b"\x01"}],
            "nothing": None,
            "deep": {"list": [{"yes": True}], "empty": {}},
        }
    )
    [record] = (await dynamodb_store.read_records(KEY.user_id)).records
    encoder = msgspec.json.Encoder(order="deterministic")
    assert (record.kind, record.id) == ("later", "later#1")
    assert msgspec.json.decode(encoder.encode(record.data)) == {
        "sk": "later#1",
        "entityType": "later",
        "numbers": [1, -1.5, 10**30, 0.1],
        "bytes": "AP8=",
        "sets": [["a", "b"], [1.5, 2], ["AQ=="]],
        "nothing": None,
        "deep": {"list": [{"yes": True}], "empty": {}},
    }


async def test_damaged_items_are_read_and_deleted_like_others(table: Table, filled: DynamoDbStore) -> None:
    """No key is skipped, and none stops a deletion; what is no part of a conversation stays."""
    await table.put_all({"pk": PK, **item} for item in DAMAGED)
    for limit in (1, 100):
        found = {record.id for record in await read_all(filled, KEY.user_id, limit=limit)}
        assert found >= {item["sk"] for item in DAMAGED}
    report = await delete_user_data(KEY.user_id, store=filled, recall=None)
    assert report.is_complete
    assert report.left == {"\x01": 1, "coach": 3, "coachRun": 1, "workout": 2, "\U0010ffff" * 256: 1}
    assert (report.conversations, report.memories, report.remnants) == (1, 2, 8)
    assert "Secret" not in repr(await read_all(filled, KEY.user_id))


async def test_a_position_that_no_item_can_have_is_refused(filled: DynamoDbStore) -> None:
    """A sort key has at most 1,024 bytes, so it is the request that is wrong, not the store."""
    await filled.read_records(KEY.user_id, after="dynamodb:" + "ü" * 512)
    with pytest.raises(InvalidCursor):
        await filled.read_records(KEY.user_id, after="dynamodb:" + "ü" * 512 + "x")


@pytest.mark.parametrize(
    "damaged",
    [
        {"sk": f"coachRun#{KEY.conversation_id}#{RUN}#00000001", "kind": "said"},
        {
            "sk": f"coachRun#{KEY.conversation_id}#{RUN}#00000007",
            "coachId": KEY.coach_id,
            "kind": "of a later version",
            "content": {"text": "Secret"},
        },
        {"sk": f"coachRun#{KEY.conversation_id}#{RUN}#more", "coachId": KEY.coach_id, "kind": "said"},
        {"sk": f"coachTurn#{KEY.conversation_id}", "coachId": KEY.coach_id, "runId": "run#1"},
    ],
    ids=["of no coach", "later", "without a number", "impossible run"],
)
async def test_a_run_that_cannot_be_read_does_not_stop_a_deletion(
    table: Table, filled: DynamoDbStore, damaged: Mapping[str, object]
) -> None:
    """Such as one of a later version, after a rollback: the conversation and all that follows are deleted."""
    await table.put({"pk": PK, **damaged})
    report = await delete_user_data(KEY.user_id, store=filled, recall=None)
    assert (report.is_complete, report.conversations, report.memories) == (True, 1, 1)
    left = await read_all(filled, KEY.user_id)
    assert without_runs(kinds_of(left)) == LEFT
    assert "Secret" not in repr(left)


async def test_a_lease_holder_finds_the_tombstone_behind_an_entry_that_cannot_be_read(
    table: Table, filled: DynamoDbStore
) -> None:
    """Its version may be able to read that entry, and writes the next one."""
    sk = f"coachRun#{KEY.conversation_id}#{RUN}#00000002"
    await table.put({"pk": PK, "sk": sk, "coachId": KEY.coach_id, "kind": "of a later version"})
    await filled.delete_conversation(KEY)
    there = await filled.append(KEY, RUN, said(3, "Secret"))
    assert there is not None
    assert is_tombstone(there)


async def test_remnants_of_conversations_that_others_deleted_are_deleted(
    table: Table, filled: DynamoDbStore
) -> None:
    """The existing function deletes only the conversation's own item."""
    sk = f"coachConversation#{KEY.coach_id}#{KEY.conversation_id}"
    await table.raw("delete_item", Key={"pk": {"S": PK}, "sk": {"S": sk}})
    report = await delete_user_data(KEY.user_id, store=filled, recall=None)
    assert (report.is_complete, report.conversations, report.memories) == (True, 0, 1)
    assert report.remnants > 5
    assert report.left == LEFT
    assert await table.find("user#user-10", "coachMessage#gone#msg_1") is not None


async def test_more_remnants_than_one_call_deletes_are_deleted_around_a_new_conversation(
    table: Table, filled: DynamoDbStore
) -> None:
    """Its many messages neither stop the search nor are taken for remnants."""
    for name in (KEY.conversation_id, "gone"):
        await table.put_all(
            {"pk": PK, "sk": f"coachMessage#{name}#msg_{number:013d}"} for number in range(10, 310)
        )
    deleted: dict[str, int] = {}
    while some := await filled.delete_loose_records(KEY.user_id):
        for kind, count in some.items():
            deleted[kind] = deleted.get(kind, 0) + count
    assert deleted == {"userMemory": 1, "coachMessage": 300}
    assert len(await filled.load_messages(KEY)) == 3
    kinds = kinds_of(await read_all(filled, KEY.user_id))
    assert kinds["coachMessage"] == 303


async def test_the_tombstone_of_a_running_reply_is_the_last_to_stay(filled: DynamoDbStore) -> None:
    """It has no text, is reported, and expires; a repetition does not delete it either."""
    for _ in range(2):
        report = await delete_user_data(KEY.user_id, store=filled, recall=None)
        assert report.left == {**LEFT, "coachRun": 1}
    [tombstone] = [each for each in await read_all(filled, KEY.user_id) if each.kind == "coachRun"]
    assert tombstone.data["kind"] == "broken"


@pytest.mark.parametrize("step", range(1, 25, 2))
async def test_a_deletion_cut_off_at_any_call_is_completed_by_the_next(
    table: Table, filled: DynamoDbStore, step: int
) -> None:
    """Whatever was deleted before; the rest is the same in the end."""
    client, calls = await table.client(), 0

    def fail(**_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            raise ConnectionAbortedError("the process died")

    client.meta.events.register("before-call.dynamodb", fail)
    with suppress(ConnectionAbortedError, StorageUnavailable):
        await delete_user_data(KEY.user_id, store=filled, recall=None)
    client.meta.events.unregister("before-call.dynamodb", fail)
    report = await delete_user_data(KEY.user_id, store=filled, recall=None)
    assert report.is_complete
    assert report.left == {**LEFT, "coachRun": 1}


async def test_large_items_make_small_pages(table: Table, dynamodb_store: DynamoDbStore) -> None:
    """A page holds about 1 MB, however many records it may have; an export's memory is bounded by that."""
    for number in range(7):
        await table.put({"pk": PK, "sk": f"workout#{number}", "notes": "x" * 390_000})
    sizes: list[int] = []
    after: str | None = None
    while True:
        page = await dynamodb_store.read_records(KEY.user_id, after=after)
        sizes.append(len(page.records))
        after = page.next
        if after is None:
            break
    assert sum(sizes) == 7
    assert max(sizes) <= 3
