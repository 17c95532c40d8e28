"""The mirror: a turn's messages also in the conversation's own list, where the existing functions look.

It is a courtesy to them and never the truth: each message is an item of its own before it is mirrored, and
reading merges both by id. So the mirror may stop near DynamoDB's limit, fail, or be late: nothing is lost.

The list is read first, to see how large it is and what of the turn it has already. Then follows one atomic
update, on the condition that the list is as long as it was. So an update whose answer was lost, and which the
SDK repeats, does not append twice, and what the existing functions appended in between stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from coachstream.conversation.errors import CoachStreamError, whereabouts
from coachstream.conversation.lenient import as_record
from coachstream.conversation.model import ConversationKey, Message, format_timestamp
from coachstream.storage.dynamodb.calls import TableCalls
from coachstream.storage.dynamodb.errors import ConditionFailed
from coachstream.storage.dynamodb.item_size import KIB, item_bytes, value_bytes
from coachstream.storage.dynamodb.items import message_attributes
from coachstream.storage.dynamodb.keys import conversation_key
from coachstream.storage.dynamodb.requests import IS_THERE, Update

logger = logging.getLogger("coachstream.storage")

MOST_ITEM_BYTES = 350 * KIB
"""A mirrored item stays below this; the limit is 400 KiB, and the existing functions need room to write."""

WITHIN_S = 0.8
"""The reply is stored, and a turn's end must not wait long for the rest."""

MOST_ATTEMPTS = 3


class Mirror:
    """Shows messages to the existing functions."""

    def __init__(self, calls: TableCalls, *, now: Callable[[], datetime]) -> None:
        self._calls = calls
        self._now = now

    async def show(self, key: ConversationKey, user_message: Message, reply: Message) -> None:
        """Put both messages into the list, each once; raises nothing."""
        try:
            async with asyncio.timeout(WITHIN_S):
                for _ in range(MOST_ATTEMPTS):
                    if await self._try(key, user_message, reply):
                        return
            logger.warning("A turn is not mirrored, because the list was written all the time")
        except (CoachStreamError, TimeoutError, ConditionFailed) as error:
            logger.warning("A turn is not mirrored: %s", whereabouts(error))

    async def _try(self, key: ConversationKey, user_message: Message, reply: Message) -> bool:
        """Whether it is decided; not if the list was written between reading and writing."""
        item = await self._calls.get(conversation_key(key))
        if item is None:
            return True
        stored = as_record(item.get("attributes")).get("messages")
        if not isinstance(stored, list | None):
            logger.warning("A conversation has no list to mirror into, but something else in its place")
            return True
        ids = [as_record(message).get("id") for message in stored or ()]
        missing = [message for message in (user_message, reply) if message.id not in ids]
        if not missing:
            return True
        attributes = [message_attributes(message) for message in missing]
        if item_bytes(item) + sum(map(value_bytes, attributes)) > MOST_ITEM_BYTES:
            logger.info("A conversation is too large to be mirrored any further")
            return True
        replaced = _interrupted_reply(stored, user_message) if missing == [reply] else None
        try:
            if replaced is None:
                await self._append(key, attributes, behind=None if stored is None else len(stored))
            else:
                await self._replace(key, *replaced, attributes[0])
        except ConditionFailed:
            return False
        return True

    async def _append(
        self, key: ConversationKey, messages: Sequence[Mapping[str, object]], *, behind: int | None
    ) -> None:
        append = "list_append(if_not_exists(#attributes.#messages, :none), :messages)"
        is_unchanged = "attribute_not_exists(#attributes.#messages)"
        length: dict[str, object] = {}
        if behind is not None:
            is_unchanged = "size(#attributes.#messages) = :length"
            length = {":length": behind}
        await self._calls.change(
            Update(
                conversation_key(key),
                f"SET #attributes.#messages = {append}, #updatedAt = :now",
                f"{IS_THERE} AND {is_unchanged}",
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


def _interrupted_reply(stored: Sequence[object] | None, user_message: Message) -> tuple[int, str] | None:
    """Position and id of the reply to a message that broke off."""
    for position, entry in enumerate(stored or ()):
        message = as_record(entry)
        metadata = as_record(message.get("metadata"))
        earlier_id = message.get("id")
        if (
            metadata.get("replyTo") == user_message.id
            and metadata.get("stopReason") == "interrupted"
            and isinstance(earlier_id, str)
        ):
            return position, earlier_id
    return None
