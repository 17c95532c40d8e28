"""The reply index maps a user message to its reply, so that a retry need not search the messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.prompt.records import as_text
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.items import RETRIES_KNOWN_FOR, expiry
from coachstream.storage.dynamodb.keys import reply_index_key
from coachstream.storage.dynamodb.requests import IS_NOT_THERE, ConditionCheck, Put, item_of
from coachstream.storage.dynamodb.table_client import TableClient


class IndexedReply(msgspec.Struct, frozen=True):
    """An entry of the reply index.

    Attributes:
        reply_id: the message's reply; empty if it has none.
        is_complete: whether that is a complete one.
        is_replaced: whether another message has replaced this one, so that no run can begin for it.
    """

    reply_id: str
    is_complete: bool
    is_replaced: bool = False

    def yields_to(self, reply: Message) -> bool:
        """Whether another reply replaces this one: an interrupted reply never replaces a complete one."""
        return not (self.is_complete and reply.is_interrupted)


class ReplyIndex:
    """The reply index of one table."""

    def __init__(self, table: TableClient, *, now: Callable[[], datetime]) -> None:
        self._table = table
        self._now = now

    async def load(self, key: ConversationKey, message_id: str) -> IndexedReply | None:
        """The indexed reply of a message, if it has one."""
        item = await self._table.get(reply_index_key(key, message_id))
        return None if item is None else indexed_reply_in(item)

    def check_unchanged(
        self, key: ConversationKey, message_id: str, known: IndexedReply | None
    ) -> ConditionCheck:
        """The condition that a message's indexed reply is still the known one."""
        where = reply_index_key(key, message_id)
        if known is None:
            return ConditionCheck(where, IS_NOT_THERE)
        is_known = "#replyId = :known AND attribute_not_exists(#isReplaced)"
        return ConditionCheck(where, is_known, {":known": known.reply_id})

    def put_if_unchanged(
        self, key: ConversationKey, message_id: str, reply: Message, known: IndexedReply | None
    ) -> Put:
        """A compare-and-set write: index this reply if the message's indexed reply is still the known one."""
        unchanged = self.check_unchanged(key, message_id, known)
        item = self.put(key, message_id, reply).item
        return Put(item, unchanged.condition, unchanged.values, returns_existing=True)

    def put(
        self, key: ConversationKey, message_id: str, reply: Message | None, *, is_replaced: bool = False
    ) -> Put:
        """The write that indexes a message's reply, for the run that has the conversation."""
        fields: dict[str, object] = {
            "replyId": "" if reply is None else reply.id,
            "isComplete": reply is not None and not reply.is_interrupted,
            "ttl": expiry(self._now() + RETRIES_KNOWN_FOR),
        }
        if is_replaced:
            fields["isReplaced"] = True
        return Put(item_of(reply_index_key(key, message_id), fields))


def indexed_reply_in(item: Item) -> IndexedReply:
    """The entry in an index item."""
    return IndexedReply(
        as_text(item.get("replyId")), item.get("isComplete") is True, item.get("isReplaced") is True
    )
