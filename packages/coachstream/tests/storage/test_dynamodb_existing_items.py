"""The existing functions and this store share a table: each can read what the other wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coachstream.conversation.model import (
    Conversation,
    ConversationChange,
    ConversationKey,
    Importance,
    Memory,
    MemorySource,
    Message,
    MessageMetadata,
    Role,
    StopReason,
)
from coachstream.conversation.ports import NewSummary, SummaryReason
from coachstream.conversation.prompt.summary import SummaryContent
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.storage.dynamodb import DynamoDbStore
from contracts.store_records import store_reply
from support.dynamodb import Table
from support.existing_items import (
    A_DATE,
    COACH,
    CONVERSATION,
    CONVERSATION_SK,
    KEY,
    MEMORY,
    MESSAGES,
    PK,
    dates_of,
)

NOW = datetime(2026, 11, 23, 10, 0, 0, 987_654, tzinfo=UTC)
SAID = Message(
    "msg_1795428000000_aaaaaaaaa_user",
    Role.USER,
    "How was it?",
    datetime(2026, 11, 23, 10, tzinfo=UTC),
    MessageMetadata(client_message_id="c-1", streamed=True),
)
REPLY = Message(
    "msg_1795428009000_bbbbbbbbb_assistant",
    Role.ASSISTANT,
    "Well done.",
    datetime(2026, 11, 23, 10, 0, 9, 120_000, tzinfo=UTC),
    MessageMetadata(model="claude-sonnet-4", stop_reason=StopReason.END_TURN, reply_to=SAID.id),
)


@pytest.fixture
async def shared(table: Table) -> Table:
    """A table with items that the existing functions wrote."""
    for item in (COACH, CONVERSATION, MEMORY):
        await table.put(item)
    return table


def changed(item: Mapping[str, Any], **attributes: object) -> dict[str, object]:
    """The item with these attributes replaced; `...` removes one."""
    merged = {**item["attributes"], **attributes}
    return {**item, "attributes": {name: value for name, value in merged.items() if value is not ...}}


async def a_run(store: DynamoDbStore) -> None:
    await store_reply(store, SAID, REPLY, key=KEY)


class TestReading:
    async def test_a_coach_comes_with_everything_that_is_stored(
        self, shared: Table, dynamodb_store: DynamoDbStore
    ) -> None:
        """Decimals, sets and nulls become JSON values; unknown attributes are kept."""
        coach = await dynamodb_store.load_coach(KEY.user_id, KEY.coach_id)
        assert coach.name == "Mara"
        assert coach.personality.primary_weight == 0.7
        assert coach.technical.equipment_available == ("barbell", "rings")
        assert coach.technical.training_frequency == "5"
        assert coach.safety_profile.injuries == ("left knee",)
        assert coach.stored["a_later_idea"] == {"weights": [1.5, 2, None]}
        assert shared.name

    async def test_embedded_messages_are_read_to_the_letter_and_in_their_order(
        self, shared: Table, dynamodb_store: DynamoDbStore
    ) -> None:
        """Content like a date stays text; two messages of one millisecond keep the list's order."""
        assert shared.name
        messages = await dynamodb_store.load_messages(KEY)
        assert [(m.id, m.content) for m in messages] == [
            (entry["id"], entry["content"]) for entry in MESSAGES if isinstance(entry, dict)
        ]
        assert messages[1].metadata.model == "claude-sonnet-4"
        assert messages[2].timestamp == datetime(2025, 9, 26, 15, 21, tzinfo=UTC)
        assert await dynamodb_store.load_history(KEY, limit=2, budget_chars=1000) == messages[-2:]
        pages = [await dynamodb_store.load_newest(KEY, limit=2)]
        while pages[0]:
            pages.insert(0, await dynamodb_store.load_newest(KEY, limit=2, before=pages[0][0].id))
        assert [message for page in pages for message in page] == list(messages)

    async def test_a_reply_that_a_guardrail_warned_of_counts_as_flagged(
        self, table: Table, dynamodb_store: DynamoDbStore
    ) -> None:
        """Later versions of the existing functions keep the text and set this mark."""
        warned = {"id": "msg_1759000009000_assistant", "role": "assistant", "content": "Well, ..."}
        metadata = {"metadata": {"model": "claude-sonnet-4", "guardrailWarning": True}}
        await table.put(changed(CONVERSATION, messages=[MESSAGES[0], {**warned, **metadata}]))
        question, reply = await dynamodb_store.load_messages(KEY)
        assert (question.is_flagged, reply.is_flagged) == (False, True)

    async def test_a_conversation_is_read_whatever_strays_in_it(
        self, shared: Table, dynamodb_store: DynamoDbStore
    ) -> None:
        """Title, tags and activity are read from their own attributes, not from an old defect's copies."""
        assert shared.name
        [listed] = await dynamodb_store.list_conversations(KEY.user_id, KEY.coach_id)
        assert listed == await dynamodb_store.get_conversation(KEY)
        assert (listed.title, listed.tags, listed.is_active) == ("Friday, 3:20 PM", (), True)
        assert listed.total_messages == 5

    async def test_a_conversation_keeps_what_only_the_existing_front_end_knows(
        self, shared: Table, dynamodb_store: DynamoDbStore
    ) -> None:
        """Its mode, and every field of its metadata; in lists, alone and after a change."""
        context = {"workoutId": "ws_1", "sets": [5, 3]}
        metadata = {"title": "an earlier one", "totalMessages": 5, "editContext": context}
        await shared.put(changed(CONVERSATION, mode="workout_edit", metadata=metadata))
        [listed] = await dynamodb_store.list_conversations(KEY.user_id, KEY.coach_id)
        renamed = await dynamodb_store.change_conversation(KEY, ConversationChange(title="Edit"))
        for found in (listed, await dynamodb_store.get_conversation(KEY), renamed):
            assert found.more == {"mode": "workout_edit"}
            assert found.more_metadata == {"title": "an earlier one", "editContext": context}

    @pytest.mark.parametrize(
        ("attributes", "title", "total"),
        [
            ({"title": ...}, "New Conversation", 5),
            ({"title": None}, "New Conversation", 5),
            ({"metadata": ...}, "Friday, 3:20 PM", 0),
            ({"metadata": "none"}, "Friday, 3:20 PM", 0),
            ({"messages": ...}, "Friday, 3:20 PM", 5),
            ({"messages": None}, "Friday, 3:20 PM", 5),
            ({"messages": "none"}, "Friday, 3:20 PM", 5),
            ({"messages": [None, "x", 3, {}, {"role": "system", "content": "x"}]}, "Friday, 3:20 PM", 5),
        ],
    )
    async def test_missing_and_odd_attributes_fail_nothing(
        self,
        table: Table,
        dynamodb_store: DynamoDbStore,
        attributes: Mapping[str, object],
        title: str,
        total: int,
    ) -> None:
        """The conversation can be read, continued, changed and deleted."""
        await table.put(COACH)
        await table.put(changed(CONVERSATION, **attributes))
        found = await dynamodb_store.get_conversation(KEY)
        assert (found.title, found.total_messages) == (title, total)
        await a_run(dynamodb_store)
        assert list(await dynamodb_store.load_messages(KEY))[-2:] == [SAID, REPLY]
        tagged = await dynamodb_store.change_conversation(KEY, ConversationChange(tags=("legs",)))
        assert tagged.tags == ("legs",)
        await dynamodb_store.delete_conversation(KEY)

    @pytest.mark.parametrize(
        ("title", "is_replaced"),
        [
            (..., True),
            (None, True),
            ("", True),
            (DEFAULT_TITLE, True),
            ("Friday, 3:20 PM", False),
            (7, False),
        ],
    )
    async def test_only_a_title_that_no_one_has_chosen_is_replaced(
        self, table: Table, dynamodb_store: DynamoDbStore, title: object, is_replaced: bool
    ) -> None:
        """Nothing else in the item changes but its date."""
        stored = changed(CONVERSATION, title=title)
        await table.put(stored)
        assert await dynamodb_store.replace_default_title(KEY, "Knee pain in squats") is is_replaced
        [item] = await table.items()
        expected = changed(stored, title="Knee pain in squats") if is_replaced else stored
        assert item["attributes"] == expected["attributes"]

    @pytest.mark.parametrize(
        ("metadata", "is_replaced"),
        [
            ({"messageRange": {"totalMessages": 4}}, True),
            ({"messageRange": {"totalMessages": 6}}, False),
            ({"messageRange": {"totalMessages": 8}}, False),
            ({"messageRange": {"totalMessages": "8"}}, True),
            ({"messageRange": "all"}, True),
            ({}, True),
        ],
    )
    async def test_a_summary_of_the_existing_functions_is_replaced_unless_it_has_as_many_messages(
        self,
        shared: Table,
        dynamodb_store: DynamoDbStore,
        metadata: Mapping[str, object],
        is_replaced: bool,
    ) -> None:
        """Also one that does not say of how many it is."""
        assert shared.name
        await dynamodb_store.put_summary(
            KEY, {"coachId": KEY.coach_id, "narrative": "Old", "metadata": metadata}
        )
        summary = NewSummary(
            content=SummaryContent("New"),
            reason=SummaryReason.MESSAGE_COUNT,
            total_messages=6,
            first_message_id="msg_1_user",
            last_message_id="msg_6_assistant",
            created_at=NOW,
        )
        assert await dynamodb_store.save_summary(KEY, summary) is is_replaced
        assert (await dynamodb_store.load_summary(KEY)).narrative == ("New" if is_replaced else "Old")

    async def test_messages_without_id_or_time_have_a_place(
        self, table: Table, dynamodb_store: DynamoDbStore
    ) -> None:
        """They keep their position in the list, and none is lost."""
        odd: list[object] = [
            {"role": "user", "content": "one", "timestamp": "2025-09-26T15:00:00.000Z"},
            {"role": "assistant", "content": "two"},
            {"role": "USER", "content": 3, "timestamp": "2025-09-26T15:00:01Z"},
            {"id": "msg_1758900009000_assistant", "role": "assistant", "content": None},
        ]
        await table.put(changed(CONVERSATION, messages=odd))
        messages = await dynamodb_store.load_messages(KEY)
        assert [m.content for m in messages] == ["one", "two", "3", ""]
        assert len({m.id for m in messages}) == 4

    async def test_a_memory_is_found_and_counted(self, shared: Table, dynamodb_store: DynamoDbStore) -> None:
        """The counter is incremented, the date is set, and everything else stays."""
        [memory] = await dynamodb_store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert (memory.usage_count, memory.coach_id) == (4, None)
        await dynamodb_store.note_memories_used(KEY.user_id, [memory.id], at=NOW)
        stored = await shared.get(PK, f"userMemory#{memory.id}")
        expected = {**MEMORY["attributes"]["metadata"], "usageCount": 5}  # type: ignore[index]
        assert stored["attributes"]["metadata"] == {**expected, "lastUsed": "2026-11-23T10:00:00.987Z"}
        assert stored["createdAt"] == MEMORY["createdAt"]

    async def test_uses_at_the_same_time_are_all_counted(
        self, shared: Table, dynamodb_store: DynamoDbStore
    ) -> None:
        """Twenty concurrent turns add twenty."""
        memory_id = str(MEMORY["sk"]).removeprefix("userMemory#")
        await asyncio.gather(
            *(dynamodb_store.note_memories_used(KEY.user_id, [memory_id], at=NOW) for _ in range(20))
        )
        stored = await shared.get(PK, f"userMemory#{memory_id}")
        assert stored["attributes"]["metadata"]["usageCount"] == 24

    @pytest.mark.parametrize(
        ("metadata", "count"),
        [({"usageCount": "7"}, 8), ({}, 1), ({"usageCount": None}, 1), ("none", 1), (None, 1), (..., 1)],
    )
    async def test_a_malformed_counter_is_repaired_and_incremented(
        self, table: Table, dynamodb_store: DynamoDbStore, metadata: object, count: int
    ) -> None:
        """The counter may be text, null or missing, or have no object around it."""
        await table.put(changed(MEMORY, metadata=metadata))
        memory_id = str(MEMORY["sk"]).removeprefix("userMemory#")
        await dynamodb_store.note_memories_used(KEY.user_id, [memory_id, "gone", memory_id], at=NOW)
        stored = await table.get(PK, str(MEMORY["sk"]))
        assert stored["attributes"]["metadata"]["usageCount"] == count
        assert len(await table.items()) == 1

    @pytest.mark.parametrize(
        ("metadata", "count"), [({"total_conversations": "7"}, 8), ({"version": "1"}, 1), (..., 1)]
    )
    async def test_a_malformed_conversation_counter_is_repaired_and_incremented(
        self, table: Table, dynamodb_store: DynamoDbStore, metadata: object, count: int
    ) -> None:
        """The coach keeps all its other attributes."""
        await table.put(changed(COACH, metadata=metadata))
        await dynamodb_store.create_conversation(Conversation(KEY, "A talk", NOW, NOW))
        coach = await table.get(PK, str(COACH["sk"]))
        assert coach["attributes"]["metadata"]["total_conversations"] == count
        assert coach["attributes"]["a_later_idea"] == {"weights": [1.5, 2, None]}


class TestWriting:
    @pytest.fixture
    async def store(self, shared: Table) -> DynamoDbStore:
        return shared.store(now=lambda: NOW)

    async def test_a_message_is_an_item_of_the_known_shape(self, shared: Table, store: DynamoDbStore) -> None:
        """Envelope, keys, names and dates are those of the existing system."""
        await a_run(store)
        prefix = f"coachMessage#{KEY.conversation_id}#"
        owner = {"conversationId": KEY.conversation_id, "coachId": KEY.coach_id, "userId": KEY.user_id}
        moment = "2026-11-23T10:00:00.987Z"
        envelope = {"pk": PK, "entityType": "coachMessage", "createdAt": moment, "updatedAt": moment}
        assert await shared.get(PK, prefix + SAID.id) == {
            **envelope,
            "sk": prefix + SAID.id,
            "attributes": {
                **owner,
                "id": SAID.id,
                "role": "user",
                "content": "How was it?",
                "timestamp": "2026-11-23T10:00:00.000Z",
                "metadata": {"clientMessageId": "c-1", "streamed": True},
            },
        }
        assert await shared.get(PK, prefix + REPLY.id) == {
            **envelope,
            "sk": prefix + REPLY.id,
            "attributes": {
                **owner,
                "id": REPLY.id,
                "role": "assistant",
                "content": "Well done.",
                "timestamp": "2026-11-23T10:00:09.120Z",
                "metadata": {"model": "claude-sonnet-4", "stopReason": "end_turn", "replyTo": SAID.id},
            },
        }

    async def test_a_run_touches_nothing_of_the_conversation_but_its_count_and_dates(
        self, shared: Table, store: DynamoDbStore
    ) -> None:
        """Messages, stray and unknown attributes stay unchanged."""
        await a_run(store)
        stored = await shared.get(PK, CONVERSATION_SK)
        metadata = {**CONVERSATION["attributes"]["metadata"], "totalMessages": 7}  # type: ignore[index]
        metadata["lastActivity"] = "2026-11-23T10:00:09.120Z"
        expected = changed(CONVERSATION, metadata=metadata)
        assert stored == {**expected, "updatedAt": "2026-11-23T10:00:00.987Z"}

    async def test_a_rename_touches_nothing_but_what_it_renames(
        self, shared: Table, store: DynamoDbStore
    ) -> None:
        """Titles and tags that look like dates stay text."""
        change = ConversationChange(
            title="2026-01-01T00:00:00.000Z", tags=("a", "2026-01-01"), is_active=False
        )
        result = await store.change_conversation(KEY, change)
        stored = await shared.get(PK, CONVERSATION_SK)
        metadata = {**CONVERSATION["attributes"]["metadata"], "tags": list(change.tags or ())}  # type: ignore[index]
        metadata["isActive"] = False
        expected = changed(CONVERSATION, title=change.title, metadata=metadata)
        assert stored == {**expected, "updatedAt": "2026-11-23T10:00:00.987Z"}
        assert (result.title, result.tags, result.is_active) == (change.title, change.tags, False)

    async def test_a_new_conversation_has_the_known_shape(self, shared: Table, store: DynamoDbStore) -> None:
        """It has an empty list of messages, which the existing functions require."""
        key = ConversationKey(KEY.user_id, KEY.coach_id, "conv_2_b")
        await store.create_conversation(Conversation(key, "A talk", NOW, NOW + timedelta(seconds=1)))
        assert await shared.get(PK, f"coachConversation#{KEY.coach_id}#conv_2_b") == {
            "pk": PK,
            "sk": f"coachConversation#{KEY.coach_id}#conv_2_b",
            "entityType": "coachConversation",
            "createdAt": "2026-11-23T10:00:00.987Z",
            "updatedAt": "2026-11-23T10:00:00.987Z",
            "attributes": {
                "conversationId": "conv_2_b",
                "coachId": KEY.coach_id,
                "userId": KEY.user_id,
                "title": "A talk",
                "messages": [],
                "metadata": {
                    "startedAt": "2026-11-23T10:00:00.987Z",
                    "lastActivity": "2026-11-23T10:00:01.987Z",
                    "totalMessages": 0,
                    "isActive": True,
                    "tags": [],
                },
            },
        }

    async def test_a_new_memory_has_the_known_shape(self, shared: Table, store: DynamoDbStore) -> None:
        """A memory for every coach has a null `coachId`, which the existing functions filter on."""
        memory = Memory(
            "m-1", "Sleeps late", "preference", Importance.MEDIUM, NOW, source=MemorySource.EXPLICIT_REQUEST
        )
        await store.save_memory(KEY.user_id, memory)
        stored = await shared.get(PK, "userMemory#m-1")
        assert stored["entityType"] == "userMemory"
        assert stored["attributes"] == {
            "memoryId": "m-1",
            "userId": KEY.user_id,
            "coachId": None,
            "content": "Sleeps late",
            "memoryType": "preference",
            "metadata": {
                "createdAt": "2026-11-23T10:00:00.987Z",
                "usageCount": 0,
                "source": "explicit_request",
                "importance": "medium",
                "tags": [],
            },
        }

    async def test_saving_a_memory_again_changes_its_content_alone(
        self, shared: Table, store: DynamoDbStore
    ) -> None:
        """Counters, tags and unknown attributes stay."""
        memory_id = str(MEMORY["sk"]).removeprefix("userMemory#")
        again = Memory(memory_id, "Trains after breakfast", "goal", Importance.LOW, NOW)
        await store.save_memory(KEY.user_id, again)
        stored = await shared.get(PK, str(MEMORY["sk"]))
        expected = changed(MEMORY, content="Trains after breakfast")
        assert stored == {**expected, "updatedAt": "2026-11-23T10:00:00.987Z"}

    async def test_every_date_that_is_written_is_one_that_typescript_reads(
        self, shared: Table, store: DynamoDbStore
    ) -> None:
        """Every item has millisecond precision and `Z`, although the clock has microseconds."""
        for sk in (COACH["sk"], CONVERSATION_SK, MEMORY["sk"]):
            await shared.raw("delete_item", Key={"pk": {"S": PK}, "sk": {"S": sk}})
        await store.put_coach(KEY.user_id, KEY.coach_id, {"coach_name": "Mara", "share": 0.7})
        await store.create_conversation(Conversation(KEY, "A talk", NOW, NOW))
        await a_run(store)
        memory = Memory("m-1", "x", "goal", Importance.LOW, NOW, last_used=NOW)
        await store.save_memory(KEY.user_id, memory)
        await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
        await store.change_conversation(KEY, ConversationChange(title="Another"))
        dates = [date for item in await shared.items() for date in dates_of(item)]
        assert len(dates) == 16
        assert [date for date in dates if not A_DATE.fullmatch(str(date[1]))] == []

    async def test_internal_items_are_in_no_index(self, shared: Table, store: DynamoDbStore) -> None:
        """Claims, reply index items and logs have no entity type and expire; only one item stays."""
        await a_run(store)
        ours = [item for item in await shared.items() if "entityType" not in item]
        assert [(item["sk"].split("#")[0], item.get("ttl")) for item in ours] == [
            ("coachMessageAnswer", 1798020000),
            ("coachMessageClaim", 1798020000),
            ("coachRun", 1795514400),
            ("coachRun", 1795514400),
            ("coachTurn", None),
        ]
