"""Merges a conversation's messages: the list that the existing functions keep in its item, and our items.

A message that is in both, because it was mirrored, is read from its own item. Messages are ordered by the
times in their ids, which the server assigns for both kinds (`msg_<ms>_user`, `msg_<ms>_<random>_user`);
`timestamp` may come from a client's clock, and is used only for an id without a time.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from coachstream.conversation.errors import ConversationNotFound
from coachstream.conversation.ids import first_message_id, milliseconds_of, moment_of, time_in
from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.prompt.records import EPOCH, as_record
from coachstream.storage.dynamodb.items import message_of, parse_message
from coachstream.storage.dynamodb.keys import conversation_key, messages_prefix, partition
from coachstream.storage.dynamodb.table_client import Range, TableClient

SMALLEST_FIRST_PAGE = 10
LARGEST_FIRST_PAGE = 40
"""Most conversations fit, which saves a round trip; in others, so many rarely exceed a prompt's budget."""

CHARS_A_MESSAGE = 1500
"""The average that the first page's size assumes; later page sizes are estimated from what was read."""

LONGEST_PAGE = 200


def embedded_messages(conversation: Mapping[str, object]) -> list[Message]:
    """The messages in a conversation's item, in order; entries that are not messages are skipped."""
    stored = as_record(conversation.get("attributes")).get("messages")
    messages: list[Message] = []
    at = EPOCH
    for number, entry in enumerate(stored if isinstance(stored, list) else ()):
        message = parse_message(as_record(entry), otherwise_id=f"msg_embedded_{number}", otherwise_at=at)
        if message is not None:
            at = message.timestamp
            messages.append(message)
    return messages


def merged(embedded: Sequence[Message], items: Iterable[Message]) -> list[Message]:
    """Both lists merged in time order and deduplicated."""
    by_id = {message.id: message for message in items}
    only_embedded = {message.id: message for message in embedded if message.id not in by_id}
    # The sort is stable: equal times keep the list's order, and the order of the ids.
    return sorted((*only_embedded.values(), *(by_id[name] for name in sorted(by_id))), key=_milliseconds)


class NewestMessages:
    """The newest messages of a conversation, read backwards no further than needed.

    With `before`, the id of a message, only those that come before it.
    """

    def __init__(
        self,
        table: TableClient,
        key: ConversationKey,
        *,
        limit: int,
        budget_chars: int,
        before: str | None = None,
    ) -> None:
        self._table = table
        prefix = messages_prefix(key)
        items = Range.of(partition(key.user_id), prefix, newest_first=True)
        self._items = items if before is None else msgspec.structs.replace(items, last=prefix + before)
        self._before = before
        self._limit = limit
        self._budget_chars = budget_chars
        affordable = max(SMALLEST_FIRST_PAGE, budget_chars // CHARS_A_MESSAGE)
        self._first_page = min(LARGEST_FIRST_PAGE, affordable, limit)

    async def first_page(self) -> tuple[list[Message], object]:
        """The first page, newest first, and the start of the next page."""
        return await self._page(self._first_page, None)

    async def merged_with(
        self, embedded: Sequence[Message], first_page: tuple[list[Message], object]
    ) -> list[Message]:
        """The newest `limit` messages, oldest first, without gaps; fewer if they exceed the budget."""
        items, start = first_page
        while start is not None:
            # Messages that are not read yet are older than this.
            oldest_read = _milliseconds(items[-1]) if items else 0
            known = [each for each in self._merged(embedded, items) if _milliseconds(each) >= oldest_read]
            chars = sum(len(message.content) for message in known)
            if items and (len(known) >= self._limit or chars >= self._budget_chars):
                return known[-self._limit :]
            page, start = await self._page(self._next_page(len(items), len(known), chars), start)
            items = [*items, *page]
        return self._merged(embedded, items)[-self._limit :]

    def _merged(self, embedded: Sequence[Message], items: Sequence[Message]) -> list[Message]:
        messages = merged(embedded, items)
        if self._before is None:
            return messages
        for number, message in enumerate(messages):
            if message.id == self._before:
                return messages[:number]
        end = time_in(self._before)
        return [] if end is None else [each for each in messages if _milliseconds(each) < end]

    def _next_page(self, read: int, known: int, chars: int) -> int:
        """How many more items to read, estimated from those read so far."""
        average = max(1, chars // max(1, known))
        missing = min(self._limit - known, (self._budget_chars - chars) // average + 1)
        return max(1, min(LONGEST_PAGE, missing)) if read else self._first_page

    async def _page(self, limit: int, start: object) -> tuple[list[Message], object]:
        items, start = await self._table.query_page(self._items, limit=limit, start=start)
        return [message for message in map(message_of, items) if message is not None], start


async def newest_messages(
    table: TableClient,
    key: ConversationKey,
    *,
    limit: int,
    budget_chars: int = sys.maxsize,
    before: str | None = None,
) -> list[Message]:
    """The newest messages, oldest first (see `NewestMessages`); none for an unknown conversation."""
    if limit <= 0:
        return []
    try:
        item_key = conversation_key(key)
    except ConversationNotFound:
        return []
    newest = NewestMessages(table, key, limit=limit, budget_chars=budget_chars, before=before)
    first_page = asyncio.create_task(newest.first_page())
    try:
        item = await table.get(item_key, only="#pk, #attributes.#messages")
        if item is None:
            return []
        return await newest.merged_with(embedded_messages(item), await first_page)
    finally:
        first_page.cancel()
        await asyncio.gather(first_page, return_exceptions=True)


async def all_messages(
    table: TableClient, key: ConversationKey, conversation: Mapping[str, object]
) -> list[Message]:
    """Every message of a conversation, oldest first."""
    found = table.query(Range.of(partition(key.user_id), messages_prefix(key)), consistent=True)
    items = [message async for message in _parsed(found)]
    return merged(embedded_messages(conversation), items)


async def newest_id(table: TableClient, key: ConversationKey) -> str:
    """An upper bound of a conversation's message ids, of both kinds, for a conversation that stores none.

    Reads the conversation's item and one message.
    """
    page, _ = await table.query_page(
        Range.of(partition(key.user_id), messages_prefix(key), newest_first=True), limit=1
    )
    conversation = await table.get(conversation_key(key), only="#pk, #attributes.#messages")
    ids = [str(item["sk"]).rpartition("#")[2] for item in page]
    ids += [message.id for message in embedded_messages(conversation or {})]
    times = [time for time in map(time_in, ids) if time is not None]
    return first_message_id(moment_of(max(times, default=-1) + 1))


async def _parsed(items: AsyncIterable[Mapping[str, object]]) -> AsyncIterator[Message]:
    async for item in items:
        message = message_of(item)
        if message is not None:
            yield message


def _milliseconds(message: Message) -> int:
    in_id = time_in(message.id)
    return milliseconds_of(message.timestamp) if in_id is None else in_id
