"""A file as the second version of the SQLite store wrote it: one message with a reply, and one without.

Recorded from that version and not made from today's code, so that no later change can make it fit. Its ids
are those of `contracts.conversation_store.KEY`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

VERSION_2 = """
BEGIN TRANSACTION;
CREATE TABLE coaches (
    user_id TEXT NOT NULL,
    coach_id TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (user_id, coach_id)
) WITHOUT ROWID;
INSERT INTO coaches VALUES('user-1', 'coach-1', '{"coach_name":"Mara","metadata":{"total_conversations":1}}');
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
);
INSERT INTO conversations VALUES(1, 'user-1', 'coach-1', 'conv-1', 'Legs', '2026-03-01T00:00:00.000Z',
    '2026-03-01T00:00:03.000Z', 4, 1, '["legs"]');
CREATE TABLE memories (
    user_id TEXT NOT NULL,
    memory_id TEXT NOT NULL,
    coach_id TEXT,
    attributes TEXT NOT NULL,
    PRIMARY KEY (user_id, memory_id)
) WITHOUT ROWID;
INSERT INTO memories VALUES('user-1', 'm-1', NULL, '{"memoryId":"m-1","userId":"user-1","coachId":null,
    "content":"Hates burpees","memoryType":"preference","metadata":{"createdAt":"2026-03-01T00:00:00.000Z",
    "usageCount":1,"source":"conversation","importance":"high","tags":["legs"],
    "lastUsed":"2026-03-01T00:00:00.000Z"}}');
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
    streamed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (conversation, id)
);
INSERT INTO messages VALUES(1, 'msg_1772323200000_abcdefghi_user', 'user', 'How?',
    '2026-03-01T00:00:00.000Z', NULL, NULL, 'c-1', NULL, 1);
INSERT INTO messages VALUES(1, 'msg_1772323201000_abcdefghi_assistant', 'assistant', 'So.',
    '2026-03-01T00:00:01.000Z', 'demo', 'end_turn', NULL, 'msg_1772323200000_abcdefghi_user', 0);
INSERT INTO messages VALUES(1, 'msg_1772323202000_abcdefghi_user', 'user', 'And then?',
    '2026-03-01T00:00:02.000Z', NULL, NULL, 'c-2', NULL, 0);
INSERT INTO messages VALUES(1, 'msg_1772323203000_abcdefghi_assistant', 'assistant', 'Well',
    '2026-03-01T00:00:03.000Z', 'demo', 'interrupted', NULL, 'msg_1772323202000_abcdefghi_user', 0);
CREATE TABLE workouts (
    user_id TEXT NOT NULL,
    workout_id TEXT NOT NULL,
    completed_at TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (user_id, workout_id)
);
INSERT INTO workouts VALUES('user-1', 'w-1', '2026-03-01T00:00:00.000Z', '{"workoutId":"w-1",
    "userId":"user-1","completedAt":"2026-03-01T00:00:00.000Z","summary":"Squats"}');
CREATE INDEX conversations_by_activity ON conversations (user_id, coach_id, last_activity);
CREATE UNIQUE INDEX messages_by_client_id ON messages (conversation, client_message_id)
    WHERE client_message_id IS NOT NULL;
CREATE INDEX messages_by_reply_to ON messages (conversation, reply_to) WHERE reply_to IS NOT NULL;
CREATE INDEX workouts_by_completion ON workouts (user_id, completed_at);
CREATE INDEX streamed_messages ON messages (conversation, id) WHERE streamed;
PRAGMA user_version = 2;
COMMIT;
"""


def write_version_2(path: Path) -> None:
    """Make such a file."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(VERSION_2)
