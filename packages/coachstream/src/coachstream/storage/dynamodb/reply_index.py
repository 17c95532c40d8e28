"""Which reply a user message has: an item of its own, so that a retry need not search the messages."""

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
    """The reply that a user message has."""

    reply_id: str
    is_complete: bool

    def yields_to(self, reply: Message) -> bool:
        """Whether another reply replaces it: only a whole one does where this one is whole."""
        return not (self.is_complete and reply.is_interrupted)


class ReplyIndex:
    """The index items of one table."""

    def __init__(self, calls: TableClient, *, now: Callable[[], datetime]) -> None:
        self._calls = calls
        self._now = now

    async def load(self, key: ConversationKey, message_id: str) -> IndexedReply | None:
        """The reply that a message has, if it has one."""
        item = await self._calls.get(reply_index_key(key, message_id))
        return None if item is None else indexed_reply_in(item)

    def check_unchanged(
        self, key: ConversationKey, message_id: str, known: IndexedReply | None
    ) -> ConditionCheck:
        """The condition that a message still has this reply, or none."""
        where = reply_index_key(key, message_id)
        if known is None:
            return ConditionCheck(where, IS_NOT_THERE)
        return ConditionCheck(where, "#replyId = :known", {":known": known.reply_id})

    def put_if_unchanged(
        self, key: ConversationKey, message_id: str, reply: Message, known: IndexedReply | None
    ) -> Put:
        """The write that gives a message this reply, if it still has the one that is known."""
        unchanged = self.check_unchanged(key, message_id, known)
        ttl = expiry(self._now() + RETRIES_KNOWN_FOR)
        fields = {"replyId": reply.id, "isComplete": not reply.is_interrupted, "ttl": ttl}
        item = item_of(unchanged.key, fields)
        return Put(item, unchanged.condition, unchanged.values, returns_existing=True)


def indexed_reply_in(item: Item) -> IndexedReply:
    """The reply in an item."""
    return IndexedReply(as_text(item.get("replyId")), item.get("isComplete") is True)
