"""Runs in DynamoDB: what their items hold, which calls each step makes, and that deleting leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from coachstream.conversation.errors import (
    CoachStreamError,
    ConversationNotFound,
    RunNotFound,
    StorageUnavailable,
)
from coachstream.conversation.model import ConversationChange, ConversationKey, Message, StopReason
from coachstream.conversation.run_log import Opened, StopAsked, is_tombstone
from coachstream.conversation.run_store import ConversationBusy, RunBegun
from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.dynamodb.attribute_values import to_item
from contracts.quotas import RUNS, Talk, refusal_of
from contracts.store_records import (
    ANOTHER_WRITER,
    COACH,
    EPOCH,
    KEY,
    NEXT_RUN,
    RUN,
    begin,
    conversation,
    ended,
    entry,
    opened,
    reply_to,
    said,
    store_reply,
    user_message,
)
from support.dynamodb import Table

PK = f"user#{KEY.user_id}"
RUN_SK = f"coachTurn#{KEY.conversation_id}"
LOG = f"coachRun#{KEY.conversation_id}#{RUN}#"
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
A_DAY_LATER = int(NOW.timestamp()) + 24 * 3600
OTHER_COACH = ConversationKey(KEY.user_id, "coach-2", KEY.conversation_id)


@pytest.fixture
async def store(table: Table) -> DynamoDbStore:
    """A store that has a coach with one conversation."""
    store = table.store(now=lambda: NOW)
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    await store.create_conversation(conversation())
    return store


async def names(table: Table) -> list[str]:
    """The kinds of the stored items, from their sort keys."""
    return [item["sk"].partition("#")[0] for item in await table.items()]


async def the_tombstone_alone(table: Table) -> list[dict[str, Any]]:
    """What is left besides the coach: at most one log entry, a tombstone."""
    coach, *left = await table.items()
    assert coach["sk"] == f"coach#{KEY.coach_id}"
    assert [item["content"]["code"] for item in left] in ([], ["CONVERSATION_NOT_FOUND"])
    return left


class TestItems:
    async def test_an_entry_is_a_plain_map_that_expires(self, table: Table, store: DynamoDbStore) -> None:
        """It is readable in the console, in no index, and expires after a day."""
        message = user_message(1)
        reply = reply_to(message, 2)
        await begin(store, message)
        await store.append(KEY, RUN, said(1, "Zwölf 💪", offset=7))
        await store.finish_run(KEY, RUN, ended(2, reply), reply)
        every = {"pk": PK, "coachId": KEY.coach_id, "ttl": A_DAY_LATER, "writer": opened().writer}
        every |= {"epoch": 1, "leasedUntil": opened().leased_until}
        assert await table.get(PK, f"{LOG}00000000") == {
            **every,
            "sk": f"{LOG}00000000",
            "number": 0,
            "kind": "opened",
            "content": {
                "userMessageId": message.id,
                "isFirstAttempt": True,
                "hasProducer": True,
                "at": 1,
                "timeZone": None,
                "anotherTry": None,
            },
        }
        assert await table.get(PK, f"{LOG}00000001") == {
            **every,
            "sk": f"{LOG}00000001",
            "number": 1,
            "kind": "said",
            "content": {"text": "Zwölf 💪", "offset": 7},
        }
        last = await table.get(PK, f"{LOG}00000002")
        assert (last["kind"], last["content"]["replyId"]) == ("finished", reply.id)
        assert last["content"]["stopReason"] == "end_turn"

    async def test_the_item_of_the_unfinished_run_keeps_the_newest_message(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """It names the run while the run lasts; afterwards it keeps only the greatest message id."""
        message = user_message(1)
        reply = reply_to(message, 2)
        await begin(store, message)
        item = {"pk": PK, "sk": RUN_SK, "coachId": KEY.coach_id, "newestId": message.id}
        assert await table.get(PK, RUN_SK) == {**item, "runId": RUN}
        await store.finish_run(KEY, RUN, ended(1, reply), reply)
        assert await table.get(PK, RUN_SK) == {**item, "newestId": reply.id}

    async def test_a_missing_newest_message_id_is_computed_once(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """A former version or the existing functions may have left none; their messages count as well."""
        for number, expected in ((1, 302), (2, 1002)):
            sk = f"coachConversation#{KEY.coach_id}#{KEY.conversation_id}"
            of_conversation = await table.get(PK, sk)
            entries = [{"id": "msg_0000000000300_user", "role": "user", "content": "Theirs"}]
            attributes = {**of_conversation["attributes"], "messages": entries}
            await table.put({**of_conversation, "attributes": attributes})
            await table.raw("delete_item", Key=to_item({"pk": PK, "sk": RUN_SK}))
            async with table.metered() as first:
                message = (await begin(store, user_message(3), f"run_{number}")).user_message
            assert message.id == f"msg_{expected:013d}_{'u' * 9}_user"
            assert first.calls == {"TransactWriteItems": 2, "Query": 1, "GetItem": 2}
            async with table.metered() as second:
                reply = reply_to(message, 1000 * number)
                await store.finish_run(KEY, f"run_{number}", ended(1, reply), reply)
            assert second.calls == {"TransactWriteItems": 1}

    async def test_a_run_that_a_former_version_began_is_finished(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """Its item has no newest message id and is deleted with the run, as in that version."""
        message = user_message(1)
        await begin(store, message)
        await table.put({"pk": PK, "sk": RUN_SK, "coachId": KEY.coach_id, "runId": RUN})
        reply = reply_to(message, 2)
        assert await store.finish_run(KEY, RUN, ended(1, reply), reply) is None
        assert "coachTurn" not in await names(table)
        assert list(await store.load_messages(KEY)) == [message, reply]
        next_message = (await begin(store, user_message(0, "Next"), NEXT_RUN)).user_message
        assert next_message.id > reply.id

    async def test_the_lease_of_a_former_version_is_no_run(self, table: Table, store: DynamoDbStore) -> None:
        """This holds for both released and held leases."""
        former: dict[str, object] = {"pk": PK, "sk": RUN_SK, "epoch": 7}
        for item in (former, {**former, "token": "t", "expiresAt": 4_000_000_000_000}):
            await table.put(item)
            assert (await store.read_queue(KEY)).run_id is None
            message = user_message(len(item))
            await store_reply(store, message, reply_to(message, 100 + len(item)))
        assert (await store.read_queue(KEY)).run_id is None

    @pytest.mark.parametrize(
        "odd",
        [{"kind": "sung"}, {"content": {"text": "x"}}, {"epoch": "one"}, {"kind": None}, {"number": 0.5}],
    )
    async def test_an_entry_that_cannot_be_read_fails_the_reading(
        self, table: Table, store: DynamoDbStore, odd: dict[str, object]
    ) -> None:
        """Skipping the entry would change the text."""
        await begin(store, user_message(1))
        await store.append(KEY, RUN, said(1))
        await table.put({**await table.get(PK, f"{LOG}00000001"), **odd})
        for reading in (store.read_log(KEY, RUN), store.read_last(KEY, RUN), store.append(KEY, RUN, said(1))):
            with pytest.raises(StorageUnavailable, match="cannot be read"):
                await reading

    async def test_a_log_of_more_than_a_megabyte_is_read_to_its_end(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """The query follows every page."""
        await begin(store, user_message(1))
        entries = [said(number, "ü" * 32_000) for number in range(1, 40)]
        for each in entries:
            await store.append(KEY, RUN, each)
        async with table.metered() as spent:
            assert list(await store.read_log(KEY, RUN, after=0)) == entries
        assert spent.calls["Query"] > 1


class TestSteps:
    async def test_a_usual_run_takes_one_call_a_step(self, table: Table, store: DynamoDbStore) -> None:
        """No write needs a read first."""
        message = user_message(1, client_id="c-1")
        reply = reply_to(message, 2)
        async with table.metered() as beginning:
            await begin(store, message)
        async with table.metered() as appending:
            await store.append(KEY, RUN, said(1))
        async with table.metered() as finishing:
            await store.finish_run(KEY, RUN, ended(2, reply), reply)
        assert beginning.calls == finishing.calls == {"TransactWriteItems": 1}
        assert appending.calls == {"PutItem": 1}

    async def test_a_refused_write_returns_the_existing_entry_in_the_same_call(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """A lease holder needs no read to learn of a stop, not even when it ends the run."""
        message = user_message(1)
        reply = reply_to(message, 2)
        stop = entry(1, StopAsked(), writer=ANOTHER_WRITER)
        await begin(store, message)
        await store.append(KEY, RUN, stop)
        async with table.metered() as appending:
            assert await store.append(KEY, RUN, said(1)) == stop
        async with table.metered() as finishing:
            assert await store.finish_run(KEY, RUN, ended(1, reply), reply) == stop
        assert appending.calls == {"PutItem": 1}
        assert finishing.calls == {"TransactWriteItems": 1}

    async def test_a_refused_begin_returns_the_current_run_in_the_same_call(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """The refusal for a busy conversation includes the id of its run."""
        await begin(store, user_message(1))
        async with table.metered() as spent:
            busy = await store.begin_run(KEY, user_message(2), NEXT_RUN, opened())
        assert busy == ConversationBusy(RUN, None)
        assert spent.calls == {"TransactWriteItems": 1}

    async def test_replacing_an_interrupted_reply_takes_one_more_call_and_no_read(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """The refusal of the first call identifies the interrupted reply."""
        message = user_message(1)
        await store_reply(store, message, reply_to(message, 2, stop=StopReason.INTERRUPTED))
        await begin(store, message)
        whole = reply_to(message, 3)
        async with table.metered() as spent:
            assert await store.finish_run(KEY, RUN, ended(1, whole), whole) is None
        assert spent.calls == {"TransactWriteItems": 2}
        assert list(await store.load_messages(KEY)) == [message, whole]

    async def test_many_interruptions_leave_one_reply(self, store: DynamoDbStore) -> None:
        """Each attempt's text replaces the one before, and the message count stays."""
        message = user_message(1, client_id="c-1")
        for number in range(2, 6):
            partial = reply_to(message, number, f"attempt {number}", stop=StopReason.INTERRUPTED)
            await store_reply(store, message, partial)
            assert list(await store.load_messages(KEY)) == [message, partial]
        assert (await store.get_conversation(KEY)).total_messages == 2

    async def test_an_interrupted_reply_does_not_take_the_place_of_a_whole_one(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """Closing a finished run whose log has expired stores nothing."""
        message = user_message(1)
        whole, partial = reply_to(message, 2), reply_to(message, 3, "We", stop=StopReason.INTERRUPTED)
        await begin(store, message)
        await store.finish_run(KEY, RUN, ended(1, whole), whole)
        for number in (0, 1):
            await table.raw("delete_item", Key=to_item({"pk": PK, "sk": f"{LOG}{number:08d}"}))
        for number in (0, 2):
            with pytest.raises(RunNotFound):
                await store.finish_run(KEY, RUN, ended(number, partial), partial)
        assert list(await store.load_messages(KEY)) == [message, whole]
        assert (await store.get_conversation(KEY)).total_messages == 2

    async def test_the_id_of_a_run_that_has_a_log_is_not_taken_again(self, store: DynamoDbStore) -> None:
        """Nothing is written. Ids do not collide in practice, so a generic storage error suffices."""
        await begin(store, user_message(1))
        await store.finish_run(KEY, RUN, ended(1), None)
        for message in (user_message(1), user_message(2)):
            with pytest.raises(StorageUnavailable, match="log of a run"):
                await store.begin_run(KEY, message, RUN, opened())
        assert len(await store.load_messages(KEY)) == 1
        assert (await store.read_queue(KEY)).run_id is None

    async def test_a_beginning_that_is_cancelled_leaves_all_of_it_or_nothing(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """Whenever it is cancelled, the message, the run and its first entry are written together."""
        for number in range(12):
            run = f"run_{number:013d}_aaaaaaaaa"
            message = user_message(number)
            beginning = asyncio.create_task(store.begin_run(KEY, message, run, opened()))
            await asyncio.sleep(number * 0.001)
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
            # DynamoDB may still be executing the request; a later transaction sees its result.
            await store.begin_run(KEY, message, f"run_{number:013d}_bbbbbbbbb", opened())
            current = (await store.read_queue(KEY)).run_id
            assert current is not None
            assert [each.content for each in await store.read_log(KEY, current)] == [
                Opened(message.id, is_first_attempt=True, at=number)
            ]
            assert len(await store.load_messages(KEY)) == number + 1
            await store.finish_run(KEY, current, ended(1), None)
        assert (await names(table)).count("coachRun") == 24

    async def test_concurrent_renames_and_runs_lose_nothing(self, store: DynamoDbStore) -> None:
        """Transactions that conflict with other writers are retried; no message and no title is lost."""

        async def rename(number: int) -> None:
            await store.change_conversation(KEY, ConversationChange(title=f"Title {number}"))

        async def runs() -> None:
            for number in range(0, 20, 2):
                message = user_message(number)
                await store_reply(store, message, reply_to(message, number + 1))

        await asyncio.gather(runs(), *(rename(number) for number in range(30)))
        found = await store.get_conversation(KEY)
        assert found.total_messages == len(await store.load_messages(KEY)) == 20
        assert found.title.startswith("Title ")

    async def test_fifty_senders_of_one_message_from_many_processes_have_one_run(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """None of them fails because it ran out of retries."""
        stores = [table.store() for _ in range(5)]
        results = await asyncio.gather(
            *(
                stores[n % 5].begin_run(
                    KEY, user_message(n, client_id="c-1"), f"run_{n:013d}_aaaaaaaaa", opened()
                )
                for n in range(50)
            )
        )
        assert [type(result) for result in results].count(RunBegun) == 1
        assert len(await store.load_messages(KEY)) == 1


class TestQuotas:
    async def test_a_place_that_moves_while_places_are_counted_is_not_counted_twice(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """The first conversation is read with its run, the second one with the run that began after it."""
        talk = Talk(store)
        (first, second, third) = [await talk.key(name) for name in "abc"]
        await (await talk.begin(second.conversation_id, RUNS)).finish()
        moving = await talk.begin(first.conversation_id, RUNS)
        is_first_read, moves = asyncio.Event(), iter((True,))

        def note(**_: object) -> None:
            is_first_read.set()

        async def move(params: dict[str, Any], **_: object) -> None:
            if params["Key"]["sk"]["S"] == f"coachTurn#{second.conversation_id}" and next(moves, False):
                await is_first_read.wait()
                await moving.finish()
                await talk.begin(second.conversation_id, RUNS)

        client = await table.client()
        client.meta.events.register("after-call.dynamodb.Query", note)
        client.meta.events.register("provide-client-params.dynamodb.GetItem", move)
        try:
            await talk.begin(third.conversation_id, RUNS)
        finally:
            client.meta.events.unregister("after-call.dynamodb.Query", note)
            client.meta.events.unregister("provide-client-params.dynamodb.GetItem", move)
        assert is_first_read.is_set()
        await refusal_of(talk, RUNS)


class TestDeleting:
    async def test_nothing_is_left_when_a_run_ends_at_the_same_time(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """The order of the two makes no difference."""
        for number in range(10):
            message = user_message(number, client_id=f"c-{number}")
            reply = reply_to(message, 100 + number)
            await begin(store, message)
            ending, deleting = await asyncio.gather(
                store.finish_run(KEY, RUN, ended(1, reply), reply),
                store.delete_conversation(KEY),
                return_exceptions=True,
            )
            assert deleting is None
            # Ending a deleted run finds the tombstone, or no conversation.
            if ending is not None and not isinstance(ending, ConversationNotFound):
                assert not isinstance(ending, BaseException)
                assert is_tombstone(ending)
            for item in await the_tombstone_alone(table):
                await table.raw("delete_item", Key=to_item({"pk": PK, "sk": item["sk"]}))
            await store.create_conversation(conversation())

    async def test_a_deleted_run_leaves_a_tombstone_where_its_holder_writes_next(
        self, table: Table, store: DynamoDbStore
    ) -> None:
        """It holds no text and lasts a day; entries written before it are deleted once it is found."""
        message = user_message(1)
        await begin(store, message)
        await store.append(KEY, RUN, said(1, "Secret"))
        await store.delete_conversation(KEY)
        [item] = await the_tombstone_alone(table)
        assert item["sk"] == f"{LOG}00000002"
        content = {"code": "CONVERSATION_NOT_FOUND", "retryable": False, "partialReplyId": None}
        assert item["content"] == content
        assert item["ttl"] == A_DAY_LATER
        # The holder repeats an entry whose response was lost.
        assert await store.append(KEY, RUN, said(1, "Secret")) is None
        there = await store.append(KEY, RUN, said(2, "Secret"))
        assert there is not None
        assert is_tombstone(there)
        assert await the_tombstone_alone(table) == [item]
        reply = reply_to(message, 2, "Secret")
        with pytest.raises(ConversationNotFound):
            await store.finish_run(KEY, RUN, ended(3, reply), reply)
        assert await the_tombstone_alone(table) == [item]

    @pytest.mark.parametrize("step", range(1, 12))
    async def test_an_interrupted_deletion_can_be_repeated(
        self, table: Table, store: DynamoDbStore, step: int
    ) -> None:
        """In between no run begins or finishes; in the end nothing is left, and no holder can write."""
        message = user_message(1, client_id="c-1")
        await store_reply(store, message, reply_to(message, 2))
        running = user_message(3)
        await begin(store, running)
        client, calls = await table.client(), 0

        def fail(**_: object) -> None:
            nonlocal calls
            calls += 1
            if calls == step:
                raise ConnectionAbortedError("the process died")

        client.meta.events.register("before-call.dynamodb", fail)
        with suppress(ConnectionAbortedError):
            await store.delete_conversation(KEY)
        client.meta.events.unregister("before-call.dynamodb", fail)
        if calls == step > 3:  # the run was ended
            for work in (
                store.begin_run(KEY, user_message(4), NEXT_RUN, opened()),
                store.finish_run(KEY, RUN, ended(2), None),
            ):
                with pytest.raises(ConversationNotFound):
                    await work
            assert await store.append(KEY, RUN, said(1)) is not None
        with suppress(ConversationNotFound):
            await store.delete_conversation(KEY)
        await the_tombstone_alone(table)
        with pytest.raises(ConversationNotFound):
            await store.delete_conversation(KEY)

    async def test_a_run_under_the_wrong_coach_deletes_nothing(self, store: DynamoDbStore) -> None:
        """The other coach has no such conversation; this coach's stays intact."""
        await begin(store, user_message(1))
        with pytest.raises(ConversationNotFound):
            await store.finish_run(OTHER_COACH, RUN, ended(1), None)
        assert len(await store.read_log(KEY, RUN)) == 1
        with pytest.raises(ConversationNotFound):
            await store.delete_conversation(OTHER_COACH)
        assert len(await store.load_messages(KEY)) == 1

    async def test_conversations_of_two_coaches_with_one_id_do_not_block_each_other(
        self, store: DynamoDbStore
    ) -> None:
        """Generated ids do not collide; if they did, both conversations would work."""
        await store.put_coach(KEY.user_id, OTHER_COACH.coach_id, COACH)
        await store.create_conversation(conversation(OTHER_COACH))
        message, others = user_message(1), user_message(2)
        await begin(store, message)
        await begin(store, others, NEXT_RUN, key=OTHER_COACH)
        for key, run, asked in ((KEY, RUN, message), (OTHER_COACH, NEXT_RUN, others)):
            reply = reply_to(asked, 10)
            reply = msgspec.structs.replace(reply, id=f"{reply.id}{key.coach_id}")
            assert await store.finish_run(key, run, ended(1, reply), reply) is None
            assert (await store.read_queue(key)).run_id is None


class TestNames:
    @pytest.mark.parametrize("part", ["", "a#b", "x" * 300, "\ud800", "ü" * 200])
    @pytest.mark.parametrize("which", ["user_id", "coach_id", "conversation_id"])
    async def test_an_id_that_cannot_be_stored_is_an_unknown_id(
        self, store: DynamoDbStore, which: str, part: str
    ) -> None:
        """It gets the response for any unknown id and never reaches another conversation's items."""
        parts = {"user_id": KEY.user_id, "coach_id": KEY.coach_id, "conversation_id": KEY.conversation_id}
        key = ConversationKey(**{**parts, which: part})
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.begin_run(key, user_message(1), RUN, opened()),
            lambda: store.append(key, RUN, said(1)),
            lambda: store.finish_run(key, RUN, ended(1), None),
            lambda: store.read_queue(key),
            lambda: store.get_conversation(key),
            lambda: store.delete_conversation(key),
        ]
        if which != "conversation_id":
            calls.append(lambda: store.load_coach(key.user_id, key.coach_id))
        for call in calls:
            with pytest.raises(CoachStreamError) as caught:
                await call()
            assert not caught.value.retryable
        assert await store.load_messages(key) == []
        assert await store.load_history(key, limit=5, budget_chars=100) == []
        assert await store.find_recent_message(key, "x", since=EPOCH) is None
        assert await store.load_message(key, "m") is None
        assert list(await store.read_log(key, RUN)) == []
        assert await store.read_last(key, RUN) is None

    @pytest.mark.parametrize("unknown", ["a#b", "x" * 300, "\ud800"])
    async def test_an_id_that_no_run_and_no_message_can_have_finds_none(
        self, store: DynamoDbStore, unknown: str
    ) -> None:
        """It is never sent to DynamoDB or the SDK."""
        assert list(await store.read_log(KEY, unknown)) == []
        assert await store.read_last(KEY, unknown) is None
        assert await store.load_message(KEY, unknown) is None
        for write in (store.append(KEY, unknown, said(1)), store.finish_run(KEY, unknown, ended(1), None)):
            with pytest.raises(CoachStreamError) as caught:
                await write
            assert not caught.value.retryable

    async def test_the_newest_matching_message_of_this_coach_is_found(self, store: DynamoDbStore) -> None:
        """The search is newest first, and only in this coach's conversation."""
        asked: list[Message] = [user_message(10 * number, "Hi") for number in range(1, 4)]
        for message in asked:
            await store_reply(store, message, reply_to(message, int(message.id[4:17]) + 1))
        assert await store.find_recent_message(KEY, "Hi", since=EPOCH) == asked[-1]
        assert await store.find_recent_message(OTHER_COACH, "Hi", since=EPOCH) is None
