"""The logs of runs: one item per entry, put under the next number or not at all."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from coachstream.conversation.errors import ConversationNotFound, RunNotFound, StorageUnavailable
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.run_log import LogEntry, is_tombstone, tombstone
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.errors import ConditionFailed, Contended
from coachstream.storage.dynamodb.items import expiry
from coachstream.storage.dynamodb.keys import (
    MOST_ENTRIES,
    SEPARATOR,
    ItemKey,
    conversation_key,
    end_of,
    log_entry_key,
    log_prefix,
    partition,
)
from coachstream.storage.dynamodb.log_items import is_of_coach, log_entry_item, parse_log_entry
from coachstream.storage.dynamodb.requests import IS_NOT_THERE, Put
from coachstream.storage.dynamodb.table_client import Range, TableClient
from coachstream.storage.log_entries import is_repeated

logger = logging.getLogger("coachstream.storage")

LOGS_KEPT_FOR = timedelta(hours=24)
"""How long a run can be followed or replayed; its messages are kept."""

MOST_ATTEMPTS = 4
"""The maximum number of attempts to append while the conflicting entry is deleted each time."""


class RunLogs:
    """The run logs in one table."""

    def __init__(self, table: TableClient, *, now: Callable[[], datetime]) -> None:
        self._table = table
        self._now = now

    def put_entry(self, key: ConversationKey, run_id: str, entry: LogEntry) -> Put:
        """The write that appends an entry if its number is free, and otherwise returns the existing one."""
        item = log_entry_item(key, run_id, entry, ttl=expiry(self._now() + LOGS_KEPT_FOR))
        return Put(item, IS_NOT_THERE, returns_existing=True)

    async def put_tombstone(self, key: ConversationKey, run_id: str, writer: str) -> Put | None:
        """The write that appends a tombstone to a log, also behind an entry that cannot be read.

        Returns:
            The write; None for an id that no run can have.
        """
        try:
            first, last = (log_entry_key(key, run_id, number) for number in (0, MOST_ENTRIES - 1))
        except RunNotFound:
            return None
        newest = Range(first.pk, first.sk, last.sk, newest_first=True)
        page, _ = await self._table.query_page(newest, limit=1)
        return self.put_entry(key, run_id, _tombstone_behind(page[0] if page else None, writer))

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
        """Append an entry; return None if it is in the log, else the existing entry with its number.

        Raises:
            ConversationNotFound, RunNotFound: for impossible ids; other ids are not looked up.
        """
        conversation_key(key)
        put = self.put_entry(key, run_id, entry)
        for _ in range(MOST_ATTEMPTS):
            try:
                await self._table.put(put)
            except ConditionFailed as failed:
                there = await self.entry_there(failed.existing, key, run_id, entry.number)
                if there is not None:
                    if is_tombstone(there):
                        await self.forget(key, run_id)
                    return None if is_repeated(entry, there) else there
            else:
                return None
        raise Contended("an entry could not be appended because of contention for its number")

    async def read(self, key: ConversationKey, run_id: str, *, after: int) -> Sequence[LogEntry]:
        """The entries with numbers above `after`, in order; empty for an unknown run."""
        return [parse_log_entry(item) async for item in self._items(key, run_id, after)]

    async def last(self, key: ConversationKey, run_id: str) -> LogEntry | None:
        """The newest entry; None for an unknown run."""
        try:
            conversation_key(key)
            prefix = log_prefix(key, run_id)
        except (ConversationNotFound, RunNotFound):
            return None
        newest = Range.of(partition(key.user_id), prefix, newest_first=True)
        page, _ = await self._table.query_page(newest, limit=1)
        return parse_log_entry(page[0]) if page and is_of_coach(page[0], key) else None

    async def entry_there(
        self, existing: Item | None, key: ConversationKey, run_id: str, number: int
    ) -> LogEntry | None:
        """The entry with this number: as DynamoDB returned it, or else read; None if it is gone."""
        item = existing or await self._table.get(log_entry_key(key, run_id, number))
        return None if item is None else parse_log_entry(item)

    async def forget(self, key: ConversationKey, run_id: str) -> None:
        """Delete what a run wrote while its conversation was deleted; if that fails, the entries expire.

        The tombstone remains for the run's readers.
        """
        try:
            await self._table.delete_all(self._keys(key, run_id))
        except StorageUnavailable as error:
            logger.warning(
                "The log of a deleted conversation could not be deleted and will expire: %s", error.code.value
            )

    async def _keys(self, key: ConversationKey, run_id: str) -> AsyncIterator[ItemKey]:
        async for item in self._items(key, run_id, after=-1):
            if not is_tombstone(parse_log_entry(item)):
                yield ItemKey(str(item["pk"]), str(item["sk"]))

    async def _items(self, key: ConversationKey, run_id: str, after: int) -> AsyncIterator[Item]:
        first = max(0, after + 1)
        if first >= MOST_ENTRIES:
            return
        try:
            conversation_key(key)
            begins = log_entry_key(key, run_id, first)
        except (ConversationNotFound, RunNotFound):
            return
        span = Range(begins.pk, begins.sk, end_of(log_prefix(key, run_id)))
        async for item in self._table.query(span, consistent=True):
            if is_of_coach(item, key):
                yield item


def _tombstone_behind(newest: Item | None, writer: str) -> LogEntry:
    if newest is None:
        return tombstone(None, writer)
    try:
        return tombstone(parse_log_entry(newest), writer)
    except StorageUnavailable:  # malformed, or of a later version, whose lease holder may still write
        number = str(newest["sk"]).rpartition(SEPARATOR)[2]
        return msgspec.structs.replace(tombstone(None, writer), number=int(number) + 1)
