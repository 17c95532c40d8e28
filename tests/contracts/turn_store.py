"""What every `TurnStore` must do."""

from __future__ import annotations

import asyncio
import unicodedata
from datetime import timedelta

import msgspec
import pytest

from coachstream.conversation.errors import ConversationNotFound, StorageUnavailable, TurnInProgress
from coachstream.conversation.model import ConversationKey, Role, StopReason
from contracts.store_records import (
    EPOCH,
    KEY,
    NOW,
    SeedableStore,
    StoreContract,
    conversation,
    reply_to,
    user_message,
)


class TurnStoreContract(StoreContract):
    """Turns: each message once, one turn at a time, and streamed messages found again."""

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
