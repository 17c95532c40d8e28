"""The mirror copies a run's messages to the conversation's own list, which the existing functions read.

It is never the source of truth: each message is stored as its own item before it is mirrored, and reading
merges both by id. So the mirror may stop near DynamoDB's size limit, fail, or be late without losing data.
When it stops, `on_stop` reports it: the existing functions then miss the conversation's new messages.

Messages that a content filter blocked, and replies that it withheld, are not mirrored, because the existing
functions put everything in the list into a prompt.

The list is read first, to find its size and which of the run's messages it already has. Then follows one
compare-and-set update, on the condition that the list's length is unchanged. So a retry after a lost response
does not append twice, and messages that the existing functions appended in the meantime are kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from coachstream.conversation.errors import CoachStreamError, describe_exception
from coachstream.conversation.model import ConversationKey, Message, format_timestamp
from coachstream.conversation.prompt.records import as_record, as_text
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.errors import ConditionFailed
from coachstream.storage.dynamodb.item_size import KIB, item_bytes, value_bytes
from coachstream.storage.dynamodb.items import message_attributes, message_of
from coachstream.storage.dynamodb.keys import conversation_key, message_key
from coachstream.storage.dynamodb.requests import IS_THERE, Update
from coachstream.storage.dynamodb.table_client import TableClient

logger = logging.getLogger("coachstream.storage")

MOST_ITEM_BYTES = 350 * KIB
"""A mirrored item stays below this; the limit is 400 KiB, and the existing functions need room to write."""

WITHIN_S = 0.8
"""The time limit: the reply is already stored, and the end of a run must not wait long for the mirror."""

MOST_ATTEMPTS = 3


class Mirror:
    """Copies messages to where the existing functions read them."""

    def __init__(
        self, table: TableClient, *, now: Callable[[], datetime], on_stop: Callable[[], Awaitable[None]]
    ) -> None:
        self._table = table
        self._now = now
        self._on_stop = on_stop

    async def show(self, key: ConversationKey, reply: Message, *, older_ids: Sequence[str] = ()) -> None:
        """Put a stored reply and its user message into the list, each once; never raises.

        If the reply is withheld, remove what an earlier attempt at the message put there.

        Args:
            key: the conversation.
            reply: the reply.
            older_ids: the messages whose place they take.
        """
        try:
            async with asyncio.timeout(WITHIN_S):
                for _ in range(MOST_ATTEMPTS):
                    if await self._try(key, reply, older_ids):
                        return
            logger.warning("A run is not mirrored because of contention: the list kept changing")
        except (CoachStreamError, TimeoutError, ConditionFailed) as error:
            logger.warning("A run is not mirrored: %s", describe_exception(error))

    async def _try(self, key: ConversationKey, reply: Message, older_ids: Sequence[str]) -> bool:
        """Make one attempt; false if the list changed between the read and the write."""
        item = await self._table.get(conversation_key(key))
        if item is None:
            return True
        stored = as_record(item.get("attributes")).get("messages")
        if not isinstance(stored, list | None):
            logger.warning(
                "A conversation cannot be mirrored, because its `messages` attribute is not a list"
            )
            return True
        entries = [as_text(as_record(entry).get("id")) for entry in stored or ()]
        positions = {at: name for at, name in enumerate(entries) if name in {*older_ids, reply.id}}
        if reply.is_withheld:
            return await self._hide(key, _exchange(stored or (), reply.metadata.reply_to) | positions)
        if positions and (older_ids or reply.metadata.run_id != _run_in(stored, reply.id)):
            return await self._swap(key, item, stored or (), positions, reply)
        return await self._add(key, item, stored, reply)

    async def _swap(
        self,
        key: ConversationKey,
        item: Item,
        stored: Sequence[object],
        positions: Mapping[int, str],
        reply: Message,
    ) -> bool:
        """Put a version in place of another one, which is removed in any case; false if the list changed."""
        user_message_id = reply.metadata.reply_to
        ids = {as_record(message).get("id") for message in stored}
        user_message = None if user_message_id in ids else await self._message(key, user_message_id)
        missing = [reply] if user_message is None else [user_message, reply]
        attributes = [message_attributes(message) for message in missing]
        freed = sum(value_bytes(stored[at]) for at in positions)
        is_full = item_bytes(item) - freed + sum(map(value_bytes, attributes)) > MOST_ITEM_BYTES
        if is_full:
            logger.warning("A conversation is too large to be mirrored any further")
            await self._on_stop()
            attributes = []
        places = [*sorted(positions), *range(len(stored), len(stored) + len(attributes))]
        entries = {f"#attributes.#messages[{at}]": at for at in places}
        values: dict[str, object] = {":length": len(stored), ":now": format_timestamp(self._now())}
        sets, removes = ["#updatedAt = :now"], []
        for number, (entry, at) in enumerate(entries.items()):
            if number < len(attributes):
                sets.append(f"{entry} = :message{number}")
                values[f":message{number}"] = attributes[number]
            elif at in positions:
                removes.append(entry)
        unchanged = ["size(#attributes.#messages) = :length"]
        for entry, at in entries.items():
            if at in positions:
                unchanged.append(f"{entry}.#id = :id{at}")
                values[f":id{at}"] = positions[at]
        change = f"SET {', '.join(sets)}" + (f" REMOVE {', '.join(removes)}" if removes else "")
        try:
            await self._table.change(Update(conversation_key(key), change, " AND ".join(unchanged), values))
        except ConditionFailed:
            return False
        return True

    async def _add(
        self, key: ConversationKey, item: Item, stored: Sequence[object] | None, reply: Message
    ) -> bool:
        """Add the messages unless they are there or too large; false if the list changed meanwhile."""
        user_message_id = reply.metadata.reply_to
        ids = [as_record(message).get("id") for message in stored or ()]
        if reply.id in ids:
            return True
        user_message = None if user_message_id in ids else await self._message(key, user_message_id)
        missing = [reply] if user_message is None else [user_message, reply]
        attributes = [message_attributes(message) for message in missing]
        if item_bytes(item) + sum(map(value_bytes, attributes)) > MOST_ITEM_BYTES:
            logger.warning("A conversation is too large to be mirrored any further")
            await self._on_stop()
            return True
        replaced = None
        if user_message_id is not None and user_message is None:
            replaced = _interrupted_reply(stored, user_message_id)
        try:
            if replaced is None:
                await self._append(key, attributes, after=None if stored is None else len(stored))
            else:
                await self._replace(key, *replaced, attributes[0])
        except ConditionFailed:
            return False
        return True

    async def _hide(self, key: ConversationKey, ids: Mapping[int, str]) -> bool:
        """Remove these messages from the list; false if it changed meanwhile."""
        if not ids:
            return True
        entries = {f"#attributes.#messages[{position}]": each for position, each in ids.items()}
        names = {f":id{number}": each for number, each in enumerate(entries.values())}
        unchanged = [f"{entry}.#id = {name}" for entry, name in zip(entries, names, strict=True)]
        try:
            await self._table.change(
                Update(
                    conversation_key(key),
                    f"REMOVE {', '.join(entries)} SET #updatedAt = :now",
                    " AND ".join(unchanged),
                    {**names, ":now": format_timestamp(self._now())},
                )
            )
        except ConditionFailed:
            return False
        return True

    async def _message(self, key: ConversationKey, message_id: str | None) -> Message | None:
        item = None if message_id is None else await self._table.get(message_key(key, message_id))
        return None if item is None else message_of(item)

    async def _append(
        self, key: ConversationKey, messages: Sequence[Mapping[str, object]], *, after: int | None
    ) -> None:
        append = "list_append(if_not_exists(#attributes.#messages, :none), :messages)"
        check_unchanged = "attribute_not_exists(#attributes.#messages)"
        length: dict[str, object] = {}
        if after is not None:
            check_unchanged = "size(#attributes.#messages) = :length"
            length = {":length": after}
        await self._table.change(
            Update(
                conversation_key(key),
                f"SET #attributes.#messages = {append}, #updatedAt = :now",
                f"{IS_THERE} AND {check_unchanged}",
                {":messages": messages, ":none": [], ":now": format_timestamp(self._now()), **length},
            )
        )

    async def _replace(
        self, key: ConversationKey, position: int, earlier_id: str, reply: Mapping[str, object]
    ) -> None:
        """Replace an interrupted reply, if it is still there."""
        entry = f"#attributes.#messages[{position}]"
        await self._table.change(
            Update(
                conversation_key(key),
                f"SET {entry} = :reply, #updatedAt = :now",
                f"{entry}.#id = :earlier",
                {":reply": reply, ":earlier": earlier_id, ":now": format_timestamp(self._now())},
            )
        )


def _exchange(stored: Sequence[object], user_message_id: str | None) -> dict[int, str]:
    """The ids of a user message and its replies, by their positions."""
    found: dict[int, str] = {}
    for position, entry in enumerate(stored):
        message = as_record(entry)
        message_id = message.get("id")
        is_match = user_message_id in (message_id, as_record(message.get("metadata")).get("replyTo"))
        if user_message_id is not None and is_match and isinstance(message_id, str):
            found[position] = message_id
    return found


def _run_in(stored: Sequence[object] | None, message_id: str) -> object:
    """The run of a message in the list."""
    for entry in stored or ():
        message = as_record(entry)
        if message.get("id") == message_id:
            return as_record(message.get("metadata")).get("runId")
    return None


def _interrupted_reply(stored: Sequence[object] | None, user_message_id: str) -> tuple[int, str] | None:
    """The position and id of the interrupted reply to a message."""
    for position, entry in enumerate(stored or ()):
        message = as_record(entry)
        metadata = as_record(message.get("metadata"))
        earlier_id = message.get("id")
        if (
            metadata.get("replyTo") == user_message_id
            and metadata.get("stopReason") == "interrupted"
            and isinstance(earlier_id, str)
        ):
            return position, earlier_id
    return None
