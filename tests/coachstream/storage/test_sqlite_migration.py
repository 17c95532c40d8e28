"""A file of an older version becomes a current one, and nothing in it is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from coachstream.conversation.model import MessageMetadata, Role, StopReason
from coachstream.storage.sqlite import SqliteStore
from coachstream.storage.sqlite.schema import SCHEMA_VERSION, migrate
from contracts.conversation_store import COACH, EPOCH, KEY, NOW, user_message
from support.sqlite_version_1 import write_version_1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "coachstream.db"


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def definitions_in(path: Path) -> set[tuple[str, str, str]]:
    """Kind, name and definition of everything, whatever the blanks; of tables, their columns."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
        columns = {
            name: str(connection.execute(f"PRAGMA table_xinfo({name})").fetchall())
            for kind, name, _ in found
            if kind == "table"
        }
    return {(kind, name, columns.get(name) or " ".join(sql.split())) for kind, name, sql in found}


async def test_a_file_of_the_first_version_becomes_a_current_one(path: Path) -> None:
    """Everything is still there, a retry still finds its reply, and nothing old counts as streamed."""
    write_version_1(path)
    store = SqliteStore(path)
    question, reply = await store.load_messages(KEY)
    assert (question.role, question.content) == (Role.USER, "How?")
    assert question.metadata == MessageMetadata(client_message_id="c-1")
    assert reply.content == "So."
    assert reply.metadata == MessageMetadata("demo", StopReason.END_TURN, reply_to=question.id)
    assert (await store.begin_turn(KEY, user_message(1, client_id="c-1"))).reply == reply
    assert await store.find_streamed_message(KEY, "How?", since=EPOCH) is None
    assert (await store.get_conversation(KEY)).tags == ("legs",)
    assert (await store.load_coach(KEY.user_id, KEY.coach_id)).name == "Mara"
    assert [w.summary for w in await store.load_recent_workouts(KEY.user_id, limit=5)] == ["Squats"]
    await store.aclose()
    assert version_of(path) == SCHEMA_VERSION


async def test_a_file_of_the_first_version_can_do_what_is_new(path: Path) -> None:
    """Streamed messages are found, memories are counted on."""
    write_version_1(path)
    store = SqliteStore(path)
    said = user_message(1, "Yes", streamed=True)
    await store.begin_turn(KEY, said)
    assert await store.find_streamed_message(KEY, "Yes", since=EPOCH) == said
    await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
    [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert (loaded.content, loaded.usage_count) == ("Hates burpees", 4)
    await store.aclose()


async def test_an_older_file_ends_up_like_a_new_one(path: Path) -> None:
    """The same tables, columns and indexes: no published step was changed afterwards."""
    write_version_1(path)
    new_path = path.with_name("new.db")
    for each in (path, new_path):
        store = SqliteStore(each)
        await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
        await store.aclose()
    assert definitions_in(path) == definitions_in(new_path)


async def test_stores_that_open_an_older_file_at_once_change_it_once(path: Path) -> None:
    """Each works, whoever comes first."""
    write_version_1(path)
    stores = [SqliteStore(path) for _ in range(6)]
    loaded = await asyncio.gather(*(store.load_messages(KEY) for store in stores))
    assert [len(messages) for messages in loaded] == [2] * 6
    for store in stores:
        await store.aclose()


def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    """Half a migration is none; the next attempt begins where this one did."""
    write_version_1(path)
    before = definitions_in(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.set_authorizer(
            lambda action, *_: (
                sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_CREATE_INDEX else sqlite3.SQLITE_OK
            )
        )
        with pytest.raises(sqlite3.DatabaseError):
            migrate(connection, 1)
    assert (definitions_in(path), version_of(path)) == (before, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, 1)
    assert version_of(path) == SCHEMA_VERSION
