"""`SqliteRecall`: full-text search over the user's own records and the shared methodology.

SQLite's FTS5 ranks passages with BM25 over stemmed words (`porter` over `unicode61`): not a semantic search,
but good enough to reply from real passages on a laptop, without a service or a model. Titles count double. In
languages that do not separate words with blanks, only whole runs of characters are found.

It is a separate file, because the records are copies that can be recreated, and their writers need not wait
for those of conversations. Each call opens the file in a thread (0.3 ms), so that nothing is shared between
threads or across forks, and nothing needs closing.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from coachstream.conversation.errors import StorageUnavailable
from coachstream.conversation.model import ConversationKey, Match, Memory
from coachstream.conversation.prompt.user import ConversationSummary
from coachstream.recall.records import (
    CONTEXT_TYPES,
    CONVERSATION_SUMMARY,
    METHODOLOGY,
    USER_MEMORY,
    WRITTEN_TYPES,
    memory_text,
    summary_id,
    summary_text,
    user_namespace,
)
from coachstream.recall.search_terms import match_expression
from coachstream.sqlite_file import connect, decoding, sqlite_errors

BUSY_TIMEOUT_MS = 1_000
"""Shorter than a turn's limit for the optional search, 1.5 s."""

_SCHEMA = """
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS records (
        number INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL,
        id TEXT NOT NULL,
        record_type TEXT NOT NULL,
        title TEXT NOT NULL,
        text TEXT NOT NULL,
        UNIQUE (namespace, id)
    );
    CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
        title, text, content='records', content_rowid='number',
        tokenize='porter unicode61 remove_diacritics 2'
    );
    CREATE TRIGGER IF NOT EXISTS record_added AFTER INSERT ON records BEGIN
        INSERT INTO words (rowid, title, text) VALUES (new.number, new.title, new.text);
    END;
    CREATE TRIGGER IF NOT EXISTS record_changed AFTER UPDATE ON records BEGIN
        INSERT INTO words (words, rowid, title, text) VALUES ('delete', old.number, old.title, old.text);
        INSERT INTO words (rowid, title, text) VALUES (new.number, new.title, new.text);
    END;
    PRAGMA user_version = 1;
    COMMIT;
"""

_SEARCH = """
    SELECT id, records.text, -bm25(words, 2.0, 1.0) AS score, record_type, namespace, records.title
    FROM words JOIN records ON records.number = words.rowid
    WHERE words MATCH ?
        AND (namespace = ? OR namespace = ? AND record_type IN (SELECT value FROM json_each(?)))
    ORDER BY score DESC, number LIMIT ?
"""

_CONTEXT_TYPES = json.dumps(CONTEXT_TYPES)

_ADD = """
    INSERT INTO records (namespace, id, record_type, title, text) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (namespace, id)
    DO UPDATE SET record_type = excluded.record_type, title = excluded.title, text = excluded.text
"""

# No trigger, which files of earlier versions lack.
_REMOVE_WORDS = """
    INSERT INTO words (words, rowid, title, text) SELECT 'delete', number, title, text FROM records WHERE
"""

_IS_RECORD = "namespace = ? AND id = ?"
_IS_WRITTEN = "namespace = ? AND record_type IN (SELECT value FROM json_each(?))"


class FullTextSearchMissing(StorageUnavailable):
    """This Python's SQLite was built without FTS5."""

    retryable = False


class RecallRecord(msgspec.Struct, frozen=True):
    """A passage that can be found.

    Attributes:
        id: unique within its namespace.
        namespace: `METHODOLOGY`, or `user_namespace(...)` of its owner.
        text: the searchable text, which a match returns.
        record_type: `methodology`, `workout_summary`, `conversation_summary`...
        title: also searched; may be empty.
    """

    id: str
    namespace: str
    text: str
    record_type: str
    title: str = ""


class SqliteRecall:
    """`SemanticMemory` in an SQLite file; nothing is opened or created before the first use."""

    def __init__(self, path: Path) -> None:
        """Store the path."""
        self._path = path

    async def add(self, *records: RecallRecord) -> None:
        """Add records; existing ones with the same namespace and id are replaced.

        Raises:
            StorageUnavailable: the file cannot be written; nothing was added.
            FullTextSearchMissing: this Python's SQLite has no FTS5.
        """
        await asyncio.to_thread(self._add, records)

    async def remember(self, user_id: str, memory: Memory) -> None:
        """Index a memory (see `SemanticMemory`).

        Raises:
            StorageUnavailable: the file cannot be written.
        """
        await self.add(
            RecallRecord(memory.id, user_namespace(user_id), memory_text(memory), record_type=USER_MEMORY)
        )

    async def remember_summary(self, key: ConversationKey, summary: ConversationSummary) -> None:
        """Index the summary of a conversation (see `SemanticMemory`).

        Raises:
            StorageUnavailable: the file cannot be written.
        """
        text, namespace = summary_text(summary), user_namespace(key.user_id)
        record_id = summary_id(key.conversation_id)
        await self.add(RecallRecord(record_id, namespace, text, record_type=CONVERSATION_SUMMARY))

    async def forget_conversation(self, user_id: str, conversation_id: str) -> None:
        """Remove the summary of a conversation (see `SemanticMemory`).

        Raises:
            StorageUnavailable: the file cannot be written.
        """
        await asyncio.to_thread(
            self._remove, _IS_RECORD, user_namespace(user_id), summary_id(conversation_id)
        )

    async def forget_user(self, user_id: str) -> None:
        """Remove a user's memories and summaries of conversations (see `SemanticMemory`).

        Raises:
            StorageUnavailable: the file cannot be written.
        """
        await asyncio.to_thread(self._remove, _IS_WRITTEN, user_namespace(user_id), json.dumps(WRITTEN_TYPES))

    async def search(self, user_id: str, text: str, *, limit: int) -> Sequence[Match]:
        """The `limit` best matches among the user's own and the shared records, best first.

        A passage matches if it has any word of the text; more, rarer and repeated words rank it higher. Stop
        words and single letters are ignored.

        Raises:
            StorageUnavailable: the file cannot be read.
            FullTextSearchMissing: this Python's SQLite has no FTS5.
        """
        expression = match_expression(text)
        if expression is None or limit <= 0:
            return ()
        return await asyncio.to_thread(self._search, user_id, expression, limit)

    def _add(self, records: tuple[RecallRecord, ...]) -> None:
        rows = [(r.namespace, r.id, r.record_type, r.title, r.text) for r in records]
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_ADD, rows)
            connection.execute("COMMIT")

    def _remove(self, condition: str, *values: str) -> None:
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            # Before the records, whose texts the index needs to find their words.
            connection.execute(_REMOVE_WORDS + condition, values)
            connection.execute(f"DELETE FROM records WHERE {condition}", values)  # noqa: S608 (a constant)
            connection.execute("COMMIT")

    def _search(self, user_id: str, expression: str, limit: int) -> list[Match]:
        with self._opened() as connection:
            own = user_namespace(user_id)
            rows = connection.execute(_SEARCH, (expression, METHODOLOGY, own, _CONTEXT_TYPES, limit))
            return [_match(row) for row in rows]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with sqlite_errors(self._path), closing(connect(self._path)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            try:
                if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                    connection.executescript(_SCHEMA)
                yield connection
            except sqlite3.OperationalError as error:
                if "no such module" in str(error):
                    raise FullTextSearchMissing(
                        "This Python's SQLite was built without full-text search (FTS5). Use a Python whose "
                        "SQLite has it, as those of python.org, Debian and Homebrew do, or switch recall off."
                    ) from None
                raise


@decoding
def _match(row: tuple[str, str, float, str, str, str]) -> Match:
    # SQLite keeps any type in any column.
    return Match(*msgspec.convert(row, tuple[str, str, float, str, str, str]))
