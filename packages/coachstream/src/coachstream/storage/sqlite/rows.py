"""Converts domain values to and from rows."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec

from coachstream.conversation.errors import ConversationNotFound
from coachstream.conversation.model import (
    Conversation,
    ConversationKey,
    Message,
    MessageMetadata,
    Role,
    StopReason,
    format_timestamp,
)
from coachstream.sqlite_file import decoding

MESSAGE_COLUMNS = (
    "id, role, content, timestamp, model, stop_reason, client_message_id, reply_to, streamed, run_id, "
    "is_handed_off, versions, exchange_id"
)
CONVERSATION_COLUMNS = (
    "user_id, coach_id, conversation_id, title, started_at, last_activity, total_messages, is_active, tags"
)

MessageRow = tuple[
    str,
    str,
    str,
    str,
    str | None,
    str | None,
    str | None,
    str | None,
    int,
    str | None,
    int,
    int,
    str | None,
]
ConversationRow = tuple[str, str, str, str, str, str, int, int, str]


def conversation_number(connection: sqlite3.Connection, key: ConversationKey) -> int:
    """The row number of a conversation, which its messages reference.

    Raises:
        ConversationNotFound: there is no such conversation.
    """
    row: tuple[int] | None = connection.execute(
        "SELECT number FROM conversations WHERE user_id = ? AND coach_id = ? AND conversation_id = ?",
        (key.user_id, key.coach_id, key.conversation_id),
    ).fetchone()
    if row is None:
        raise ConversationNotFound
    return row[0]


def insert_message(
    connection: sqlite3.Connection, conversation: int, message: Message, *, table: str = "messages"
) -> None:
    """Store a new message; in the conversation's line, unless another table is given."""
    metadata = message.metadata
    connection.execute(
        f"INSERT INTO {table} (conversation, {MESSAGE_COLUMNS})"  # noqa: S608 (constants)
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            conversation,
            message.id,
            message.role.value,
            message.content,
            format_timestamp(message.timestamp),
            metadata.model,
            metadata.stop_reason.value if metadata.stop_reason is not None else None,
            metadata.client_message_id,
            metadata.reply_to,
            int(metadata.streamed),
            metadata.run_id,
            int(metadata.is_handed_off),
            metadata.versions,
            metadata.exchange_id,
        ),
    )


@decoding
def message_from_row(row: MessageRow) -> Message:
    """The message in a row of `MESSAGE_COLUMNS`. Raises `DamagedValue`."""
    row = msgspec.convert(row, MessageRow)  # SQLite keeps any type in any column
    message_id, role, content, timestamp, model, stop_reason, client_message_id, reply_to = row[:8]
    streamed, run_id, is_handed_off, versions, exchange_id = row[8:]
    return Message(
        id=message_id,
        role=Role(role),
        content=content,
        timestamp=datetime.fromisoformat(timestamp),
        metadata=MessageMetadata(
            model=model,
            stop_reason=StopReason(stop_reason) if stop_reason is not None else None,
            client_message_id=client_message_id,
            reply_to=reply_to,
            streamed=bool(streamed),
            run_id=run_id,
            is_handed_off=bool(is_handed_off),
            versions=versions,
            exchange_id=exchange_id,
        ),
    )


def conversation_row(conversation: Conversation) -> ConversationRow:
    """A row of `CONVERSATION_COLUMNS`."""
    key = conversation.key
    return (
        key.user_id,
        key.coach_id,
        key.conversation_id,
        conversation.title,
        format_timestamp(conversation.started_at),
        format_timestamp(conversation.last_activity),
        conversation.total_messages,
        int(conversation.is_active),
        encode_tags(conversation.tags),
    )


@decoding
def conversation_from_row(row: ConversationRow) -> Conversation:
    """The conversation in a row of `CONVERSATION_COLUMNS`."""
    row = msgspec.convert(row, ConversationRow)
    user_id, coach_id, conversation_id, title, started_at, last_activity, total, is_active, tags = row
    return Conversation(
        key=ConversationKey(user_id, coach_id, conversation_id),
        title=title,
        started_at=datetime.fromisoformat(started_at),
        last_activity=datetime.fromisoformat(last_activity),
        total_messages=total,
        is_active=bool(is_active),
        tags=msgspec.json.decode(tags, type=tuple[str, ...]),
    )


def encode_tags(tags: tuple[str, ...]) -> str:
    """Tags as a JSON list."""
    return msgspec.json.encode(tags).decode()
