"""A user's data in SQLite: damaged rows are read, and positions of other stores and versions are refused."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from coachstream.conversation.errors import InvalidCursor
from coachstream.conversation.user_data import delete_user_data
from coachstream.storage.sqlite import SqliteStore
from coachstream.storage.sqlite.user_data import SOURCES
from contracts.store_records import (
    COACH,
    KEY,
    conversation,
    memory,
    reply_to,
    store_reply,
    user_message,
)
from contracts.user_data import kinds_of, read_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coachstream.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    await store.create_conversation(conversation())
    await store_reply(store, user_message(1), reply_to(user_message(1), 2))
    await store.put_memory(KEY.user_id, "m-1", memory("m-1"))
    yield store
    await store.aclose()


@pytest.mark.usefixtures("store")
async def test_no_table_of_a_user_is_left_out(path: Path) -> None:
    """Each table that belongs to a user or to a conversation is read by one of the sources."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        of_users = {
            name
            for (name,) in tables
            for column in connection.execute(f"PRAGMA table_info({name})")
            if column[1] in {"user_id", "conversation"}
        }
    read = " ".join(source.rows for source in SOURCES)
    assert {name for name in of_users if not re.search(rf"\b{name}\b", read)} == set()


async def test_damaged_rows_are_read_as_they_are(store: SqliteStore, path: Path) -> None:
    """Documents that are not JSON are text; bytes in place of text, also as a key, stop nothing."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE coaches SET attributes = '{not JSON'")
        connection.execute("UPDATE messages SET content = x'00ff' WHERE role = 'user'")
        connection.execute("UPDATE conversations SET tags = '[', started_at = 7.5")
        connection.execute(
            "INSERT INTO memories (user_id, memory_id, attributes) VALUES (?, x'ff', x'fe')", (KEY.user_id,)
        )
        connection.commit()
    for limit in (1, 100):
        records = await read_all(store, KEY.user_id, limit=limit)
        assert kinds_of(records) == {
            "coach": 1,
            "coachConversation": 1,
            "coachMessage": 2,
            "coachRun": 2,
            "userMemory": 2,
        }
        by_id = {record.id: record.data for record in records}
        assert by_id["coach#coach-1"]["attributes"] == "{not JSON"
        assert by_id["coachConversation#coach-1#conv-1"]["tags"] == "["
        assert by_id[f"coachMessage#conv-1#{user_message(1).id}"]["content"] == b"\x00\xff"
    report = await delete_user_data(KEY.user_id, store=store, recall=None)
    assert (report.is_complete, report.memories, report.left) == (True, 2, {"coach": 1})


async def test_a_page_ends_when_it_is_large(store: SqliteStore) -> None:
    """However many records it may have: an export's memory is bounded by a page."""
    for number in range(8):
        await store.put_workout(KEY.user_id, f"w-{number}", {"notes": "x" * 300_000})
    sizes: list[int] = []
    after: str | None = None
    while True:
        page = await store.read_records(KEY.user_id, after=after)
        sizes.append(len(page.records))
        after = page.next
        if after is None:
            break
    assert len(sizes) == 3
    assert sum(sizes) == len(await read_all(store, KEY.user_id))


@pytest.mark.parametrize(
    "position",
    [
        "dynamodb:coach#coach-1",
        "sqlite:coachMessage:",
        "sqlite:coachMessage:FF",
        "sqlite:coachMessage:9223372036854775808",
        "sqlite:nothing:1",
        "sqlite:coach:xyz",
        "sqlite:coach:61\n",
        "SQLITE:coach:61",
    ],
)
async def test_another_position_is_refused(store: SqliteStore, position: str) -> None:
    """It is neither the beginning nor the end."""
    with pytest.raises(InvalidCursor):
        await store.read_records(KEY.user_id, after=position)
