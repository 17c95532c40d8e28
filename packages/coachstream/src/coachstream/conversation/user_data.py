"""All of a user's data: read page by page, and deleted.

A deletion removes what this service writes: conversations with their messages, runs and summaries, memories,
and the vectors of both. Records that other functions own, such as coaches and workouts, stay. It can be cut
off anywhere and repeated: what is deleted stays deleted, and each step finds what is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from coachstream.conversation.errors import (
    CoachStreamError,
    ConversationNotFound,
    log_failure,
)
from coachstream.conversation.model import ConversationKey

PAGE_RECORDS = 250
"""The maximum number of records in a page."""

PAGE_BYTES = 1_000_000
"""Where a page ends in any case, give or take one record; a page of DynamoDB has at most 1 MB."""

MEMORY = "userMemory"
"""The kind of a memory's record."""

logger = logging.getLogger("coachstream.conversation.user_data")


class UserRecord(msgspec.Struct, frozen=True):
    """A stored record.

    Attributes:
        kind: what it is, by the same name in every store; the first part of its sort key in DynamoDB.
        id: names it among the user's records.
        data: its content as it is stored; what JSON cannot represent are only bytes and sets.
    """

    kind: str
    id: str
    data: Mapping[str, object]


class RecordPage(msgspec.Struct, frozen=True):
    """Some records in the order of the store, perhaps none, and the position behind them; None at the end."""

    records: Sequence[UserRecord]
    next: str | None


class UserDataStore(Protocol):
    """All records of a user, of every kind and from every writer."""

    async def read_records(
        self, user_id: str, *, after: str | None = None, limit: int = PAGE_RECORDS
    ) -> RecordPage:
        """Read one page of at most `limit` records and about `PAGE_BYTES`, strongly consistent.

        A record that exists from the first page to the last one is in exactly one of them.

        Args:
            user_id: whose records; an unknown user has none.
            after: `RecordPage.next` of the page before. It never leads to another user's records.
            limit: the maximum number of records.

        Raises:
            InvalidCursor: `after` is not a position in this store.
            StorageUnavailable: the store failed.
        """

    async def count_records(self, user_id: str) -> Mapping[str, int]:
        """The number of records of each kind; kinds without records are absent."""

    async def list_all_conversations(self, user_id: str) -> Sequence[ConversationKey]:
        """The user's conversations with all coaches."""

    async def delete_conversation(self, key: ConversationKey) -> None:
        """As `ConversationStore.delete_conversation`."""

    async def delete_loose_records(self, user_id: str) -> Mapping[str, int]:
        """Delete some memories, and some of what is left of conversations that do not exist any more.

        The latter are records that a late writer, an interrupted deletion, or another program's deletion left
        behind. Tombstones, and numbers of tokens that count for a quota, stay until they expire: they have no
        content.

        Returns:
            The number of deleted records by kind; empty if there is nothing more to delete.
        """


class VectorStore(Protocol):
    """Where the vectors of users are: the part of `SemanticMemory` that a deletion needs."""

    async def forget_user(self, user_id: str) -> None:
        """As `SemanticMemory.forget_user`."""


class DeletionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt at a deletion has done.

    Attributes:
        is_complete: whether everything is deleted that existed when it began.
        conversations: deleted conversations.
        memories: deleted memories.
        remnants: deleted records of conversations that did not exist any more.
        is_forgotten: whether the vectors are deleted, too; None if there are none, or time ran out before.
        left: the number of records that are left by kind; None if time ran out before they were counted.
    """

    is_complete: bool
    conversations: int
    memories: int
    remnants: int
    is_forgotten: bool | None
    left: Mapping[str, int] | None


class _Progress(msgspec.Struct):
    is_deleted: bool = False
    conversations: int = 0
    loose: Counter[str] = msgspec.field(default_factory=Counter)
    is_forgotten: bool | None = None
    left: Mapping[str, int] | None = None

    def report(self) -> DeletionReport:
        memories = self.loose[MEMORY]
        return DeletionReport(
            is_complete=self.is_deleted and self.is_forgotten is not False,
            conversations=self.conversations,
            memories=memories,
            remnants=self.loose.total() - memories,
            is_forgotten=self.is_forgotten,
            left=self.left,
        )


async def delete_user_data(
    user_id: str, *, store: UserDataStore, recall: VectorStore | None, within_s: float | None = None
) -> DeletionReport:
    """Delete a user's conversations, memories and vectors, in this order.

    Running replies end. A conversation that is created meanwhile is deleted whole or not at all. Several
    deletions at once do no harm, but may count the same records.

    Args:
        user_id: whose data.
        store: where the records are.
        recall: where the vectors are; a failure there is logged and reported, and a repetition tries again.
        within_s: when to stop and report what is done so far, in seconds; None for never.

    Raises:
        StorageUnavailable: the store failed; what is deleted so far stays deleted.
    """
    progress = _Progress()
    try:
        async with asyncio.timeout(within_s) as limit:
            await _delete(user_id, store, recall, progress)
    except TimeoutError:
        if not limit.expired():
            raise
    return progress.report()


async def _delete(
    user_id: str, store: UserDataStore, recall: VectorStore | None, progress: _Progress
) -> None:
    # First, because a reply that is being written may save a memory.
    for key in await store.list_all_conversations(user_id):
        with suppress(ConversationNotFound):  # someone else has deleted it since
            await store.delete_conversation(key)
            progress.conversations += 1
    while deleted := await store.delete_loose_records(user_id):
        progress.loose.update(deleted)
    if recall is not None:
        progress.is_forgotten = await _forget(user_id, recall)
    progress.is_deleted = True
    progress.left = await store.count_records(user_id)


async def _forget(user_id: str, recall: VectorStore) -> bool:
    try:
        await recall.forget_user(user_id)
    except CoachStreamError as error:
        log_failure(logger, "Deleting a user's vectors failed", error, level=logging.WARNING)
        return False
    return True
