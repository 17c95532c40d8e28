"""One process and its database file: first use, closing, waiting, cancellation, and foreign files."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coachstream.conversation.errors import StorageUnavailable
from coachstream.conversation.model import (
    ConversationChange,
    ConversationKey,
    Importance,
    Memory,
    Message,
    format_timestamp,
)
from coachstream.conversation.run_log import encode_entry
from coachstream.conversation.run_store import ConversationBusy
from coachstream.storage.sqlite import SqliteStore, UnusableDatabase
from coachstream.storage.sqlite.schema import SCHEMA_VERSION
from contracts.store_records import (
    ANOTHER_WRITER,
    COACH,
    EPOCH,
    KEY,
    NEXT_RUN,
    NOW,
    RUN,
    begin,
    conversation,
    ended,
    memory,
    opened,
    reply_to,
    said,
    store_reply,
    user_message,
)

SHOPPING_LIST = "Shopping list: eggs. " * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "coachstream.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    await store.aclose()


@pytest.fixture
async def seeded(store: SqliteStore) -> SqliteStore:
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    await store.create_conversation(conversation())
    return store


@pytest.fixture
def outsider(seeded: SqliteStore, path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the file."""
    assert seeded is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def files_in(folder: Path) -> list[Path]:
    return [entry for entry in folder.rglob("*") if entry.is_file()]


def modes_in(folder: Path) -> dict[str, int]:
    """The permissions of everything in a folder."""
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in folder.rglob("*")}


def stored_memory(outsider: sqlite3.Connection) -> dict[str, object]:
    """The stored document of the only memory."""
    [(document,)] = outsider.execute("SELECT attributes FROM memories").fetchall()
    return msgspec.json.decode(document, type=dict[str, object])


async def test_nothing_is_created_before_the_first_use(path: Path) -> None:
    """A store that is created and closed leaves no trace."""
    store = SqliteStore(path)
    assert files_in(path.parent) == []
    await store.aclose()
    assert files_in(path.parent) == []


async def test_closing_leaves_the_database_and_nothing_else(seeded: SqliteStore, path: Path) -> None:
    """No journal and no lock remain; closing twice is harmless, and a later use opens the file again."""
    await begin(seeded, user_message(1))
    await seeded.aclose()
    await seeded.aclose()
    assert files_in(path.parent) == [path]
    assert len(await seeded.load_messages(KEY)) == 1


async def test_a_run_outlives_the_store_that_began_it(seeded: SqliteStore, path: Path) -> None:
    """Another store finds it, reads it and ends it; the first store then gets the entry that ended it."""
    message = user_message(1)
    await begin(seeded, message)
    await seeded.append(KEY, RUN, said(1))
    await seeded.aclose()
    other = SqliteStore(path)
    assert await other.begin_run(KEY, user_message(2), NEXT_RUN, opened()) == ConversationBusy(RUN, None)
    assert await other.read_last(KEY, RUN) == said(1)
    end = ended(2, writer=ANOTHER_WRITER)
    assert await other.finish_run(KEY, RUN, end, None) is None
    reply = reply_to(message, 3)
    assert await seeded.finish_run(KEY, RUN, ended(2, reply), reply) == end
    assert list(await seeded.load_messages(KEY)) == [message]
    await other.aclose()


async def test_reads_go_on_while_another_program_writes(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """A write waits for the other program's, a read does not, and the event loop keeps running."""
    outsider.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(seeded.change_conversation(KEY, ConversationChange(title="New")))
    assert (await seeded.get_conversation(KEY)).title == "Squats"
    assert not writing.done()
    outsider.execute("COMMIT")
    assert (await writing).title == "New"


async def test_a_cancelled_begin_is_all_or_nothing(seeded: SqliteStore, outsider: sqlite3.Connection) -> None:
    """A call cancelled during the save leaves either a run with its message and log, or nothing."""
    outsider.execute("BEGIN IMMEDIATE")
    beginning = asyncio.create_task(begin(seeded, user_message(1)))
    # The read returns only after the begin was submitted to its thread.
    await seeded.get_conversation(KEY)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    outsider.execute("COMMIT")
    await seeded.change_conversation(KEY, ConversationChange(title="Later"))  # the thread works in order
    has_begun = (await seeded.read_queue(KEY)).run_id == RUN
    assert len(await seeded.load_messages(KEY)) == int(has_begun)
    assert len(await seeded.read_log(KEY, RUN)) == int(has_begun)
    assert (await seeded.get_conversation(KEY)).total_messages == int(has_begun)


async def test_a_failed_end_leaves_nothing_behind(seeded: SqliteStore, outsider: sqlite3.Connection) -> None:
    """No part of the failed end is stored, and the reply can be stored by a retry."""
    message = user_message(1)
    reply = reply_to(message, 2)
    await begin(seeded, message)
    outsider.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE OF unfinished_run ON conversations"
        " BEGIN SELECT raise(ABORT, 'no'); END"
    )
    with pytest.raises(StorageUnavailable):
        await seeded.finish_run(KEY, RUN, ended(1, reply), reply)
    outsider.execute("DROP TRIGGER refuse")
    assert (await seeded.read_queue(KEY)).run_id == RUN
    assert len(await seeded.read_log(KEY, RUN)) == 1
    assert list(await seeded.load_messages(KEY)) == [message]
    assert await seeded.finish_run(KEY, RUN, ended(1, reply), reply) is None
    assert list(await seeded.load_messages(KEY)) == [message, reply]


@pytest.mark.parametrize(
    "refused",
    ["INSERT ON log_entries", "INSERT ON messages", "UPDATE OF unfinished_run ON conversations"],
)
async def test_a_failed_begin_leaves_nothing_behind(
    seeded: SqliteStore, outsider: sqlite3.Connection, refused: str
) -> None:
    """Whichever statement fails, the conversation stays free and nothing is half written."""
    outsider.execute(f"CREATE TRIGGER refuse BEFORE {refused} BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(StorageUnavailable):
        await begin(seeded, user_message(1))
    outsider.execute("DROP TRIGGER refuse")
    assert list(await seeded.load_messages(KEY)) == []
    assert list(await seeded.read_log(KEY, RUN)) == []
    assert (await seeded.get_conversation(KEY)).total_messages == 0
    assert (await begin(seeded, user_message(1))).is_first_attempt


async def test_text_that_is_no_unicode_is_refused_without_quoting_it(seeded: SqliteStore) -> None:
    """A lone surrogate cannot be encoded as UTF-8; the error must not contain the message."""
    with pytest.raises(StorageUnavailable) as refused:
        await begin(seeded, user_message(1, "secret \ud83d"))
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(StorageUnavailable):
        await seeded.put_coach(KEY.user_id, "half", {"coach_name": "secret \ud83d"})
    await begin(seeded, user_message(1))
    with pytest.raises(StorageUnavailable) as refused:
        await seeded.append(KEY, RUN, said(1, "secret \ud83d"))
    assert "secret" not in str(refused.value)
    assert await seeded.append(KEY, RUN, said(1)) is None


async def test_ids_may_be_anything(store: SqliteStore) -> None:
    """Ids come from URL paths: slashes, dots, quotes, control characters and length must do no harm."""
    for name in ("../../etc/passwd", "a/b", "", "\0", "'; --", "ü" * 5000, "con\n"):
        key = ConversationKey(name, name, name)
        await store.put_coach(name, name, COACH)
        await store.create_conversation(conversation(key))
        reply = reply_to(user_message(1), 2)
        await begin(store, user_message(1), name, key=key)
        assert await store.append(key, name, said(1)) is None
        assert await store.finish_run(key, name, ended(2, reply), reply) is None
        assert len(await store.load_messages(key)) == 2
        assert len(await store.read_log(key, name)) == 3


async def test_history_reads_no_message_that_it_does_not_need(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """Messages beyond the budget are not read, so an unreadable one there does no harm."""
    message = user_message(1, "12345")
    await store_reply(seeded, message, reply_to(message, 2, "12345"))
    outsider.execute(
        "INSERT INTO messages (conversation, id, role, content, timestamp) VALUES (1, 'msg_0', '?', '', '?')"
    )
    loaded = await seeded.load_history(KEY, limit=100, budget_chars=10)
    assert [message.content for message in loaded] == ["12345", "12345"]
    assert len(await seeded.load_history(KEY, limit=2, budget_chars=1_000)) == 2
    with pytest.raises(UnusableDatabase):
        await seeded.load_history(KEY, limit=100, budget_chars=11)


async def test_a_memory_is_kept_in_the_existing_systems_shape(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """A saved memory has all its attributes, and a null coach if it names none."""
    saved = Memory("m", "Hates burpees", "preference", Importance.LOW, NOW, tags=("a",))
    await seeded.save_memory(KEY.user_id, saved)
    assert stored_memory(outsider) == {
        "memoryId": "m",
        "userId": KEY.user_id,
        "coachId": None,
        "content": "Hates burpees",
        "memoryType": "preference",
        "metadata": {
            "createdAt": format_timestamp(NOW),
            "usageCount": 0,
            "source": "conversation",
            "importance": "low",
            "tags": ["a"],
        },
    }


async def test_unknown_attributes_of_a_memory_are_kept(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """Counting changes only the counter and the date, saving again only the content."""
    stored = dict(memory("m")) | {"new_field": [1, {"a": None}], "coachId": 7}
    metadata = {"usageCount": 4, "importance": "?", "lifecycle": {"state": "é"}, "tags": "a, b"}
    await seeded.put_memory(KEY.user_id, "m", stored | {"metadata": metadata})
    await seeded.note_memories_used(KEY.user_id, ["m"], at=NOW)
    again = Memory("m", "Other words", "goal", Importance.HIGH, NOW, coach_id="coach-9", tags=("b",))
    await seeded.save_memory(KEY.user_id, again)
    assert stored_memory(outsider) == stored | {
        "content": "Other words",
        "metadata": metadata | {"usageCount": 5, "lastUsed": format_timestamp(NOW)},
    }


async def test_a_deleted_memory_stays_gone(seeded: SqliteStore, outsider: sqlite3.Connection) -> None:
    """Counting it does nothing; the other memories of the same call are counted."""
    for name in ("gone", "m"):
        await seeded.put_memory(KEY.user_id, name, memory(name))
    outsider.execute("DELETE FROM memories WHERE memory_id = 'gone'")
    await seeded.note_memories_used(KEY.user_id, ["gone", "m"], at=NOW)
    [loaded] = await seeded.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert (loaded.id, loaded.usage_count) == ("m", 1)


async def test_uses_are_counted_together_or_not_at_all(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """If one memory cannot be counted, the call fails and none is."""
    for name in ("a", "b"):
        await seeded.put_memory(KEY.user_id, name, memory(name))
    outsider.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON memories WHEN old.memory_id = 'b'"
        " BEGIN SELECT raise(ABORT, 'no'); END"
    )
    with pytest.raises(StorageUnavailable):
        await seeded.note_memories_used(KEY.user_id, ["a", "b"], at=NOW)
    loaded = await seeded.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert [each.usage_count for each in loaded] == [0, 0]


@pytest.mark.parametrize("total", [4, 4.0, "4", Decimal(4)])
async def test_a_coachs_counter_goes_on_in_whatever_form_it_was_stored(
    seeded: SqliteStore, path: Path, total: object
) -> None:
    """Numbers from DynamoDB are decimals, which JSON stores as text."""
    await seeded.put_coach(KEY.user_id, "odd", {"metadata": {"total_conversations": total}})
    await seeded.create_conversation(conversation(ConversationKey(KEY.user_id, "odd", "c")))
    await seeded.aclose()
    with closing(sqlite3.connect(path)) as connection:
        [(attributes,)] = connection.execute("SELECT attributes FROM coaches WHERE coach_id = 'odd'")
    assert attributes == '{"metadata":{"total_conversations":5}}'


async def test_unknown_attributes_of_a_coach_are_kept(seeded: SqliteStore, path: Path) -> None:
    """Counting a conversation changes only the counter, even if there was none."""
    await seeded.put_coach(KEY.user_id, "odd", {"coach_name": "Odd", "new_field": [1, {"a": None}]})
    await seeded.create_conversation(conversation(ConversationKey(KEY.user_id, "odd", "c")))
    await seeded.aclose()
    with closing(sqlite3.connect(path)) as connection:
        [(attributes,)] = connection.execute("SELECT attributes FROM coaches WHERE coach_id = 'odd'")
    assert attributes == (
        '{"coach_name":"Odd","new_field":[1,{"a":null}],"metadata":{"total_conversations":1}}'
    )


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """The error names the file and the remedy; the file stays unchanged."""
    list_path = tmp_path / "coachstream.db"
    list_path.write_text(SHOPPING_LIST)
    store = SqliteStore(list_path)
    with pytest.raises(UnusableDatabase, match=r"coachstream\.db is not a database.*Move it away"):
        await store.get_conversation(KEY)
    await store.aclose()
    assert list_path.read_text() == SHOPPING_LIST


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE messages SET content = CAST(x'68756e74657232ff' AS TEXT)",
        "UPDATE messages SET content = x'68756e74657232'",
        "UPDATE messages SET role = 'hunter2'",
        "UPDATE messages SET timestamp = 'hunter2'",
        "UPDATE messages SET stop_reason = 'hunter2'",
        "UPDATE coaches SET attributes = '[\"hunter2\"]'",
        "UPDATE coaches SET attributes = CAST(x'68756e74657232ff' AS TEXT)",
        "UPDATE conversations SET tags = '{\"hunter2\": 1}'",
        "UPDATE conversations SET title = CAST(x'68756e74657232ff' AS TEXT)",
        "UPDATE conversations SET total_messages = 'hunter2'",
        "UPDATE memories SET attributes = '\"hunter2\"'",
        "UPDATE workouts SET attributes = 'hunter2'",
        'UPDATE log_entries SET entry = \'{"number": "hunter2"}\'',
        "UPDATE log_entries SET entry = CAST(x'68756e74657232ff' AS TEXT)",
    ],
)
async def test_damaged_values_make_the_file_unusable_and_are_not_quoted(
    seeded: SqliteStore, outsider: sqlite3.Connection, path: Path, damage: str
) -> None:
    """Whichever column is damaged, the error is not retryable, names the file and quotes nothing from it."""
    message = user_message(1)
    await begin(seeded, message)
    await seeded.append(KEY, RUN, said(1))
    await seeded.put_memory(KEY.user_id, "m", memory("m"))
    await seeded.put_workout(KEY.user_id, "w", {"workoutId": "w"})
    outsider.execute("PRAGMA ignore_check_constraints = ON")
    outsider.execute(damage)
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "messages": lambda: seeded.load_messages(KEY),
        "coaches": lambda: seeded.load_coach(KEY.user_id, KEY.coach_id),
        "conversations": lambda: seeded.get_conversation(KEY),
        "memories": lambda: seeded.load_memories(KEY.user_id, KEY.coach_id, limit=5),
        "workouts": lambda: seeded.load_recent_workouts(KEY.user_id, limit=5),
        "log_entries": lambda: seeded.read_log(KEY, RUN),
    }
    with pytest.raises(UnusableDatabase) as refused:
        await reads[damage.split()[1]]()
    assert not refused.value.retryable
    assert str(path) in str(refused.value)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


async def test_a_failure_of_sqlite_is_named_and_not_quoted(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """The error code says what is wrong; SQLite's message may contain user text."""
    outsider.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON conversations BEGIN SELECT raise(ABORT, 'hunter2'); END"
    )
    with pytest.raises(StorageUnavailable) as refused:
        await seeded.change_conversation(KEY, ConversationChange(title="New"))
    assert str(refused.value) == "SQLite: SQLITE_CONSTRAINT_TRIGGER"
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


async def test_an_overwritten_page_makes_the_file_unusable(seeded: SqliteStore, path: Path) -> None:
    """SQLite detects the damage; a retry would not help."""
    await seeded.aclose()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"hunter2 " * 3_000)
    with pytest.raises(UnusableDatabase) as refused:
        await seeded.load_messages(KEY)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
async def test_files_and_folders_are_private_to_their_owner_under_any_umask(
    tmp_path: Path, umask: int
) -> None:
    """This covers the database, the files that SQLite writes next to it, and the folders it creates."""
    path = tmp_path / "made" / "for" / "coachstream.db"
    store = SqliteStore(path)
    former = os.umask(umask)
    try:
        await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
        modes = modes_in(tmp_path)
    finally:
        os.umask(former)
        await store.aclose()
    folders = {"made": 0o700, "for": 0o700}
    files = dict.fromkeys(("coachstream.db", "coachstream.db-wal", "coachstream.db-shm"), 0o600)
    assert modes == folders | files


async def test_files_that_are_open_to_others_are_closed_to_them(
    seeded: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Earlier versions created such files. It works while the database is in use; the folder stays."""
    path.parent.chmod(0o755)
    for file in files_in(path.parent):
        file.chmod(0o644)
    other = SqliteStore(path)
    assert await other.load_messages(KEY) == []
    assert set(modes_in(path.parent).values()) == {0o600}
    assert modes_in(path.parent.parent)[path.parent.name] == 0o755
    assert f"{path} was accessible to other users" in caplog.text
    assert await seeded.load_messages(KEY) == []
    await other.aclose()


async def test_a_database_behind_a_symlink_is_private_too(tmp_path: Path) -> None:
    """SQLite follows the link and writes next to its target."""
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "coachstream.db"
    link.symlink_to(tmp_path / "elsewhere" / "real.db")
    store = SqliteStore(link)
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    assert set(modes_in(tmp_path / "elsewhere").values()) == {0o600}
    await store.aclose()


async def test_a_file_of_a_newer_version_is_left_alone(seeded: SqliteStore, path: Path) -> None:
    """An older program does not guess at a newer schema."""
    await seeded.aclose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(UnusableDatabase, match="newer version of coachstream"):
        await seeded.get_conversation(KEY)
    with pytest.raises(UnusableDatabase):
        await begin(seeded, user_message(1))


async def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    """Unknown tables mean that the file belongs to another program."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (address)")
    store = SqliteStore(path)
    with pytest.raises(UnusableDatabase, match="another program's database"):
        await store.put_coach("u", "c", COACH)
    await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]


async def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """A file exists at the folder's path."""
    (tmp_path / "data").write_text("")
    store = SqliteStore(tmp_path / "data" / "coachstream.db")
    with pytest.raises(StorageUnavailable, match="cannot be created"):
        await store.get_conversation(KEY)
    await store.aclose()


async def test_old_logs_are_deleted_when_a_run_begins(seeded: SqliteStore, path: Path) -> None:
    """Entries older than a day are deleted in every conversation; messages stay."""
    clock = SteeredClock()
    store = SqliteStore(path, now=clock)
    other = ConversationKey(KEY.user_id, KEY.coach_id, "conv-2")
    await seeded.create_conversation(conversation(other))
    await answer_slowly(store, user_message(1), RUN)
    clock.pass_by(hours=23)
    await begin(store, user_message(10), NEXT_RUN)
    clock.pass_by(hours=1)
    await begin(store, user_message(20), "run_2", key=other)
    assert len(await store.read_log(KEY, RUN)) == 3
    clock.pass_by(milliseconds=1)
    await store.finish_run(other, "run_2", ended(1), None)
    await begin(store, user_message(30), "run_3", key=other)
    assert list(await store.read_log(KEY, RUN)) == []
    assert len(await store.read_log(KEY, NEXT_RUN)) == 1
    assert len(await store.read_log(other, "run_2")) == 2
    assert len(await store.load_messages(KEY)) == 3
    await store.aclose()


async def test_an_unfinished_run_keeps_its_log_and_blocks_until_it_is_ended(path: Path) -> None:
    """However old it is, it can be read and ended after its last entry; only then is its log deleted."""
    clock = SteeredClock()
    store = SqliteStore(path, now=clock)
    other = ConversationKey(KEY.user_id, KEY.coach_id, "conv-2")
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    for key in (KEY, other):
        await store.create_conversation(conversation(key))
    await begin(store, user_message(1))
    clock.pass_by(hours=25)
    await begin(store, user_message(2), NEXT_RUN, key=other)
    assert [entry.number for entry in await store.read_log(KEY, RUN)] == [0]
    busy = await store.begin_run(KEY, user_message(1), NEXT_RUN, opened())
    assert busy == ConversationBusy(RUN, user_message(1))
    assert await store.finish_run(KEY, RUN, ended(1), None) is None
    clock.pass_by(hours=25)
    assert not (await begin(store, user_message(1), NEXT_RUN)).is_first_attempt
    assert list(await store.read_log(KEY, RUN)) == []
    await store.aclose()


async def test_a_begin_deletes_at_most_a_thousand_old_entries(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """Of very many old entries the oldest thousand go first, so that a run is not delayed."""
    outsider.executemany(
        "INSERT INTO log_entries (conversation, run_id, number, entry, written_at)"
        " VALUES (1, 'old', ?, ?, ?)",
        (
            (n, encode_entry(said(n)), format_timestamp(NOW - timedelta(days=3) + timedelta(seconds=n)))
            for n in range(2_500)
        ),
    )
    left = []
    for number in range(3):
        await store_reply(
            seeded, user_message(2 * number), reply_to(user_message(2 * number), 2 * number + 1)
        )
        left.append([entry.number for entry in await seeded.read_log(KEY, "old")])
    assert left == [list(range(1_000, 2_500)), list(range(2_000, 2_500)), []]


async def test_a_run_costs_the_same_in_a_long_conversation(
    seeded: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 20,000 messages and log entries, SQLite executes about as many steps as with 200."""
    steps = _count_steps(monkeypatch)
    await seeded.aclose()
    short = await _steps_of_runs(seeded, 100, steps)
    await seeded.aclose()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO messages (conversation, id, role, content, timestamp, client_message_id)"
            " VALUES (1, ?, 'user', ?, ?, ?)",
            (
                (f"msg_{0:013d}_{n:09d}_user", "word " * 50, format_timestamp(NOW), f"client-{n}")
                for n in range(20_000)
            ),
        )
        connection.executemany(
            "INSERT INTO log_entries (conversation, run_id, number, entry, written_at)"
            " VALUES (1, ?, ?, ?, ?)",
            (
                (f"run_{n % 100}", n // 100, encode_entry(said(n // 100)), format_timestamp(NOW))
                for n in range(20_000)
            ),
        )
    long = await _steps_of_runs(seeded, 1000, steps)
    assert short > 0
    assert long < 1.5 * short


class SteeredClock:
    """Returns the time it was set to."""

    def __init__(self) -> None:
        self._now = NOW

    def __call__(self) -> datetime:
        return self._now

    def pass_by(self, **time: float) -> None:
        self._now += timedelta(**time)


async def answer_slowly(store: SqliteStore, message: Message, run: str) -> None:
    """A run with one segment."""
    reply = reply_to(message, 2)
    await begin(store, message, run)
    assert await store.append(KEY, run, said(1, reply.content)) is None
    assert await store.finish_run(KEY, run, ended(2, reply), reply) is None


def _count_steps(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count, in tens, the virtual machine steps of SQLite connections opened from now on."""
    steps: Counter[str] = Counter()
    connect = sqlite3.connect

    def counting(*args: Any, **more: Any) -> sqlite3.Connection:  # noqa: ANN401 (whatever connect takes)
        connection: sqlite3.Connection = connect(*args, **more)
        connection.set_progress_handler(lambda: steps.update(["tens"]), 10)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counting)
    return steps


async def _steps_of_runs(store: SqliteStore, first: int, steps: Counter[str]) -> int:
    """The steps of many runs, except the first, which opens the file."""
    before = 0
    for number in range(first, first + 100, 2):
        run = f"run_{number}_{first}"
        message = user_message(number, client_id=f"c-{number}")
        reply = reply_to(message, number + 1)
        await store.find_recent_message(KEY, "anything", since=EPOCH + timedelta(milliseconds=number))
        await begin(store, message, run)
        await store.load_history(KEY, limit=20, budget_chars=10_000)
        for at in range(1, 4):
            await store.append(KEY, run, said(at))
        assert len(await store.read_log(KEY, run, after=2)) == 1
        assert await store.finish_run(KEY, run, ended(4, reply), reply) is None
        before = before or steps["tens"]
    return steps["tens"] - before
