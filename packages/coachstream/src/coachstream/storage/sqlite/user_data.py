"""All rows of a user, and the deletion of the memories; what belongs to a conversation is deleted with it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from coachstream.conversation.errors import InvalidCursor
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.user_data import MEMORY, PAGE_BYTES, PAGE_RECORDS, RecordPage, UserRecord
from coachstream.storage.sqlite.database import Database

_QUOTAS = """
    SELECT user_id, 'limits' AS quota, 0 AS window, NULL AS taken,
        max_concurrent_runs, max_turns_per_minute, max_tokens_per_day FROM quota_limits
    UNION ALL SELECT user_id, quota, window, taken, NULL, NULL, NULL FROM quota_windows
"""

_CLAIMS = """
    SELECT conversation, client_message_id, kind, message_id, run_id, user_message_id, 0 AS is_withdrawn
        FROM tries
    UNION ALL SELECT conversation, client_message_id, NULL, NULL, NULL, NULL, 1 FROM withdrawn_messages
"""

_MESSAGE_COLUMNS = (
    *("conversations.coach_id", "conversations.conversation_id", "t.id", "t.role", "t.content"),
    *("t.timestamp", "t.model", "t.stop_reason", "t.client_message_id", "t.reply_to", "t.streamed"),
    *("t.run_id", "t.is_handed_off", "t.versions", "t.exchange_id"),
)

_OF_CONVERSATION = "JOIN conversations ON conversations.number = t.conversation"


class _Source(msgspec.Struct, frozen=True):
    """The rows of one kind.

    Attributes:
        kind: the same as in DynamoDB.
        rows: what follows `FROM`; the table is `t`.
        owner: the expression for the user.
        order: the expression that rows are read in the order of; its values are unique.
        least: less than every value of `order`.
        name: the expression for what follows the kind in a record's id.
        columns: what belongs to the record.
    """

    kind: str
    rows: str
    owner: str
    order: str
    least: int | str
    name: str
    columns: tuple[str, ...]


# A hexadecimal key also continues behind one that is damaged and not text.
SOURCES = (
    _Source("coach", "coaches t", "t.user_id", "hex(t.coach_id)", "", "t.coach_id", ("t.attributes",)),
    _Source(
        "coachConversation",
        "conversations t",
        "t.user_id",
        "t.number",
        -1,
        "t.coach_id || '#' || t.conversation_id",
        (
            *("t.coach_id", "t.conversation_id", "t.title", "t.started_at", "t.last_activity"),
            *("t.total_messages", "t.is_active", "t.tags", "t.unfinished_run"),
        ),
    ),
    _Source(
        "coachMessage",
        f"messages t {_OF_CONVERSATION}",
        "conversations.user_id",
        "t.rowid",
        -1,
        "conversations.conversation_id || '#' || t.id",
        _MESSAGE_COLUMNS,
    ),
    _Source(
        "coachMessageClaim",
        f"({_CLAIMS}) t {_OF_CONVERSATION}",
        "conversations.user_id",
        "t.conversation || '#' || hex(t.client_message_id)",
        "",
        "conversations.conversation_id || '#' || t.client_message_id",
        (
            *("conversations.coach_id", "conversations.conversation_id", "t.client_message_id", "t.kind"),
            *("t.message_id", "t.run_id", "t.user_message_id", "t.is_withdrawn"),
        ),
    ),
    _Source(
        "coachQuota",
        f"({_QUOTAS}) t",
        "t.user_id",
        "hex(t.quota || '#' || t.window)",
        "",
        "t.quota || '#' || t.window",
        (
            *("t.quota", "t.window", "t.taken"),
            *("t.max_concurrent_runs", "t.max_turns_per_minute", "t.max_tokens_per_day"),
        ),
    ),
    _Source(
        "coachRun",
        f"log_entries t {_OF_CONVERSATION}",
        "conversations.user_id",
        "t.rowid",
        -1,
        "conversations.conversation_id || '#' || t.run_id || '#' || t.number",
        (
            *("conversations.coach_id", "conversations.conversation_id", "t.run_id", "t.number", "t.entry"),
            "t.written_at",
        ),
    ),
    _Source(
        "coachTurn",
        f"queued_runs t {_OF_CONVERSATION}",
        "conversations.user_id",
        "t.number",
        -1,
        "conversations.conversation_id || '#' || t.run_id",
        (
            *("conversations.coach_id", "conversations.conversation_id", "t.run_id", "t.user_message_id"),
            *("t.opened_at", "t.is_first_attempt", "t.time_zone"),
        ),
    ),
    _Source(
        "coachVersion",
        f"older_messages t {_OF_CONVERSATION}",
        "conversations.user_id",
        "t.rowid",
        -1,
        "conversations.conversation_id || '#' || t.id",
        (*_MESSAGE_COLUMNS, "t.is_pending"),
    ),
    _Source(
        "conversation",
        f"summaries t {_OF_CONVERSATION}",
        "conversations.user_id",
        "t.conversation",
        -1,
        "conversations.conversation_id || '#summary'",
        ("conversations.coach_id", "conversations.conversation_id", "t.attributes"),
    ),
    _Source("profile", "profiles t", "t.user_id", "hex(t.user_id)", "", "''", ("t.attributes",)),
    _Source(MEMORY, "memories t", "t.user_id", "hex(t.memory_id)", "", "t.memory_id", ("t.attributes",)),
    _Source("workout", "workouts t", "t.user_id", "hex(t.workout_id)", "", "t.workout_id", ("t.attributes",)),
)
"""In the order of the kinds in DynamoDB."""

_DOCUMENTS = frozenset({"attributes", "entry", "tags"})
"""Columns with JSON."""

_POSITION = re.compile(r"sqlite:(?P<kind>[A-Za-z]+):(?P<at>[0-9A-F]{0,2048})")
_MAX_INTEGER = 2**63 - 1


class SqliteUserData:
    """`UserDataStore`, but for `delete_conversation`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_records(
        self, user_id: str, *, after: str | None = None, limit: int = PAGE_RECORDS
    ) -> RecordPage:
        """Read one page, kind by kind (see `UserDataStore`)."""
        first, at = (0, SOURCES[0].least) if after is None else _parse_position(after)
        return await self._database.read(lambda connection: _page(connection, user_id, first, at, limit))

    async def count_records(self, user_id: str) -> Mapping[str, int]:
        """The number of records of each kind."""

        def count(connection: sqlite3.Connection) -> dict[str, int]:
            counts = {
                source.kind: connection.execute(
                    f"SELECT count(*) FROM {source.rows} WHERE {source.owner} = ?",  # noqa: S608 (constants)
                    (user_id,),
                ).fetchone()[0]
                for source in SOURCES
            }
            return {kind: number for kind, number in counts.items() if number}

        return await self._database.read(count)

    async def list_all_conversations(self, user_id: str) -> Sequence[ConversationKey]:
        """The user's conversations with all coaches."""

        def load(connection: sqlite3.Connection) -> list[ConversationKey]:
            rows = connection.execute(
                "SELECT coach_id, conversation_id FROM conversations WHERE user_id = ? ORDER BY number",
                (user_id,),
            )
            return [ConversationKey(user_id, coach_id, conversation_id) for coach_id, conversation_id in rows]

        return await self._database.read(load)

    async def delete_loose_records(self, user_id: str) -> Mapping[str, int]:
        """Delete all memories; foreign keys leave no remnants of conversations."""
        deleted = await self._database.write(
            lambda connection: (
                connection.execute("DELETE FROM memories WHERE user_id = ?", (user_id,)).rowcount
            )
        )
        return {MEMORY: deleted} if deleted else {}


def _page(connection: sqlite3.Connection, user_id: str, first: int, at: int | str, limit: int) -> RecordPage:
    records: list[UserRecord] = []
    size = 0
    for number, source in enumerate(SOURCES[first:], start=first):
        start = at if number == first else source.least
        rows = connection.execute(
            f"SELECT {source.order}, {source.name}, {', '.join(source.columns)} FROM {source.rows}"  # noqa: S608 (constants)
            f" WHERE {source.owner} = ? AND {source.order} > ? ORDER BY {source.order}",
            (user_id, start),
        )
        names = [column.partition(".")[2] for column in source.columns]
        for order, name, *values in rows:
            records.append(_record(source.kind, name, dict(zip(names, values, strict=True))))
            size += sum(len(value) for value in values if isinstance(value, str | bytes))
            if len(records) >= limit or size >= PAGE_BYTES:
                return RecordPage(tuple(records), f"sqlite:{source.kind}:{order}")
    return RecordPage(tuple(records), None)


def _record(kind: str, name: str, row: Mapping[str, object]) -> UserRecord:
    data = {column: _decoded(value) if column in _DOCUMENTS else value for column, value in row.items()}
    return UserRecord(kind, f"{kind}#{name}" if name else kind, data)


def _decoded(document: object) -> object:
    """The JSON in a column, or what else is there."""
    if isinstance(document, str):
        try:
            return msgspec.json.decode(document)
        except msgspec.DecodeError:
            pass
    return document


def _parse_position(position: str) -> tuple[int, int | str]:
    found = _POSITION.fullmatch(position)
    for number, source in enumerate(SOURCES if found else ()):
        if found and found["kind"] == source.kind:
            return number, found["at"] if isinstance(source.least, str) else _row(found["at"])
    raise InvalidCursor


def _row(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_INTEGER:
        raise InvalidCursor
    return int(text)
