"""One process and its file: first use, closing, waiting, cancelling, and files that are not ours."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from coachstream.conversation.errors import StorageUnavailable, TurnInProgress
from coachstream.conversation.model import (
    ConversationChange,
    ConversationKey,
    Importance,
    Memory,
    format_timestamp,
)
from coachstream.storage.sqlite import SqliteStore, UnusableDatabase
from coachstream.storage.sqlite.schema import SCHEMA_VERSION
from contracts.conversation_store import COACH, KEY, NOW, conversation, memory, reply_to, user_message

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


def stored_memory(outsider: sqlite3.Connection) -> dict[str, object]:
    """The document of the only memory."""
    [(document,)] = outsider.execute("SELECT attributes FROM memories").fetchall()
    return msgspec.json.decode(document, type=dict[str, object])


async def test_nothing_is_created_before_the_first_use(path: Path) -> None:
    """A store that is made and closed leaves no trace."""
    store = SqliteStore(path)
    assert files_in(path.parent) == []
    await store.aclose()
    assert files_in(path.parent) == []


async def test_closing_leaves_the_database_and_nothing_else(seeded: SqliteStore, path: Path) -> None:
    """No log, no lock; closing twice is as good as once, and a later use opens the file again."""
    await seeded.begin_turn(KEY, user_message(1))
    await seeded.aclose()
    await seeded.aclose()
    assert files_in(path.parent) == [path]
    assert len(await seeded.load_messages(KEY)) == 1


async def test_closing_gives_the_claims_up(seeded: SqliteStore, path: Path) -> None:
    """Another store takes over; the old claim cannot write any more."""
    claim = await seeded.begin_turn(KEY, user_message(1))
    other = SqliteStore(path)
    with pytest.raises(TurnInProgress):
        await other.begin_turn(KEY, user_message(2))
    await seeded.aclose()
    await other.begin_turn(KEY, user_message(2))
    with pytest.raises(StorageUnavailable):
        await seeded.save_reply(claim, reply_to(claim.user_message, 3))
    await other.aclose()


async def test_two_stores_of_one_process_are_two_claimants(seeded: SqliteStore, path: Path) -> None:
    """A claim is of the store that made it: another store cannot write with it."""
    claim = await seeded.begin_turn(KEY, user_message(1))
    other = SqliteStore(path)
    with pytest.raises(StorageUnavailable):
        await other.save_reply(claim, reply_to(claim.user_message, 3))
    await seeded.save_reply(claim, reply_to(claim.user_message, 3))
    await other.aclose()


async def test_reads_go_on_while_another_program_writes(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """A write waits for the other's, a read does not, and the event loop runs."""
    outsider.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(seeded.change_conversation(KEY, ConversationChange(title="New")))
    assert (await seeded.get_conversation(KEY)).title == "Squats"
    assert not writing.done()
    outsider.execute("COMMIT")
    assert (await writing).title == "New"


async def test_a_cancelled_turn_claims_nothing(seeded: SqliteStore, outsider: sqlite3.Connection) -> None:
    """A turn that is cancelled while its message is being saved blocks no other; the message is stored."""
    outsider.execute("BEGIN IMMEDIATE")
    beginning = asyncio.create_task(seeded.begin_turn(KEY, user_message(1)))
    # The read passes through the loop only after the turn has gone to its thread.
    await seeded.get_conversation(KEY)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    outsider.execute("COMMIT")
    await seeded.begin_turn(KEY, user_message(2))
    assert [message.id for message in await seeded.load_messages(KEY)] in (
        [user_message(1).id, user_message(2).id],
        [user_message(2).id],  # the thread had not begun
    )


async def test_a_failed_save_keeps_the_claim(seeded: SqliteStore, outsider: sqlite3.Connection) -> None:
    """A reply that could not be stored can be stored again, and nobody else begins meanwhile."""
    claim = await seeded.begin_turn(KEY, user_message(1))
    outsider.execute("ALTER TABLE messages RENAME TO hidden")
    with pytest.raises(StorageUnavailable):
        await seeded.save_reply(claim, reply_to(claim.user_message, 2))
    outsider.execute("ALTER TABLE hidden RENAME TO messages")
    with pytest.raises(TurnInProgress):
        await seeded.begin_turn(KEY, user_message(3))
    await seeded.save_reply(claim, reply_to(claim.user_message, 2))
    assert len(await seeded.load_messages(KEY)) == 2


async def test_a_failed_beginning_claims_nothing(seeded: SqliteStore, outsider: sqlite3.Connection) -> None:
    """Where the message cannot be stored the conversation stays free, and nothing is half written."""
    outsider.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON conversations BEGIN SELECT raise(ABORT, 'no'); END"
    )
    with pytest.raises(StorageUnavailable):
        await seeded.begin_turn(KEY, user_message(1))
    outsider.execute("DROP TRIGGER refuse")
    assert list(await seeded.load_messages(KEY)) == []
    await seeded.begin_turn(KEY, user_message(1))


async def test_text_that_is_no_unicode_is_refused_without_quoting_it(seeded: SqliteStore) -> None:
    """Half a surrogate pair has no UTF-8; the error does not hold the message."""
    with pytest.raises(StorageUnavailable) as refused:
        await seeded.begin_turn(KEY, user_message(1, "secret \ud83d"))
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(StorageUnavailable):
        await seeded.put_coach(KEY.user_id, "half", {"coach_name": "secret \ud83d"})
    await seeded.begin_turn(KEY, user_message(1))


async def test_ids_may_be_anything(store: SqliteStore) -> None:
    """Ids come from paths: slashes, dots, quotes, control characters and great length harm nothing."""
    for name in ("../../etc/passwd", "a/b", "", "\0", "'; --", "ü" * 5000, "con\n"):
        key = ConversationKey(name, name, name)
        await store.put_coach(name, name, COACH)
        await store.create_conversation(conversation(key))
        claim = await store.begin_turn(key, user_message(1))
        await store.save_reply(claim, reply_to(claim.user_message, 2))
        assert len(await store.load_messages(key)) == 2


async def test_history_reads_no_message_that_it_does_not_need(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """What lies behind the budget is not looked at: a message there that nobody can read does no harm."""
    claim = await seeded.begin_turn(KEY, user_message(1, "12345"))
    await seeded.save_reply(claim, reply_to(claim.user_message, 2, "12345"))
    outsider.execute(
        "INSERT INTO messages (conversation, id, role, content, timestamp) VALUES (1, 'msg_0', '?', '', '?')"
    )
    loaded = await seeded.load_history(KEY, limit=100, budget_chars=10)
    assert [message.content for message in loaded] == ["12345", "12345"]
    assert len(await seeded.load_history(KEY, limit=2, budget_chars=1_000)) == 2
    with pytest.raises(ValueError, match="not a valid Role"):
        await seeded.load_history(KEY, limit=100, budget_chars=11)


async def test_a_memory_is_kept_in_the_existing_systems_shape(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """A saved one has all its attributes; one that names no coach says so."""
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
    """Counting changes the counter and the date, saving again the content, and both nothing else."""
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
    """Counting it does nothing, and the others of the same call are counted."""
    for name in ("gone", "m"):
        await seeded.put_memory(KEY.user_id, name, memory(name))
    outsider.execute("DELETE FROM memories WHERE memory_id = 'gone'")
    await seeded.note_memories_used(KEY.user_id, ["gone", "m"], at=NOW)
    [loaded] = await seeded.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert (loaded.id, loaded.usage_count) == ("m", 1)


async def test_uses_are_counted_together_or_not_at_all(
    seeded: SqliteStore, outsider: sqlite3.Connection
) -> None:
    """Where one of them cannot be counted the call fails, and none is."""
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
    """Numbers that came from DynamoDB are decimals, which JSON holds as text."""
    await seeded.put_coach(KEY.user_id, "odd", {"metadata": {"total_conversations": total}})
    await seeded.create_conversation(conversation(ConversationKey(KEY.user_id, "odd", "c")))
    await seeded.aclose()
    with closing(sqlite3.connect(path)) as connection:
        [(attributes,)] = connection.execute("SELECT attributes FROM coaches WHERE coach_id = 'odd'")
    assert attributes == '{"metadata":{"total_conversations":5}}'


async def test_unknown_attributes_of_a_coach_are_kept(seeded: SqliteStore, path: Path) -> None:
    """Counting a conversation changes the counter and nothing else, also where there was none."""
    await seeded.put_coach(KEY.user_id, "odd", {"coach_name": "Odd", "new_field": [1, {"a": None}]})
    await seeded.create_conversation(conversation(ConversationKey(KEY.user_id, "odd", "c")))
    await seeded.aclose()
    with closing(sqlite3.connect(path)) as connection:
        [(attributes,)] = connection.execute("SELECT attributes FROM coaches WHERE coach_id = 'odd'")
    assert attributes == (
        '{"coach_name":"Odd","new_field":[1,{"a":null}],"metadata":{"total_conversations":1}}'
    )


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """The error names the file and what to do; the file is as it was."""
    list_path = tmp_path / "coachstream.db"
    list_path.write_text(SHOPPING_LIST)
    store = SqliteStore(list_path)
    with pytest.raises(UnusableDatabase, match=r"coachstream\.db is not a database.*Move it away"):
        await store.get_conversation(KEY)
    await store.aclose()
    assert list_path.read_text() == SHOPPING_LIST


async def test_a_file_of_a_newer_version_is_left_alone(seeded: SqliteStore, path: Path) -> None:
    """An older program does not guess at a newer schema."""
    await seeded.aclose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(UnusableDatabase, match="newer version of coachstream"):
        await seeded.get_conversation(KEY)
    with pytest.raises(UnusableDatabase):
        await seeded.begin_turn(KEY, user_message(1))


async def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    """Tables that are not ours mean that the file is not ours."""
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
    """A file stands where the folder should be."""
    (tmp_path / "data").write_text("")
    store = SqliteStore(tmp_path / "data" / "coachstream.db")
    with pytest.raises(StorageUnavailable, match="cannot be made"):
        await store.get_conversation(KEY)
    await store.aclose()


async def test_a_turn_costs_the_same_in_a_long_conversation(seeded: SqliteStore, path: Path) -> None:
    """With 20,000 messages stored a turn and its history take about what they take with 200."""
    short = await _fastest_turn(seeded, 100)
    await seeded.aclose()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO messages (conversation, id, role, content, timestamp, client_message_id)"
            " VALUES (1, ?, 'user', ?, ?, ?)",
            (
                (f"msg_0000_{n:09d}_user", "word " * 50, format_timestamp(NOW), f"client-{n}")
                for n in range(20_000)
            ),
        )
    long = await _fastest_turn(seeded, 1000)
    assert long < 3 * short


async def _fastest_turn(store: SqliteStore, first: int) -> float:
    """Seconds of the fastest of many turns; the slower ones measure the machine."""
    took = []
    for number in range(first, first + 100, 2):
        began = time.perf_counter()
        claim = await store.begin_turn(KEY, user_message(number, client_id=f"c-{number}"))
        await store.load_history(KEY, limit=20, budget_chars=10_000)
        await store.save_reply(claim, reply_to(claim.user_message, number + 1))
        took.append(time.perf_counter() - began)
    return min(took)
