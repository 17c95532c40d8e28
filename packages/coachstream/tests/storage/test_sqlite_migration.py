"""A file of an older version is migrated without losing anything."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from coachstream.conversation.model import MessageMetadata, Role, StopReason
from coachstream.conversation.run_store import AlreadyAnswered
from coachstream.storage.sqlite import SqliteStore
from coachstream.storage.sqlite.schema import SCHEMA_VERSION, migrate
from contracts.store_records import (
    COACH,
    EPOCH,
    KEY,
    NOW,
    RUN,
    begin,
    begun_for,
    ended,
    opened,
    reply_to,
    said,
    user_message,
)
from support.sqlite_version_1 import write_version_1
from support.sqlite_version_2 import write_version_2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "coachstream.db"


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def definitions_in(path: Path) -> set[tuple[str, str, str]]:
    """Kind, name and definition of every object, ignoring whitespace; for tables, their columns."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
        columns = {
            name: str(connection.execute(f"PRAGMA table_xinfo({name})").fetchall())
            for kind, name, _ in found
            if kind == "table"
        }
    return {(kind, name, columns.get(name) or " ".join(sql.split())) for kind, name, sql in found}


@pytest.fixture(params=[write_version_1, write_version_2], ids=["of the first", "of the second"])
def older_path(request: pytest.FixtureRequest, path: Path) -> Path:
    """A file of an older version."""
    request.param(path)
    return path


async def test_a_file_of_the_first_version_becomes_a_current_one(path: Path) -> None:
    """All data is kept, and a retry still finds its reply."""
    write_version_1(path)
    store = SqliteStore(path)
    question, reply = await store.load_messages(KEY)
    assert (question.role, question.content) == (Role.USER, "How?")
    assert question.metadata == MessageMetadata(client_message_id="c-1")
    assert reply.content == "So."
    assert reply.metadata == MessageMetadata("demo", StopReason.END_TURN, reply_to=question.id)
    again = await store.begin_run(KEY, user_message(1, "How?", client_id="c-1"), RUN, opened())
    assert again == AlreadyAnswered(question, reply)
    assert await store.find_recent_message(KEY, "How?", since=EPOCH) == question
    assert (await store.get_conversation(KEY)).tags == ("legs",)
    assert (await store.load_coach(KEY.user_id, KEY.coach_id)).name == "Mara"
    assert [w.summary for w in await store.load_recent_workouts(KEY.user_id, limit=5)] == ["Squats"]
    await store.aclose()
    assert version_of(path) == SCHEMA_VERSION


async def test_a_file_of_the_second_version_becomes_a_current_one(path: Path) -> None:
    """All data is kept, streamed messages stay marked, and an interrupted message can be answered."""
    write_version_2(path)
    store = SqliteStore(path)
    question, reply, interrupted, partial = await store.load_messages(KEY)
    assert question.metadata == MessageMetadata(client_message_id="c-1", streamed=True)
    assert reply.metadata == MessageMetadata("demo", StopReason.END_TURN, reply_to=question.id)
    assert (interrupted.content, interrupted.metadata.streamed) == ("And then?", False)
    assert (partial.content, partial.is_interrupted) == ("Well", True)
    again = await store.begin_run(KEY, user_message(1, "How?", client_id="c-1"), RUN, opened())
    assert again == AlreadyAnswered(question, reply)
    begun = await begin(store, user_message(1, "And then?", client_id="c-2"))
    assert begun_for(begun) == (interrupted, False)
    whole = msgspec.structs.replace(reply_to(interrupted, 1), id=partial.id.replace("abc", "xyz"))
    assert await store.finish_run(KEY, RUN, ended(1, whole), whole) is None
    assert list(await store.load_messages(KEY)) == [question, reply, interrupted, whole]
    assert (await store.get_conversation(KEY)).total_messages == 4
    await store.aclose()
    assert version_of(path) == SCHEMA_VERSION


async def test_a_migrated_file_supports_the_new_features(older_path: Path) -> None:
    """No run is unfinished at first; runs have logs, messages can be found, and memory counters continue."""
    store = SqliteStore(older_path)
    assert (await store.read_queue(KEY)).run_id is None
    message = msgspec.structs.replace(user_message(1, "Yes"), id="msg_1800000000000_aaaaaaaaa_user")
    await begin(store, message)
    assert await store.append(KEY, RUN, said(1)) is None
    assert len(await store.read_log(KEY, RUN)) == 2
    assert (await store.read_queue(KEY)).run_id == RUN
    assert await store.find_recent_message(KEY, "Yes", since=EPOCH) == message
    [before] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
    [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert (loaded.content, loaded.usage_count) == ("Hates burpees", before.usage_count + 1)
    await store.aclose()


async def test_an_older_file_ends_up_like_a_new_one(older_path: Path) -> None:
    """Tables, columns and indexes are equal, so no published migration was changed afterwards."""
    new_path = older_path.with_name("new.db")
    for each in (older_path, new_path):
        store = SqliteStore(each)
        await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
        await store.aclose()
    assert definitions_in(older_path) == definitions_in(new_path)


async def test_stores_that_open_an_older_file_at_once_change_it_once(older_path: Path) -> None:
    """Every store works, whichever migrates the file."""
    stores = [SqliteStore(older_path) for _ in range(6)]
    loaded = await asyncio.gather(*(store.load_messages(KEY) for store in stores))
    assert [messages[1].content for messages in loaded] == ["So."] * 6
    for store in stores:
        await store.aclose()


def test_a_step_that_fails_leaves_the_file_as_it_was(older_path: Path) -> None:
    """A migration is all or nothing; the next attempt starts from the same version."""
    version = version_of(older_path)
    before = definitions_in(older_path)
    with closing(sqlite3.connect(older_path, isolation_level=None)) as connection:
        connection.set_authorizer(
            lambda action, *_: (
                sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_CREATE_INDEX else sqlite3.SQLITE_OK
            )
        )
        with pytest.raises(sqlite3.DatabaseError):
            migrate(connection, version)
    assert (definitions_in(older_path), version_of(older_path)) == (before, version)
    with closing(sqlite3.connect(older_path, isolation_level=None)) as connection:
        migrate(connection, version)
    assert version_of(older_path) == SCHEMA_VERSION
