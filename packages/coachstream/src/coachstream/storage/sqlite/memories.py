"""Writes a coach's memories of a user."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from coachstream.conversation.model import Memory, format_timestamp
from coachstream.conversation.prompt.records import as_count
from coachstream.storage.memory_attributes import memory_attributes
from coachstream.storage.sqlite.database import Database
from coachstream.storage.sqlite.documents import decode_document, encode_document


class SqliteMemories:
    """`MemoryStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save_memory(self, user_id: str, memory: Memory) -> None:
        """Save a memory; saving it again under the same id changes nothing but its content."""

        def save(connection: sqlite3.Connection) -> None:
            stored = _attributes(connection, user_id, memory.id)
            if stored is None:
                document = encode_document(memory_attributes(user_id, memory))
                connection.execute(
                    "INSERT INTO memories (user_id, memory_id, coach_id, attributes) VALUES (?, ?, ?, ?)",
                    (user_id, memory.id, memory.coach_id, document),
                )
            else:
                _replace(connection, user_id, memory.id, stored | {"content": memory.content})

        await self._database.write(save)

    async def change_memory_traits(self, user_id: str, memory: Memory) -> None:
        """Change type, importance, tags and coach of a memory (see `MemoryStore`)."""

        def change(connection: sqlite3.Connection) -> None:
            stored = _attributes(connection, user_id, memory.id)
            if stored is None:
                return
            metadata = stored.get("metadata")
            traits = {"importance": memory.importance.value, "tags": list(memory.tags)}
            changed = {
                "coachId": memory.coach_id,
                "memoryType": memory.memory_type,
                "metadata": (metadata if isinstance(metadata, dict) else {}) | traits,
            }
            _replace(connection, user_id, memory.id, stored | changed)
            connection.execute(
                "UPDATE memories SET coach_id = ? WHERE user_id = ? AND memory_id = ?",
                (memory.coach_id, user_id, memory.id),
            )

        await self._database.write(change)

    async def delete_memory(self, user_id: str, memory_id: str) -> None:
        """Delete a memory; deleting one that does not exist succeeds."""
        await self._database.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM memories WHERE user_id = ? AND memory_id = ?", (user_id, memory_id)
                ).rowcount
            )
        )

    async def note_memories_used(self, user_id: str, memory_ids: Sequence[str], *, at: datetime) -> None:
        """Increment each memory's use count and set its last use, in one transaction (see `MemoryStore`)."""

        def note(connection: sqlite3.Connection) -> None:
            for memory_id in dict.fromkeys(memory_ids):
                stored = _attributes(connection, user_id, memory_id)
                if stored is not None:
                    _replace(connection, user_id, memory_id, _used_once_more(stored, at))

        await self._database.write(note)


def _used_once_more(attributes: dict[str, object], at: datetime) -> dict[str, object]:
    metadata = attributes.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, dict) else {}
    metadata["usageCount"] = as_count(metadata.get("usageCount")) + 1
    metadata["lastUsed"] = format_timestamp(at)
    return attributes | {"metadata": metadata}


def _attributes(connection: sqlite3.Connection, user_id: str, memory_id: str) -> dict[str, object] | None:
    row: tuple[str] | None = connection.execute(
        "SELECT attributes FROM memories WHERE user_id = ? AND memory_id = ?", (user_id, memory_id)
    ).fetchone()
    return None if row is None else decode_document(row[0])


def _replace(
    connection: sqlite3.Connection, user_id: str, memory_id: str, attributes: dict[str, object]
) -> None:
    connection.execute(
        "UPDATE memories SET attributes = ? WHERE user_id = ? AND memory_id = ?",
        (encode_document(attributes), user_id, memory_id),
    )
