"""The formats of stored items (existing system, sections 1.2 to 1.4): written exactly, coerced when read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from coachstream.conversation.model import (
    Conversation,
    ConversationKey,
    Memory,
    Message,
    MessageMetadata,
    Role,
    StopReason,
    format_timestamp,
)
from coachstream.conversation.prompt.records import EPOCH, as_count, as_moment, as_record, as_text, as_texts
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.storage.dynamodb.keys import ItemKey, conversation_key, memory_key, message_key
from coachstream.storage.memory_attributes import memory_attributes

Attributes = Mapping[str, object]

COACH = "coachConfig"
CONVERSATION = "coachConversation"
MESSAGE = "coachMessage"
MEMORY = "userMemory"
WORKOUT = "workout"
PROFILE = "user"
SUMMARY = "conversationSummary"

HANDED_OFF = "handedOff"
"""The mark of a message item whose workout was handed off; not one of the message's own attributes, which the
existing functions get to see."""

LATER_ATTRIBUTES = ("mode", "workoutCreatorSession")
"""Attributes of a conversation that the later existing system reads in lists."""

_KNOWN_METADATA = frozenset({"startedAt", "lastActivity", "totalMessages", "isActive", "tags"})

RETRIES_KNOWN_FOR = timedelta(days=30)
"""How long idempotency keys and reply index items are kept for retries."""


def envelope(key: ItemKey, entity_type: str, attributes: Attributes, *, at: datetime) -> dict[str, object]:
    """An item in the existing functions' format."""
    moment = format_timestamp(at)
    return {
        "pk": key.pk,
        "sk": key.sk,
        "entityType": entity_type,
        "attributes": attributes,
        "createdAt": moment,
        "updatedAt": moment,
    }


def expiry(moment: datetime) -> int:
    """The `ttl` of an item that DynamoDB may delete from that moment: seconds since 1970."""
    return int(moment.timestamp())


def message_item(key: ConversationKey, message: Message, *, at: datetime) -> dict[str, object]:
    """A message as its own item."""
    owner = {"conversationId": key.conversation_id, "coachId": key.coach_id, "userId": key.user_id}
    attributes = message_attributes(message) | owner
    return envelope(message_key(key, message.id), MESSAGE, attributes, at=at)


def message_attributes(message: Message) -> dict[str, object]:
    """A message's attributes, as in its item and in a conversation's own list."""
    attributes: dict[str, object] = {
        "id": message.id,
        "role": message.role.value,
        "content": message.content,
        "timestamp": format_timestamp(message.timestamp),
    }
    metadata = _message_metadata(message.metadata)
    return attributes | {"metadata": metadata} if metadata else attributes


def parse_message(stored: Attributes, *, otherwise_id: str, otherwise_at: datetime) -> Message | None:
    """Read a message; None if its role is unknown.

    Text content is kept unchanged, even if it looks like a date; other content is coerced to text. The mark
    of a flagged message is the one that the existing functions set, too (existing system, section 6).
    """
    role = as_text(stored.get("role")).lower()
    if role not in set(Role):
        return None
    content = stored.get("content")
    metadata = as_record(stored.get("metadata"))
    stop = as_text(metadata.get("stopReason"))
    if metadata.get("guardrailWarning"):
        stop = StopReason.GUARDRAIL_WARNING.value
    return Message(
        id=as_text(stored.get("id")) or otherwise_id,
        role=Role(role),
        content=content if isinstance(content, str) else as_text(content),
        timestamp=as_moment(stored.get("timestamp")) or otherwise_at,
        metadata=MessageMetadata(
            model=as_text(metadata.get("model")) or None,
            stop_reason=StopReason(stop) if stop in set(StopReason) else None,
            client_message_id=as_text(metadata.get("clientMessageId")) or None,
            reply_to=as_text(metadata.get("replyTo")) or None,
            streamed=metadata.get("streamed") is True,
            run_id=as_text(metadata.get("runId")) or None,
            versions=as_count(metadata.get("versions")),
            exchange_id=as_text(metadata.get("exchangeId")) or None,
        ),
    )


def message_of(item: Mapping[str, object]) -> Message | None:
    """The message in a message item."""
    message_id = as_text(item.get("sk")).rpartition("#")[2]
    created_at = as_moment(item.get("createdAt")) or EPOCH
    message = parse_message(
        as_record(item.get("attributes")), otherwise_id=message_id, otherwise_at=created_at
    )
    if message is None or item.get(HANDED_OFF) is not True:
        return message
    metadata = msgspec.structs.replace(message.metadata, is_handed_off=True)
    return msgspec.structs.replace(message, metadata=metadata)


def conversation_item(conversation: Conversation, *, at: datetime) -> dict[str, object]:
    """The item of a new conversation, with an empty list for the existing functions' messages."""
    key = conversation.key
    attributes = {
        "conversationId": key.conversation_id,
        "coachId": key.coach_id,
        "userId": key.user_id,
        "title": conversation.title,
        "messages": [],
        "metadata": {
            "startedAt": format_timestamp(conversation.started_at),
            "lastActivity": format_timestamp(conversation.last_activity),
            "totalMessages": conversation.total_messages,
            "isActive": conversation.is_active,
            "tags": conversation.tags,
        },
    }
    return envelope(conversation_key(key), CONVERSATION, attributes, at=at)


def parse_conversation(key: ConversationKey, item: Mapping[str, object]) -> Conversation:
    """Read a conversation; never raises. Without an `isActive` attribute it counts as active."""
    attributes = as_record(item.get("attributes"))
    metadata = as_record(attributes.get("metadata"))
    title = attributes.get("title")
    tags = metadata.get("tags")
    started_at = as_moment(metadata.get("startedAt")) or as_moment(item.get("createdAt")) or EPOCH
    return Conversation(
        key=key,
        title=title if isinstance(title, str) and title else as_text(title) or DEFAULT_TITLE,
        started_at=started_at,
        last_activity=as_moment(metadata.get("lastActivity")) or started_at,
        total_messages=as_count(metadata.get("totalMessages")),
        is_active=metadata.get("isActive") is not False,
        tags=tuple(tags)
        if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)
        else as_texts(tags),
        more={name: attributes[name] for name in LATER_ATTRIBUTES if name in attributes},
        more_metadata={name: value for name, value in metadata.items() if name not in _KNOWN_METADATA},
    )


def memory_item(user_id: str, memory: Memory, *, at: datetime) -> dict[str, object]:
    """The item of a memory. A global one has a null `coachId`, by which the existing functions find it."""
    return envelope(memory_key(user_id, memory.id), MEMORY, memory_attributes(user_id, memory), at=at)


def _message_metadata(metadata: MessageMetadata) -> dict[str, object]:
    """The known metadata only, named as in the frames that clients receive."""
    known: dict[str, object | None] = {
        "model": metadata.model,
        "stopReason": None if metadata.stop_reason is None else metadata.stop_reason.value,
        "clientMessageId": metadata.client_message_id,
        "replyTo": metadata.reply_to,
        "streamed": metadata.streamed or None,
        "runId": metadata.run_id,
        "guardrailWarning": metadata.stop_reason is StopReason.GUARDRAIL_WARNING or None,
        "versions": metadata.versions or None,
        "exchangeId": metadata.exchange_id,
    }
    return {name: value for name, value in known.items() if value is not None}
