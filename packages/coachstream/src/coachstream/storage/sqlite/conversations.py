"""Conversations: create, list, read, rename, delete."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence

from coachstream.conversation.errors import CoachConfigNotFound, ConversationNotFound
from coachstream.conversation.model import Conversation, ConversationChange, ConversationKey, Message
from coachstream.conversation.ports import NewSummary
from coachstream.conversation.prompt.records import as_count
from coachstream.conversation.prompt.user import parse_conversation_summary
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.storage.sqlite.database import Database
from coachstream.storage.sqlite.documents import decode_document, encode_document
from coachstream.storage.sqlite.rows import (
    CONVERSATION_COLUMNS,
    MESSAGE_COLUMNS,
    MessageRow,
    conversation_from_row,
    conversation_number,
    conversation_row,
    encode_tags,
    message_from_row,
)
from coachstream.storage.summary_attributes import summary_attributes

_IS_KEY = "user_id = ? AND coach_id = ? AND conversation_id = ?"


class SqliteConversations:
    """`ConversationStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_conversation(self, conversation: Conversation) -> None:
        """Save a new conversation and increment its coach's count; an existing one is left unchanged."""
        await self._database.write(lambda connection: _create(connection, conversation))

    async def list_conversations(self, user_id: str, coach_id: str) -> Sequence[Conversation]:
        """All conversations, most recent activity first."""

        def rows(connection: sqlite3.Connection) -> list[Conversation]:
            found = connection.execute(
                f"SELECT {CONVERSATION_COLUMNS} FROM conversations WHERE user_id = ? AND coach_id = ?"  # noqa: S608 (a constant)
                " ORDER BY last_activity DESC, conversation_id DESC",
                (user_id, coach_id),
            )
            return [conversation_from_row(row) for row in found]

        return await self._database.read(rows)

    async def get_conversation(self, key: ConversationKey) -> Conversation:
        """The conversation without its messages. Raises `ConversationNotFound`."""
        return await self._database.read(lambda connection: _get(connection, key))

    async def load_messages(self, key: ConversationKey) -> Sequence[Message]:
        """All messages, oldest first; none for an unknown conversation."""
        return await self._database.read(lambda connection: newest_messages(connection, key))

    async def load_newest(
        self, key: ConversationKey, *, limit: int, before: str | None = None
    ) -> Sequence[Message]:
        """The newest messages, of those before a given one (see `ConversationStore`)."""
        return await self._database.read(
            lambda connection: newest_messages(connection, key, limit=limit, before=before)
        )

    async def change_conversation(self, key: ConversationKey, change: ConversationChange) -> Conversation:
        """Change only the given fields and return the result. Raises `ConversationNotFound`."""

        def update(connection: sqlite3.Connection) -> Conversation:
            connection.execute(
                "UPDATE conversations SET title = coalesce(?, title), tags = coalesce(?, tags),"  # noqa: S608 (a constant)
                f" is_active = coalesce(?, is_active) WHERE {_IS_KEY}",
                (
                    change.title,
                    None if change.tags is None else encode_tags(change.tags),
                    change.is_active,
                    *_key_columns(key),
                ),
            )
            return _get(connection, key)

        return await self._database.write(update)

    async def replace_default_title(self, key: ConversationKey, title: str) -> bool:
        """Give a conversation a title if it still has the default one or none (see `ConversationStore`)."""
        replaced = await self._database.write(
            lambda connection: (
                connection.execute(
                    f"UPDATE conversations SET title = ? WHERE {_IS_KEY} AND title IN (?, '')",  # noqa: S608 (a constant)
                    (title, *_key_columns(key), DEFAULT_TITLE),
                ).rowcount
            )
        )
        return replaced > 0

    async def save_summary(self, key: ConversationKey, summary: NewSummary) -> bool:
        """Save a summary in place of one of fewer messages (see `ConversationStore`)."""

        def save(connection: sqlite3.Connection) -> bool:
            conversation = conversation_number(connection, key)
            row: tuple[str] | None = connection.execute(
                "SELECT attributes FROM summaries WHERE conversation = ?", (conversation,)
            ).fetchone()
            stored = None if row is None else parse_conversation_summary(decode_document(row[0]))
            if stored is not None and not summary.is_newer_than(stored):
                return False
            connection.execute(
                "INSERT OR REPLACE INTO summaries (conversation, attributes) VALUES (?, ?)",
                (conversation, encode_document(summary_attributes(key, summary))),
            )
            return True

        return await self._database.write(save)

    async def delete_conversation(self, key: ConversationKey) -> None:
        """Delete the conversation with its messages. Raises `ConversationNotFound`."""

        def delete(connection: sqlite3.Connection) -> None:
            deleted = connection.execute(f"DELETE FROM conversations WHERE {_IS_KEY}", _key_columns(key))  # noqa: S608 (a constant)
            if not deleted.rowcount:
                raise ConversationNotFound

        await self._database.write(delete)


def newest_messages(
    connection: sqlite3.Connection,
    key: ConversationKey,
    *,
    limit: int = -1,
    budget_chars: int | None = None,
    before: str | None = None,
) -> list[Message]:
    """The newest `limit` messages, oldest first; all if negative; empty for an unknown conversation.

    With a budget, no more messages are read than needed to fill it; with `before`, only those with smaller
    ids.
    """
    try:
        conversation = conversation_number(connection, key)
    except ConversationNotFound:
        return []
    rows = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE conversation = ?"  # noqa: S608 (a constant)
        " AND (? IS NULL OR id < ?) ORDER BY id DESC LIMIT ?",
        (conversation, before, before, limit),
    )
    messages: list[Message] = []
    left = math.inf if budget_chars is None else budget_chars
    while left > 0:
        row: MessageRow | None = rows.fetchone()
        if row is None:
            break
        messages.append(message_from_row(row))
        left -= len(messages[-1].content)
    messages.reverse()
    return messages


def _create(connection: sqlite3.Connection, conversation: Conversation) -> None:
    key = conversation.key
    coach: tuple[str] | None = connection.execute(
        "SELECT attributes FROM coaches WHERE user_id = ? AND coach_id = ?", (key.user_id, key.coach_id)
    ).fetchone()
    if coach is None:
        raise CoachConfigNotFound
    created = connection.execute(
        f"INSERT INTO conversations ({CONVERSATION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 (a constant)
        " ON CONFLICT DO NOTHING",
        conversation_row(conversation),
    )
    if created.rowcount:
        connection.execute(
            "UPDATE coaches SET attributes = ? WHERE user_id = ? AND coach_id = ?",
            (_with_one_more_conversation(coach[0]), key.user_id, key.coach_id),
        )


def _with_one_more_conversation(attributes: str) -> str:
    """Increment `metadata.total_conversations`, whatever its value; keep everything else."""
    document = decode_document(attributes)
    metadata = document.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, dict) else {}
    metadata["total_conversations"] = as_count(metadata.get("total_conversations")) + 1
    return encode_document(document | {"metadata": metadata})


def _get(connection: sqlite3.Connection, key: ConversationKey) -> Conversation:
    row = connection.execute(
        f"SELECT {CONVERSATION_COLUMNS} FROM conversations WHERE {_IS_KEY}",  # noqa: S608 (a constant)
        _key_columns(key),
    ).fetchone()
    if row is None:
        raise ConversationNotFound
    return conversation_from_row(row)


def _key_columns(key: ConversationKey) -> tuple[str, str, str]:
    return key.user_id, key.coach_id, key.conversation_id
