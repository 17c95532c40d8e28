"""What every `RunStore` must do."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coachstream.conversation.errors import (
    ConversationNotFound,
    ErrorCode,
    IdempotencyMismatch,
    RunNotFound,
)
from coachstream.conversation.ids import run_id
from coachstream.conversation.model import (
    ConversationKey,
    Role,
    SemanticContextUse,
    StopReason,
    Timings,
    Usage,
)
from coachstream.conversation.run_log import (
    Broken,
    Claimed,
    Content,
    Finished,
    LogEntry,
    Opened,
    Released,
    Reset,
    Said,
    StopAsked,
    is_tombstone,
)
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy, RunBegun
from contracts.store_records import (
    AMPLE_CHARS,
    ANOTHER_WRITER,
    COACH,
    EPOCH,
    KEY,
    NEXT_RUN,
    NOW,
    RUN,
    SeedableStore,
    StoreContract,
    begin,
    begun_for,
    conversation,
    ended,
    entry,
    opened,
    reply_to,
    said,
    store_reply,
    user_message,
)

OTHER_KEYS = (
    ConversationKey("user-2", KEY.coach_id, KEY.conversation_id),
    ConversationKey(KEY.user_id, "coach-2", KEY.conversation_id),
    ConversationKey(KEY.user_id, KEY.coach_id, "conv-2"),
)

_TEXTS = st.text(max_size=40)
_COUNTS = st.integers(0, 2**53)

CONTENTS: st.SearchStrategy[Content] = st.one_of(
    st.builds(Opened, _TEXTS, st.booleans(), st.booleans(), _COUNTS),
    st.builds(Said, _TEXTS, _COUNTS),
    st.builds(Reset),
    st.builds(StopAsked),
    st.builds(Released),
    st.builds(Claimed),
    st.builds(
        Finished,
        _TEXTS,
        st.sampled_from(StopReason),
        st.builds(SemanticContextUse, _COUNTS, _COUNTS),
        st.builds(Usage, _COUNTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS),
        st.builds(Timings, _COUNTS, st.none() | _COUNTS, _COUNTS),
    ),
    st.builds(Broken, st.sampled_from(ErrorCode), st.booleans(), st.none() | _TEXTS),
)

ENTRIES: st.SearchStrategy[LogEntry] = st.builds(
    LogEntry, st.just(0), _COUNTS, _COUNTS, _TEXTS, CONTENTS, st.none() | _COUNTS
)


def numbered(entries: Sequence[LogEntry]) -> list[LogEntry]:
    """The same entries, numbered from 0."""
    return [msgspec.structs.replace(each, number=number) for number, each in enumerate(entries)]


class RunStoreContract(StoreContract):
    """Runs: each message is stored once, a conversation has one unfinished run, and a log loses nothing."""

    # Beginning

    async def test_a_run_saves_both_messages_to_the_letter(self, store: SeedableStore) -> None:
        """Text, order, times and metadata are loaded as they were saved."""
        message = user_message(1, "Zwölf 💪🏽 \u0000 \r\n'; DROP TABLE messages; --", client_id="c-1")
        reply = reply_to(message, 2, "👩‍👩‍👧 é e\u0301\n\n  \t", stop=StopReason.MAX_TOKENS)
        metadata = msgspec.structs.replace(reply.metadata, run_id=RUN)
        reply = msgspec.structs.replace(reply, metadata=metadata)
        assert begun_for(await begin(store, message)) == (message, True)
        assert await store.finish_run(KEY, RUN, ended(1, reply), reply) is None
        assert list(await store.load_messages(KEY)) == [message, reply]

    async def test_the_user_message_is_stored_before_the_reply(self, store: SeedableStore) -> None:
        """A run saves the user's message when it begins."""
        await begin(store, user_message(1))
        assert [message.role for message in await store.load_messages(KEY)] == [Role.USER]

    async def test_a_message_after_the_clock_was_set_back_is_stored_behind_the_earlier_ones(
        self, store: SeedableStore
    ) -> None:
        """Its id gets the next millisecond; its reply, whose id follows the run's start time, comes last."""
        first, second = user_message(3_600_000, "first"), user_message(5, "second", client_id="c-2")
        await store_reply(store, first, reply_to(first, 3_600_001))
        begun = await begin(store, second, NEXT_RUN)
        renamed = msgspec.structs.replace(second, id=second.id.replace("0000000000005", "0000003600002"))
        assert begun_for(begun) == (renamed, True)
        assert begun.at == 3_600_002
        [begins] = await store.read_log(KEY, NEXT_RUN)
        assert begins.content == Opened(renamed.id, at=begun.at)
        reply = reply_to(renamed, begun.at + 1)
        assert await store.finish_run(KEY, NEXT_RUN, ended(1, reply), reply) is None
        in_order = [first, reply_to(first, 3_600_001), renamed, reply]
        assert list(await store.load_messages(KEY)) == in_order
        assert list(await store.load_history(KEY, limit=3, budget_chars=AMPLE_CHARS)) == in_order[1:]
        assert list(await store.load_newest(KEY, limit=3)) == in_order[1:]
        assert list(await store.load_newest(KEY, limit=9)) == in_order
        assert list(await store.load_newest(KEY, limit=2, before=reply.id)) == in_order[1:3]
        assert list(await store.load_newest(KEY, limit=2, before=first.id)) == []
        again = await store.begin_run(KEY, user_message(6, "second", client_id="c-2"), RUN, opened())
        assert again == AlreadyAnswered(renamed, reply)

    async def test_a_message_of_the_same_millisecond_is_stored_behind_the_earlier_one(
        self, store: SeedableStore
    ) -> None:
        """The random part of the id does not decide the order."""
        first = user_message(7, "first")
        second = msgspec.structs.replace(first, id=first.id.replace("u" * 9, "0" * 9), content="second")
        await begin(store, first)
        await store.finish_run(KEY, RUN, ended(1), None)
        begun = await begin(store, second, NEXT_RUN)
        assert begun.user_message.id == f"msg_0000000000008_{'0' * 9}_user"
        assert [message.content for message in await store.load_messages(KEY)] == ["first", "second"]

    async def test_a_late_reply_to_an_earlier_message_is_stored_after_later_messages(
        self, store: SeedableStore
    ) -> None:
        """The run's start time is later than all existing messages, not just its own."""
        first, second = user_message(1, client_id="c-1"), user_message(3)
        await begin(store, first)
        await store.finish_run(KEY, RUN, ended(1), None)
        await store_reply(store, second, reply_to(second, 50))
        begun = await begin(store, user_message(4, client_id="c-1"), NEXT_RUN)
        assert begun_for(begun) == (first, False)
        assert begun.at >= 50
        reply = reply_to(first, begun.at + 1)
        assert await store.finish_run(KEY, NEXT_RUN, ended(1, reply), reply) is None
        third = (await begin(store, user_message(5), run_id(NOW, secrets.randbelow))).user_message
        stored = [message.id for message in await store.load_messages(KEY)]
        assert stored == sorted(stored)
        assert stored == [first.id, second.id, reply_to(second, 50).id, reply.id, third.id]

    async def test_a_run_counts_its_messages_and_dates_the_conversation(self, store: SeedableStore) -> None:
        """Message count and last activity are updated with each message."""
        message = user_message(1)
        await begin(store, message)
        begun = await store.get_conversation(KEY)
        reply = reply_to(message, 9)
        await store.finish_run(KEY, RUN, ended(1, reply), reply)
        finished = await store.get_conversation(KEY)
        assert (begun.total_messages, begun.last_activity) == (1, message.timestamp)
        assert (finished.total_messages, finished.last_activity) == (2, NOW + timedelta(seconds=9))

    async def test_the_first_entry_of_a_run_names_the_stored_message(self, store: SeedableStore) -> None:
        """It has the stored message and whether it is new; everything else is as given."""
        given_entry = opened(has_producer=False)
        await store.begin_run(KEY, user_message(1, client_id="c-1"), RUN, given_entry)
        await store.finish_run(KEY, RUN, ended(1), None)
        await store.begin_run(KEY, user_message(2, client_id="c-1"), NEXT_RUN, given_entry)
        for run, is_first_attempt in ((RUN, True), (NEXT_RUN, False)):
            [first, *_] = await store.read_log(KEY, run)
            assert isinstance(first.content, Opened)
            content = Opened(user_message(1).id, is_first_attempt, has_producer=False, at=first.content.at)
            assert first == msgspec.structs.replace(given_entry, content=content)

    async def test_a_run_in_an_unknown_conversation_saves_nothing(self, store: SeedableStore) -> None:
        """Every part of the key must match."""
        for other in OTHER_KEYS:
            with pytest.raises(ConversationNotFound):
                await store.begin_run(other, user_message(1), RUN, opened())
            assert list(await store.load_messages(other)) == []
            assert list(await store.read_log(other, RUN)) == []
            assert (await store.read_queue(other)).run_id is None
        assert list(await store.load_messages(KEY)) == []
        assert (await store.read_queue(KEY)).run_id is None

    async def test_another_message_finds_the_conversation_busy(self, store: SeedableStore) -> None:
        """During an unfinished run another message is not saved; afterwards its own run can begin."""
        message, another = user_message(1), user_message(2)
        await begin(store, message)
        busy = await store.begin_run(KEY, another, NEXT_RUN, opened(writer=ANOTHER_WRITER))
        assert busy == ConversationBusy(RUN, None)
        assert list(await store.load_messages(KEY)) == [message]
        assert (await store.get_conversation(KEY)).total_messages == 1
        assert list(await store.read_log(KEY, NEXT_RUN)) == []
        assert (await store.read_queue(KEY)).run_id == RUN
        await store.finish_run(KEY, RUN, ended(1, reply_to(message, 3)), reply_to(message, 3))
        assert (await begin(store, another, NEXT_RUN)).is_first_attempt
        assert (await store.read_queue(KEY)).run_id == NEXT_RUN

    async def test_a_retry_during_its_own_run_is_deduplicated(self, store: SeedableStore) -> None:
        """A retry returns the run and the stored message, and writes nothing."""
        message = user_message(1, client_id="c-1")
        await begin(store, message)
        for again in (user_message(2, client_id="c-1"), message):
            busy = await store.begin_run(KEY, again, NEXT_RUN, opened(writer=ANOTHER_WRITER))
            assert busy == ConversationBusy(RUN, message)
        assert list(await store.load_messages(KEY)) == [message]
        assert list(await store.read_log(KEY, NEXT_RUN)) == []

    async def test_a_retry_of_an_earlier_message_during_another_run_is_deduplicated(
        self, store: SeedableStore
    ) -> None:
        """The earlier message has no reply, and the unfinished run belongs to another message."""
        earlier = user_message(1, client_id="c-1")
        await begin(store, earlier)
        await store.finish_run(KEY, RUN, ended(1), None)
        await begin(store, user_message(2), NEXT_RUN)
        busy = await store.begin_run(KEY, user_message(3, client_id="c-1"), RUN, opened())
        assert busy == ConversationBusy(NEXT_RUN, earlier)

    async def test_runs_of_different_conversations_do_not_wait(self, store: SeedableStore) -> None:
        """A run blocks only its own conversation."""
        other = ConversationKey(KEY.user_id, KEY.coach_id, "conv-2")
        await store.create_conversation(conversation(other))
        await begin(store, user_message(1))
        await begin(store, user_message(2), NEXT_RUN, key=other)
        assert ((await store.read_queue(KEY)).run_id, (await store.read_queue(other)).run_id) == (
            RUN,
            NEXT_RUN,
        )

    async def test_the_same_client_message_is_saved_once(self, store: SeedableStore) -> None:
        """A retry continues with the stored message under its original id."""
        first = user_message(1, client_id="c-1")
        assert (await begin(store, first)).is_first_attempt
        await store.finish_run(KEY, RUN, ended(1), None)
        again = await begin(store, user_message(2, client_id="c-1"), NEXT_RUN)
        assert begun_for(again) == (first, False)
        assert list(await store.load_messages(KEY)) == [first]
        assert (await store.get_conversation(KEY)).total_messages == 1

    async def test_another_text_under_the_same_client_id_is_refused(self, store: SeedableStore) -> None:
        """In every state of the message that has it; nothing is written, and the first text stays valid."""
        message = user_message(1, client_id="c-1")
        other = user_message(3, "How was it? ", client_id="c-1")
        reply = reply_to(message, 2)

        async def refused() -> None:
            before = await store.load_messages(KEY)
            with pytest.raises(IdempotencyMismatch):
                await store.begin_run(KEY, other, NEXT_RUN, opened(writer=ANOTHER_WRITER))
            if (await store.read_queue(KEY)).run_id is not None:
                with pytest.raises(IdempotencyMismatch):
                    await store.save_waiting_message(KEY, other, RUN)
            assert await store.load_messages(KEY) == before
            assert list(await store.read_log(KEY, NEXT_RUN)) == []

        await begin(store, message)
        await refused()
        await store.finish_run(KEY, RUN, ended(1), None)
        await refused()
        await begin(store, message, NEXT_RUN)
        await store.finish_run(KEY, NEXT_RUN, ended(1, reply), reply)
        with pytest.raises(IdempotencyMismatch):
            await store.begin_run(KEY, other, RUN, opened())
        assert await store.begin_run(KEY, message, RUN, opened()) == AlreadyAnswered(message, reply)

    async def test_the_same_message_is_saved_once_without_a_client_id(self, store: SeedableStore) -> None:
        """The message id deduplicates as well, both for a new run and for a message with a reply."""
        message = user_message(1)
        reply = reply_to(message, 2)
        await begin(store, message)
        await store.finish_run(KEY, RUN, ended(1), None)
        assert begun_for(await begin(store, message, NEXT_RUN)) == (message, False)
        await store.finish_run(KEY, NEXT_RUN, ended(1, reply), reply)
        assert await store.begin_run(KEY, message, RUN, opened()) == AlreadyAnswered(message, reply)
        assert list(await store.load_messages(KEY)) == [message, reply]

    async def test_client_message_ids_are_scoped_to_a_conversation(self, store: SeedableStore) -> None:
        """The same id in another conversation is another message."""
        other = ConversationKey(KEY.user_id, KEY.coach_id, "conv-2")
        await store.create_conversation(conversation(other))
        await begin(store, user_message(1, client_id="c-1"))
        begun = await begin(store, user_message(2, client_id="c-1"), key=other)
        assert begun.user_message.id == user_message(2).id

    async def test_conversations_with_similar_ids_are_kept_apart(self, store: SeedableStore) -> None:
        """Ids are never prefixes, patterns or quoted text; equal message and run ids do not conflict."""
        names = ["conv", "conv-10", "CONV-1", "conv-1 ", "conv_1", "conv-%", "conv-1' OR '1", 'ü"💪\\']
        keys = [ConversationKey(KEY.user_id, KEY.coach_id, name) for name in names]
        messages = [user_message(1, f"in {name}", client_id="c-1") for name in names]
        for key, message in zip(keys, messages, strict=True):
            await store.create_conversation(conversation(key))
            assert (await begin(store, message, key=key)).is_first_attempt
            assert await store.append(key, RUN, said(1, message.content)) is None
        for key, message in zip(keys, messages, strict=True):
            assert list(await store.load_messages(key)) == [message]
            assert (await store.read_log(key, RUN))[1:] == [said(1, message.content)]
            assert await store.find_recent_message(key, message.content, since=EPOCH) == message
            assert await store.find_recent_message(KEY, message.content, since=EPOCH) is None
        assert list(await store.read_log(KEY, RUN)) == []
        assert await store.load_message(KEY, messages[0].id) is None

    async def test_concurrent_equal_requests_begin_one_run(self, store: SeedableStore) -> None:
        """Of twenty concurrent sends of one message, one begins a run and all others return that run."""
        runs = [run_id(NOW + timedelta(seconds=n), secrets.randbelow) for n in range(20)]
        results = await asyncio.gather(
            *(
                store.begin_run(KEY, user_message(n, client_id="c-1"), run, opened(writer=f"writer-{n}"))
                for n, run in enumerate(runs)
            )
        )
        [(winner, begun)] = [(n, result) for n, result in enumerate(results) if isinstance(result, RunBegun)]
        stored = user_message(winner, client_id="c-1")
        assert begun_for(begun) == (stored, True)
        others = [result for n, result in enumerate(results) if n != winner]
        assert others == [ConversationBusy(runs[winner], stored)] * 19
        assert list(await store.load_messages(KEY)) == [stored]
        assert (await store.get_conversation(KEY)).total_messages == 1
        assert (await store.read_queue(KEY)).run_id == runs[winner]
        assert [len(await store.read_log(KEY, run)) for run in runs] == [int(n == winner) for n in range(20)]

    async def test_of_many_different_requests_one_run_begins(self, store: SeedableStore) -> None:
        """One message is saved, and no call claims to have saved another."""
        runs = [run_id(NOW + timedelta(seconds=n), secrets.randbelow) for n in range(20)]
        results = await asyncio.gather(
            *(store.begin_run(KEY, user_message(n), run, opened()) for n, run in enumerate(runs))
        )
        [winner] = [n for n, result in enumerate(results) if isinstance(result, RunBegun)]
        others = [result for n, result in enumerate(results) if n != winner]
        assert others == [ConversationBusy(runs[winner], None)] * 19
        assert list(await store.load_messages(KEY)) == [user_message(winner)]

    # Messages that wait for a run

    async def test_a_waiting_message_comes_after_the_reply_it_waits_for(self, store: SeedableStore) -> None:
        """It is stored and counted at once, and the reply is put before it, whatever their times."""
        message, waiting = user_message(1), user_message(7, client_id="c-2")
        await begin(store, message)
        assert await store.save_waiting_message(KEY, waiting, RUN) == waiting
        assert list(await store.load_messages(KEY)) == [message, waiting]
        assert (await store.get_conversation(KEY)).total_messages == 2
        assert (await store.read_queue(KEY)).run_id == RUN
        reply = reply_to(message, 2)
        assert await store.finish_run(KEY, RUN, ended(1, reply), reply) is None
        assert list(await store.load_messages(KEY)) == [message, reply, waiting]
        assert (await store.read_queue(KEY)).run_id is None
        assert (await store.get_conversation(KEY)).total_messages == 3

    async def test_a_retry_of_a_waiting_message_begins_its_run(self, store: SeedableStore) -> None:
        """The stored message gets the reply; until then the retry learns which run it waits for."""
        message, waiting = user_message(1), user_message(7, "Next", client_id="c-2")
        await begin(store, message)
        await store.save_waiting_message(KEY, waiting, RUN)
        again = user_message(8, "Next", client_id="c-2")
        assert await store.begin_run(KEY, again, NEXT_RUN, opened()) == ConversationBusy(RUN, waiting)
        reply = reply_to(message, 2)
        await store.finish_run(KEY, RUN, ended(1, reply), reply)
        assert begun_for(await begin(store, again, NEXT_RUN)) == (waiting, False)
        its_reply = reply_to(waiting, 20)
        await store.finish_run(KEY, NEXT_RUN, ended(1, its_reply), its_reply)
        assert list(await store.load_messages(KEY)) == [message, reply, waiting, its_reply]
        assert await store.begin_run(KEY, again, RUN, opened()) == AlreadyAnswered(waiting, its_reply)

    async def test_a_waiting_message_is_saved_once(self, store: SeedableStore) -> None:
        """Its id and its idempotency key both deduplicate it, also against messages of earlier runs."""
        answered = user_message(1, client_id="c-1")
        await store_reply(store, answered, reply_to(answered, 2))
        await begin(store, user_message(3))
        waiting = user_message(7, client_id="c-2")
        for again in (waiting, waiting, user_message(8, client_id="c-2")):
            assert await store.save_waiting_message(KEY, again, RUN) == waiting
        again = user_message(9, client_id="c-1")
        assert await store.save_waiting_message(KEY, again, RUN) == answered
        assert len(await store.load_messages(KEY)) == 4
        assert (await store.get_conversation(KEY)).total_messages == 4

    async def test_a_message_waits_only_for_the_unfinished_run(self, store: SeedableStore) -> None:
        """Nothing is written if that run has ended, or never was the conversation's."""
        message = user_message(1)
        assert await store.save_waiting_message(KEY, user_message(7), RUN) is None
        await begin(store, message)
        assert await store.save_waiting_message(KEY, user_message(7), NEXT_RUN) is None
        await store.finish_run(KEY, RUN, ended(1), None)
        assert await store.save_waiting_message(KEY, user_message(7), RUN) is None
        assert list(await store.load_messages(KEY)) == [message]
        assert (await store.get_conversation(KEY)).total_messages == 1

    async def test_waiting_messages_are_in_the_order_in_which_they_were_saved(
        self, store: SeedableStore
    ) -> None:
        """A clock that is behind changes nothing, also for the message after all of them."""
        await begin(store, user_message(1))
        contents = ["first", "second", "third"]
        for number, content in zip((9, 5, 8), contents, strict=True):
            saved = await store.save_waiting_message(KEY, user_message(number, content), RUN)
            assert saved is not None
            assert saved.content == content
        await store.finish_run(KEY, RUN, ended(1), None)
        await begin(store, user_message(4, "fourth"), NEXT_RUN)
        stored = [message.content for message in await store.load_messages(KEY)]
        assert stored[1:] == [*contents, "fourth"]

    async def test_of_simultaneous_waiting_messages_each_is_saved_once(self, store: SeedableStore) -> None:
        """Five different messages, each sent four times while the run ends."""
        message, reply = user_message(1), reply_to(user_message(1), 2)
        await begin(store, message)
        sent = [
            msgspec.structs.replace(
                user_message(10, f"m{n % 5}", client_id=f"c-{n % 5}"), id=f"msg_{10:013d}_{n:09d}_user"
            )
            for n in range(20)
        ]
        finishing = asyncio.create_task(store.finish_run(KEY, RUN, ended(1, reply), reply))
        saved = await asyncio.gather(*(store.save_waiting_message(KEY, each, RUN) for each in sent))
        assert await finishing is None
        stored = {each.id: each for each in await store.load_messages(KEY)}
        assert len(stored) == 2 + len({each.content for each in saved if each is not None})
        assert list(stored)[:2] == [message.id, reply.id]
        for asked, each in zip(sent, saved, strict=True):
            assert each is None or (stored[each.id] == each and each.content == asked.content)
        assert (await store.get_conversation(KEY)).total_messages == len(stored)

    async def test_a_message_cannot_wait_in_a_conversation_that_is_gone(self, store: SeedableStore) -> None:
        """A deletion leaves no waiting message behind."""
        await begin(store, user_message(1))
        await store.save_waiting_message(KEY, user_message(7), RUN)
        await store.delete_conversation(KEY)
        with pytest.raises(ConversationNotFound):
            await store.save_waiting_message(KEY, user_message(8), RUN)
        assert list(await store.load_messages(KEY)) == []

    # Messages with a reply

    async def test_a_retry_of_an_answered_message_gets_its_reply(self, store: SeedableStore) -> None:
        """The stored reply is returned, no run begins, and the next message need not wait."""
        message = user_message(1, client_id="c-1")
        reply = reply_to(message, 2)
        await store_reply(store, message, reply)
        again = await store.begin_run(KEY, user_message(3, client_id="c-1"), RUN, opened())
        assert again == AlreadyAnswered(message, reply)
        assert list(await store.read_log(KEY, RUN)) == []
        assert (await store.read_queue(KEY)).run_id is None
        await begin(store, user_message(4))

    async def test_a_retry_of_an_answered_message_need_not_wait(self, store: SeedableStore) -> None:
        """Its reply is returned even during another run."""
        message = user_message(1, client_id="c-1")
        await store_reply(store, message, reply_to(message, 2))
        await begin(store, user_message(3))
        again = await store.begin_run(KEY, user_message(4, client_id="c-1"), NEXT_RUN, opened())
        assert again == AlreadyAnswered(message, reply_to(message, 2))
        assert (await store.read_queue(KEY)).run_id == RUN

    async def test_a_stopped_reply_is_a_reply(self, store: SeedableStore) -> None:
        """Only an interrupted reply is regenerated."""
        message = user_message(1)
        stopped = reply_to(message, 2, "Well", stop=StopReason.STOPPED)
        await store_reply(store, message, stopped)
        again = await store.begin_run(KEY, message, RUN, opened())
        assert again == AlreadyAnswered(message, stopped)

    async def test_a_reply_takes_the_place_of_an_interrupted_one(self, store: SeedableStore) -> None:
        """A retry after an interruption gets a new reply, and only that reply remains."""
        message = user_message(1, client_id="c-1")
        partial = reply_to(message, 2, "Well", stop=StopReason.INTERRUPTED)
        await store_reply(store, message, partial)
        assert list(await store.load_messages(KEY)) == [message, partial]
        begun = await begin(store, user_message(3, client_id="c-1"))
        assert begun_for(begun) == (message, False)
        assert list(await store.load_messages(KEY)) == [message, partial]
        whole = reply_to(message, 4)
        await store.finish_run(KEY, RUN, ended(1, whole), whole)
        assert list(await store.load_messages(KEY)) == [message, whole]
        assert (await store.get_conversation(KEY)).total_messages == 2

    async def test_an_interrupted_reply_is_kept_if_the_retry_has_no_reply(self, store: SeedableStore) -> None:
        """A retry that produces nothing must not delete the partial reply."""
        message = user_message(1)
        partial = reply_to(message, 2, "Well", stop=StopReason.INTERRUPTED)
        await store_reply(store, message, partial)
        await begin(store, message)
        await store.finish_run(KEY, RUN, ended(1), None)
        assert list(await store.load_messages(KEY)) == [message, partial]
        assert (await store.get_conversation(KEY)).total_messages == 2

    async def test_only_the_interrupted_reply_to_the_same_message_is_replaced(
        self, store: SeedableStore
    ) -> None:
        """An interrupted reply to an earlier message is kept."""
        first, second = user_message(1), user_message(3)
        partial = reply_to(first, 2, "Well", stop=StopReason.INTERRUPTED)
        await store_reply(store, first, partial)
        await store_reply(store, second, reply_to(second, 4))
        assert list(await store.load_messages(KEY)) == [first, partial, second, reply_to(second, 4)]

    # The log

    async def test_entries_are_read_back_in_order(self, store: SeedableStore) -> None:
        """This covers all entries, the entries after a number, and the newest one."""
        await begin(store, user_message(1))
        entries = [said(number, f"{number} ") for number in range(1, 120)]
        for each in entries:
            assert await store.append(KEY, RUN, each) is None
        first = entry(0, Opened(user_message(1).id, at=1))
        assert list(await store.read_log(KEY, RUN)) == [first, *entries]
        assert list(await store.read_log(KEY, RUN, after=0)) == entries
        assert list(await store.read_log(KEY, RUN, after=99)) == entries[99:]
        assert list(await store.read_log(KEY, RUN, after=119)) == []
        assert list(await store.read_log(KEY, RUN, after=10_000_000_000)) == []
        assert await store.read_last(KEY, RUN) == entries[-1]

    async def test_a_number_in_use_is_not_overwritten(self, store: SeedableStore) -> None:
        """The second writer gets the existing entry, and the log does not change."""
        await begin(store, user_message(1))
        mine = said(1, "mine")
        assert await store.append(KEY, RUN, mine) is None
        stop = entry(1, StopAsked(), writer=ANOTHER_WRITER)
        assert await store.append(KEY, RUN, stop) == mine
        assert await store.append(KEY, RUN, msgspec.structs.replace(stop, number=2)) is None
        first = await store.append(KEY, RUN, msgspec.structs.replace(stop, number=0))
        assert first == entry(0, Opened(user_message(1).id, at=1))
        log = await store.read_log(KEY, RUN, after=0)
        assert list(log) == [mine, msgspec.structs.replace(stop, number=2)]

    async def test_an_append_whose_response_was_lost_can_be_retried(self, store: SeedableStore) -> None:
        """The entry is stored once, even if the lease was renewed in the meantime."""
        await begin(store, user_message(1))
        mine = said(1)
        assert await store.append(KEY, RUN, mine) is None
        assert await store.append(KEY, RUN, mine) is None
        later = msgspec.structs.replace(mine, leased_until=mine.leased_until + 1000)
        assert await store.append(KEY, RUN, later) is None
        assert await store.append(KEY, RUN, said(2)) is None
        assert await store.append(KEY, RUN, mine) is None
        assert list(await store.read_log(KEY, RUN, after=0)) == [mine, said(2)]

    async def test_a_retried_append_with_more_text_returns_the_stored_entry(
        self, store: SeedableStore
    ) -> None:
        """Text added after the lost response does not count as stored."""
        await begin(store, user_message(1))
        assert await store.append(KEY, RUN, said(1, "Well")) is None
        assert await store.append(KEY, RUN, said(1, "Well done")) == said(1, "Well")
        same_words = said(1, "Well", writer=ANOTHER_WRITER)
        assert await store.append(KEY, RUN, same_words) == said(1, "Well")

    async def test_one_of_many_writers_of_a_number_wins(self, store: SeedableStore) -> None:
        """Of twenty concurrent writers one stores its entry; the others get that entry, five times over."""
        await begin(store, user_message(1))
        for number in range(1, 6):
            entries = [said(number, f"by {n}", writer=f"writer-{n}") for n in range(20)]
            results = await asyncio.gather(*(store.append(KEY, RUN, each) for each in entries))
            assert results.count(None) == 1
            winner = entries[results.index(None)]
            assert [result for result in results if result is not None] == [winner] * 19
            assert list(await store.read_log(KEY, RUN, after=number - 1)) == [winner]

    @settings(max_examples=20)
    @given(entries=st.lists(ENTRIES, min_size=1, max_size=6).map(numbered))
    async def test_entries_of_every_kind_come_back_as_they_were(
        self, store: SeedableStore, entries: list[LogEntry]
    ) -> None:
        """They may hold anything, and the log need not begin with an opening entry."""
        run = run_id(NOW, secrets.randbelow)
        for each in entries:
            assert await store.append(KEY, run, each) is None
        assert list(await store.read_log(KEY, run)) == entries
        assert await store.read_last(KEY, run) == entries[-1]

    @pytest.mark.parametrize("text", ["💪" * 16_000, "\u0000" * 16_000, '"\\' * 16_000])
    async def test_a_segment_may_be_long(self, store: SeedableStore, text: str) -> None:
        """A segment may have 64 KB in UTF-8, which is more as JSON."""
        await begin(store, user_message(1))
        assert await store.append(KEY, RUN, said(1, text)) is None
        assert list(await store.read_log(KEY, RUN, after=0)) == [said(1, text)]

    @pytest.mark.parametrize(
        "unknown",
        [
            NEXT_RUN,
            RUN[:-1],
            RUN.upper(),
            f"{RUN} ",
            f"{RUN}#",
            f"{RUN}#00000000",
            "run_%",
            "%",
            "",
            "\u0000",
            "' OR '1'='1",
            "ü" * 5_000,
        ],
    )
    async def test_an_unknown_run_has_no_log(self, store: SeedableStore, unknown: str) -> None:
        """Run ids come from URL paths and may be any text; only an exact id finds a run."""
        await begin(store, user_message(1))
        assert list(await store.read_log(KEY, unknown)) == []
        assert await store.read_last(KEY, unknown) is None

    async def test_a_run_is_of_one_conversation(self, store: SeedableStore) -> None:
        """Another user, coach or conversation does not have the run, whether it exists or not."""
        await begin(store, user_message(1, "Yes"))
        for is_created in (False, True):
            for other in OTHER_KEYS:
                if is_created:
                    await store.put_coach(other.user_id, other.coach_id, COACH)
                    await store.create_conversation(conversation(other))
                assert list(await store.read_log(other, RUN)) == []
                assert await store.read_last(other, RUN) is None
                assert (await store.read_queue(other)).run_id is None
                assert await store.load_message(other, user_message(1).id) is None
                assert await store.find_recent_message(other, "Yes", since=EPOCH) is None

    # The end

    async def test_a_finished_run_frees_the_conversation(self, store: SeedableStore) -> None:
        """Entry, reply and count are stored atomically, and no run is left unfinished."""
        message = user_message(1)
        reply = reply_to(message, 2)
        await begin(store, message)
        assert (await store.read_queue(KEY)).run_id == RUN
        await store.append(KEY, RUN, said(1, reply.content))
        assert await store.finish_run(KEY, RUN, ended(2, reply), reply) is None
        assert (await store.read_queue(KEY)).run_id is None
        assert await store.read_last(KEY, RUN) == ended(2, reply)
        assert list(await store.load_messages(KEY)) == [message, reply]
        assert (await store.get_conversation(KEY)).total_messages == 2

    async def test_a_run_can_end_without_a_reply(self, store: SeedableStore) -> None:
        """It only frees the conversation; count and last activity do not change."""
        await begin(store, user_message(1))
        before = await store.get_conversation(KEY)
        assert await store.finish_run(KEY, RUN, ended(1), None) is None
        assert (await store.read_queue(KEY)).run_id is None
        assert await store.get_conversation(KEY) == before
        assert await store.read_last(KEY, RUN) == ended(1)

    async def test_a_run_cannot_end_at_a_number_in_use(self, store: SeedableStore) -> None:
        """Nothing is written and the existing entry is returned; the run can end at the next number."""
        message = user_message(1)
        reply = reply_to(message, 2)
        await begin(store, message)
        stop = entry(1, StopAsked(), writer=ANOTHER_WRITER)
        await store.append(KEY, RUN, stop)
        assert await store.finish_run(KEY, RUN, ended(1, reply), reply) == stop
        assert (await store.read_queue(KEY)).run_id == RUN
        assert list(await store.load_messages(KEY)) == [message]
        assert (await store.get_conversation(KEY)).total_messages == 1
        assert await store.read_last(KEY, RUN) == stop
        assert await store.finish_run(KEY, RUN, ended(2, reply), reply) is None
        assert list(await store.load_messages(KEY)) == [message, reply]

    async def test_a_run_cannot_end_at_the_number_of_its_writers_own_segment(
        self, store: SeedableStore
    ) -> None:
        """A stored segment whose response was lost does not count as the end."""
        message = user_message(1)
        reply = reply_to(message, 2)
        await begin(store, message)
        await store.append(KEY, RUN, said(1))
        assert await store.finish_run(KEY, RUN, ended(1, reply), reply) == said(1)
        assert (await store.read_queue(KEY)).run_id == RUN
        assert list(await store.load_messages(KEY)) == [message]

    async def test_an_end_whose_response_was_lost_can_be_retried(self, store: SeedableStore) -> None:
        """The reply is saved and counted once, even if the lease was renewed; the next run can begin."""
        message = user_message(1)
        reply = reply_to(message, 2)
        end = ended(1, reply)
        later = msgspec.structs.replace(end, leased_until=end.leased_until + 1000)
        await begin(store, message)
        for each in (end, end, later):
            assert await store.finish_run(KEY, RUN, each, reply) is None
        await begin(store, user_message(3), NEXT_RUN)
        assert await store.finish_run(KEY, RUN, end, reply) is None
        assert (await store.read_queue(KEY)).run_id == NEXT_RUN
        assert list(await store.load_messages(KEY)) == [message, reply, user_message(3)]
        assert (await store.get_conversation(KEY)).total_messages == 3
        assert await store.read_last(KEY, RUN) == end

    async def test_an_end_without_a_reply_can_be_repeated(self, store: SeedableStore) -> None:
        """A retry does not disturb the next run."""
        await begin(store, user_message(1))
        assert await store.finish_run(KEY, RUN, ended(1), None) is None
        assert await store.finish_run(KEY, RUN, ended(1), None) is None
        await begin(store, user_message(2), NEXT_RUN)
        assert await store.finish_run(KEY, RUN, ended(1), None) is None
        assert (await store.read_queue(KEY)).run_id == NEXT_RUN

    async def test_one_of_many_concurrent_ends_of_a_run_wins(self, store: SeedableStore) -> None:
        """Of ten concurrent ends, each with a reply, one is saved and all other calls return it."""
        message = user_message(1)
        await begin(store, message)
        replies = [reply_to(message, 10 + n, f"by {n}") for n in range(10)]
        ends = [ended(1, reply, writer=f"writer-{n}") for n, reply in enumerate(replies)]
        results = await asyncio.gather(
            *(store.finish_run(KEY, RUN, end, reply) for end, reply in zip(ends, replies, strict=True))
        )
        assert results.count(None) == 1
        winner = results.index(None)
        assert [result for result in results if result is not None] == [ends[winner]] * 9
        assert list(await store.load_messages(KEY)) == [message, replies[winner]]
        assert (await store.get_conversation(KEY)).total_messages == 2
        assert (await store.read_queue(KEY)).run_id is None

    async def test_a_concurrent_end_and_stop_exclude_each_other(self, store: SeedableStore) -> None:
        """Either the run ends, or the stop request is stored and the reply is not."""
        message = user_message(1)
        for number in range(1, 21):
            run = run_id(NOW + timedelta(seconds=number), secrets.randbelow)
            await begin(store, message, run)
            reply = reply_to(message, 100 + number, stop=StopReason.INTERRUPTED)
            end = ended(1, reply)
            stop = entry(1, StopAsked(), writer=ANOTHER_WRITER)
            ending, stopping = await asyncio.gather(
                store.finish_run(KEY, run, end, reply), store.append(KEY, run, stop)
            )
            assert (ending, stopping) in ((None, end), (stop, None))
            assert (await store.load_message(KEY, reply.id) is None) == (ending is not None)
            if ending is not None:
                assert await store.finish_run(KEY, run, ended(2, reply), reply) is None
        assert (await store.get_conversation(KEY)).total_messages == 2

    async def test_a_withheld_reply_is_final(self, store: SeedableStore) -> None:
        """This holds even for one without text or in place of an interrupted reply."""
        message = user_message(1, client_id="c-1")
        await store_reply(store, message, reply_to(message, 2, "Well", stop=StopReason.INTERRUPTED))
        withheld = reply_to(message, 3, "", stop=StopReason.CONTENT_FILTERED)
        await store_reply(store, message, withheld)
        assert list(await store.load_messages(KEY)) == [message, withheld]
        again = await store.begin_run(KEY, user_message(4, client_id="c-1"), NEXT_RUN, opened())
        assert again == AlreadyAnswered(message, withheld)

    async def test_a_finished_run_stays_readable(self, store: SeedableStore) -> None:
        """Readers still find its end, even during the next run."""
        message = user_message(1)
        reply = reply_to(message, 2)
        await begin(store, message)
        await store.append(KEY, RUN, said(1, reply.content))
        await store.finish_run(KEY, RUN, ended(2, reply), reply)
        await begin(store, user_message(3), NEXT_RUN)
        await store.append(KEY, NEXT_RUN, said(1, "Next"))
        log = [entry(0, Opened(message.id, at=1)), said(1, reply.content), ended(2, reply)]
        assert list(await store.read_log(KEY, RUN)) == log
        assert await store.read_last(KEY, NEXT_RUN) == said(1, "Next")

    async def test_only_the_conversations_own_run_can_be_finished(self, store: SeedableStore) -> None:
        """Otherwise a process that finds an expired log would store a second reply; nothing changes."""
        message = user_message(1)
        await begin(store, message)
        for reply in (None, reply_to(message, 2)):
            with pytest.raises(RunNotFound):
                await store.finish_run(KEY, NEXT_RUN, ended(0, reply), reply)
        assert (await store.read_queue(KEY)).run_id == RUN
        assert list(await store.read_log(KEY, NEXT_RUN)) == []
        assert list(await store.load_messages(KEY)) == [message]
        busy = await store.begin_run(KEY, user_message(2), NEXT_RUN, opened())
        assert busy == ConversationBusy(RUN, None)

    async def test_a_run_whose_log_is_gone_can_be_ended(self, store: SeedableStore) -> None:
        """Its end may have any free number."""
        await begin(store, user_message(1))
        assert await store.finish_run(KEY, RUN, ended(7), None) is None
        assert (await store.read_queue(KEY)).run_id is None
        assert await store.read_last(KEY, RUN) == ended(7)

    async def test_a_reply_to_a_deleted_conversation_is_refused(self, store: SeedableStore) -> None:
        """A conversation deleted during a run is not restored and blocks nothing."""
        message = user_message(1)
        reply = reply_to(message, 2)
        await begin(store, message)
        await store.delete_conversation(KEY)
        for saved in (reply, None):
            with pytest.raises(ConversationNotFound):
                await store.finish_run(KEY, RUN, ended(1, saved), saved)
        await store.create_conversation(conversation())
        assert list(await store.load_messages(KEY)) == []
        await begin(store, user_message(3), NEXT_RUN)

    async def test_deleting_a_conversation_fences_the_lease_holder(self, store: SeedableStore) -> None:
        """None of its later writes is stored, and readers find an end or nothing."""
        message = user_message(1)
        await begin(store, message)
        assert await store.append(KEY, RUN, said(1)) is None
        await store.delete_conversation(KEY)
        with suppress(ConversationNotFound):
            there = await store.append(KEY, RUN, said(2))
            assert there is not None
            assert is_tombstone(there)
        assert all(map(is_tombstone, await store.read_log(KEY, RUN)))
        assert (await store.read_queue(KEY)).run_id is None
        for late in (said(1), said(2)):
            with suppress(ConversationNotFound):
                await store.append(KEY, RUN, late)
        with suppress(ConversationNotFound):
            await store.append(KEY, RUN, said(2))
        await store.create_conversation(conversation())
        assert all(map(is_tombstone, await store.read_log(KEY, RUN)))
        assert list(await store.load_messages(KEY)) == []

    async def test_a_conversation_is_deleted_with_its_runs(self, store: SeedableStore) -> None:
        """Logs and unfinished runs stay deleted when a conversation with the same id is created later."""
        message = user_message(1)
        await begin(store, message)
        await store.append(KEY, RUN, said(1))
        await store.finish_run(KEY, RUN, ended(2), None)
        await begin(store, message, NEXT_RUN)
        await store.append(KEY, NEXT_RUN, said(1))
        await store.delete_conversation(KEY)
        for _ in range(2):
            assert (await store.read_queue(KEY)).run_id is None
            assert list(await store.read_log(KEY, RUN)) == []
            assert await store.read_last(KEY, RUN) is None
            # The unfinished run may leave a tombstone.
            assert all(map(is_tombstone, await store.read_log(KEY, NEXT_RUN)))
            assert await store.load_message(KEY, message.id) is None
            await store.create_conversation(conversation())
        assert (await begin(store, message)).is_first_attempt

    # Single messages

    async def test_one_message_is_loaded_by_its_id(self, store: SeedableStore) -> None:
        """This holds for the user's and the coach's messages; no other id finds anything."""
        message = user_message(1, client_id="c-1")
        reply = reply_to(message, 2)
        await store_reply(store, message, reply)
        assert await store.load_message(KEY, message.id) == message
        assert await store.load_message(KEY, reply.id) == reply
        for unknown in (user_message(2).id, "c-1", "", "%", message.id[:-1], f"{message.id} "):
            assert await store.load_message(KEY, unknown) is None

    async def test_a_message_stays_marked_as_handed_off(self, store: SeedableStore) -> None:
        """However often it is marked, loaded or sent again; nothing else of it changes, and no other is."""
        for number, name in ((1, "c-1"), (3, None)):
            message = user_message(number, client_id=name)
            await begin(store, message, f"{RUN[:-1]}{number}")
            await store.finish_run(KEY, f"{RUN[:-1]}{number}", ended(1), None)
        marked, other = await store.load_messages(KEY)
        for _ in range(2):
            await store.mark_handed_off(KEY, marked.id)
        metadata = msgspec.structs.replace(marked.metadata, is_handed_off=True)
        expected = msgspec.structs.replace(marked, metadata=metadata)
        assert await store.load_message(KEY, marked.id) == expected
        assert list(await store.load_messages(KEY)) == [expected, other]
        begun = await begin(store, user_message(7, client_id="c-1"), f"{RUN[:-1]}7")
        assert begun_for(begun) == (expected, False)

    async def test_a_message_that_is_gone_is_not_brought_back_by_marking_it(
        self, store: SeedableStore
    ) -> None:
        """Nor is a conversation."""
        await begin(store, user_message(1))
        await store.mark_handed_off(KEY, user_message(5).id)
        assert await store.load_message(KEY, user_message(5).id) is None
        await store.delete_conversation(KEY)
        await store.mark_handed_off(KEY, user_message(1).id)
        assert await store.load_message(KEY, user_message(1).id) is None
        with pytest.raises(ConversationNotFound):
            await store.get_conversation(KEY)

    async def test_a_recent_message_is_found_by_its_text(self, store: SeedableStore) -> None:
        """The newest of several is found, however it was sent, and only a user's."""
        for number, text in enumerate(["Yes", "Yes", "No", "yes", "Yes "]):
            message = user_message(10 * number, text, streamed=number == 1)
            await store_reply(store, message, reply_to(message, 10 * number + 1))
        newest = user_message(10, "Yes", streamed=True)
        assert await store.find_recent_message(KEY, "Yes", since=EPOCH) == newest
        for other in ("Maybe", "Well done.", ""):
            assert await store.find_recent_message(KEY, other, since=EPOCH) is None

    async def test_a_message_is_recent_by_the_time_in_its_id(self, store: SeedableStore) -> None:
        """The time is exact to the millisecond; the message's timestamp does not matter."""
        message = user_message(5, "Yes")
        await begin(store, message)
        moment = EPOCH + timedelta(milliseconds=5)
        assert await store.find_recent_message(KEY, "Yes", since=moment) == message
        later = moment + timedelta(milliseconds=1)
        assert await store.find_recent_message(KEY, "Yes", since=later) is None
        assert await store.find_recent_message(KEY, "Yes", since=NOW + timedelta(days=1)) is None

    @pytest.mark.parametrize(
        "text",
        ["'Zwölf' \"%_\\ 💪🏽 e\u0301 \u0000 \r\n", "2026-03-01T10:00:00.000Z", "💪" * 32_000],
        ids=["any character", "like a date", "as long as can be"],
    )
    async def test_a_recent_message_is_found_by_its_text_to_the_letter(
        self, store: SeedableStore, text: str
    ) -> None:
        """Similar text, a common prefix or a matching pattern does not count as the same text."""
        message = user_message(1, text)
        await begin(store, message)
        assert await store.find_recent_message(KEY, text, since=EPOCH) == message
        alike = {
            unicodedata.normalize("NFC", text),
            text.swapcase(),
            text[:-1],
            f"{text} ",
            "%",
            "_" * len(text),
        }
        for other in alike - {text}:
            assert await store.find_recent_message(KEY, other, since=EPOCH) is None

    async def test_a_coach_that_repeats_the_words_is_not_found(self, store: SeedableStore) -> None:
        """Only messages of the user are searched."""
        message = user_message(1, "No")
        await store_reply(store, message, reply_to(message, 2, "Yes"))
        assert await store.find_recent_message(KEY, "Yes", since=EPOCH) is None

    async def test_a_message_that_is_sent_again_stays_what_it_was(self, store: SeedableStore) -> None:
        """A non-streaming retry of a streamed message finds it and leaves it unchanged."""
        message = user_message(1, "Yes", client_id="c-1", streamed=True)
        await begin(store, message)
        await store.finish_run(KEY, RUN, ended(1), None)
        again = await begin(store, user_message(2, "Yes", client_id="c-1"), NEXT_RUN)
        assert again.user_message == message
        assert await store.find_recent_message(KEY, "Yes", since=EPOCH) == message
