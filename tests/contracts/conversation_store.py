"""What every store must do: a suite that SQLite, DynamoDB and the double in memory pass.

A subclass provides `store`, a fixture with an empty store:

    class TestMine(ConversationStoreContract):
        @pytest.fixture
        async def store(self) -> AsyncIterator[SeedableStore]: ...
"""

from __future__ import annotations

import asyncio

import pytest

from coachstream.conversation.errors import CoachConfigNotFound, ConversationNotFound
from coachstream.conversation.model import ConversationChange, ConversationKey
from contracts.another_try import AnotherTryContract
from contracts.context_store import ContextStoreContract
from contracts.memory_store import MemoryStoreContract
from contracts.quotas import QuotaContract
from contracts.run_queue import RunQueueContract
from contracts.run_store import RunStoreContract
from contracts.store_records import (
    AMPLE_CHARS,
    COACH,
    EPOCH,
    KEY,
    NOW,
    RUN,
    SeedableStore,
    begin,
    conversation,
    ended,
    memory,
    reply_to,
    store_reply,
    user_message,
    workout,
)
from contracts.user_data import UserDataContract

__all__ = [
    "AMPLE_CHARS",
    "COACH",
    "EPOCH",
    "KEY",
    "NOW",
    "ConversationStoreContract",
    "SeedableStore",
    "conversation",
    "memory",
    "reply_to",
    "user_message",
    "workout",
]


class ConversationStoreContract(
    RunStoreContract,
    RunQueueContract,
    AnotherTryContract,
    QuotaContract,
    ContextStoreContract,
    MemoryStoreContract,
    UserDataContract,
):
    """Conversations, plus the contracts of all other ports, because one store implements them all."""

    async def test_a_new_conversation_is_as_it_was_created(self, store: SeedableStore) -> None:
        """Every field is read back as it was saved."""
        assert await store.get_conversation(KEY) == conversation()

    async def test_a_conversation_needs_its_coach(self, store: SeedableStore) -> None:
        """Without the coach nothing is saved."""
        other = ConversationKey(KEY.user_id, "coach-9", "conv-9")
        with pytest.raises(CoachConfigNotFound):
            await store.create_conversation(conversation(other))
        with pytest.raises(ConversationNotFound):
            await store.get_conversation(other)

    async def test_creating_again_changes_nothing(self, store: SeedableStore) -> None:
        """A create whose response was lost can be repeated; messages since then are kept."""
        await begin(store, user_message(1))
        await store.create_conversation(conversation(title="Another title"))
        assert (await store.get_conversation(KEY)).title == "Squats"
        assert len(await store.load_messages(KEY)) == 1

    async def test_conversations_are_listed_the_latest_activity_first(self, store: SeedableStore) -> None:
        """Only the user's own conversations with this coach are listed."""
        for name, age in (("conv-2", 5), ("conv-3", 0.1)):
            key = ConversationKey(KEY.user_id, KEY.coach_id, name)
            await store.create_conversation(conversation(key, age_days=age))
        await store.put_coach(KEY.user_id, "coach-2", COACH)
        await store.create_conversation(conversation(ConversationKey(KEY.user_id, "coach-2", "conv-4")))
        await store.put_coach("user-2", KEY.coach_id, COACH)
        await store.create_conversation(conversation(ConversationKey("user-2", KEY.coach_id, "conv-1")))
        listed = await store.list_conversations(KEY.user_id, KEY.coach_id)
        assert [c.key.conversation_id for c in listed] == ["conv-3", "conv-1", "conv-2"]
        assert list(await store.list_conversations("user-3", KEY.coach_id)) == []

    async def test_a_change_changes_only_what_is_given(self, store: SeedableStore) -> None:
        """This holds for title, tags and activity, separately and together."""
        renamed = await store.change_conversation(KEY, ConversationChange(title="Deadlifts"))
        tagged = await store.change_conversation(KEY, ConversationChange(tags=("back", "ü")))
        closed = await store.change_conversation(KEY, ConversationChange(is_active=False))
        assert (renamed.title, renamed.tags, renamed.is_active) == ("Deadlifts", ("legs",), True)
        assert (tagged.title, tagged.tags, tagged.is_active) == ("Deadlifts", ("back", "ü"), True)
        assert (closed.title, closed.tags, closed.is_active) == ("Deadlifts", ("back", "ü"), False)
        untagged = await store.change_conversation(KEY, ConversationChange(tags=(), is_active=True))
        assert (untagged.tags, untagged.is_active) == ((), True)
        assert await store.get_conversation(KEY) == untagged

    async def test_a_change_in_the_middle_of_a_run_loses_nothing(self, store: SeedableStore) -> None:
        """The run keeps the new title, and the rename keeps the messages: neither update may be lost."""
        said = user_message(1)
        reply = reply_to(said, 2)
        await begin(store, said)
        await asyncio.gather(
            store.finish_run(KEY, RUN, ended(1, reply), reply),
            store.change_conversation(KEY, ConversationChange(title="New")),
        )
        changed = await store.get_conversation(KEY)
        assert (changed.title, changed.total_messages) == ("New", 2)
        assert len(await store.load_messages(KEY)) == 2

    async def test_a_deleted_conversation_is_gone_with_its_messages(self, store: SeedableStore) -> None:
        """They stay deleted when a conversation with the same id is created later."""
        said = user_message(1, client_id="c-1")
        await store_reply(store, said, reply_to(said, 2))
        await store.put_summary(KEY, {"coachId": KEY.coach_id, "narrative": "A long talk."})
        await store.delete_conversation(KEY)
        assert list(await store.list_conversations(KEY.user_id, KEY.coach_id)) == []
        assert list(await store.load_messages(KEY)) == []
        await store.create_conversation(conversation())
        assert list(await store.load_messages(KEY)) == []
        assert (await store.load_summary(KEY)).narrative == ""
        assert await store.find_recent_message(KEY, said.content, since=EPOCH) is None
        assert (await begin(store, user_message(3, client_id="c-1"))).is_first_attempt

    async def test_an_unknown_conversation_is_not_found(self, store: SeedableStore) -> None:
        """Reading, updating and deleting raise; another user's conversation counts as missing too."""
        for unknown in (
            ConversationKey(KEY.user_id, KEY.coach_id, "conv-9"),
            ConversationKey("user-2", KEY.coach_id, KEY.conversation_id),
        ):
            with pytest.raises(ConversationNotFound):
                await store.get_conversation(unknown)
            with pytest.raises(ConversationNotFound):
                await store.change_conversation(unknown, ConversationChange(title="Mine now"))
            with pytest.raises(ConversationNotFound):
                await store.delete_conversation(unknown)
        assert await store.get_conversation(KEY) == conversation()
