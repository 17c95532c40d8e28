"""One process and its file: first use, closing, waiting, cancelling, and files that are not ours."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from coachstream.conversation.errors import StorageUnavailable, TurnInProgress
from coachstream.conversation.model import ConversationChange, ConversationKey, format_timestamp
from coachstream.storage.sqlite import SqliteStore, UnusableDatabase, schema
from coachstream.storage.sqlite.schema import SCHEMA_VERSION
from contracts.conversation_store import COACH, EPOCH, KEY, NOW, conversation, reply_to, user_message

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


async def test_the_same_message_is_saved_once_also_by_its_own_id(seeded: SqliteStore) -> None:
    """Without a client's id, a message that comes again with its id is the same message."""
    await seeded.abandon_turn(await seeded.begin_turn(KEY, user_message(1)))
    await seeded.begin_turn(KEY, user_message(1))
    assert len(await seeded.load_messages(KEY)) == 1


async def test_ids_may_be_anything(store: SqliteStore) -> None:
    """Ids come from paths: slashes, dots, quotes, control characters and great length harm nothing."""
    for name in ("../../etc/passwd", "a/b", "", "\0", "'; --", "ü" * 5000, "con\n"):
        key = ConversationKey(name, name, name)
        await store.put_coach(name, name, COACH)
        await store.create_conversation(conversation(key))
        claim = await store.begin_turn(key, user_message(1))
        await store.save_reply(claim, reply_to(claim.user_message, 2))
        assert len(await store.load_messages(key)) == 2


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


def _write_version_1(path: Path) -> None:
    """A file as the first version of the program wrote it, with a coach and an answered message."""
    path.parent.mkdir(exist_ok=True)
    key = (KEY.user_id, KEY.coach_id, KEY.conversation_id)
    with closing(sqlite3.connect(path)) as connection:
        for statement in schema._VERSION_1:
            connection.execute(statement)
        connection.execute("INSERT INTO coaches VALUES (?, ?, '{}')", key[:2])
        connection.execute(
            "INSERT INTO conversations VALUES (7, ?, ?, ?, 'Legs', '2026-01-01T00:00:00.000Z',"
            " '2026-01-02T00:00:00.000Z', 2, 1, '[]')",
            key,
        )
        connection.execute(
            "INSERT INTO messages VALUES (7, 'msg_1_user', 'user', 'How?', '2026-01-01T00:00:00.000Z',"
            " NULL, NULL, 'c-1', NULL)"
        )
        connection.execute(
            "INSERT INTO messages VALUES (7, 'msg_2_assistant', 'assistant', 'So.',"
            " '2026-01-02T00:00:00.000Z', 'demo', 'end_turn', NULL, 'msg_1_user')"
        )
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


async def test_a_file_of_the_first_version_becomes_a_current_one(path: Path) -> None:
    """Everything is still there, a retry still finds its reply, and new messages can be streamed ones."""
    _write_version_1(path)
    store = SqliteStore(path)
    question, reply = await store.load_messages(KEY)
    assert (question.content, question.metadata.streamed) == ("How?", False)
    assert (reply.content, reply.metadata.reply_to) == ("So.", question.id)
    assert (await store.begin_turn(KEY, user_message(1, client_id="c-1"))).reply == reply
    await store.begin_turn(KEY, user_message(2, "Yes", streamed=True))
    assert await store.find_streamed_message(KEY, "Yes", since=EPOCH) is not None
    await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


async def test_stores_that_open_an_older_file_at_once_change_it_once(path: Path) -> None:
    """Each works, whoever comes first."""
    _write_version_1(path)
    stores = [SqliteStore(path) for _ in range(6)]
    loaded = await asyncio.gather(*(store.load_messages(KEY) for store in stores))
    assert [len(messages) for messages in loaded] == [2] * 6
    for store in stores:
        await store.aclose()


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
