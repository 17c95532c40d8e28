"""Turns in DynamoDB: at most one is live, whoever dies, freezes or asks twice."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from coachstream.conversation.errors import (
    CoachStreamError,
    ConversationNotFound,
    StorageUnavailable,
    TurnInProgress,
)
from coachstream.conversation.model import (
    ConversationChange,
    ConversationKey,
    Message,
    MessageMetadata,
    Role,
    StopReason,
)
from coachstream.storage.dynamodb import DynamoDbStore
from contracts.conversation_store import COACH, KEY, conversation, reply_to, user_message
from support.dynamodb import REGION, Table

PK = f"user#{KEY.user_id}"
LEASE_SK = f"coachTurn#{KEY.conversation_id}"
WITHIN_S = 10.0


class SteeredClock:
    """The time of one machine, as the test wants it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
async def begun(table: Table, dynamodb_store: DynamoDbStore) -> Table:
    """There is a coach with one conversation."""
    await dynamodb_store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    await dynamodb_store.create_conversation(conversation())
    return table


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again, for a limited time, until it holds."""
    async with asyncio.timeout(WITHIN_S):
        while not await holds():  # noqa: ASYNC110 (another process's state)
            await asyncio.sleep(0.01)


async def lease(table: Table) -> dict[str, object]:
    return await table.get(PK, LEASE_SK)


async def stop_renewing(store: DynamoDbStore, token: str) -> None:
    """What the death or the freezing of a process does to its leases."""
    await store._leases.stop_renewing(token)


class TestLease:
    async def test_of_many_different_messages_at_once_one_begins(self, begun: Table) -> None:
        """Processes that meet: one turn, one stored message, and everybody else is told to wait."""
        stores = [begun.store() for _ in range(10)]
        attempts = await asyncio.gather(
            *(store.begin_turn(KEY, user_message(n)) for n, store in enumerate(stores)),
            return_exceptions=True,
        )
        assert (
            sorted(type(attempt).__name__ for attempt in attempts) == ["TurnClaim"] + ["TurnInProgress"] * 9
        )
        assert len(await stores[0].load_messages(KEY)) == 1
        assert (await lease(begun))["epoch"] == 1
        for store in stores:
            await store.aclose()

    async def test_one_message_from_many_processes_is_stored_and_answered_once(self, begun: Table) -> None:
        """Twenty senders of one message, who all try until they have its reply."""
        stores = [begun.store() for _ in range(4)]
        answered = 0

        async def send(store: DynamoDbStore, number: int) -> Message:
            nonlocal answered
            while True:
                try:
                    claim = await store.begin_turn(KEY, user_message(number, client_id="c-1"))
                except TurnInProgress:
                    await asyncio.sleep(0.01)
                    continue
                if claim.reply is not None:
                    return claim.reply
                answered += 1
                await store.save_reply(claim, reply_to(claim.user_message, 100 + number))

        async with asyncio.timeout(WITHIN_S):
            replies = await asyncio.gather(*(send(stores[n % 4], n) for n in range(20)))
        assert answered == 1
        assert len({reply.id for reply in replies}) == 1
        assert len(await stores[0].load_messages(KEY)) == 2
        assert (await stores[0].get_conversation(KEY)).total_messages == 2

    async def test_the_turn_of_a_dead_process_ends_with_its_lease(self, begun: Table) -> None:
        """Who stops renewing is robbed when the lease is over, not before, and cannot write any more."""
        clock = SteeredClock()
        dead, living = begun.store(now=clock), begun.store(now=clock)
        claim = await dead.begin_turn(KEY, user_message(1))
        await stop_renewing(dead, claim.token)
        clock.pass_by(15.0)
        with pytest.raises(TurnInProgress):
            await living.begin_turn(KEY, user_message(2))
        clock.pass_by(0.001)
        heir = await living.begin_turn(KEY, user_message(2))
        with pytest.raises(StorageUnavailable):
            await dead.save_reply(claim, reply_to(claim.user_message, 3))
        await dead.abandon_turn(claim)
        await living.save_reply(heir, reply_to(heir.user_message, 4))
        stored = await living.load_messages(KEY)
        assert [message.role for message in stored] == [Role.USER, Role.USER, Role.ASSISTANT]
        assert (await lease(begun)) == {"pk": PK, "sk": LEASE_SK, "epoch": 2}

    async def test_a_frozen_process_that_nobody_robbed_goes_on(self, begun: Table) -> None:
        """A lease that has run out is still its holder's while nobody else wants it."""
        clock = SteeredClock()
        store = begun.store(now=clock)
        claim = await store.begin_turn(KEY, user_message(1))
        await stop_renewing(store, claim.token)
        clock.pass_by(3600)
        await store.save_reply(claim, reply_to(claim.user_message, 2))
        assert len(await store.load_messages(KEY)) == 2

    async def test_a_long_turn_keeps_its_lease(self, begun: Table) -> None:
        """It is renewed in the background, and no longer than the turn lasts."""
        store = begun.store(lease_s=0.15)
        claim = await store.begin_turn(KEY, user_message(1))
        first = (await lease(begun))["expiresAt"]

        async def is_renewed() -> bool:
            later = (await lease(begun))["expiresAt"]
            assert isinstance(first, int)
            assert isinstance(later, int)
            return later > first + 300

        await until(is_renewed)
        with pytest.raises(TurnInProgress):
            await store.begin_turn(KEY, user_message(2))
        await store.save_reply(claim, reply_to(claim.user_message, 3))
        assert store._leases._held == {}

    async def test_a_renewal_that_comes_too_late_ends(self, begun: Table) -> None:
        """After a freeze it finds the lease taken, and leaves it to the new holder."""
        clock = SteeredClock()
        frozen, other = begun.store(now=clock, lease_s=0.15), begun.store(now=clock)
        claim = await frozen.begin_turn(KEY, user_message(1))
        _, renewal = frozen._leases._held[claim.token]
        clock.pass_by(60)
        heir: list[str] = []

        async def is_taken() -> bool:
            try:
                heir.append((await other.begin_turn(KEY, user_message(2))).token)
            except TurnInProgress:  # a renewal was quicker
                clock.pass_by(60)
                return False
            return True

        await until(is_taken)
        async with asyncio.timeout(WITHIN_S):
            await renewal
        assert (await lease(begun))["token"] == heir[0]
        await frozen.aclose()
        await other.aclose()

    async def test_closing_the_store_gives_all_claims_up(self, begun: Table) -> None:
        """A server that is shut down leaves no conversation blocked."""
        store, next_one = begun.store(), begun.store()
        await store.begin_turn(KEY, user_message(1))
        await store.aclose()
        claim = await next_one.begin_turn(KEY, user_message(2))
        await next_one.abandon_turn(claim)

    async def test_a_turn_that_is_cancelled_while_it_begins_blocks_nothing(self, begun: Table) -> None:
        """Whenever the cancellation comes, the next turn begins, without waiting for the lease to run out."""
        store = begun.store(lease_s=600)
        for number in range(10):
            beginning = asyncio.create_task(store.begin_turn(KEY, user_message(number)))
            await asyncio.sleep(number * 0.002)
            beginning.cancel()
            [outcome] = await asyncio.gather(beginning, return_exceptions=True)
            if not isinstance(outcome, BaseException):
                await store.abandon_turn(outcome)

        async def can_begin() -> bool:
            try:
                claim = await store.begin_turn(KEY, user_message(99))
            except TurnInProgress:
                return False
            await store.abandon_turn(claim)
            return True

        await until(can_begin)
        await store.aclose()

    async def test_deleting_takes_the_lease_from_a_live_turn(self, begun: Table) -> None:
        """Nothing of a conversation is left, also when a turn saves at the same time."""
        store = begun.store()
        for number in range(5):
            claim = await store.begin_turn(KEY, user_message(number, client_id=f"c-{number}"))
            reply = reply_to(claim.user_message, 100 + number)
            outcomes = await asyncio.gather(
                store.save_reply(claim, reply), store.delete_conversation(KEY), return_exceptions=True
            )
            assert outcomes[1] is None
            assert outcomes[0] is None or isinstance(outcomes[0], ConversationNotFound | StorageUnavailable)
            await store.abandon_turn(claim)
            assert [item["sk"] for item in await begun.items()] == [f"coach#{KEY.coach_id}"]
            await store.create_conversation(conversation())


class TestRetries:
    async def test_a_message_is_known_again_by_its_own_id(self, begun: Table) -> None:
        """A repeated message without a client's name is not saved twice, and finds its reply."""
        store = begun.store()
        said = user_message(1)
        first = await store.begin_turn(KEY, said)
        await store.abandon_turn(first)
        again = await store.begin_turn(KEY, said)
        assert (first.is_first_attempt, again.is_first_attempt) == (True, False)
        await store.save_reply(again, reply_to(said, 2))
        third = await store.begin_turn(KEY, said)
        assert (third.reply, third.is_first_attempt) == (reply_to(said, 2), False)
        assert len(await store.load_messages(KEY)) == 2

    async def test_many_interruptions_leave_one_reply(self, begun: Table) -> None:
        """Each attempt's text takes the place of the one before, and the count stays."""
        store = begun.store()
        said = user_message(1, client_id="c-1")
        for number in range(2, 6):
            claim = await store.begin_turn(KEY, said)
            partial = reply_to(said, number, f"attempt {number}", stop=StopReason.INTERRUPTED)
            await store.save_reply(claim, partial)
            assert list(await store.load_messages(KEY)) == [said, partial]
        assert (await store.get_conversation(KEY)).total_messages == 2

    async def test_a_rename_at_every_moment_of_a_turn_costs_neither(self, begun: Table) -> None:
        """Transactions that meet other writers try again; no message and no title is lost."""
        store = begun.store()

        async def rename(number: int) -> None:
            await store.change_conversation(KEY, ConversationChange(title=f"Title {number}"))

        async def turns() -> None:
            for number in range(0, 20, 2):
                claim = await store.begin_turn(KEY, user_message(number))
                await store.save_reply(claim, reply_to(claim.user_message, number + 1))

        await asyncio.gather(turns(), *(rename(number) for number in range(30)))
        found = await store.get_conversation(KEY)
        assert found.total_messages == len(await store.load_messages(KEY)) == 20
        assert found.title.startswith("Title ")


class TestNames:
    @pytest.mark.parametrize("part", ["", "a#b", "x" * 300, "\ud800", "ü" * 200])
    @pytest.mark.parametrize("which", ["user_id", "coach_id", "conversation_id"])
    async def test_an_id_that_cannot_be_stored_names_nothing(
        self, begun: Table, which: str, part: str
    ) -> None:
        """It is answered like any unknown id, and never reaches another conversation's items."""
        store = begun.store()
        parts = {"user_id": KEY.user_id, "coach_id": KEY.coach_id, "conversation_id": KEY.conversation_id}
        key = ConversationKey(**{**parts, which: part})
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.begin_turn(key, user_message(1)),
            lambda: store.get_conversation(key),
            lambda: store.delete_conversation(key),
            lambda: store.load_coach(key.user_id, key.coach_id),
        ]
        for call in calls[: 4 if which != "conversation_id" else 3]:
            with pytest.raises(CoachStreamError) as caught:
                await call()
            assert not caught.value.retryable
        assert await store.load_messages(key) == []
        assert await store.load_history(key, limit=5, budget_chars=100) == []
        assert await store.find_streamed_message(key, "x", since=datetime(2026, 1, 1, tzinfo=UTC)) is None


class TestStreamedMessages:
    async def test_only_the_same_text_lately_streamed_in_this_conversation_is_found(
        self, begun: Table
    ) -> None:
        """The newest one; not another text, not one that was not streamed, not an older one, not a reply."""
        store = begun.store()
        began = datetime(2026, 11, 23, 10, tzinfo=UTC)

        def said(seconds: int, content: str, *, streamed: bool = True) -> Message:
            moment = began + timedelta(seconds=seconds)
            message_id = f"msg_{int(moment.timestamp() * 1000)}_{'u' * 9}_user"
            return Message(message_id, Role.USER, content, moment, MessageMetadata(streamed=streamed))

        for message in (
            said(0, "Hi"),
            said(1, "Hi"),
            said(2, "Hi", streamed=False),
            said(3, "hi"),
            said(4, "Well done."),
        ):
            claim = await store.begin_turn(KEY, message)
            await store.save_reply(claim, reply_to(message, 5_000_000 + int(message.timestamp.timestamp())))
        assert await store.find_streamed_message(KEY, "Hi", since=began) == said(1, "Hi")
        assert await store.find_streamed_message(KEY, "Hi", since=began + timedelta(seconds=2)) is None
        assert await store.find_streamed_message(KEY, "Hello", since=began) is None
        elsewhere = ConversationKey(KEY.user_id, "coach-2", KEY.conversation_id)
        assert await store.find_streamed_message(elsewhere, "Hi", since=began) is None


_A_TURN_THAT_NEVER_ENDS = """
import asyncio, sys
from coachstream.aws.clients import AwsSession, Connection
from coachstream.storage.dynamodb import DynamoDbStore
from contracts.conversation_store import KEY, user_message

async def main() -> None:
    url, region, table, lease_s = sys.argv[1:]
    client = AwsSession().dynamodb(Connection(region=region, endpoint_url=url))
    store = DynamoDbStore(client, table, lease_s=float(lease_s))
    await store.begin_turn(KEY, user_message(1))
    print("begun", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_killed_process_blocks_its_conversation_no_longer_than_a_lease(begun: Table) -> None:
    """While it lives, longer than its lease, others wait; after kill -9 the next turn begins by itself."""
    lease_s = 1.0
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _A_TURN_THAT_NEVER_ENDS, begun.url, REGION, begun.name, str(lease_s)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    store = begun.store()
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            assert await process.stdout.readline() == b"begun\n"
        first = (await lease(begun))["expiresAt"]

        async def is_renewed_twice() -> bool:
            with pytest.raises(TurnInProgress):
                await store.begin_turn(KEY, user_message(2))
            return cast("int", (await lease(begun))["expiresAt"]) > cast("int", first) + 1200 * lease_s

        await until(is_renewed_twice)
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # Python 3.11 leaves it to the collector
    killed_at = time.monotonic()

    async def has_begun() -> bool:
        try:
            await store.abandon_turn(await store.begin_turn(KEY, user_message(2)))
        except TurnInProgress:
            return False
        return True

    await until(has_begun)
    assert time.monotonic() - killed_at < 2 * lease_s
    assert [message.id for message in await store.load_messages(KEY)] == [
        user_message(1).id,
        user_message(2).id,
    ]
