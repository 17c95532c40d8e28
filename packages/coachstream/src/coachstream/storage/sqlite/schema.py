"""The tables, and the migrations of older files.

Only queried fields are columns; coaches, memories, workouts, profiles and summaries also have their complete
stored record as a JSON document in the existing system's format (its section 1.4), so that unknown fields are
kept. Log entries are JSON, too. Times are text, `YYYY-MM-DDTHH:MM:SS.mmmZ`, which sorts correctly.
"""

from __future__ import annotations

import sqlite3

_VERSION_1 = (
    """
    CREATE TABLE coaches (
        user_id TEXT NOT NULL,
        coach_id TEXT NOT NULL,
        attributes TEXT NOT NULL,
        PRIMARY KEY (user_id, coach_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE conversations (
        number INTEGER PRIMARY KEY,
        user_id TEXT NOT NULL,
        coach_id TEXT NOT NULL,
        conversation_id TEXT NOT NULL,
        title TEXT NOT NULL,
        started_at TEXT NOT NULL,
        last_activity TEXT NOT NULL,
        total_messages INTEGER NOT NULL,
        is_active INTEGER NOT NULL,
        tags TEXT NOT NULL,
        UNIQUE (user_id, coach_id, conversation_id)
    )
    """,
    "CREATE INDEX conversations_by_activity ON conversations (user_id, coach_id, last_activity)",
    """
    CREATE TABLE messages (
        conversation INTEGER NOT NULL REFERENCES conversations (number) ON DELETE CASCADE,
        id TEXT NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        timestamp TEXT NOT NULL,
        model TEXT,
        stop_reason TEXT,
        client_message_id TEXT,
        reply_to TEXT,
        UNIQUE (conversation, id)
    )
    """,
    """
    CREATE UNIQUE INDEX messages_by_client_id ON messages (conversation, client_message_id)
        WHERE client_message_id IS NOT NULL
    """,
    "CREATE INDEX messages_by_reply_to ON messages (conversation, reply_to) WHERE reply_to IS NOT NULL",
    """
    CREATE TABLE memories (
        user_id TEXT NOT NULL,
        memory_id TEXT NOT NULL,
        coach_id TEXT,
        attributes TEXT NOT NULL,
        PRIMARY KEY (user_id, memory_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE workouts (
        user_id TEXT NOT NULL,
        workout_id TEXT NOT NULL,
        completed_at TEXT NOT NULL,
        attributes TEXT NOT NULL,
        PRIMARY KEY (user_id, workout_id)
    )
    """,
    "CREATE INDEX workouts_by_completion ON workouts (user_id, completed_at)",
)

_VERSION_2 = (
    "ALTER TABLE messages ADD COLUMN streamed INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX streamed_messages ON messages (conversation, id) WHERE streamed",
)

_VERSION_3 = (
    "DROP INDEX streamed_messages",
    "ALTER TABLE messages ADD COLUMN run_id TEXT",
    "ALTER TABLE conversations ADD COLUMN unfinished_run TEXT",
    """
    CREATE TABLE log_entries (
        conversation INTEGER NOT NULL REFERENCES conversations (number) ON DELETE CASCADE,
        run_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        entry TEXT NOT NULL,
        written_at TEXT NOT NULL,
        UNIQUE (conversation, run_id, number)
    )
    """,
    "CREATE INDEX log_entries_by_age ON log_entries (written_at)",
)

_VERSION_4 = (
    "ALTER TABLE messages ADD COLUMN is_handed_off INTEGER NOT NULL DEFAULT 0",
    """
    CREATE TABLE profiles (
        user_id TEXT NOT NULL,
        attributes TEXT NOT NULL,
        PRIMARY KEY (user_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE summaries (
        conversation INTEGER NOT NULL REFERENCES conversations (number) ON DELETE CASCADE,
        attributes TEXT NOT NULL,
        PRIMARY KEY (conversation)
    )
    """,
)

_VERSION_5 = (
    """
    CREATE TABLE quota_limits (
        user_id TEXT NOT NULL,
        max_concurrent_runs INTEGER,
        max_turns_per_minute INTEGER,
        max_tokens_per_day INTEGER,
        PRIMARY KEY (user_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE quota_windows (
        user_id TEXT NOT NULL,
        quota TEXT NOT NULL,
        window INTEGER NOT NULL,
        taken INTEGER NOT NULL,
        PRIMARY KEY (user_id, quota, window)
    ) WITHOUT ROWID
    """,
)

_VERSION_6 = (
    """
    CREATE TABLE queued_runs (
        number INTEGER PRIMARY KEY,
        conversation INTEGER NOT NULL REFERENCES conversations (number) ON DELETE CASCADE,
        run_id TEXT NOT NULL,
        user_message_id TEXT NOT NULL,
        opened_at INTEGER NOT NULL,
        is_first_attempt INTEGER NOT NULL,
        time_zone TEXT,
        UNIQUE (conversation, run_id)
    )
    """,
    """
    CREATE TABLE withdrawn_messages (
        conversation INTEGER NOT NULL REFERENCES conversations (number) ON DELETE CASCADE,
        client_message_id TEXT NOT NULL,
        UNIQUE (conversation, client_message_id)
    )
    """,
    "ALTER TABLE messages ADD COLUMN versions INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE messages ADD COLUMN exchange_id TEXT",
    """
    CREATE TABLE older_messages (
        conversation INTEGER NOT NULL REFERENCES conversations (number) ON DELETE CASCADE,
        id TEXT NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        timestamp TEXT NOT NULL,
        model TEXT,
        stop_reason TEXT,
        client_message_id TEXT,
        reply_to TEXT,
        streamed INTEGER NOT NULL,
        run_id TEXT,
        is_handed_off INTEGER NOT NULL,
        versions INTEGER NOT NULL,
        exchange_id TEXT,
        is_pending INTEGER NOT NULL DEFAULT 0,
        UNIQUE (conversation, id)
    )
    """,
    """
    CREATE TABLE tries (
        conversation INTEGER NOT NULL REFERENCES conversations (number) ON DELETE CASCADE,
        client_message_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        message_id TEXT NOT NULL,
        run_id TEXT NOT NULL,
        user_message_id TEXT NOT NULL,
        UNIQUE (conversation, client_message_id)
    )
    """,
)

_MIGRATIONS = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6)
"""The statements that migrate each version to the next; a published one is never changed."""

SCHEMA_VERSION = len(_MIGRATIONS)
"""Stored in the file as `user_version`; 0 is an empty file."""


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Migrate the file from `version` to the current schema, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
