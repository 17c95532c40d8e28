"""What every `UserDataStore` must do, and a deletion on it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coachstream.conversation.errors import ConversationNotFound, InvalidCursor, StorageUnavailable
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.quotas import OwnLimits, QuotaLimits
from coachstream.conversation.run_log import is_tombstone
from coachstream.conversation.user_data import DeletionReport, UserRecord, delete_user_data
from contracts.quotas import Talk
from contracts.store_records import (
    COACH,
    KEY,
    RUN,
    SeedableStore,
    StoreContract,
    begin,
    conversation,
    memory,
    reply_to,
    said,
    store_reply,
    user_message,
    workout,
)
from support.turns import RecallDouble

SECOND = ConversationKey(KEY.user_id, "coach-2", "conv-2")

NEIGHBOURS = ("user-", "user-10", "user-1-", "USER-1")
"""Users whose ids begin like the user's, or are the beginning of it."""

STORED = {
    "coach": 2,
    "coachConversation": 2,
    "coachMessage": 4,
    "conversation": 1,
    "profile": 1,
    "userMemory": 2,
    "workout": 1,
}
"""The user's records by kind, without those of runs, of which stores have different ones."""

LEFT = {"coach": 2, "profile": 1, "workout": 1}
"""What a deletion leaves, except for tombstones."""


class UserDataContract(StoreContract):
    """All records of a user, page by page, and their deletion."""

    @pytest.fixture
    async def filled(self, store: SeedableStore) -> SeedableStore:
        """The store with records of every kind: of the user, who waits for a reply, and of neighbours."""
        await store.put_coach(KEY.user_id, SECOND.coach_id, COACH)
        await store.create_conversation(conversation(SECOND))
        await store_reply(store, user_message(1, client_id="c-1"), reply_to(user_message(1), 2))
        await store_reply(
            store, user_message(3), reply_to(user_message(3), 4, "Tap\n\u2028 ü 💪"), key=SECOND
        )
        await store.put_summary(KEY, {"coachId": KEY.coach_id, "narrative": "A long talk."})
        await store.put_profile(KEY.user_id, {"firstName": "Ana"})
        await store.put_memory(KEY.user_id, "m-1", memory("m-1"))
        await store.put_memory(KEY.user_id, "m-2", memory("m-2"))
        await store.put_workout(KEY.user_id, "w-1", workout("w-1", "2026-01-01T10:00:00.000Z"))
        for user_id in NEIGHBOURS:
            key = ConversationKey(user_id, KEY.coach_id, f"conv-of-{user_id}")
            await store.put_coach(user_id, KEY.coach_id, COACH)
            await store.create_conversation(conversation(key))
            await store_reply(store, user_message(1), reply_to(user_message(1), 2), key=key)
            await store.put_memory(user_id, "m-1", memory("m-1"))
        return store

    async def test_every_record_of_a_user_is_read_and_no_other(self, filled: SeedableStore) -> None:
        """From every writer; each has a kind and an id, and JSON can represent it."""
        records = await read_all(filled, KEY.user_id)
        assert without_runs(kinds_of(records)) == STORED
        assert kinds_of(records) == await filled.count_records(KEY.user_id)
        assert all(record.id.startswith(record.kind) for record in records)
        text = msgspec.json.encode(records).decode()
        assert "conv-of-" not in text
        assert "Tap\\n\u2028 ü 💪" in text
        assert '"Ana"' in text

    @settings(max_examples=12, deadline=None)
    @given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), cuts=st.sets(st.integers(0, 9)))
    async def test_pages_of_any_size_have_each_record_once(
        self, filled: SeedableStore, sizes: Sequence[int], cuts: set[int]
    ) -> None:
        """Also if a page is read twice because its reader was cut off."""
        whole = await read_all(filled, KEY.user_id)
        pieces: list[UserRecord] = []
        after: str | None = None
        for number, size in enumerate(itertools.cycle(sizes)):
            page = await filled.read_records(KEY.user_id, after=after, limit=size)
            assert len(page.records) <= size
            if number in cuts:
                page = await filled.read_records(KEY.user_id, after=after, limit=size)
            pieces += page.records
            assert page.next is None or page.next != after, "the position does not advance"
            after = page.next
            if after is None:
                break
        assert pieces == whole
        assert len({record.id for record in pieces}) == len(pieces)

    async def test_what_a_user_took_of_the_quotas_is_read_and_outlives_a_deletion(
        self, filled: SeedableStore
    ) -> None:
        """Or a user could get a new day's tokens by a deletion."""
        limits = QuotaLimits(turns_per_minute=2)
        await filled.set_own_limits(KEY.user_id, OwnLimits(tokens_per_day=9))
        await Talk(filled, names={SECOND.conversation_id}).begin("conv-3", limits)
        quotas = [each for each in await read_all(filled, KEY.user_id) if each.kind == "coachQuota"]
        assert quotas
        assert b"9" in msgspec.json.encode(quotas)
        report = await delete_user_data(KEY.user_id, store=filled, recall=None)
        assert report.left is not None
        assert report.left["coachQuota"] == len(quotas)
        assert (await Talk(filled).use(limits)).turns == 1

    async def test_a_deletion_gives_no_tokens_back(self, filled: SeedableStore) -> None:
        """Of a conversation's record, only what it has spent outlives the deletion, while it counts."""
        limits = QuotaLimits(tokens_per_day=100)
        talk = Talk(filled)
        await (await talk.begin("conv-3", limits)).finish(tokens=60)
        for _ in range(2):
            assert (await delete_user_data(KEY.user_id, store=filled, recall=None)).is_complete
            assert (await talk.use(limits)).tokens == 60

    async def test_a_position_leads_to_no_other_user_s_records(self, filled: SeedableStore) -> None:
        """Each position of each neighbour, in the user's own data, leads to the user's records or nothing."""
        own = {record.id for record in await read_all(filled, KEY.user_id)}
        for user_id in NEIGHBOURS:
            for position in await positions(filled, user_id):
                found = await read_all(filled, KEY.user_id, after=position)
                assert {record.id for record in found} <= own
                assert "conv-of-" not in repr(found)

    async def test_a_user_without_records_has_an_empty_last_page(self, filled: SeedableStore) -> None:
        """Also for an id that is longer than any."""
        for user_id in ("nobody", "user", "x" * 256):
            page = await filled.read_records(user_id)
            assert (list(page.records), page.next) == ([], None)
            assert await filled.count_records(user_id) == {}

    @pytest.mark.parametrize(
        "position", ["", "0", "user-1", "another:x", "sqlite:", "dynamodb:", "sqlite:x:0"]
    )
    async def test_what_is_no_position_is_refused(self, filled: SeedableStore, position: str) -> None:
        """It is never read as the beginning."""
        with pytest.raises(InvalidCursor):
            await filled.read_records(KEY.user_id, after=position)

    async def test_a_deletion_leaves_what_others_own(self, filled: SeedableStore) -> None:
        """Conversations with all coaches and memories are gone, vectors too; neighbours keep everything."""
        before = {user_id: await read_all(filled, user_id) for user_id in NEIGHBOURS}
        recall = RecallDouble()
        report = await delete_user_data(KEY.user_id, store=filled, recall=recall)
        assert report.is_complete
        assert (report.conversations, report.memories, report.is_forgotten) == (2, 2, True)
        assert report.left is not None
        assert without_runs(report.left) == LEFT
        assert recall.forgotten_users == [KEY.user_id]
        assert await filled.list_all_conversations(KEY.user_id) == []
        assert {user_id: await read_all(filled, user_id) for user_id in NEIGHBOURS} == before
        assert without_runs(kinds_of(await read_all(filled, KEY.user_id))) == LEFT

    async def test_a_repeated_deletion_finds_nothing_more(self, filled: SeedableStore) -> None:
        """It is complete again, and reports zeros."""
        first = await delete_user_data(KEY.user_id, store=filled, recall=None)
        again = await delete_user_data(KEY.user_id, store=filled, recall=None)
        assert (first.is_complete, first.conversations, first.is_forgotten) == (True, 2, None)
        assert again == DeletionReport(
            is_complete=True, conversations=0, memories=0, remnants=0, is_forgotten=None, left=first.left
        )

    async def test_a_memory_that_a_running_turn_saves_later_is_deleted_by_a_repetition(
        self, filled: SeedableStore
    ) -> None:
        """With its vector, which may be later still."""
        recall = RecallDouble()
        assert (await delete_user_data(KEY.user_id, store=filled, recall=recall)).is_complete
        await filled.put_memory(KEY.user_id, "m-3", memory("m-3"))
        again = await delete_user_data(KEY.user_id, store=filled, recall=recall)
        assert (again.is_complete, again.memories) == (True, 1)
        assert recall.forgotten_users == [KEY.user_id] * 2

    async def test_a_deletion_ends_a_running_reply(self, filled: SeedableStore) -> None:
        """Its lease holder cannot write any more, and its text is gone."""
        await begin(filled, user_message(5, "Secret question"))
        assert await filled.append(KEY, RUN, said(1, "Secret reply")) is None
        assert (await delete_user_data(KEY.user_id, store=filled, recall=None)).is_complete
        with suppress(ConversationNotFound):
            there = await filled.append(KEY, RUN, said(2, "Secret end"))
            assert there is not None
            assert is_tombstone(there)
        assert "Secret" not in repr(await read_all(filled, KEY.user_id))

    async def test_deletions_at_once_do_no_harm(self, filled: SeedableStore) -> None:
        """A conversation created meanwhile is whole, or gone with its messages."""
        new = ConversationKey(KEY.user_id, KEY.coach_id, "conv-new")

        async def talk() -> None:
            await filled.create_conversation(conversation(new))
            with suppress(ConversationNotFound):
                await store_reply(filled, user_message(7), reply_to(user_message(7), 8), key=new)

        deletions = (delete_user_data(KEY.user_id, store=filled, recall=None) for _ in range(3))
        *reports, _ = await asyncio.gather(*deletions, talk())
        assert all(isinstance(report, DeletionReport) and report.is_complete for report in reports)
        messages = await filled.load_messages(new)
        if await filled.list_all_conversations(KEY.user_id):
            assert [message.content for message in messages] == ["How was it?", "Well done."]
        else:
            assert list(messages) == []
        left = kinds_of(await read_all(filled, KEY.user_id))
        assert left.keys() <= {*LEFT, "coachRun", "coachConversation", *(PARTS if messages else ())}

    async def test_a_deletion_without_time_reports_that_it_is_incomplete(self, filled: SeedableStore) -> None:
        """Nothing is counted then; with time, the next one completes it."""
        cut = await delete_user_data(KEY.user_id, store=filled, recall=RecallDouble(), within_s=0)
        assert (cut.is_complete, cut.is_forgotten, cut.left) == (False, None, None)
        assert (await delete_user_data(KEY.user_id, store=filled, recall=None)).is_complete
        assert await filled.list_all_conversations(KEY.user_id) == []

    async def test_vectors_that_stay_make_a_deletion_incomplete(self, filled: SeedableStore) -> None:
        """The rest is deleted all the same, and a repetition tries again."""
        recall = RecallDouble()
        recall.failure = StorageUnavailable()
        failed = await delete_user_data(KEY.user_id, store=filled, recall=recall)
        assert (failed.is_complete, failed.is_forgotten, failed.conversations) == (False, False, 2)
        recall.failure = None
        again = await delete_user_data(KEY.user_id, store=filled, recall=recall)
        assert (again.is_complete, again.is_forgotten, again.conversations) == (True, True, 0)


PARTS = ("coachMessage", "coachMessageClaim", "coachMessageAnswer", "coachTurn")


async def read_all(
    store: SeedableStore, user_id: str, *, after: str | None = None, limit: int = 100
) -> list[UserRecord]:
    """All records behind a position."""
    records: list[UserRecord] = []
    while True:
        page = await store.read_records(user_id, after=after, limit=limit)
        records += page.records
        if page.next is None:
            return records
        assert page.next != after, "the position does not advance"
        after = page.next


async def positions(store: SeedableStore, user_id: str) -> list[str]:
    """The positions behind each record but the last."""
    found: list[str] = []
    after: str | None = None
    while (after := (await store.read_records(user_id, after=after, limit=1)).next) is not None:
        found.append(after)
    return found


def kinds_of(records: Sequence[UserRecord]) -> dict[str, int]:
    """The number of records by kind."""
    return {kind: len(list(of)) for kind, of in itertools.groupby(sorted(record.kind for record in records))}


def without_runs(kinds: Mapping[str, int]) -> dict[str, int]:
    """The counts without the records of runs and retries."""
    of_runs = {"coachRun", "coachTurn", "coachMessageClaim", "coachMessageAnswer"}
    return {kind: count for kind, count in kinds.items() if kind not in of_runs}
