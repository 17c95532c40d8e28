"""What every `RunStore` must do with queued runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import pytest

from coachstream.conversation.errors import (
    ConversationNotFound,
    ErrorCode,
    IdempotencyMismatch,
    MessageWithdrawn,
    QuotaExceeded,
)
from coachstream.conversation.ids import milliseconds_of, time_in
from coachstream.conversation.model import ConversationKey, Message, StopReason
from coachstream.conversation.quotas import QuotaLimits
from coachstream.conversation.run_log import Broken, LogEntry, Opened
from coachstream.conversation.run_queue import RunQueue
from coachstream.conversation.run_store import (
    AlreadyAnswered,
    ConversationBusy,
    QueueIsFull,
    RunBegun,
    RunQueued,
)
from contracts.store_records import (
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
    store_reply,
    user_message,
)

MOST = 3
WITHDRAWN = entry(1, Broken(ErrorCode.MESSAGE_WITHDRAWN, retryable=False))


def run_named(name: str) -> str:
    """The id of a queued run."""
    return f"run_0000000000009_{name:a>9}"


def sent(number: int, content: str, *, client_id: str | None = None) -> Message:
    """A message whose id stays unique when it gets a later time."""
    message = user_message(number, content, client_id=client_id)
    return msgspec.structs.replace(message, id=f"msg_{number:013d}_{number:09d}_user")


async def enqueue(
    store: SeedableStore,
    number: int,
    *,
    behind: str = RUN,
    most: int = MOST,
    content: str | None = None,
    key: ConversationKey = KEY,
) -> RunQueued:
    """Queue the message `c-<number>`, which a clock dates at that millisecond."""
    found = await try_to_enqueue(store, number, behind=behind, most=most, content=content, key=key)
    assert isinstance(found, RunQueued)
    return found


async def try_to_enqueue(
    store: SeedableStore,
    number: int,
    *,
    behind: str = RUN,
    most: int = MOST,
    content: str | None = None,
    key: ConversationKey = KEY,
) -> RunQueued | QueueIsFull | None:
    message = sent(number, content or f"message {number}", client_id=f"c-{number}")
    return await store.enqueue_run(key, message, run_named(f"{number}"), behind=behind, most=most)


async def begun_queued(store: SeedableStore, run: str, entry: LogEntry | None = None) -> RunBegun:
    begun = await store.begin_queued(KEY, run, entry or opened())
    assert begun is not None
    return begun


async def finish(store: SeedableStore, run: str, begun: RunBegun) -> Message:
    """End a run with a reply."""
    reply = msgspec.structs.replace(
        reply_to(begun.user_message, 2), id=f"msg_{begun.at + 1:013d}_{'a' * 9}_assistant"
    )
    assert await store.finish_run(KEY, run, ended(1, reply), reply) is None
    return reply


class RunQueueContract(StoreContract):
    """The queue: in order, limited, each run begins once or is withdrawn."""

    async def test_a_queued_message_is_stored_at_once_and_has_a_run(self, store: SeedableStore) -> None:
        """Its run has an id and a position, and no log."""
        message = user_message(1)
        await begin(store, message)
        assert await store.read_queue(KEY) == RunQueue(RUN)
        queued = user_message(7, "message 7", client_id="c-7")
        found = await store.enqueue_run(
            KEY, queued, run_named("7"), behind=RUN, most=MOST, time_zone="Europe/Vienna"
        )
        assert isinstance(found, RunQueued)
        assert found.user_message == queued
        assert (found.run.run_id, found.run.user_message_id) == (run_named("7"), queued.id)
        assert (found.run.time_zone, found.run.is_first_attempt) == ("Europe/Vienna", True)
        assert await store.read_queue(KEY) == RunQueue(RUN, (found.run,))
        assert list(await store.load_messages(KEY)) == [message, queued]
        assert (await store.get_conversation(KEY)).total_messages == 2
        assert (await store.read_queue(KEY)).run_id == RUN
        assert await store.read_last(KEY, run_named("7")) is None

    async def test_a_conversation_without_runs_has_no_queue(self, store: SeedableStore) -> None:
        """And nothing can be queued in it."""
        assert await store.read_queue(KEY) == RunQueue()
        assert await try_to_enqueue(store, 7) is None
        await begin(store, user_message(1))
        assert await try_to_enqueue(store, 7, behind=NEXT_RUN) is None
        await store.finish_run(KEY, RUN, ended(1), None)
        assert await try_to_enqueue(store, 7) is None
        assert await store.read_queue(KEY) == RunQueue()
        assert list(await store.load_messages(KEY)) == [user_message(1)]

    async def test_the_queue_is_answered_in_its_order(self, store: SeedableStore) -> None:
        """Whatever the clocks say; each reply comes before the messages that waited for it."""
        first = user_message(1)
        await begin(store, first)
        runs = [(await enqueue(store, number)).run for number in (9, 5, 8)]
        assert (await store.read_queue(KEY)).queued == tuple(runs)
        assert await store.begin_queued(KEY, runs[0].run_id, opened()) is None
        reply = reply_to(first, 2)
        await store.finish_run(KEY, RUN, ended(1, reply), reply)
        expected = [first, reply]
        for place, run in enumerate(runs):
            assert await store.read_queue(KEY) == RunQueue(None, tuple(runs[place:]))
            for other in runs:
                if other != run:
                    assert await store.begin_queued(KEY, other.run_id, opened()) is None
            begun = await begun_queued(store, run.run_id)
            assert begun.is_first_attempt
            assert begun.at == run.at
            assert await store.read_queue(KEY) == RunQueue(run.run_id, tuple(runs[place + 1 :]))
            expected += [begun.user_message, await finish(store, run.run_id, begun)]
        assert list(await store.load_messages(KEY)) == expected
        assert [each.content for each in expected[2::2]] == ["message 9", "message 5", "message 8"]
        assert await store.read_queue(KEY) == RunQueue()
        await begin(store, user_message(4, "last"), NEXT_RUN)
        assert (await store.load_messages(KEY))[-1].content == "last"

    async def test_the_log_of_a_queued_run_begins_in_its_turn(self, store: SeedableStore) -> None:
        """The first entry has what the queue knows, and else what its lease holder gives."""
        await begin(store, user_message(1))
        queued = await store.enqueue_run(
            KEY, user_message(7), run_named("7"), behind=RUN, most=MOST, time_zone="Asia/Tokyo"
        )
        assert isinstance(queued, RunQueued)
        await store.finish_run(KEY, RUN, ended(1), None)
        given = entry(0, Opened("", at=99))
        await begun_queued(store, run_named("7"), given)
        content = Opened(queued.user_message.id, at=queued.run.at, time_zone="Asia/Tokyo")
        assert list(await store.read_log(KEY, run_named("7"))) == [
            msgspec.structs.replace(given, content=content)
        ]

    async def test_nothing_overtakes_the_queue(self, store: SeedableStore) -> None:
        """A message that is sent between two runs learns what it must wait for."""
        await begin(store, user_message(1))
        queued = await enqueue(store, 7)
        assert await store.begin_run(KEY, user_message(8), NEXT_RUN, opened()) == ConversationBusy(
            RUN, None, (queued.run,)
        )
        await store.finish_run(KEY, RUN, ended(1), None)
        idle = ConversationBusy(queued.run.run_id, None, (queued.run,))
        assert await store.begin_run(KEY, user_message(8), NEXT_RUN, opened()) == idle
        again = user_message(9, "message 7", client_id="c-7")
        own = ConversationBusy(queued.run.run_id, queued.user_message, (queued.run,))
        assert await store.begin_run(KEY, again, NEXT_RUN, opened()) == own
        assert (await store.read_queue(KEY)).run_id is None
        behind = await enqueue(store, 8, behind=queued.run.run_id)
        assert (await store.read_queue(KEY)).queued == (queued.run, behind.run)

    async def test_a_message_can_wait_for_a_queue(self, store: SeedableStore) -> None:
        """Without a place in it; it comes behind all replies to the messages in the queue."""
        await begin(store, user_message(1))
        queued = await enqueue(store, 7)
        waiting = sent(6, "waiting", client_id="c-w")
        stored = await store.save_waiting_message(KEY, waiting, RUN)
        assert stored is not None
        assert time_in(stored.id) == queued.run.at + 2
        await store.finish_run(KEY, RUN, ended(1), None)
        other = sent(5, "also waiting", client_id="c-x")
        assert await store.save_waiting_message(KEY, other, RUN) is None
        assert await store.save_waiting_message(KEY, other, queued.run.run_id) is not None
        begun = await begun_queued(store, queued.run.run_id)
        await finish(store, queued.run.run_id, begun)
        contents = [message.content for message in await store.load_messages(KEY)]
        assert contents == ["How was it?", "message 7", "Well done.", "waiting", "also waiting"]

    async def test_a_waiting_message_can_be_queued(self, store: SeedableStore) -> None:
        """It is not stored again; its reply comes behind all messages."""
        await begin(store, user_message(1))
        waiting = await store.save_waiting_message(KEY, user_message(7, "message 7", client_id="c-7"), RUN)
        behind = await store.save_waiting_message(KEY, user_message(20, "other"), RUN)
        assert behind is not None
        queued = await enqueue(store, 7)
        assert queued.user_message == waiting
        assert not queued.run.is_first_attempt
        assert queued.run.at >= 22
        await store.finish_run(KEY, RUN, ended(1), None)
        begun = await begun_queued(store, queued.run.run_id)
        assert not begun.is_first_attempt
        reply = await finish(store, queued.run.run_id, begun)
        assert [each.id for each in await store.load_messages(KEY)][-2:] == [behind.id, reply.id]
        assert (await store.get_conversation(KEY)).total_messages == 4

    async def test_a_message_comes_behind_the_reply_of_a_run_that_has_just_begun(
        self, store: SeedableStore
    ) -> None:
        """Its sender has seen that run in the queue, and knows nothing of the reply's place."""
        await begin(store, user_message(1))
        assert await store.save_waiting_message(KEY, sent(7, "message 7", client_id="c-7"), RUN) is not None
        run = (await enqueue(store, 7)).run
        await store.finish_run(KEY, RUN, ended(1), None)
        begun = await begun_queued(store, run.run_id)
        await enqueue(store, 8, behind=run.run_id)
        assert await store.save_waiting_message(KEY, sent(9, "waiting"), run.run_id) is not None
        await finish(store, run.run_id, begun)
        contents = [message.content for message in await store.load_messages(KEY)]
        assert contents == ["How was it?", "message 7", "Well done.", "message 8", "waiting"]

    async def test_a_message_is_queued_once(self, store: SeedableStore) -> None:
        """Its id and its idempotency key both deduplicate it; its first run stays its run."""
        answered = user_message(1, "answered", client_id="c-1")
        await store_reply(store, answered, reply_to(answered, 2))
        await begin(store, user_message(3))
        first = await enqueue(store, 7)
        again = user_message(8, "message 7", client_id="c-7")
        assert await store.enqueue_run(KEY, again, NEXT_RUN, behind=RUN, most=1) == first
        assert await store.enqueue_run(KEY, first.user_message, NEXT_RUN, behind=RUN, most=1) == first
        assert (await store.read_queue(KEY)).queued == (first.run,)
        assert len(await store.load_messages(KEY)) == 4
        with pytest.raises(IdempotencyMismatch):
            await enqueue(store, 7, content="another text")
        assert await store.begin_run(
            KEY, user_message(9, "answered", client_id="c-1"), NEXT_RUN, opened()
        ) == AlreadyAnswered(answered, reply_to(answered, 2))

    async def test_the_queue_has_a_limit(self, store: SeedableStore) -> None:
        """A message beyond it is not stored; a place that becomes free can be taken."""
        await begin(store, user_message(1))
        runs = [(await enqueue(store, number)).run.run_id for number in (7, 8, 9)]
        assert await try_to_enqueue(store, 10) == QueueIsFull()
        assert len(await store.load_messages(KEY)) == 4
        await store.finish_run(KEY, RUN, ended(1), None)
        begun = await begun_queued(store, runs[0])
        assert isinstance(await try_to_enqueue(store, 10, behind=runs[0]), RunQueued)
        assert await try_to_enqueue(store, 11, behind=runs[0]) == QueueIsFull()
        await finish(store, runs[0], begun)
        assert await store.leave_queue(KEY, runs[1], WITHDRAWN, is_withdrawn=True)
        assert isinstance(await try_to_enqueue(store, 11, behind=runs[2]), RunQueued)

    async def test_of_simultaneous_messages_no_more_are_queued_than_may(self, store: SeedableStore) -> None:
        """Each is stored once, in one order, and each place is taken once."""
        await begin(store, user_message(1))
        found = await asyncio.gather(*(try_to_enqueue(store, 7 + number % 6) for number in range(12)))
        queue = await store.read_queue(KEY)
        assert len(queue.queued) == MOST
        queued = {each.run for each in found if isinstance(each, RunQueued)}
        assert queued == set(queue.queued)
        assert [each for each in found if each is None] == []
        ids = [run.user_message_id for run in queue.queued]
        assert [each.id for each in await store.load_messages(KEY)] == [user_message(1).id, *sorted(ids)]
        assert ids == sorted(ids)
        assert all(later.at >= run.at + 2 for run, later in zip(queue.queued, queue.queued[1:], strict=False))

    async def test_of_many_processes_one_begins_the_next_run(self, store: SeedableStore) -> None:
        """The others learn that they did not."""
        await begin(store, user_message(1))
        run = (await enqueue(store, 7)).run.run_id
        await store.finish_run(KEY, RUN, ended(1), None)
        results = await asyncio.gather(
            *(store.begin_queued(KEY, run, opened(writer=f"writer-{number}")) for number in range(10))
        )
        assert len([each for each in results if each is not None]) == 1
        assert await store.read_queue(KEY) == RunQueue(run)
        assert len(await store.read_log(KEY, run)) == 1

    async def test_a_withdrawn_message_is_gone(self, store: SeedableStore) -> None:
        """Its run ends without having begun, and the next in the queue moves up."""
        await begin(store, user_message(1))
        first, second = await enqueue(store, 7), await enqueue(store, 8)
        assert await store.leave_queue(KEY, first.run.run_id, WITHDRAWN, is_withdrawn=True)
        assert await store.read_queue(KEY) == RunQueue(RUN, (second.run,))
        assert await store.load_message(KEY, first.user_message.id) is None
        assert list(await store.load_messages(KEY)) == [user_message(1), second.user_message]
        assert (await store.get_conversation(KEY)).total_messages == 2
        assert list(await store.read_log(KEY, first.run.run_id)) == [WITHDRAWN]
        assert not await store.leave_queue(KEY, first.run.run_id, WITHDRAWN, is_withdrawn=True)
        await store.finish_run(KEY, RUN, ended(1), None)
        assert await store.begin_queued(KEY, first.run.run_id, opened()) is None
        await begun_queued(store, second.run.run_id)
        assert not await store.leave_queue(KEY, second.run.run_id, WITHDRAWN, is_withdrawn=True)
        assert not await store.leave_queue(KEY, RUN, WITHDRAWN, is_withdrawn=True)

    async def test_a_withdrawn_message_is_not_stored_again(self, store: SeedableStore) -> None:
        """A retry that was on its way must not bring it back."""
        await begin(store, user_message(1))
        queued = await enqueue(store, 7)
        await store.leave_queue(KEY, queued.run.run_id, WITHDRAWN, is_withdrawn=True)
        again = user_message(9, "message 7", client_id="c-7")
        with pytest.raises(MessageWithdrawn):
            await enqueue(store, 7)
        with pytest.raises(MessageWithdrawn):
            await store.save_waiting_message(KEY, again, RUN)
        await store.finish_run(KEY, RUN, ended(1), None)
        with pytest.raises(MessageWithdrawn):
            await store.begin_run(KEY, again, NEXT_RUN, opened())
        assert list(await store.load_messages(KEY)) == [user_message(1)]
        await begin(store, user_message(10, "message 7", client_id="c-10"), NEXT_RUN)

    async def test_a_message_that_leaves_the_queue_otherwise_stays(self, store: SeedableStore) -> None:
        """It can be sent again."""
        await begin(store, user_message(1))
        queued = await enqueue(store, 7)
        broken = entry(1, Broken(ErrorCode.QUOTA_EXCEEDED, retryable=True))
        assert await store.leave_queue(KEY, queued.run.run_id, broken, is_withdrawn=False)
        assert await store.read_queue(KEY) == RunQueue(RUN)
        assert list(await store.read_log(KEY, queued.run.run_id)) == [broken]
        await store.finish_run(KEY, RUN, ended(1), None)
        again = user_message(9, "message 7", client_id="c-7")
        assert begun_for(await begin(store, again, NEXT_RUN)) == (queued.user_message, False)

    async def test_a_part_of_a_reply_is_kept_if_another_attempt_is_withdrawn(
        self, store: SeedableStore
    ) -> None:
        """With its message, which the user has seen answered."""
        message = user_message(1, "message 7", client_id="c-7")
        partial = reply_to(message, 2, "Well", stop=StopReason.INTERRUPTED)
        await store_reply(store, message, partial)
        await begin(store, user_message(3))
        queued = await enqueue(store, 7)
        assert queued.user_message == message
        assert await store.leave_queue(KEY, queued.run.run_id, WITHDRAWN, is_withdrawn=True)
        assert list(await store.load_messages(KEY)) == [message, partial, user_message(3)]
        await store.finish_run(KEY, RUN, ended(1), None)
        await begin(store, user_message(9, "message 7", client_id="c-7"), NEXT_RUN)

    async def test_a_withdrawal_and_a_beginning_exclude_each_other(self, store: SeedableStore) -> None:
        """Either the run begins, or its message is gone."""
        for number in range(10, 30, 2):
            run = run_named(f"b-{number}")
            await store.begin_run(KEY, user_message(number), run, opened())
            queued = await enqueue(store, number + 1, behind=run)
            await store.finish_run(KEY, run, ended(1), None)
            begun, is_withdrawn = await asyncio.gather(
                store.begin_queued(KEY, queued.run.run_id, opened()),
                store.leave_queue(KEY, queued.run.run_id, WITHDRAWN, is_withdrawn=True),
            )
            assert (begun is None) == is_withdrawn
            stored = await store.load_message(KEY, queued.user_message.id)
            assert (stored is None) == is_withdrawn
            if begun is not None:
                await finish(store, queued.run.run_id, begun)
            assert await store.read_queue(KEY) == RunQueue()

    async def test_a_queued_run_takes_its_quota_when_it_begins(self, store: SeedableStore) -> None:
        """Refused, it stays in the queue for the caller to decide."""
        limits, now = QuotaLimits(turns_per_minute=2), entry(0, Opened("", at=milliseconds_of(NOW)))
        await store.begin_run(KEY, user_message(1), RUN, now, limits)
        runs = [(await enqueue(store, number)).run.run_id for number in (7, 8)]
        await store.finish_run(KEY, RUN, ended(1), None)
        begun = await store.begin_queued(KEY, runs[0], now, limits)
        assert begun is not None
        await finish(store, runs[0], begun)
        with pytest.raises(QuotaExceeded):
            await store.begin_queued(KEY, runs[1], now, limits)
        queue = await store.read_queue(KEY)
        assert (queue.run_id, [run.run_id for run in queue.queued]) == (None, [runs[1]])

    async def test_a_queue_is_deleted_with_its_conversation(self, store: SeedableStore) -> None:
        """Nothing of it begins, and a conversation with the same id has none of it."""
        await begin(store, user_message(1))
        queued = await enqueue(store, 7)
        await enqueue(store, 8)
        await store.leave_queue(KEY, queued.run.run_id, WITHDRAWN, is_withdrawn=True)
        await store.delete_conversation(KEY)
        for _ in range(2):
            assert list(await store.load_messages(KEY)) == []
            with pytest.raises(ConversationNotFound):
                await enqueue(store, 9)
            with suppress(ConversationNotFound):  # not every store looks for it
                assert not await store.leave_queue(KEY, run_named("8"), WITHDRAWN, is_withdrawn=True)
            with suppress(ConversationNotFound):
                assert await store.begin_queued(KEY, run_named("8"), opened()) is None
            await store.create_conversation(conversation())
            assert await store.read_queue(KEY) == RunQueue()
            await begin(store, user_message(3, "message 7", client_id="c-7"))
            await enqueue(store, 8)
            await store.delete_conversation(KEY)

    async def test_queues_of_conversations_are_kept_apart(self, store: SeedableStore) -> None:
        """Also of two coaches whose conversations have the same id."""
        others = (
            ConversationKey(KEY.user_id, KEY.coach_id, "conv-2"),
            ConversationKey(KEY.user_id, KEY.coach_id, f"{KEY.conversation_id}0"),
        )
        await begin(store, user_message(1))
        own = await enqueue(store, 7)
        for other in others:
            await store.create_conversation(conversation(other))
            assert await store.read_queue(other) == RunQueue()
            await begin(store, user_message(1), key=other)
            there = await enqueue(store, 7, key=other)
            assert (await store.read_queue(other)).queued == (there.run,)
            assert await store.leave_queue(other, there.run.run_id, WITHDRAWN, is_withdrawn=True)
        assert (await store.read_queue(KEY)).queued == (own.run,)
        assert await store.read_queue(ConversationKey("nobody", KEY.coach_id, "conv")) == RunQueue()
