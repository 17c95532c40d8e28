"""Which reply a user message has: an item of its own, so that a retry need not search the messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.prompt.records import as_text
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.calls import TableCalls
from coachstream.storage.dynamodb.items import RETRIES_KNOWN_FOR, expiry
from coachstream.storage.dynamodb.keys import answer_key
from coachstream.storage.dynamodb.requests import IS_NOT_THERE, Check, Put, item_of


class Answer(msgspec.Struct, frozen=True):
    """The reply that a user message has."""

    reply_id: str
    is_complete: bool

    def yields_to(self, reply: Message) -> bool:
        """Whether another reply takes its place: only a whole one does where this one is whole."""
        return not (self.is_complete and reply.is_interrupted)


class Answers:
    """The answer items in one table."""

    def __init__(self, calls: TableCalls, *, now: Callable[[], datetime]) -> None:
        self._calls = calls
        self._now = now

    async def load(self, key: ConversationKey, message_id: str) -> Answer | None:
        """The answer to a message."""
        item = await self._calls.get(answer_key(key, message_id))
        return None if item is None else answer_in(item)

    def is_unchanged(self, key: ConversationKey, message_id: str, known: Answer | None) -> Check:
        """The check that a message has still this answer."""
        where = answer_key(key, message_id)
        if known is None:
            return Check(where, IS_NOT_THERE)
        return Check(where, "#replyId = :known", {":known": known.reply_id})

    def putting(self, key: ConversationKey, message_id: str, reply: Message, known: Answer | None) -> Put:
        """The write that gives a message this reply, if it has still the answer that is known."""
        is_unchanged = self.is_unchanged(key, message_id, known)
        ttl = expiry(self._now() + RETRIES_KNOWN_FOR)
        answer = {"replyId": reply.id, "isComplete": not reply.is_interrupted, "ttl": ttl}
        item = item_of(is_unchanged.key, answer)
        return Put(item, is_unchanged.condition, is_unchanged.values, returns_existing=True)


def answer_in(item: Item) -> Answer:
    """The answer in an item."""
    return Answer(as_text(item.get("replyId")), item.get("isComplete") is True)
