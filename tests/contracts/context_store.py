"""What every `ContextStore` must do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from coachstream.conversation.errors import CoachConfigNotFound
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.prompt.user import (
    ConversationSummary,
    UserProfile,
    parse_conversation_summary,
    parse_user_profile,
)
from contracts.store_records import (
    AMPLE_CHARS,
    KEY,
    SeedableStore,
    StoreContract,
    memory,
    reply_to,
    store_reply,
    user_message,
    workout,
)

PROFILE: Mapping[str, object] = {
    "userId": KEY.user_id,
    "email": "ana@example.com",
    "firstName": "Ana",
    "goals": ["Run"],
    "fitness": {"level": "beginner"},
    "preferences": {"timezone": "Asia/Tokyo"},
    "athleteProfile": {"summary": "Runs.", "version": 1},
    "criticalTrainingDirective": {"enabled": True, "content": "No jumps."},
}
SUMMARY: Mapping[str, object] = {
    "coachId": KEY.coach_id,
    "conversationId": KEY.conversation_id,
    "narrative": "A long talk.",
    "structuredData": {"current_goals": ["Run"]},
    "metadata": {"createdAt": "2026-03-01T12:00:00.000Z", "messageRange": {"totalMessages": 6}},
}


class ContextStoreContract(StoreContract):
    """The context of a prompt."""

    async def test_a_coach_is_loaded_by_user_and_id(self, store: SeedableStore) -> None:
        """A user's coach is found; another user's is not."""
        coach = await store.load_coach(KEY.user_id, KEY.coach_id)
        assert (coach.coach_id, coach.name) == ("coach-1", "Mara")
        with pytest.raises(CoachConfigNotFound):
            await store.load_coach("user-2", KEY.coach_id)
        with pytest.raises(CoachConfigNotFound):
            await store.load_coach(KEY.user_id, "coach-2")

    async def test_the_coaches_of_a_user_are_listed_by_their_ids(self, store: SeedableStore) -> None:
        """The list has all of the user's coaches and no other user's."""
        assert await store.list_coaches("user-without-coaches") == []
        await store.put_coach("user-with-coaches", "b-coach", {"coach_name": "Bo"})
        await store.put_coach("user-with-coaches", "a-coach", {"coach_name": "Al"})
        coaches = await store.list_coaches("user-with-coaches")
        assert [(coach.coach_id, coach.name) for coach in coaches] == [("a-coach", "Al"), ("b-coach", "Bo")]

    async def test_history_is_the_newest_messages_oldest_first(self, store: SeedableStore) -> None:
        """The limit drops the oldest messages."""
        for number in range(0, 10, 2):
            said = user_message(number, f"question {number}")
            await store_reply(store, said, reply_to(said, number + 1))
        everything = list(await store.load_messages(KEY))
        assert len(everything) == 10
        assert list(await store.load_history(KEY, limit=3, budget_chars=AMPLE_CHARS)) == everything[-3:]
        assert list(await store.load_history(KEY, limit=100, budget_chars=AMPLE_CHARS)) == everything
        assert list(await store.load_history(KEY, limit=0, budget_chars=AMPLE_CHARS)) == []

    @pytest.mark.parametrize("budget", [0, 1, 5, 6, 7, 12, 13, 29, 30, 31])
    async def test_history_reaches_back_at_least_as_far_as_its_budget(
        self, store: SeedableStore, budget: int
    ) -> None:
        """The loaded messages fill the budget or are all there are, newest first without a gap."""
        for number in range(0, 6, 2):
            said = user_message(number, "1234")
            await store_reply(store, said, reply_to(said, number + 1, "123456"))
        everything = list(await store.load_messages(KEY))
        loaded = list(await store.load_history(KEY, limit=100, budget_chars=budget))
        assert loaded == everything[len(everything) - len(loaded) :]
        chars = sum(len(message.content) for message in loaded)
        assert chars >= budget or loaded == everything

    async def test_the_limit_holds_within_the_budget(self, store: SeedableStore) -> None:
        """Both limits apply, whichever is reached first; empty texts use no budget."""
        for number, text in ((0, "12345"), (2, ""), (4, "")):
            said = user_message(number, text)
            await store_reply(store, said, reply_to(said, number + 1, "1"))
        everything = list(await store.load_messages(KEY))
        assert list(await store.load_history(KEY, limit=4, budget_chars=10)) == everything[-4:]
        assert list(await store.load_history(KEY, limit=6, budget_chars=4)) == everything
        assert list(await store.load_history(KEY, limit=0, budget_chars=10)) == []

    async def test_an_unknown_conversation_has_no_history(self, store: SeedableStore) -> None:
        """The history is empty, and there is no error."""
        unknown = ConversationKey(KEY.user_id, KEY.coach_id, "conv-9")
        assert list(await store.load_history(unknown, limit=10, budget_chars=AMPLE_CHARS)) == []
        assert list(await store.load_messages(unknown)) == []

    async def test_memories_are_ranked_by_importance_newness_and_use(self, store: SeedableStore) -> None:
        """Importance decides; among equals, newer and more frequently used memories come first."""
        expected = ["high-used", "high-new", "high-old", "medium-new", "medium", "low-new-used"]
        stored = {
            "low-new-used": memory("low-new-used", importance="low", age_days=0, uses=500),
            "medium": memory("medium", importance="medium"),
            "medium-new": memory("medium-new", importance="medium", age_days=25),
            "high-old": memory("high-old"),
            "high-new": memory("high-new", age_days=20),
            "high-used": memory("high-used", uses=7),
        }
        for memory_id, attributes in stored.items():
            await store.put_memory(KEY.user_id, memory_id, attributes)
        ranked = await store.load_memories(KEY.user_id, KEY.coach_id, limit=10)
        assert [found.id for found in ranked] == expected
        best = await store.load_memories(KEY.user_id, KEY.coach_id, limit=2)
        assert [found.id for found in best] == expected[:2]
        assert best[0].usage_count == 7
        assert best[0].tags == ("squat",)

    async def test_a_limit_of_zero_loads_nothing(self, store: SeedableStore) -> None:
        """Zero is a valid limit, not a missing one."""
        await store.put_memory(KEY.user_id, "m-1", memory("m-1"))
        await store.put_workout(KEY.user_id, "w-1", workout("w-1", "2026-03-01T10:00:00.000Z"))
        assert list(await store.load_memories(KEY.user_id, KEY.coach_id, limit=0)) == []
        assert list(await store.load_recent_workouts(KEY.user_id, limit=0)) == []

    async def test_equal_memories_come_newest_first(self, store: SeedableStore) -> None:
        """Beyond a month, age no longer affects the score but still breaks ties."""
        for memory_id, age in (("b", 60), ("a", 90), ("c", 40)):
            await store.put_memory(KEY.user_id, memory_id, memory(memory_id, age_days=age))
        ranked = await store.load_memories(KEY.user_id, KEY.coach_id, limit=10)
        assert [found.id for found in ranked] == ["c", "b", "a"]

    async def test_memories_are_the_users_and_of_this_coach_or_all(self, store: SeedableStore) -> None:
        """Memories of another coach or another user are never loaded."""
        await store.put_memory(KEY.user_id, "own", memory("own", coach_id=KEY.coach_id))
        await store.put_memory(KEY.user_id, "global", memory("global"))
        await store.put_memory(KEY.user_id, "other coach", memory("other coach", coach_id="coach-2"))
        await store.put_memory("user-2", "other user", memory("other user"))
        found = await store.load_memories(KEY.user_id, KEY.coach_id, limit=10)
        assert {m.id for m in found} == {"own", "global"}

    async def test_workouts_are_the_last_completed_whatever_their_ids(self, store: SeedableStore) -> None:
        """The most recently completed come first; ids and the order of saving do not matter."""
        completed = {
            "a": "2026-03-01T10:00:00.000Z",
            "d": "2026-01-01T10:00:00.000Z",
            "c": "2026-02-01T10:00:00.000Z",
            "b": "2026-03-01T11:30:00.000+02:00",
        }
        for workout_id, moment in completed.items():
            await store.put_workout(KEY.user_id, workout_id, workout(workout_id, moment))
        await store.put_workout("user-2", "x", workout("x", "2026-04-01T10:00:00.000Z"))
        found = await store.load_recent_workouts(KEY.user_id, limit=3)
        assert [w.id for w in found] == ["a", "b", "c"]
        assert found[0].completed_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
        assert found[0].summary == "Did a."

    async def test_a_profile_and_a_summary_are_loaded_by_their_owner(self, store: SeedableStore) -> None:
        """The user's and the conversation's own; where there is none, they are empty."""
        assert await store.load_profile(KEY.user_id) == UserProfile()
        assert await store.load_summary(KEY) == ConversationSummary()
        await store.put_profile(KEY.user_id, PROFILE)
        await store.put_summary(KEY, SUMMARY)
        assert await store.load_profile(KEY.user_id) == parse_user_profile(PROFILE)
        assert await store.load_summary(KEY) == parse_conversation_summary(SUMMARY)
        assert await store.load_profile("user-2") == UserProfile()
        for other in (
            ConversationKey("user-2", KEY.coach_id, KEY.conversation_id),
            ConversationKey(KEY.user_id, "coach-2", KEY.conversation_id),
            ConversationKey(KEY.user_id, KEY.coach_id, "conv-9"),
            ConversationKey(KEY.user_id, KEY.coach_id, "conv#9"),
        ):
            assert await store.load_summary(other) == ConversationSummary()

    async def test_seeding_again_replaces(self, store: SeedableStore) -> None:
        """A record replaces an earlier one with the same id."""
        for uses in (1, 2):
            await store.put_memory(KEY.user_id, "m", memory("m", uses=uses))
            await store.put_workout(KEY.user_id, "w", workout("w", f"2026-01-0{uses}T00:00:00.000Z"))
        [remembered] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        [done] = await store.load_recent_workouts(KEY.user_id, limit=5)
        assert remembered.usage_count == 2
        assert done.completed_at.day == 2
