"""The mirror: a run's messages also in the conversation's own list, where the existing functions look.

It is a courtesy to them and never the truth: each message is an item of its own before it is mirrored, and
reading merges both by id. So the mirror may stop near DynamoDB's limit, fail, or be late: nothing is lost.

Messages that a content filter blocked, and replies that it withheld, are not shown: the existing functions
put into a prompt whatever is in the list.

The list is read first, to see how large it is and what of the run it has already. Then follows one atomic
update, on the condition that the list is as long as it was. So an update whose answer was lost, and which the
SDK repeats, does not append twice, and what the existing functions appended in between stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from coachstream.conversation.errors import CoachStreamError, describe_exception
from coachstream.conversation.model import ConversationKey, Message, format_timestamp
from coachstream.conversation.prompt.records import as_record
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
"""The reply is stored, and a run's end must not wait long for the rest."""

MOST_ATTEMPTS = 3


class Mirror:
    """Shows messages to the existing functions."""

    def __init__(self, calls: TableClient, *, now: Callable[[], datetime]) -> None:
        self._calls = calls
        self._now = now

    async def show(self, key: ConversationKey, reply: Message) -> None:
        """Put a stored reply and the message that it answers into the list, each once; raises nothing.

        Where the reply is withheld, take out what an earlier attempt at the message has put there.
        """
        try:
            async with asyncio.timeout(WITHIN_S):
                for _ in range(MOST_ATTEMPTS):
                    if await self._try(key, reply):
                        return
            logger.warning("A run is not mirrored, because the list was written all the time")
        except (CoachStreamError, TimeoutError, ConditionFailed) as error:
            logger.warning("A run is not mirrored: %s", describe_exception(error))

    async def _try(self, key: ConversationKey, reply: Message) -> bool:
        """Whether it is decided; not if the list was written between reading and writing."""
        item = await self._calls.get(conversation_key(key))
        if item is None:
            return True
        stored = as_record(item.get("attributes")).get("messages")
        if not isinstance(stored, list | None):
            logger.warning("A conversation has no list to mirror into, but something else in its place")
            return True
        if reply.is_withheld:
            return await self._hide(key, _exchange(stored or (), reply.metadata.reply_to))
        return await self._add(key, item, stored, reply)

    async def _add(
        self, key: ConversationKey, item: Item, stored: Sequence[object] | None, reply: Message
    ) -> bool:
        """Whether the reply is in the list, or has no place there; not if that was written meanwhile."""
        answered_id = reply.metadata.reply_to
        ids = [as_record(message).get("id") for message in stored or ()]
        if reply.id in ids:
            return True
        user_message = None if answered_id in ids else await self._message(key, answered_id)
        missing = [reply] if user_message is None else [user_message, reply]
        attributes = [message_attributes(message) for message in missing]
        if item_bytes(item) + sum(map(value_bytes, attributes)) > MOST_ITEM_BYTES:
            logger.info("A conversation is too large to be mirrored any further")
            return True
        replaced = None
        if answered_id is not None and user_message is None:
            replaced = _interrupted_reply(stored, answered_id)
        try:
            if replaced is None:
                await self._append(key, attributes, behind=None if stored is None else len(stored))
            else:
                await self._replace(key, *replaced, attributes[0])
        except ConditionFailed:
            return False
        return True

    async def _hide(self, key: ConversationKey, ids: Mapping[int, str]) -> bool:
        """Whether these messages are no longer in the list; not if it was written meanwhile."""
        if not ids:
            return True
        entries = {f"#attributes.#messages[{position}]": each for position, each in ids.items()}
        names = {f":id{number}": each for number, each in enumerate(entries.values())}
        unchanged = [f"{entry}.#id = {name}" for entry, name in zip(entries, names, strict=True)]
        try:
            await self._calls.change(
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
        item = None if message_id is None else await self._calls.get(message_key(key, message_id))
        return None if item is None else message_of(item)

    async def _append(
        self, key: ConversationKey, messages: Sequence[Mapping[str, object]], *, behind: int | None
    ) -> None:
        append = "list_append(if_not_exists(#attributes.#messages, :none), :messages)"
        check_unchanged = "attribute_not_exists(#attributes.#messages)"
        length: dict[str, object] = {}
        if behind is not None:
            check_unchanged = "size(#attributes.#messages) = :length"
            length = {":length": behind}
        await self._calls.change(
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
        """Put the reply into the place of an interrupted one, if that is still there."""
        entry = f"#attributes.#messages[{position}]"
        await self._calls.change(
            Update(
                conversation_key(key),
                f"SET {entry} = :reply, #updatedAt = :now",
                f"{entry}.#id = :earlier",
                {":reply": reply, ":earlier": earlier_id, ":now": format_timestamp(self._now())},
            )
        )


def _exchange(stored: Sequence[object], answered_id: str | None) -> dict[int, str]:
    """The ids of a user message and of what answers it, by their positions."""
    found: dict[int, str] = {}
    for position, entry in enumerate(stored):
        message = as_record(entry)
        message_id = message.get("id")
        is_part = answered_id in (message_id, as_record(message.get("metadata")).get("replyTo"))
        if answered_id is not None and is_part and isinstance(message_id, str):
            found[position] = message_id
    return found


def _interrupted_reply(stored: Sequence[object] | None, answered_id: str) -> tuple[int, str] | None:
    """Position and id of the reply to a message that broke off."""
    for position, entry in enumerate(stored or ()):
        message = as_record(entry)
        metadata = as_record(message.get("metadata"))
        earlier_id = message.get("id")
        if (
            metadata.get("replyTo") == answered_id
            and metadata.get("stopReason") == "interrupted"
            and isinstance(earlier_id, str)
        ):
            return position, earlier_id
    return None
