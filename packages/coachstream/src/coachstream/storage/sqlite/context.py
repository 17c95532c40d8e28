"""The prompt context: the coach, the newest messages, memories and workouts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from coachstream.conversation.errors import CoachConfigNotFound, ConversationNotFound
from coachstream.conversation.model import ConversationKey, Memory, Message, Workout, format_timestamp
from coachstream.conversation.prompt.coach import CoachConfig, parse_coach_config, parse_memory, parse_workout
from coachstream.conversation.prompt.user import (
    ConversationSummary,
    UserProfile,
    parse_conversation_summary,
    parse_user_profile,
)
from coachstream.storage.memory_ranking import most_important
from coachstream.storage.sqlite.conversations import newest_messages
from coachstream.storage.sqlite.database import Database
from coachstream.storage.sqlite.documents import decode_document, encode_document
from coachstream.storage.sqlite.rows import conversation_number

Attributes = Mapping[str, object]


class SqliteContext:
    """`ContextStore`, and the methods that write what it reads. `now` determines the age of memories."""

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        """Raises `CoachConfigNotFound` or `StorageUnavailable`."""

        def load(connection: sqlite3.Connection) -> CoachConfig:
            row = connection.execute(
                "SELECT attributes FROM coaches WHERE user_id = ? AND coach_id = ?", (user_id, coach_id)
            ).fetchone()
            if row is None:
                raise CoachConfigNotFound
            return parse_coach_config(coach_id, decode_document(row[0]))

        return await self._database.read(load)

    async def list_coaches(self, user_id: str) -> Sequence[CoachConfig]:
        """All coaches of a user, by their ids."""

        def load(connection: sqlite3.Connection) -> list[CoachConfig]:
            rows = connection.execute(
                "SELECT coach_id, attributes FROM coaches WHERE user_id = ? ORDER BY coach_id", (user_id,)
            )
            return [parse_coach_config(coach_id, decode_document(document)) for coach_id, document in rows]

        return await self._database.read(load)

    async def load_history(self, key: ConversationKey, *, limit: int, budget_chars: int) -> Sequence[Message]:
        """The newest messages, oldest first, within limit and budget (see `ContextStore`)."""
        return await self._database.read(
            lambda connection: newest_messages(
                connection, key, limit=max(0, limit), budget_chars=budget_chars
            )
        )

    async def load_memories(self, user_id: str, coach_id: str, *, limit: int) -> Sequence[Memory]:
        """The `limit` most important memories of this coach or of all coaches, most important first."""

        def load(connection: sqlite3.Connection) -> list[Memory]:
            rows = connection.execute(
                "SELECT memory_id, attributes FROM memories"
                " WHERE user_id = ? AND (coach_id IS NULL OR coach_id = ?)",
                (user_id, coach_id),
            )
            return most_important((_memory(*row) for row in rows), self._now(), limit=limit)

        return await self._database.read(load)

    async def load_recent_workouts(self, user_id: str, *, limit: int) -> Sequence[Workout]:
        """The `limit` most recently completed workouts, newest first."""

        def load(connection: sqlite3.Connection) -> list[Workout]:
            rows = connection.execute(
                "SELECT attributes FROM workouts WHERE user_id = ?"
                " ORDER BY completed_at DESC, workout_id DESC LIMIT ?",
                (user_id, max(0, limit)),
            )
            return [parse_workout(decode_document(row[0])) for row in rows]

        return await self._database.read(load)

    async def load_profile(self, user_id: str) -> UserProfile:
        """What is known about a user; an empty profile if nothing is."""

        def load(connection: sqlite3.Connection) -> UserProfile:
            row = connection.execute(
                "SELECT attributes FROM profiles WHERE user_id = ?", (user_id,)
            ).fetchone()
            return UserProfile() if row is None else parse_user_profile(decode_document(row[0]))

        return await self._database.read(load)

    async def load_summary(self, key: ConversationKey) -> ConversationSummary:
        """The newest summary of a conversation; an empty one if there is none."""

        def load(connection: sqlite3.Connection) -> ConversationSummary:
            try:
                conversation = conversation_number(connection, key)
            except ConversationNotFound:
                return ConversationSummary()
            row = connection.execute(
                "SELECT attributes FROM summaries WHERE conversation = ?", (conversation,)
            ).fetchone()
            return (
                ConversationSummary() if row is None else parse_conversation_summary(decode_document(row[0]))
            )

        return await self._database.read(load)

    async def put_coach(self, user_id: str, coach_id: str, attributes: Attributes) -> None:
        """Store a coach config in the existing system's format, replacing one with the same id."""
        await self._put(
            "INSERT OR REPLACE INTO coaches (user_id, coach_id, attributes) VALUES (?, ?, ?)",
            (user_id, coach_id),
            attributes,
        )

    async def put_memory(self, user_id: str, memory_id: str, attributes: Attributes) -> None:
        """Store a memory in the existing system's format, replacing one with the same id."""
        memory = parse_memory(attributes)
        await self._put(
            "INSERT OR REPLACE INTO memories (user_id, memory_id, coach_id, attributes) VALUES (?, ?, ?, ?)",
            (user_id, memory_id, memory.coach_id),
            attributes,
        )

    async def put_workout(self, user_id: str, workout_id: str, attributes: Attributes) -> None:
        """Store a workout in the existing system's format, replacing one with the same id."""
        workout = parse_workout(attributes)
        await self._put(
            "INSERT OR REPLACE INTO workouts (user_id, workout_id, completed_at, attributes)"
            " VALUES (?, ?, ?, ?)",
            (user_id, workout_id, format_timestamp(workout.completed_at)),
            attributes,
        )

    async def put_profile(self, user_id: str, attributes: Attributes) -> None:
        """Store a user's profile in the existing system's format, replacing an earlier one."""
        await self._put(
            "INSERT OR REPLACE INTO profiles (user_id, attributes) VALUES (?, ?)", (user_id,), attributes
        )

    async def put_summary(self, key: ConversationKey, attributes: Attributes) -> None:
        """Store a conversation's summary in the existing system's format, replacing an earlier one.

        Raises:
            ConversationNotFound: there is no such conversation.
        """
        await self._database.write(
            lambda connection: (
                connection.execute(
                    "INSERT OR REPLACE INTO summaries (conversation, attributes) VALUES (?, ?)",
                    (conversation_number(connection, key), encode_document(attributes)),
                ).rowcount
            )
        )

    async def _put(self, statement: str, columns: tuple[str | None, ...], attributes: Attributes) -> None:
        await self._database.write(
            lambda connection: connection.execute(statement, (*columns, encode_document(attributes))).rowcount
        )


def _memory(memory_id: str, document: str) -> Memory:
    """A stored memory, with the id from its row, which updates use, not the one in the document."""
    return msgspec.structs.replace(parse_memory(decode_document(document)), id=memory_id)
