"""What every store must do: a suite that SQLite, DynamoDB and the double in memory pass.

A subclass provides `store`, a fixture with an empty store:

    class TestMine(ConversationStoreContract):
        @pytest.fixture
        async def store(self) -> AsyncIterator[SeedableStore]: ...
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec
import pytest

from coachstream.conversation.errors import (
    CoachConfigNotFound,
    ConversationNotFound,
    StorageUnavailable,
    TurnInProgress,
)
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
    format_timestamp,
    to_milliseconds,
)
from coachstream.conversation.ports import ContextStore, ConversationStore, MemoryStore, TurnStore

NOW = to_milliseconds(datetime.now(UTC))
KEY = ConversationKey("user-1", "coach-1", "conv-1")
AMPLE_CHARS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COACH: Mapping[str, object] = {
    "coach_id": "coach-1",
    "coach_name": "Mara",
    "metadata": {"total_conversations": 4},
}


class SeedableStore(TurnStore, ContextStore, ConversationStore, MemoryStore, Protocol):
    """All four ports, and the ways in for records that the domain only reads."""

    async def put_coach(self, user_id: str, coach_id: str, attributes: Mapping[str, object]) -> None: ...
    async def put_memory(self, user_id: str, memory_id: str, attributes: Mapping[str, object]) -> None: ...
    async def put_workout(self, user_id: str, workout_id: str, attributes: Mapping[str, object]) -> None: ...


def user_message(
    number: int, content: str = "How was it?", *, client_id: str | None = None, streamed: bool = False
) -> Message:
    """The user message that is sent `number` seconds after the first; its id says milliseconds."""
    moment = NOW + timedelta(seconds=number)
    return Message(
        id=f"msg_{number:013d}_{'u' * 9}_user",
        role=Role.USER,
        content=content,
        timestamp=moment,
        metadata=MessageMetadata(client_message_id=client_id, streamed=streamed),
    )


def reply_to(
    message: Message, number: int, content: str = "Well done.", *, stop: StopReason = StopReason.END_TURN
) -> Message:
    """A reply, `number` seconds after the first message."""
    return Message(
        id=f"msg_{number:013d}_{'a' * 9}_assistant",
        role=Role.ASSISTANT,
        content=content,
        timestamp=NOW + timedelta(seconds=number),
        metadata=MessageMetadata(model="demo", stop_reason=stop, reply_to=message.id),
    )


def conversation(key: ConversationKey = KEY, *, title: str = "Squats", age_days: float = 1) -> Conversation:
    """A new conversation."""
    began = NOW - timedelta(days=age_days)
    return Conversation(key=key, title=title, started_at=began, last_activity=began, tags=("legs",))


def memory(
    memory_id: str,
    *,
    importance: str = "high",
    age_days: float = 100,
    uses: int = 0,
    coach_id: str | None = None,
) -> Mapping[str, object]:
    """A stored memory in the existing system's shape."""
    return {
        "memoryId": memory_id,
        "userId": KEY.user_id,
        "coachId": coach_id,
        "content": f"Remember {memory_id}.",
        "memoryType": "goal",
        "metadata": {
            "createdAt": format_timestamp(NOW - timedelta(days=age_days)),
            "usageCount": uses,
            "source": "conversation",
            "importance": importance,
            "tags": ["squat"],
        },
    }


def workout(workout_id: str, completed_at: str) -> Mapping[str, object]:
    """A stored workout in the existing system's shape."""
    return {
        "workoutId": workout_id,
        "userId": KEY.user_id,
        "completedAt": completed_at,
        "summary": f"Did {workout_id}.",
        "workoutData": {"workout_id": workout_id, "discipline": "strength", "workout_name": "Squat day"},
    }


class ConversationStoreContract:
    """Turns, conversations and what feeds a prompt."""

    @pytest.fixture(autouse=True)
    async def begun(self, store: SeedableStore) -> None:
        """There is a coach with one conversation."""
        await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
        await store.create_conversation(conversation())

    # Turns

    async def test_a_turn_saves_both_messages_to_the_letter(self, store: SeedableStore) -> None:
        """What is loaded is what was saved: text, order, times and metadata."""
        said = user_message(1, "Zwölf 💪🏽 \u0000 \r\n'; DROP TABLE messages; --", client_id="c-1")
        claim = await store.begin_turn(KEY, said)
        reply = reply_to(said, 2, "👩‍👩‍👧 é e\u0301\n\n  \t", stop=StopReason.MAX_TOKENS)
        await store.save_reply(claim, reply)
        assert claim.user_message == said
        assert claim.is_first_attempt
        assert claim.reply is None
        assert list(await store.load_messages(KEY)) == [said, reply]

    async def test_the_user_message_is_stored_before_the_reply(self, store: SeedableStore) -> None:
        """A turn that has only begun has saved its message."""
        await store.begin_turn(KEY, user_message(1))
        assert [message.role for message in await store.load_messages(KEY)] == [Role.USER]

    async def test_a_turn_counts_its_messages_and_dates_the_conversation(self, store: SeedableStore) -> None:
        """The number of messages and the last activity are those of the last message."""
        said = user_message(1)
        claim = await store.begin_turn(KEY, said)
        begun = await store.get_conversation(KEY)
        await store.save_reply(claim, reply_to(said, 9))
        ended = await store.get_conversation(KEY)
        assert (begun.total_messages, begun.last_activity) == (1, said.timestamp)
        assert (ended.total_messages, ended.last_activity) == (2, NOW + timedelta(seconds=9))

    async def test_a_turn_in_an_unknown_conversation_saves_nothing(self, store: SeedableStore) -> None:
        """Each part of the key is needed to find a conversation."""
        for other in (
            ConversationKey("user-2", KEY.coach_id, KEY.conversation_id),
            ConversationKey(KEY.user_id, "coach-2", KEY.conversation_id),
            ConversationKey(KEY.user_id, KEY.coach_id, "conv-2"),
        ):
            with pytest.raises(ConversationNotFound):
                await store.begin_turn(other, user_message(1))
            assert list(await store.load_messages(other)) == []
        assert list(await store.load_messages(KEY)) == []

    async def test_a_second_turn_must_wait_for_the_first(self, store: SeedableStore) -> None:
        """While a turn is live another one is refused and nothing of it is saved."""
        claim = await store.begin_turn(KEY, user_message(1))
        with pytest.raises(TurnInProgress):
            await store.begin_turn(KEY, user_message(2))
        assert len(await store.load_messages(KEY)) == 1
        await store.save_reply(claim, reply_to(claim.user_message, 3))
        await store.begin_turn(KEY, user_message(4))

    async def test_turns_of_different_conversations_do_not_wait(self, store: SeedableStore) -> None:
        """A claim holds one conversation only."""
        other = ConversationKey(KEY.user_id, KEY.coach_id, "conv-2")
        await store.create_conversation(conversation(other))
        await store.begin_turn(KEY, user_message(1))
        await store.begin_turn(other, user_message(2))

    async def test_an_abandoned_turn_is_over(self, store: SeedableStore) -> None:
        """After abandoning, the next turn begins; abandoning again does no harm, also to that next turn."""
        claim = await store.begin_turn(KEY, user_message(1))
        await store.abandon_turn(claim)
        await store.abandon_turn(claim)
        await store.begin_turn(KEY, user_message(2))
        await store.abandon_turn(claim)
        with pytest.raises(TurnInProgress):
            await store.begin_turn(KEY, user_message(3))

    async def test_a_claim_that_was_given_up_cannot_write(self, store: SeedableStore) -> None:
        """A turn that lost its claim does not put a reply into somebody else's turn."""
        claim = await store.begin_turn(KEY, user_message(1))
        await store.abandon_turn(claim)
        await store.begin_turn(KEY, user_message(2))
        with pytest.raises(StorageUnavailable):
            await store.save_reply(claim, reply_to(claim.user_message, 3))
        assert len(await store.load_messages(KEY)) == 2

    async def test_the_same_client_message_is_saved_once(self, store: SeedableStore) -> None:
        """A retry continues with the stored message, under its first id."""
        first = await store.begin_turn(KEY, user_message(1, "first", client_id="c-1"))
        await store.abandon_turn(first)
        again = await store.begin_turn(KEY, user_message(2, "again", client_id="c-1"))
        assert again.user_message == first.user_message
        assert again.reply is None
        assert (first.is_first_attempt, again.is_first_attempt) == (True, False)
        assert list(await store.load_messages(KEY)) == [first.user_message]
        assert (await store.get_conversation(KEY)).total_messages == 1

    async def test_client_message_ids_are_of_one_conversation(self, store: SeedableStore) -> None:
        """The same id in another conversation is another message."""
        other = ConversationKey(KEY.user_id, KEY.coach_id, "conv-2")
        await store.create_conversation(conversation(other))
        await store.begin_turn(KEY, user_message(1, client_id="c-1"))
        claim = await store.begin_turn(other, user_message(2, client_id="c-1"))
        assert claim.user_message.id == user_message(2).id

    async def test_conversations_with_similar_ids_are_kept_apart(self, store: SeedableStore) -> None:
        """No id is a prefix, a pattern or a quotation; the same message ids harm nothing."""
        names = ["conv", "conv-10", "CONV-1", "conv-1 ", "conv_1", "conv-%", "conv-1' OR '1", 'ü"💪\\']
        keys = [ConversationKey(KEY.user_id, KEY.coach_id, name) for name in names]
        said = [user_message(1, f"in {name}", client_id="c-1", streamed=True) for name in names]
        for key, message in zip(keys, said, strict=True):
            await store.create_conversation(conversation(key))
            assert (await store.begin_turn(key, message)).is_first_attempt
        for key, message in zip(keys, said, strict=True):
            assert list(await store.load_messages(key)) == [message]
            assert await store.find_streamed_message(key, message.content, since=EPOCH) == message
            assert await store.find_streamed_message(KEY, message.content, since=EPOCH) is None

    async def test_a_retry_of_an_answered_message_gets_its_reply(self, store: SeedableStore) -> None:
        """The stored reply comes back, nothing is claimed, and the next turn need not wait."""
        said = user_message(1, client_id="c-1")
        reply = reply_to(said, 2)
        await store.save_reply(await store.begin_turn(KEY, said), reply)
        again = await store.begin_turn(KEY, user_message(3, client_id="c-1"))
        assert (again.user_message, again.reply, again.is_first_attempt) == (said, reply, False)
        await store.begin_turn(KEY, user_message(4))

    async def test_the_same_message_is_saved_once_without_a_client_id(self, store: SeedableStore) -> None:
        """Its own id names it as well: begun again, and answered, it is still one message."""
        said = user_message(1)
        await store.abandon_turn(await store.begin_turn(KEY, said))
        again = await store.begin_turn(KEY, said)
        assert (again.user_message, again.reply, again.is_first_attempt) == (said, None, False)
        await store.save_reply(again, reply_to(said, 2))
        answered = await store.begin_turn(KEY, said)
        assert (answered.user_message, answered.reply) == (said, reply_to(said, 2))
        assert list(await store.load_messages(KEY)) == [said, reply_to(said, 2)]

    async def test_a_streamed_message_is_found_by_its_text(self, store: SeedableStore) -> None:
        """The newest of several, and only if it was sent for a stream."""
        for number, (text, streamed) in enumerate(
            [("Yes", True), ("Yes", True), ("Yes", False), ("No", True), ("yes", True), ("Yes ", True)]
        ):
            said = user_message(10 * number, text, streamed=streamed)
            await store.save_reply(await store.begin_turn(KEY, said), reply_to(said, 10 * number + 1))
        found = await store.find_streamed_message(KEY, "Yes", since=EPOCH)
        assert found == user_message(10, "Yes", streamed=True)
        assert await store.find_streamed_message(KEY, "Maybe", since=EPOCH) is None
        assert await store.find_streamed_message(KEY, "Well done.", since=EPOCH) is None
        assert await store.find_streamed_message(KEY, "", since=EPOCH) is None

    async def test_a_streamed_message_is_found_as_long_as_it_is_new(self, store: SeedableStore) -> None:
        """By the time in its id, to the millisecond, whatever its timestamp says."""
        said = user_message(5, "Yes", streamed=True)
        await store.begin_turn(KEY, said)
        moment = EPOCH + timedelta(milliseconds=5)
        assert await store.find_streamed_message(KEY, "Yes", since=moment) == said
        later = moment + timedelta(milliseconds=1)
        assert await store.find_streamed_message(KEY, "Yes", since=later) is None
        assert await store.find_streamed_message(KEY, "Yes", since=NOW + timedelta(days=1)) is None

    @pytest.mark.parametrize(
        "text",
        ["'Zwölf' \"%_\\ 💪🏽 e\u0301 \u0000 \r\n", "2026-03-01T10:00:00.000Z", "💪" * 32_000],
        ids=["any character", "like a date", "as long as can be"],
    )
    async def test_a_streamed_message_is_found_by_its_text_to_the_letter(
        self, store: SeedableStore, text: str
    ) -> None:
        """Whatever it holds; what looks alike, begins alike or would match as a pattern is not the same."""
        said = user_message(1, text, streamed=True)
        await store.begin_turn(KEY, said)
        assert await store.find_streamed_message(KEY, text, since=EPOCH) == said
        alike = {
            unicodedata.normalize("NFC", text),
            text.swapcase(),
            text[:-1],
            f"{text} ",
            "%",
            "_" * len(text),
        }
        for other in alike - {text}:
            assert await store.find_streamed_message(KEY, other, since=EPOCH) is None

    async def test_only_a_users_message_is_a_streamed_message(self, store: SeedableStore) -> None:
        """A coach that repeats the words, or a message that was not sent for a stream, is none."""
        said = user_message(1, "Yes")
        reply = reply_to(said, 2, "Yes")
        marked = msgspec.structs.replace(reply.metadata, streamed=True)
        await store.save_reply(
            await store.begin_turn(KEY, said), msgspec.structs.replace(reply, metadata=marked)
        )
        assert await store.find_streamed_message(KEY, "Yes", since=EPOCH) is None

    async def test_a_message_that_is_sent_again_stays_what_it_was(self, store: SeedableStore) -> None:
        """A retry without a stream of a message that was streamed finds it, and does not make it another."""
        said = user_message(1, "Yes", client_id="c-1", streamed=True)
        await store.abandon_turn(await store.begin_turn(KEY, said))
        again = await store.begin_turn(KEY, user_message(2, "Yes", client_id="c-1"))
        assert again.user_message == said
        assert await store.find_streamed_message(KEY, "Yes", since=EPOCH) == said

    async def test_an_unknown_conversation_has_no_streamed_message(self, store: SeedableStore) -> None:
        """Nor has another user's, or another coach's."""
        await store.begin_turn(KEY, user_message(1, "Yes", streamed=True))
        for other in (
            ConversationKey("user-2", KEY.coach_id, KEY.conversation_id),
            ConversationKey(KEY.user_id, "coach-2", KEY.conversation_id),
            ConversationKey(KEY.user_id, KEY.coach_id, "conv-2"),
        ):
            assert await store.find_streamed_message(other, "Yes", since=EPOCH) is None

    async def test_a_retry_of_an_answered_message_need_not_wait(self, store: SeedableStore) -> None:
        """Its reply comes back even while another turn is live."""
        said = user_message(1, client_id="c-1")
        await store.save_reply(await store.begin_turn(KEY, said), reply_to(said, 2))
        await store.begin_turn(KEY, user_message(3))
        again = await store.begin_turn(KEY, user_message(4, client_id="c-1"))
        assert again.reply == reply_to(said, 2)

    async def test_a_reply_takes_the_place_of_an_interrupted_one(self, store: SeedableStore) -> None:
        """A retry after an interruption is answered anew, and one reply remains."""
        said = user_message(1, client_id="c-1")
        partial = reply_to(said, 2, "Well", stop=StopReason.INTERRUPTED)
        await store.save_reply(await store.begin_turn(KEY, said), partial)
        assert list(await store.load_messages(KEY)) == [said, partial]
        claim = await store.begin_turn(KEY, user_message(3, client_id="c-1"))
        assert claim.reply is None
        whole = reply_to(said, 4)
        await store.save_reply(claim, whole)
        assert list(await store.load_messages(KEY)) == [said, whole]
        assert (await store.get_conversation(KEY)).total_messages == 2

    async def test_only_the_interrupted_reply_to_the_same_message_is_replaced(
        self, store: SeedableStore
    ) -> None:
        """An interrupted reply to an earlier message stays."""
        first, second = user_message(1), user_message(3)
        partial = reply_to(first, 2, "Well", stop=StopReason.INTERRUPTED)
        await store.save_reply(await store.begin_turn(KEY, first), partial)
        await store.save_reply(await store.begin_turn(KEY, second), reply_to(second, 4))
        assert list(await store.load_messages(KEY)) == [first, partial, second, reply_to(second, 4)]

    async def test_saving_the_same_reply_twice_saves_it_once(self, store: SeedableStore) -> None:
        """A save whose answer was lost can be repeated."""
        said = user_message(1)
        claim = await store.begin_turn(KEY, said)
        await store.save_reply(claim, reply_to(said, 2))
        await store.save_reply(claim, reply_to(said, 2))
        assert len(await store.load_messages(KEY)) == 2
        assert (await store.get_conversation(KEY)).total_messages == 2

    async def test_a_reply_to_a_deleted_conversation_is_refused(self, store: SeedableStore) -> None:
        """A conversation that was deleted in the middle of a turn does not come back, and blocks nothing."""
        claim = await store.begin_turn(KEY, user_message(1))
        await store.delete_conversation(KEY)
        with pytest.raises(ConversationNotFound):
            await store.save_reply(claim, reply_to(claim.user_message, 2))
        await store.create_conversation(conversation())
        assert list(await store.load_messages(KEY)) == []
        await store.begin_turn(KEY, user_message(3))

    async def test_of_many_equal_requests_one_turn_begins(self, store: SeedableStore) -> None:
        """Twenty sends of one message at once: it is stored once, and one of them answers it."""
        attempts = await asyncio.gather(
            *(store.begin_turn(KEY, user_message(n, client_id="c-1")) for n in range(20)),
            return_exceptions=True,
        )
        refused = [attempt for attempt in attempts if isinstance(attempt, TurnInProgress)]
        assert len(refused) == 19
        assert len(await store.load_messages(KEY)) == 1

    # What feeds a prompt

    async def test_a_coach_is_loaded_by_user_and_id(self, store: SeedableStore) -> None:
        """A user's coach is found; nobody else's."""
        coach = await store.load_coach(KEY.user_id, KEY.coach_id)
        assert (coach.coach_id, coach.name) == ("coach-1", "Mara")
        with pytest.raises(CoachConfigNotFound):
            await store.load_coach("user-2", KEY.coach_id)
        with pytest.raises(CoachConfigNotFound):
            await store.load_coach(KEY.user_id, "coach-2")

    async def test_history_is_the_newest_messages_oldest_first(self, store: SeedableStore) -> None:
        """A limit cuts off the old end."""
        for number in range(0, 10, 2):
            said = user_message(number, f"question {number}")
            await store.save_reply(await store.begin_turn(KEY, said), reply_to(said, number + 1))
        everything = list(await store.load_messages(KEY))
        assert len(everything) == 10
        assert list(await store.load_history(KEY, limit=3, budget_chars=AMPLE_CHARS)) == everything[-3:]
        assert list(await store.load_history(KEY, limit=100, budget_chars=AMPLE_CHARS)) == everything
        assert list(await store.load_history(KEY, limit=0, budget_chars=AMPLE_CHARS)) == []

    @pytest.mark.parametrize("budget", [0, 1, 5, 6, 7, 12, 13, 29, 30, 31])
    async def test_history_reaches_back_at_least_as_far_as_its_budget(
        self, store: SeedableStore, budget: int
    ) -> None:
        """What is loaded fills the budget, or is everything; it is the newest end without a gap."""
        for number in range(0, 6, 2):
            said = user_message(number, "1234")
            await store.save_reply(await store.begin_turn(KEY, said), reply_to(said, number + 1, "123456"))
        everything = list(await store.load_messages(KEY))
        loaded = list(await store.load_history(KEY, limit=100, budget_chars=budget))
        assert loaded == everything[len(everything) - len(loaded) :]
        chars = sum(len(message.content) for message in loaded)
        assert chars >= budget or loaded == everything

    async def test_the_limit_holds_within_the_budget(self, store: SeedableStore) -> None:
        """Both are kept, whichever is less; empty texts use nothing up."""
        for number, text in ((0, "12345"), (2, ""), (4, "")):
            said = user_message(number, text)
            await store.save_reply(await store.begin_turn(KEY, said), reply_to(said, number + 1, "1"))
        everything = list(await store.load_messages(KEY))
        assert list(await store.load_history(KEY, limit=4, budget_chars=10)) == everything[-4:]
        assert list(await store.load_history(KEY, limit=6, budget_chars=4)) == everything
        assert list(await store.load_history(KEY, limit=0, budget_chars=10)) == []

    async def test_an_unknown_conversation_has_no_history(self, store: SeedableStore) -> None:
        """Nothing, and no error."""
        unknown = ConversationKey(KEY.user_id, KEY.coach_id, "conv-9")
        assert list(await store.load_history(unknown, limit=10, budget_chars=AMPLE_CHARS)) == []
        assert list(await store.load_messages(unknown)) == []

    async def test_memories_are_ranked_by_importance_newness_and_use(self, store: SeedableStore) -> None:
        """Importance decides; among equals the newer and the more used come first."""
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

    async def test_nothing_is_loaded_where_nothing_is_wanted(self, store: SeedableStore) -> None:
        """A limit of none is kept."""
        await store.put_memory(KEY.user_id, "m-1", memory("m-1"))
        await store.put_workout(KEY.user_id, "w-1", workout("w-1", "2026-03-01T10:00:00.000Z"))
        assert list(await store.load_memories(KEY.user_id, KEY.coach_id, limit=0)) == []
        assert list(await store.load_recent_workouts(KEY.user_id, limit=0)) == []

    async def test_equal_memories_come_newest_first(self, store: SeedableStore) -> None:
        """Beyond a month age scores nothing, but still decides between equals."""
        for memory_id, age in (("b", 60), ("a", 90), ("c", 40)):
            await store.put_memory(KEY.user_id, memory_id, memory(memory_id, age_days=age))
        ranked = await store.load_memories(KEY.user_id, KEY.coach_id, limit=10)
        assert [found.id for found in ranked] == ["c", "b", "a"]

    async def test_memories_are_the_users_and_of_this_coach_or_all(self, store: SeedableStore) -> None:
        """Another coach's and another user's memories stay with them."""
        await store.put_memory(KEY.user_id, "own", memory("own", coach_id=KEY.coach_id))
        await store.put_memory(KEY.user_id, "global", memory("global"))
        await store.put_memory(KEY.user_id, "other coach", memory("other coach", coach_id="coach-2"))
        await store.put_memory("user-2", "other user", memory("other user"))
        found = await store.load_memories(KEY.user_id, KEY.coach_id, limit=10)
        assert {m.id for m in found} == {"own", "global"}

    async def test_workouts_are_the_last_completed_whatever_their_ids(self, store: SeedableStore) -> None:
        """The newest by completion come first; ids and the order of saving mean nothing."""
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

    async def test_seeding_again_replaces(self, store: SeedableStore) -> None:
        """A record of the same id takes the place of the earlier one."""
        for uses in (1, 2):
            await store.put_memory(KEY.user_id, "m", memory("m", uses=uses))
            await store.put_workout(KEY.user_id, "w", workout("w", f"2026-01-0{uses}T00:00:00.000Z"))
        [remembered] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        [done] = await store.load_recent_workouts(KEY.user_id, limit=5)
        assert remembered.usage_count == 2
        assert done.completed_at.day == 2

    # Conversations

    async def test_a_new_conversation_is_as_it_was_created(self, store: SeedableStore) -> None:
        """Every field comes back."""
        assert await store.get_conversation(KEY) == conversation()

    async def test_a_conversation_needs_its_coach(self, store: SeedableStore) -> None:
        """Without the coach nothing is saved."""
        other = ConversationKey(KEY.user_id, "coach-9", "conv-9")
        with pytest.raises(CoachConfigNotFound):
            await store.create_conversation(conversation(other))
        with pytest.raises(ConversationNotFound):
            await store.get_conversation(other)

    async def test_creating_again_changes_nothing(self, store: SeedableStore) -> None:
        """A create whose answer was lost can be repeated; what was said since then stays."""
        await store.begin_turn(KEY, user_message(1))
        await store.create_conversation(conversation(title="Another title"))
        assert (await store.get_conversation(KEY)).title == "Squats"
        assert len(await store.load_messages(KEY)) == 1

    async def test_conversations_are_listed_the_latest_activity_first(self, store: SeedableStore) -> None:
        """Only the user's conversations with this coach."""
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
        """Title, tags and activity, one by one and together."""
        renamed = await store.change_conversation(KEY, ConversationChange(title="Deadlifts"))
        tagged = await store.change_conversation(KEY, ConversationChange(tags=("back", "ü")))
        closed = await store.change_conversation(KEY, ConversationChange(is_active=False))
        assert (renamed.title, renamed.tags, renamed.is_active) == ("Deadlifts", ("legs",), True)
        assert (tagged.title, tagged.tags, tagged.is_active) == ("Deadlifts", ("back", "ü"), True)
        assert (closed.title, closed.tags, closed.is_active) == ("Deadlifts", ("back", "ü"), False)
        untagged = await store.change_conversation(KEY, ConversationChange(tags=(), is_active=True))
        assert (untagged.tags, untagged.is_active) == ((), True)
        assert await store.get_conversation(KEY) == untagged

    async def test_a_change_in_the_middle_of_a_turn_loses_nothing(self, store: SeedableStore) -> None:
        """The turn keeps the new title, the rename keeps the messages (a lost update, provoked)."""
        said = user_message(1)
        claim = await store.begin_turn(KEY, said)
        await asyncio.gather(
            store.save_reply(claim, reply_to(said, 2)),
            store.change_conversation(KEY, ConversationChange(title="New")),
        )
        changed = await store.get_conversation(KEY)
        assert (changed.title, changed.total_messages) == ("New", 2)
        assert len(await store.load_messages(KEY)) == 2

    async def test_a_deleted_conversation_is_gone_with_its_messages(self, store: SeedableStore) -> None:
        """Also when one of the same id is created later."""
        said = user_message(1, client_id="c-1", streamed=True)
        await store.save_reply(await store.begin_turn(KEY, said), reply_to(said, 2))
        await store.delete_conversation(KEY)
        assert list(await store.list_conversations(KEY.user_id, KEY.coach_id)) == []
        assert list(await store.load_messages(KEY)) == []
        await store.create_conversation(conversation())
        assert list(await store.load_messages(KEY)) == []
        assert await store.find_streamed_message(KEY, said.content, since=EPOCH) is None
        assert (await store.begin_turn(KEY, user_message(3, client_id="c-1"))).is_first_attempt

    async def test_an_unknown_conversation_is_not_found(self, store: SeedableStore) -> None:
        """Reading, changing and deleting say so; another user's is as unknown as one that never was."""
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

    # Memories

    async def test_a_saved_memory_is_loaded_as_it_was_saved(self, store: SeedableStore) -> None:
        """Every field of it; one that names no coach is for every coach."""
        saved = Memory(
            id="m-1",
            content='Hates "burpees" 💪\nand says so',
            memory_type="preference",
            importance=Importance.HIGH,
            created_at=NOW - timedelta(days=3),
            coach_id=None,
            last_used=NOW - timedelta(days=1),
            usage_count=3,
            tags=("helpful", "ü"),
            source=MemorySource.EXPLICIT_REQUEST,
        )
        await store.save_memory(KEY.user_id, saved)
        for coach_id in (KEY.coach_id, "coach-2"):
            assert list(await store.load_memories(KEY.user_id, coach_id, limit=5)) == [saved]
        assert list(await store.load_memories("user-2", KEY.coach_id, limit=5)) == []

    async def test_a_memory_of_one_coach_stays_with_that_coach(self, store: SeedableStore) -> None:
        """Others do not know it."""
        await store.save_memory(KEY.user_id, _memory("m-1", coach_id=KEY.coach_id))
        assert len(await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == 1
        assert list(await store.load_memories(KEY.user_id, "coach-2", limit=5)) == []

    async def test_saving_a_memory_again_keeps_what_was_counted(self, store: SeedableStore) -> None:
        """A retry changes the content and nothing else."""
        await store.save_memory(KEY.user_id, _memory("m-1"))
        await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
        await store.save_memory(KEY.user_id, _memory("m-1", content="Other words"))
        [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert (loaded.content, loaded.usage_count, loaded.last_used) == ("Other words", 1, NOW)

    async def test_uses_are_counted_and_dated(self, store: SeedableStore) -> None:
        """Each named memory once, however often it is named; the others not at all."""
        for name in ("m-1", "m-2", "m-3"):
            await store.put_memory(KEY.user_id, name, memory(name, uses=4))
        await store.note_memories_used(KEY.user_id, ["m-1", "m-2", "m-1"], at=NOW)
        loaded = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        counted = {each.id: (each.usage_count, each.last_used) for each in loaded}
        assert counted == {"m-1": (5, NOW), "m-2": (5, NOW), "m-3": (4, None)}

    async def test_no_use_is_lost_when_many_count_at_once(self, store: SeedableStore) -> None:
        """Twenty turns with the same memory are twenty uses."""
        await store.put_memory(KEY.user_id, "m-1", memory("m-1"))
        await asyncio.gather(*(store.note_memories_used(KEY.user_id, ["m-1"], at=NOW) for _ in range(20)))
        [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert loaded.usage_count == 20

    async def test_a_memory_that_is_gone_is_not_brought_back_by_counting(self, store: SeedableStore) -> None:
        """Nor is another user's touched; an empty list is nothing to do."""
        await store.put_memory("user-2", "m-1", memory("m-1"))
        await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
        await store.note_memories_used(KEY.user_id, [], at=NOW)
        assert list(await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == []
        [others] = await store.load_memories("user-2", KEY.coach_id, limit=5)
        assert others.usage_count == 0

    async def test_an_odd_counter_is_counted_on_from_what_can_be_read(self, store: SeedableStore) -> None:
        """Whatever an older function left there, the use counts, and nothing else changes."""
        counts: list[object] = [None, "many", "7", 2.5, -3, True, [], {"n": 4}]
        for number, count in enumerate(counts):
            odd = dict(memory(f"m-{number}"))
            odd["metadata"] = {"usageCount": count, "importance": "low", "tags": ["a"], "source": "odd"}
            await store.put_memory(KEY.user_id, f"m-{number}", odd)
        before = await store.load_memories(KEY.user_id, KEY.coach_id, limit=20)
        await store.note_memories_used(KEY.user_id, [each.id for each in before], at=NOW)
        after = await store.load_memories(KEY.user_id, KEY.coach_id, limit=20)
        assert len(before) == len(counts)
        assert {each.id: each for each in after} == {
            each.id: msgspec.structs.replace(each, usage_count=each.usage_count + 1, last_used=NOW)
            for each in before
        }

    @pytest.mark.parametrize("metadata", [None, "odd", [1], {}], ids=str)
    async def test_a_memory_without_usable_metadata_can_be_counted(
        self, store: SeedableStore, metadata: object
    ) -> None:
        """Lenient to the last; its other attributes stay."""
        odd = dict(memory("m-1", coach_id=KEY.coach_id)) | {"metadata": metadata}
        if metadata is None:
            del odd["metadata"]
        await store.put_memory(KEY.user_id, "m-1", odd)
        for _ in range(2):
            await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
        [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert (loaded.usage_count, loaded.last_used) == (2, NOW)
        assert (loaded.content, loaded.memory_type) == ("Remember m-1.", "goal")

    async def test_a_memory_has_the_id_that_it_is_stored_under(self, store: SeedableStore) -> None:
        """So that what was loaded can be counted, whatever its attributes say of the id, or do not say."""
        for name, told in (("m-1", {"memoryId": "other"}), ("m-2", {}), ("m-3", {"memoryId": None})):
            attributes = {key: value for key, value in memory(name).items() if key != "memoryId"} | told
            await store.put_memory(KEY.user_id, name, attributes)
        loaded = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert {each.id for each in loaded} == {"m-1", "m-2", "m-3"}
        await store.note_memories_used(KEY.user_id, [each.id for each in loaded], at=NOW)
        loaded = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert [each.usage_count for each in loaded] == [1, 1, 1]

    async def test_memories_with_similar_ids_are_kept_apart(self, store: SeedableStore) -> None:
        """No id is a prefix, a pattern or a quotation; what is counted beside unknown ids counts."""
        names = ["m", "m-1", "m-10", "M-1", "m_1", "%", "m-1' OR '1'='1", 'ü"💪\\', "m-1#2"]
        for name in names:
            await store.save_memory(KEY.user_id, _memory(name, content=f"Memory {name}"))
        used = ["m-1", "%", "unknown", "m-1' OR '1'='1", 'ü"💪\\', "", "m-1#2"]
        await store.note_memories_used(KEY.user_id, used, at=NOW)
        loaded = await store.load_memories(KEY.user_id, KEY.coach_id, limit=20)
        assert {each.id: each.content for each in loaded} == {name: f"Memory {name}" for name in names}
        assert {each.id for each in loaded if each.usage_count == 1} == set(used) & set(names)

    async def test_saving_a_memory_while_it_is_counted_loses_nothing(self, store: SeedableStore) -> None:
        """The new content and every use are there, and it is one memory (a lost update, provoked)."""
        await store.save_memory(KEY.user_id, _memory("m-1"))
        again = _memory("m-1", content="Other words")
        await asyncio.gather(
            *(store.note_memories_used(KEY.user_id, ["m-1"], at=NOW) for _ in range(5)),
            *(store.save_memory(KEY.user_id, again) for _ in range(2)),
        )
        [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert (loaded.content, loaded.usage_count) == ("Other words", 5)

    async def test_of_many_equal_saves_one_memory_is_made(self, store: SeedableStore) -> None:
        """A retry that comes while the first attempt is under way makes no second one, and none fails."""
        await asyncio.gather(*(store.save_memory(KEY.user_id, _memory("m-1")) for _ in range(5)))
        assert list(await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == [_memory("m-1")]


def _memory(memory_id: str, *, content: str = "Hates burpees", coach_id: str | None = None) -> Memory:
    return Memory(
        id=memory_id,
        content=content,
        memory_type="preference",
        importance=Importance.MEDIUM,
        created_at=NOW,
        coach_id=coach_id,
    )
