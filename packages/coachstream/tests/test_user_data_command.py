"""`coachstream user-data`: exports to a file or a pipe, and deletions, of real stores."""

from __future__ import annotations

import asyncio
import fcntl
import json
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coachstream.storage.sqlite import SqliteStore
from coachstream.web.user_data import ExportPosition, ExportSource, encode_cursor
from contracts.store_records import (
    COACH,
    KEY,
    conversation,
    memory,
    reply_to,
    store_reply,
    user_message,
)
from support.dynamodb import REGION, a_table
from support.elsewhere import CREDENTIALS, WITHOUT_AWS, aws_endpoint, coachstream, coachstream_here
from support.patience import PATIENCE_S
from support.terminal import Terminal

USER = KEY.user_id
WORKOUTS = 600
"""Enough for several pages."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as `coachstream serve` leaves it, with several pages of records of one user."""
    folder = tmp_path_factory.mktemp("user-data")
    asyncio.run(fill(folder / "conversations.db"))
    with closing(sqlite3.connect(folder / "conversations.db")) as connection:
        connection.executemany(
            "INSERT INTO workouts (user_id, workout_id, completed_at, attributes) VALUES (?, ?, '', '{}')",
            ((USER, f"w-{number:04d}") for number in range(WORKOUTS)),
        )
        connection.commit()
    return folder


async def fill(path: Path) -> None:
    store = SqliteStore(path)
    await store.put_coach(USER, KEY.coach_id, COACH)
    await store.create_conversation(conversation())
    await store_reply(store, user_message(1), reply_to(user_message(1), 2))
    await store.put_memory(USER, "m-1", memory("m-1"))
    await store.put_memory("other", "m-1", memory("m-1"))
    await store.aclose()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A data folder of this test's own, with one page."""
    folder = tmp_path / "data"
    asyncio.run(fill(folder / "conversations.db"))
    return folder


def run(
    *arguments: str, cwd: Path, environment: Mapping[str, str] = WITHOUT_AWS
) -> subprocess.CompletedProcess[str]:
    return coachstream_here("user-data", *arguments, environment=environment, cwd=cwd)


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def memories_in(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "conversations.db")) as connection:
        count: int = connection.execute("SELECT count(*) FROM memories").fetchone()[0]
    return count


@pytest.fixture(scope="module")
def whole(filled: Path) -> str:
    """A complete export, written to standard output by a process of its own."""
    done = coachstream("user-data", "export", USER, "--data", str(filled), environment=WITHOUT_AWS)
    assert done.returncode == 0
    count = len(lines_of(done.stdout)) - len(
        [1 for line in lines_of(done.stdout) if line["type"] != "record"]
    )
    assert done.stderr.splitlines() == [
        f"Exporting from the database {filled / 'conversations.db'}.",
        f"Exported {count} records.",
    ]
    return done.stdout


def test_an_export_to_standard_output_has_all_records(whole: str) -> None:
    """The same lines as over HTTP; nothing else is printed there."""
    lines = lines_of(whole)
    records = [line for line in lines if line["type"] == "record"]
    assert lines[-1] == {"type": "complete", "records": len(records)}
    assert [line["type"] for line in lines].count("page") == 2
    kinds = [record["kind"] for record in records]
    assert kinds.count("workout") == WORKOUTS
    assert {*kinds} == {"coach", "coachConversation", "coachMessage", "coachRun", "userMemory", "workout"}


def test_a_file_is_complete_private_and_never_overwritten(filled: Path, whole: str, tmp_path: Path) -> None:
    """A second run is refused and leaves the file alone."""
    arguments = ("export", USER, "--data", str(filled), "--out", "sam.jsonl")
    assert run(*arguments, cwd=tmp_path).returncode == 0
    file = tmp_path / "sam.jsonl"
    assert file.read_text() == whole
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = run(*arguments, cwd=tmp_path)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert file.read_text() == whole
    assert [each.name for each in tmp_path.iterdir()] == ["sam.jsonl"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.8, 0.999])
def test_a_second_run_continues_a_file_that_was_cut_anywhere(
    filled: Path, whole: str, tmp_path: Path, share: float
) -> None:
    """Behind its last whole page; the file is the same as in one run."""
    part = tmp_path / "sam.jsonl.part"
    part.write_bytes(whole.encode()[: int(len(whole) * share)])
    done = run("export", USER, "--data", str(filled), "--out", "sam.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    assert ("Continuing behind" in done.stderr) == (share >= 0.5)
    assert (tmp_path / "sam.jsonl").read_text() == whole
    assert not part.exists()


def test_the_part_of_another_export_is_not_continued(filled: Path, whole: str, tmp_path: Path) -> None:
    """Neither another user's nor a damaged one; it is left as it is."""
    part = tmp_path / "sam.jsonl.part"
    part.write_text(whole)
    refused = run("export", "other", "--data", str(filled), "--out", "sam.jsonl", cwd=tmp_path)
    assert refused.returncode == 1
    assert "is of another export" in refused.stderr
    assert part.read_text() == whole


def test_an_export_of_another_database_is_not_continued(own: Path, whole: str, tmp_path: Path) -> None:
    """One file never has records of two: the same user may be in a database for tests, too."""
    part = tmp_path / "sam.jsonl.part"
    unfinished = "".join(whole.splitlines(keepends=True)[:-1])
    part.write_text(unfinished)
    refused = run("export", USER, "--data", str(own), "--out", "sam.jsonl", cwd=tmp_path)
    assert refused.returncode == 1
    assert "is of another export" in refused.stderr
    assert part.read_text() == unfinished
    cursor = next(line["next"] for line in lines_of(whole) if line["type"] == "page")
    refused = run("export", USER, "--data", str(own), "--after", cursor, cwd=tmp_path)
    assert refused.returncode == 1
    assert "--after is not a cursor" in refused.stderr


@pytest.mark.parametrize(
    "content",
    [
        "half of a download",
        '{"type":"message"}\n',
        '{"type":"page","next":1}\n',
        '{"type":"page","next":"x"}\n',
    ],
    ids=["no lines", "other lines", "a number", "no cursor"],
)
def test_a_file_of_another_program_is_left_alone(filled: Path, tmp_path: Path, content: str) -> None:
    """Others name unfinished files `.part`, too: neither its content nor its permissions change."""
    part = tmp_path / "sam.jsonl.part"
    part.write_text(content)
    part.chmod(0o644)
    refused = run("export", USER, "--data", str(filled), "--out", "sam.jsonl", cwd=tmp_path)
    assert refused.returncode == 1
    assert "sam.jsonl.part is of another export, or none." in refused.stderr
    assert "Traceback" not in refused.stderr
    assert part.read_text() == content
    assert stat.S_IMODE(part.stat().st_mode) == 0o644


def test_a_file_that_another_run_writes_is_left_alone(filled: Path, tmp_path: Path) -> None:
    """Two runs at once would mix their lines."""
    part = tmp_path / "sam.jsonl.part"
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused = run("export", USER, "--data", str(filled), "--out", "sam.jsonl", cwd=tmp_path)
        assert refused.returncode == 1
        assert "sam.jsonl.part is being written by another run." in refused.stderr
    assert part.read_bytes() == b""
    assert run("export", USER, "--data", str(filled), "--out", "sam.jsonl", cwd=tmp_path).returncode == 0


def test_an_export_to_standard_output_continues_behind_a_cursor(
    filled: Path, whole: str, tmp_path: Path
) -> None:
    """The last line counts all records."""
    lines = whole.splitlines(keepends=True)
    [number, _] = [number for number, line in enumerate(lines) if line.startswith('{"type":"page"')]
    cursor = json.loads(lines[number])["next"]
    arguments = ("export", USER, "--data", str(filled), "--after", cursor)
    rest = coachstream("user-data", *arguments, environment=WITHOUT_AWS, cwd=tmp_path)
    assert rest.stdout == "".join(lines[number + 1 :])


@pytest.mark.parametrize(
    "cursor",
    ["", "x", None],
    ids=["empty", "x", "other"],
)
def test_another_cursor_is_refused(filled: Path, tmp_path: Path, cursor: str | None) -> None:
    """It is never read as the beginning."""
    if cursor is None:
        source = ExportSource("other", f"the database {filled / 'conversations.db'}")
        cursor = encode_cursor(source, ExportPosition("sqlite:coach:", 0))
    refused = run("export", USER, "--data", str(filled), "--after", cursor, cwd=tmp_path)
    assert refused.returncode == 1
    assert "--after is not a cursor" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("export", ""), "'' cannot be the id of a user."),
        (("export", "a#b"), "'a#b' cannot be the id of a user."),
        (("delete", "a\nb", "--yes"), "'a\\nb' cannot be the id of a user."),
        (("export", USER), "There is no database"),
        (("delete", USER, "--yes"), "There is no database"),
        (("export", USER, "--table", "coaches"), "--table is for --store dynamodb."),
        (("export", USER, "--out", "f", "--after", "x"), "--after is for standard output"),
        (
            ("delete", USER, "--yes", "--store", "dynamodb", "--table", "coaches", "--region", "us-west-2"),
            "Where are the vectors?",
        ),
        (
            (
                *(
                    "delete",
                    USER,
                    "--yes",
                    "--store",
                    "dynamodb",
                    "--table",
                    "coaches",
                    "--recall",
                    "pinecone",
                ),
                *("--region", "us-west-2"),
            ),
            "PINECONE_API_KEY",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    """Exit status 1, no traceback, and nothing is created."""
    refused = run(*arguments, cwd=tmp_path)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_a_folder_that_is_missing_is_a_sentence(filled: Path, tmp_path: Path) -> None:
    """The operating system's reason, no traceback."""
    refused = run("export", USER, "--data", str(filled), "--out", "none/sam.jsonl", cwd=tmp_path)
    assert refused.returncode == 1
    assert "cannot be written: No such file or directory." in refused.stderr


def test_a_reader_that_leaves_ends_an_export_quietly(filled: Path, tmp_path: Path) -> None:
    """As with `| head -1`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "coachstream.cli", "user-data", "export", USER, "--data", str(filled)],
        env=dict(WITHOUT_AWS),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert "Traceback" not in process.stderr.read()
    assert process.wait(PATIENCE_S) != 0


def table_options(table: str, *, endpoint: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    options = ("--store", "dynamodb", "--table", table, "--region", REGION)
    return options, {**WITHOUT_AWS, **CREDENTIALS, "AWS_ENDPOINT_URL_DYNAMODB": endpoint}


def test_ctrl_c_says_how_to_continue(tmp_path: Path) -> None:
    """While the store does not respond; the exit status is that of an interrupted program."""
    with aws_endpoint(silent=True) as endpoint:
        options, environment = table_options("coaches", endpoint=endpoint.url)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "coachstream.cli", "user-data", "export", USER, *options),
                *("--out", "sam.jsonl"),
            ],
            env={**environment, "COACHSTREAM_STORE_TIMEOUT_S": "60"},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert process.stderr.readline() == f"Exporting from the table coaches in {REGION}.\n"
        until = time.monotonic() + PATIENCE_S
        while not endpoint.requests:
            assert time.monotonic() < until, "the store was not asked"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        with process.stderr:
            shown = process.stderr.read()
        assert process.wait(PATIENCE_S) == 130
    assert shown == "Interrupted.\nRun the same command again to continue.\n"
    assert [each.name for each in tmp_path.iterdir()] == ["sam.jsonl.part"]


def test_a_store_that_fails_is_a_sentence(tmp_path: Path) -> None:
    """With what to do next, and without a traceback."""
    with aws_endpoint(status=400, code="ResourceNotFoundException") as endpoint:
        options, environment = table_options("coaches", endpoint=endpoint.url)
        failed, deleted = (
            coachstream("user-data", *arguments, *options, environment=environment, cwd=tmp_path)
            for arguments in (("export", USER), ("delete", USER, "--yes", "--recall", "off"))
        )
    for done, what in ((failed, "The export stopped: "), (deleted, "The deletion stopped; run")):
        assert done.returncode == 1
        assert what in done.stderr
        assert "Traceback" not in done.stderr
    assert "Nothing was exported." in failed.stderr


def test_the_region_of_the_aws_configuration_is_named(tmp_path: Path) -> None:
    """Tables of one name in two regions are two; without a region there is none to read from."""
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-north-1\n")
    with aws_endpoint(status=400, code="ResourceNotFoundException") as endpoint:
        environment = {
            **{name: value for name, value in CREDENTIALS.items() if name != "AWS_REGION"},
            "AWS_ENDPOINT_URL_DYNAMODB": endpoint.url,
        }
        arguments = ("user-data", "export", USER, "--store", "dynamodb", "--table", "coaches")
        named, without = (
            coachstream(*arguments, environment={**WITHOUT_AWS, **environment, **more}, cwd=tmp_path)
            for more in ({"AWS_CONFIG_FILE": str(config)}, {})
        )
    assert named.stderr.startswith("Exporting from the table coaches in eu-north-1.\n")
    assert without.stderr.startswith("No AWS region is set.")
    assert {named.returncode, without.returncode} == {1}


@pytest.mark.parametrize(
    ("recall", "vectors"),
    [
        (("--recall", "pinecone"), "and vectors from the index index.example"),
        (("--recall", "off"), "and no vectors"),
        (("--recall", "sqlite"), "and vectors from the database "),
    ],
)
def test_a_deletion_names_where_the_vectors_are(
    tmp_path: Path, recall: tuple[str, ...], vectors: str
) -> None:
    """The index of another environment is as easily configured as its table."""
    with aws_endpoint(status=400, code="ResourceNotFoundException") as endpoint:
        options, environment = table_options("coaches", endpoint=endpoint.url)
        pinecone = {"PINECONE_API_KEY": "pcsk_1", "PINECONE_INDEX_HOST": "index.example"}
        arguments = ("user-data", "delete", USER, "--yes", *options, *recall)
        done = coachstream(*arguments, environment={**environment, **pinecone}, cwd=tmp_path)
    assert done.stderr.startswith(f"Deleting from the table coaches in {REGION}, {vectors}")


@pytest.fixture
async def table(moto_url: str, aws_credentials: None) -> AsyncIterator[str]:  # noqa: ARG001
    """A table with a conversation and a memory."""
    async with a_table(moto_url) as table:
        store = table.store()
        await store.put_coach(USER, KEY.coach_id, COACH)
        await store.create_conversation(conversation())
        await store_reply(store, user_message(1), reply_to(user_message(1), 2))
        await store.put_memory(USER, "m-1", memory("m-1"))
        yield table.name


async def test_a_table_is_exported_and_emptied(table: str, moto_url: str, tmp_path: Path) -> None:
    """The report is JSON on standard output, and the second one has zeros."""
    options, environment = table_options(table, endpoint=moto_url)

    async def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            coachstream, "user-data", *arguments, *options, environment=environment, cwd=tmp_path
        )

    exported = await command("export", USER)
    assert [line.get("kind") for line in lines_of(exported.stdout)].count("coachMessage") == 2
    first, second = [await command("delete", USER, "--yes", "--recall", "off") for _ in range(2)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert json.loads(first.stdout) == {
        "success": True,
        "isComplete": True,
        "deleted": {"conversations": 1, "memories": 1, "remnants": 0},
        "semanticMemory": None,
        "left": {"coach": 1},
    }
    nothing = {"conversations": 0, "memories": 0, "remnants": 0}
    assert json.loads(second.stdout)["deleted"] == nothing


def test_a_deletion_without_a_terminal_needs_yes(own: Path, tmp_path: Path) -> None:
    """Nothing is deleted without it; with it, another user's memory stays."""
    arguments = ("delete", USER, "--data", str(own))
    refused = run(*arguments, cwd=tmp_path)
    assert refused.returncode == 1
    assert "needs --yes" in refused.stderr
    assert memories_in(own) == 2
    done = run(*arguments, "--yes", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["semanticMemory"] is True
    assert memories_in(own) == 1


def test_vectors_that_stay_are_a_failure_with_a_report(own: Path, tmp_path: Path) -> None:
    """The rest is deleted; the reason is on standard error, and another run tries again."""
    environment = {**WITHOUT_AWS, "PINECONE_API_KEY": "key", "PINECONE_INDEX_HOST": "http://127.0.0.1:1"}
    arguments = ("user-data", "delete", USER, "--yes", "--data", str(own), "--recall", "pinecone")
    done = coachstream(*arguments, environment=environment, cwd=tmp_path)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["isComplete"], report["semanticMemory"]) == (False, False)
    assert "Deleting a user's vectors failed with STORAGE_UNAVAILABLE: Pinecone: no conn" in done.stderr
    assert "The vectors could not be deleted" in done.stderr
    assert memories_in(own) == 1


def test_a_deletion_on_a_terminal_asks_first(own: Path, tmp_path: Path) -> None:
    """It names the user and the place; Enter alone deletes nothing."""
    command = f"{sys.executable} -m coachstream.cli user-data delete {USER} --data {own}"
    with Terminal(tmp_path, columns=200) as terminal:
        terminal.type(command)
        terminal.expect(rf"all conversations and memories of '{USER}' from the database {own}")
        terminal.expect(r"Delete them\? \[y/N\]: ")
        terminal.type("")
        terminal.expect(r"Nothing was deleted\.")
        assert memories_in(own) == 2
        terminal.expect(r"\$ ")
        terminal.type(command)
        terminal.expect(r"Delete them\? \[y/N\]: ")
        terminal.type("y")
        terminal.expect(r'"isComplete": true')
        terminal.expect(r"\$ ")
    assert memories_in(own) == 1
