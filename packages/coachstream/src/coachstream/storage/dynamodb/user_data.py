"""All items of a user's partition, and the deletion of those that belong to no conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import cast

from coachstream.conversation.errors import InvalidCursor, StorageUnavailable
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.run_log import is_tombstone
from coachstream.conversation.user_data import PAGE_RECORDS, RecordPage, UserRecord
from coachstream.storage.dynamodb.attribute_values import Item, from_item
from coachstream.storage.dynamodb.keys import (
    CONVERSATION_PARTS,
    CONVERSATIONS,
    LOG_ENTRIES,
    MEMORIES,
    SEPARATOR,
    SUMMARIES,
    SUMMARY_SUFFIX,
    UNFINISHED_RUNS,
    ItemKey,
    is_name,
    partition,
)
from coachstream.storage.dynamodb.log_items import parse_log_entry
from coachstream.storage.dynamodb.requests import key_of
from coachstream.storage.dynamodb.table_client import MAX_SORT_KEY_BYTES, Range, TableClient
from coachstream.storage.dynamodb.unfinished_runs import is_cleared

_POSITION = "dynamodb:"
"""Begins a position, whose rest is the sort key of the last item: another store's position is refused."""

_DELETED_AT_ONCE = 200
"""The maximum number of items that one call deletes, so that its caller can report and stop in between."""


class DynamoDbUserData:
    """`UserDataStore`, but for `delete_conversation`."""

    def __init__(self, table: TableClient) -> None:
        self._table = table

    async def read_records(
        self, user_id: str, *, after: str | None = None, limit: int = PAGE_RECORDS
    ) -> RecordPage:
        """Read one page of the partition, in the order of the sort keys (see `UserDataStore`)."""
        pk = partition(user_id)
        start = None if after is None else key_of(ItemKey(pk, _sort_key_in(after)))
        items, end = await self._table.query_page(Range.whole(pk), limit=limit, start=start)
        return RecordPage(tuple(map(_record_of, items)), None if end is None else _position_of(end))

    async def count_records(self, user_id: str) -> Mapping[str, int]:
        """The number of items of each kind. It reads the whole partition."""
        kinds: Counter[str] = Counter()
        async for sk in self._sort_keys(Range.whole(partition(user_id))):
            kinds[_kind_of(sk)] += 1
        return kinds

    async def list_all_conversations(self, user_id: str) -> Sequence[ConversationKey]:
        """The user's conversations with all coaches; an item whose key names none is a loose record."""
        keys = [key async for key, _ in self._conversations(user_id)]
        return [key for key in keys if key is not None]

    async def delete_loose_records(self, user_id: str) -> Mapping[str, int]:
        """Delete memories and remnants of conversations (see `UserDataStore`)."""
        found: list[str] = []
        async with aclosing(self._candidates(user_id)) as candidates:
            async for sk in candidates:
                found.append(sk)
                if len(found) == _DELETED_AT_ONCE:
                    if deleted := await self._delete_loose(user_id, found):
                        return deleted
                    found = []
        return await self._delete_loose(user_id, found)

    async def _delete_loose(self, user_id: str, candidates: Collection[str]) -> Mapping[str, int]:
        """Delete those that are no part of an existing conversation.

        The conversations are read after the candidates: a conversation exists before any of its other items,
        and its id is never given again, so that none of a conversation that is new is taken for a remnant.
        """
        if not candidates:
            return {}
        existing = {key.conversation_id async for key, _ in self._conversations(user_id) if key is not None}
        loose = [sk for sk in candidates if _conversation_in(sk) not in existing]
        await self._table.delete_all(_keys(partition(user_id), loose))
        return Counter(map(_kind_of, loose))

    async def _candidates(self, user_id: str) -> AsyncGenerator[str, None]:
        """The sort keys of what may be loose."""
        pk = partition(user_id)
        async for key, sk in self._conversations(user_id):
            if key is None:
                yield sk
        for prefix in (MEMORIES, *CONVERSATION_PARTS):
            if prefix in _EXPIRING:
                async for item in self._table.query(Range.of(pk, prefix), consistent=True):
                    if not _EXPIRING[prefix](item):
                        yield str(item["sk"])
            else:
                async for sk in self._sort_keys(Range.of(pk, prefix)):
                    if prefix != SUMMARIES or sk.endswith(SUMMARY_SUFFIX):
                        yield sk

    async def _conversations(self, user_id: str) -> AsyncIterator[tuple[ConversationKey | None, str]]:
        """All conversation items with their sort keys; the key is None where that names no conversation."""
        async for sk in self._sort_keys(Range.of(partition(user_id), CONVERSATIONS)):
            names = sk.removeprefix(CONVERSATIONS).split(SEPARATOR)
            is_key = len(names) == 2 and is_name(user_id) and all(map(is_name, names))  # noqa: PLR2004
            yield (ConversationKey(user_id, *names) if is_key else None), sk

    async def _sort_keys(self, items: Range) -> AsyncIterator[str]:
        async for item in self._table.query(items, only="#sk", consistent=True):
            yield str(item["sk"])


async def _keys(pk: str, sort_keys: Collection[str]) -> AsyncIterator[ItemKey]:
    for sk in sort_keys:
        yield ItemKey(pk, sk)


def _record_of(item: Mapping[str, object]) -> UserRecord:
    sk = str(item["sk"])
    return UserRecord(_kind_of(sk), sk, {name: value for name, value in item.items() if name != "pk"})


def _kind_of(sk: str) -> str:
    return sk.partition(SEPARATOR)[0]


def _conversation_in(sk: str) -> str | None:
    """The conversation that an item is a part of; None for a memory or an item that can be no part of any."""
    if sk.startswith((MEMORIES, CONVERSATIONS)):
        return None
    return sk.split(SEPARATOR)[1]


def _position_of(key: object) -> str:
    """The position behind the item with this key, as DynamoDB returns it."""
    return f"{_POSITION}{from_item(cast('Mapping[str, Mapping[str, object]]', key))['sk']}"


def _sort_key_in(position: str) -> str:
    sk = position.removeprefix(_POSITION)
    if not position.startswith(_POSITION) or not 0 < len(sk.encode()) <= MAX_SORT_KEY_BYTES:
        raise InvalidCursor
    return sk


def _is_tombstone(item: Item) -> bool:
    try:
        return is_tombstone(parse_log_entry(item))
    except StorageUnavailable:  # malformed
        return False


_EXPIRING: Mapping[str, Callable[[Item], bool]] = {LOG_ENTRIES: _is_tombstone, UNFINISHED_RUNS: is_cleared}
"""What a deletion keeps until it expires: tombstones, and tokens that still count for the user's quota."""
