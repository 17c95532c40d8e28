"""Full-text search with SQLite's FTS5."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import traceback
from contextlib import closing
from pathlib import Path

import pytest

from coachstream.conversation.errors import StorageUnavailable
from coachstream.recall.records import METHODOLOGY, USER_MEMORY, user_namespace
from coachstream.recall.search_terms import MAX_TERMS, match_expression, search_terms
from coachstream.recall.sqlite import RecallRecord, SqliteRecall
from coachstream.sqlite_file import UnusableDatabase
from contracts.semantic_memory import (
    OTHERS,
    OWN,
    SQUAT,
    USER,
    MemoryFactory,
    SemanticMemoryContract,
    StoredRecord,
    a_memory,
)
from support.patience import PATIENCE_S


def record_of(stored: StoredRecord) -> RecallRecord:
    namespace = METHODOLOGY if stored.owner is None else user_namespace(stored.owner)
    return RecallRecord(stored.id, namespace, stored.text, stored.record_type, stored.title)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def records_in(path: Path) -> list[tuple[str, str, str, str]]:
    """Id, namespace, type and text of every record, in the order of insertion."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT id, namespace, record_type, text FROM records ORDER BY number"
        ).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "recall.db"


class TestSqliteRecall(SemanticMemoryContract):
    @pytest.fixture
    def memory_of(self, path: Path) -> MemoryFactory:
        async def memory_of(stored: list[StoredRecord]) -> SqliteRecall:
            recall = SqliteRecall(path)
            await recall.add(*map(record_of, stored))
            return recall

        return memory_of


async def test_nothing_is_created_before_the_first_use(path: Path) -> None:
    """Creating the recall touches no file, and neither does a search for stop words alone."""
    recall = SqliteRecall(path)
    assert await recall.search(USER, "What should I do?", limit=3) == ()
    assert await recall.search(USER, "squat", limit=0) == ()
    assert not await asyncio.to_thread(path.parent.exists)


async def test_words_are_found_in_other_forms_and_titles(path: Path) -> None:
    """Endings, case and accents do not matter; a title weighs more than the text."""
    recall = SqliteRecall(path)
    await recall.add(
        RecallRecord("text", METHODOLOGY, "Some words on rowing and on other things.", "methodology"),
        RecallRecord(
            "title", METHODOLOGY, "Settle early and keep the pressure even.", "methodology", "Rowers' résumé"
        ),
    )
    assert [match.id for match in await recall.search(USER, "ROW", limit=5)] == ["text"]
    assert [match.id for match in await recall.search(USER, "resume\u0301", limit=5)] == ["title"]
    both = await recall.search(USER, "rowers settling", limit=5)
    assert both[0].id == "title"


async def test_adding_again_replaces(path: Path) -> None:
    """A record with the same id and namespace replaces the earlier one, in the index as well."""
    recall = SqliteRecall(path)
    for text in ("old words about kettlebells", "new words about barbells"):
        await recall.add(RecallRecord("r", METHODOLOGY, text, "methodology"))
    assert list(await recall.search(USER, "kettlebells", limit=5)) == []
    [match] = await recall.search(USER, "barbells", limit=5)
    assert match.content == "new words about barbells"


async def test_a_memory_is_remembered_with_its_tags(path: Path) -> None:
    """It is stored in its owner's namespace under its own id, where a search for memories finds it."""
    recall = SqliteRecall(path)
    await recall.remember(USER, a_memory("m-1", content="I train on Mondays.", tags=("schedule", "ü")))
    await recall.remember("user-2", a_memory("m-1", content="Never on Mondays.", tags=()))
    assert records_in(path) == [
        ("m-1", user_namespace(USER), USER_MEMORY, "I train on Mondays.\ntag: schedule\ntag: ü"),
        ("m-1", user_namespace("user-2"), USER_MEMORY, "Never on Mondays."),
    ]


async def test_remembering_again_replaces(path: Path) -> None:
    """One record with the latest text is left, in the index as well."""
    recall = SqliteRecall(path)
    for content in ("old words about kettlebells", "new words about barbells"):
        await recall.remember(USER, a_memory("m-1", content=content, tags=()))
    assert [text for *_, text in records_in(path)] == ["new words about barbells"]
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT rowid FROM words WHERE words MATCH 'kettlebells'").fetchall()
        connection.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    assert found == []


async def test_half_a_character_cannot_be_remembered(path: Path) -> None:
    """A lone surrogate cannot be encoded as UTF-8; the error does not contain the memory."""
    recall = SqliteRecall(path)
    with pytest.raises(StorageUnavailable) as refused:
        await recall.remember(USER, a_memory("m-1", content="secret \ud83d"))
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    await recall.remember(USER, a_memory("m-1", content="whole"))


async def test_ids_are_of_one_namespace(path: Path) -> None:
    """The same id in two namespaces identifies two records."""
    recall = SqliteRecall(path)
    for namespace in (METHODOLOGY, user_namespace(USER), user_namespace("user-2")):
        await recall.add(RecallRecord("same", namespace, f"squat of {namespace}", "workout_summary"))
    matches = await recall.search(USER, "squat", limit=5)
    assert {match.namespace for match in matches} == {METHODOLOGY, user_namespace(USER)}


def test_processes_that_start_together_share_one_file(path: Path) -> None:
    """Six processes create the file at once and add shared and own records; each is stored once."""
    program = (
        "import asyncio, pathlib, sys; from coachstream.recall.sqlite import *\n"
        "sys.stdin.readline()\n"
        "recall = SqliteRecall(pathlib.Path(sys.argv[1]))\n"
        "for name in ('common', sys.argv[2]):\n"
        "    asyncio.run(recall.add(RecallRecord(name, METHODOLOGY, 'squat ' + name, 'x')))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(path), f"own{n}"], stdin=subprocess.PIPE)
        for n in range(6)
    ]
    for process in processes:
        process.communicate(b"go\n", timeout=PATIENCE_S)
    assert [process.returncode for process in processes] == [0] * 6
    found = asyncio.run(SqliteRecall(path).search(USER, "squat", limit=20))
    assert sorted(match.id for match in found) == ["common", *(f"own{n}" for n in range(6))]


async def test_a_file_that_is_no_database_is_a_storage_error(path: Path) -> None:
    """The error says so, and the file stays unchanged."""
    await asyncio.to_thread(path.parent.mkdir)
    await asyncio.to_thread(path.write_text, "no database " * 100)
    with pytest.raises(UnusableDatabase, match="not a database"):
        await SqliteRecall(path).search(USER, "squat", limit=3)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records SET title = CAST(x'68756e74657232ff' AS TEXT)",
        "UPDATE records SET text = x'68756e74657232'",
    ],
)
async def test_a_damaged_record_makes_the_file_unusable_and_is_not_quoted(path: Path, damage: str) -> None:
    """Its text may be a user's."""
    recall = SqliteRecall(path)
    await recall.add(record_of(SQUAT))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TRIGGER record_changed")
        connection.execute(damage)
    with pytest.raises(UnusableDatabase) as refused:
        await recall.search(USER, "squat", limit=3)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


async def test_the_file_is_private_to_its_owner_under_any_umask(path: Path) -> None:
    """Both a new file and one that was accessible to others before."""
    former = os.umask(0)
    try:
        await SqliteRecall(path).add(record_of(SQUAT))
    finally:
        os.umask(former)
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    await asyncio.to_thread(path.chmod, 0o644)
    await SqliteRecall(path).search(USER, "squat", limit=3)
    assert mode_of(path) == 0o600


async def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """A file exists at the folder's path."""
    await asyncio.to_thread((tmp_path / "data").write_text, "")
    with pytest.raises(StorageUnavailable, match="cannot be created"):
        await SqliteRecall(tmp_path / "data" / "recall.db").search(USER, "squat", limit=3)


async def test_the_index_agrees_with_the_records(path: Path) -> None:
    """SQLite's integrity check of the index passes, also after replacements."""
    recall = SqliteRecall(path)
    for _ in range(3):
        await recall.add(*map(record_of, [SQUAT, OWN, OTHERS]))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")


def test_terms_are_the_words_worth_a_search() -> None:
    """Stop words, single letters, punctuation and repetitions are left out."""
    assert search_terms("Should I squat, or SQUAT a 5x5? It's my knee_cap!") == [
        "squat",
        "5x5",
        "knee",
        "cap",
    ]
    assert match_expression('the "AND" of -it*') is None
    assert match_expression('squat "deep" NEAR/2') == '"squat" OR "deep" OR "near"'


def test_a_long_text_is_searched_by_its_longest_words() -> None:
    """At most this many terms, in the order of the text."""
    words = [f"{'w' * (n % 50 + 2)}{n}" for n in range(200)]
    terms = search_terms(" ".join(words))
    assert len(terms) == MAX_TERMS
    assert terms == [word for word in words if word in terms]
    assert min(map(len, terms)) >= max(len(word) for word in words if word not in terms)


async def test_a_forgotten_memory_is_gone_from_the_file(path: Path) -> None:
    """Searches do not show memories, so the file itself is read."""
    recall = SqliteRecall(path)
    await recall.remember("sam", a_memory("m-1", content="A secret"))
    await recall.remember("kim", a_memory("m-1", content="Another"))
    await recall.forget_user("sam")
    assert records_in(path) == [("m-1", "user_kim", "user_memory", "Another\ntag: helpful")]
