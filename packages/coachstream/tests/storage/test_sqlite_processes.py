"""Many processes share one file, and some of them are killed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from coachstream.conversation.model import StopReason
from coachstream.conversation.run_log import Opened, Said
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy
from coachstream.storage.sqlite import SqliteStore
from coachstream.storage.sqlite.schema import SCHEMA_VERSION
from contracts.store_records import (
    ANOTHER_WRITER,
    COACH,
    KEY,
    NEXT_RUN,
    RUN,
    begin,
    begun_for,
    conversation,
    ended,
    memory,
    opened,
    reply_to,
    user_message,
)
from support.patience import PATIENCE_S
from support.places import TESTS
from support.sqlite_version_1 import write_version_1
from support.sqlite_version_2 import write_version_2


class WorkerProcess:
    """A process that runs `support.store_worker`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def tell(self, command: str) -> str:
        """Send a command and return its response."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        await self.process.stdin.drain()
        return await self.line()

    async def line(self) -> str:
        """Wait for the next line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self.process.stdout.readline()
        assert line, "the process ended"
        return line.decode().strip()

    async def kill(self) -> None:
        """Send SIGKILL and wait until the process is gone."""
        self.process.kill()
        await self.process.wait()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coachstream.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    await store.aclose()


@asynccontextmanager
async def worker_process(path: Path) -> AsyncIterator[WorkerProcess]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore::DeprecationWarning", "-m", "support.store_worker", str(path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))},
    )
    worker = WorkerProcess(process)
    try:
        assert await worker.line() == "ready"
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.communicate()


@asynccontextmanager
async def worker_processes(path: Path, count: int) -> AsyncIterator[list[WorkerProcess]]:
    async with AsyncExitStack() as stack:
        yield await asyncio.gather(*(stack.enter_async_context(worker_process(path)) for _ in range(count)))


async def seed(store: SqliteStore) -> None:
    await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    await store.create_conversation(conversation())


async def ids_in(store: SqliteStore) -> list[str]:
    return [message.id for message in await store.load_messages(KEY)]


async def test_what_was_committed_survives_a_kill(path: Path, store: SqliteStore) -> None:
    """A process killed while writing loses nothing that was reported as saved."""
    await seed(store)
    async with worker_process(path) as worker:
        saved = [await worker.tell(f"runs {KEY.conversation_id}")]
        while len(saved) < 50:
            saved.append(await worker.line())
        await worker.kill()
    messages = await store.load_messages(KEY)
    stored = [message.id for message in messages]
    assert {line.removeprefix("saved ") for line in saved} <= set(stored)
    assert (await store.get_conversation(KEY)).total_messages == len(stored)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_what_a_killed_process_said_is_read_and_kept_by_others(path: Path, store: SqliteStore) -> None:
    """Its log has all that was reported as written; another process ends the run and a retry succeeds."""
    await seed(store)
    async with worker_process(path) as worker:
        told = [await worker.tell(f"talk {KEY.conversation_id}")]
        while len(told) < 50:
            told.append(await worker.line())
        await worker.kill()
    run = (await store.read_queue(KEY)).run_id
    assert run is not None
    [message] = await store.load_messages(KEY)
    assert await store.begin_run(KEY, message, NEXT_RUN, opened()) == ConversationBusy(run, message)
    first, *segments = await store.read_log(KEY, run)
    assert isinstance(first.content, Opened)
    assert first.content.user_message_id == message.id
    assert [segment.number for segment in segments] == list(range(1, len(segments) + 1))
    assert len(segments) >= len(told)
    text = "".join(segment.content.text for segment in segments if isinstance(segment.content, Said))
    assert text == "".join(f"{segment.number} " for segment in segments)
    partial = reply_to(message, 2, text, stop=StopReason.INTERRUPTED)
    end = ended(len(segments) + 1, partial, writer=ANOTHER_WRITER)
    assert await store.finish_run(KEY, run, end, partial) is None
    assert begun_for(await begin(store, message, NEXT_RUN)) == (message, False)
    whole = reply_to(message, 3)
    assert await store.finish_run(KEY, NEXT_RUN, ended(1, whole), whole) is None
    assert list(await store.load_messages(KEY)) == [message, whole]


async def test_of_many_processes_that_end_a_killed_run_one_does(path: Path, store: SqliteStore) -> None:
    """Exactly one reply is saved, whichever process wins."""
    await seed(store)
    async with worker_process(path) as worker:
        _, run = (await worker.tell(f"begin {KEY.conversation_id} 1")).split()
        await worker.kill()
    async with worker_processes(path, 6) as workers:
        answers = await asyncio.gather(
            *(worker.tell(f"end {KEY.conversation_id} {run} 1 {n}") for n, worker in enumerate(workers, 2))
        )
    assert Counter(answers) == {"done": 1, "taken": 5}
    winner = reply_to(user_message(1), 2 + answers.index("done"))
    assert await ids_in(store) == [user_message(1).id, winner.id]
    assert (await store.get_conversation(KEY)).total_messages == 2
    assert (await store.read_queue(KEY)).run_id is None


async def test_a_run_of_another_process_must_be_waited_for(path: Path, store: SqliteStore) -> None:
    """The limit of one unfinished run holds between processes in both directions, until the run ends."""
    await seed(store)
    await begin(store, user_message(1))
    async with worker_process(path) as worker:
        assert await worker.tell(f"begin {KEY.conversation_id} 2") == f"busy {RUN}"
        await store.finish_run(KEY, RUN, ended(1), None)
        begun, run = (await worker.tell(f"begin {KEY.conversation_id} 3 c-3")).split()
        assert begun == "begun"
        busy = await store.begin_run(KEY, user_message(4), NEXT_RUN, opened())
        assert busy == ConversationBusy(run, None)
        assert await worker.tell("reply 5") == "done"
    again = await store.begin_run(KEY, user_message(6, client_id="c-3"), NEXT_RUN, opened())
    assert isinstance(again, AlreadyAnswered)
    assert await ids_in(store) == [user_message(1).id, again.user_message.id, again.reply.id]


async def test_entries_that_many_processes_append_are_all_there_once(path: Path, store: SqliteStore) -> None:
    """Six processes write one log at once: every entry has its own number, and none is missing."""
    await seed(store)
    await begin(store, user_message(1))
    async with worker_processes(path, 6) as workers:
        command = f"append {KEY.conversation_id} {RUN} 30"
        assert await asyncio.gather(*(worker.tell(command) for worker in workers)) == ["done"] * 6
    log = await store.read_log(KEY, RUN)
    assert [each.number for each in log] == list(range(181))
    assert sorted(Counter(each.writer for each in log[1:]).values()) == [30] * 6


async def test_processes_that_start_together_agree_on_one_database(path: Path) -> None:
    """Eight processes create the file at once; all of them work, and no update of the coach is lost."""
    async with worker_processes(path, 8) as workers:
        assert set(await asyncio.gather(*(worker.tell("seed") for worker in workers))) == {"done"}
        names = [f"conv-{number}" for number in range(len(workers))]
        created = await asyncio.gather(
            *(worker.tell(f"create {name}") for worker, name in zip(workers, names, strict=True))
        )
        assert set(created) == {"done"}
        begun = await asyncio.gather(
            *(worker.tell(f"begin {name} 1") for worker, name in zip(workers, names, strict=True))
        )
        assert {answer.split()[0] for answer in begun} == {"begun"}
        assert set(await asyncio.gather(*(worker.tell("reply 2") for worker in workers))) == {"done"}
    with closing(sqlite3.connect(path)) as connection:
        [(attributes,)] = connection.execute("SELECT attributes FROM coaches").fetchall()
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (16,)
    assert '"total_conversations":12' in attributes


@pytest.mark.parametrize("write_older", [write_version_1, write_version_2])
async def test_processes_that_open_an_older_file_together_change_it_once(
    path: Path, store: SqliteStore, write_older: Callable[[Path], None]
) -> None:
    """Six processes find an older file at once: all of them can read and write, and lose nothing."""
    write_older(path)
    async with worker_processes(path, 6) as workers:
        answers = await asyncio.gather(
            *(worker.tell(f"begin {KEY.conversation_id} {n} c-1 How?") for n, worker in enumerate(workers))
        )
        assert answers == ["answered"] * 6
        assert await asyncio.gather(*(worker.tell("use m-1 5") for worker in workers)) == ["done"] * 6
    [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert loaded.usage_count == 30 + (3 if write_older is write_version_1 else 1)
    assert [message.content for message in await store.load_messages(KEY)][:2] == ["How?", "So."]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("client_id", ["c-1", ""], ids=["equal messages", "different messages"])
async def test_of_requests_in_many_processes_one_run_begins(
    path: Path, store: SqliteStore, client_id: str
) -> None:
    """Exactly one process begins a run, the others get its id, and one message is stored."""
    await seed(store)
    async with worker_processes(path, 6) as workers:
        answers = await asyncio.gather(
            *(worker.tell(f"begin {KEY.conversation_id} {n} {client_id}") for n, worker in enumerate(workers))
        )
        run = (await store.read_queue(KEY)).run_id
        assert Counter(answers) == {f"begun {run}": 1, f"busy {run}": 5}
        winner = answers.index(f"begun {run}")
        assert await ids_in(store) == [user_message(winner).id]
        assert await workers[winner].tell("reply 9") == "done"
        again = f"begin {KEY.conversation_id} {winner} {client_id}"
        assert set(await asyncio.gather(*(worker.tell(again) for worker in workers))) == {"answered"}
    assert await ids_in(store) == [user_message(winner).id, reply_to(user_message(winner), 9).id]


async def test_a_rename_in_one_process_and_a_run_in_another_lose_nothing(
    path: Path, store: SqliteStore
) -> None:
    """Both change the same conversation twenty times at once: every message and the last title are stored."""
    await seed(store)
    async with worker_processes(path, 2) as (speaker, editor):
        for number in range(20):
            begun = await asyncio.gather(
                speaker.tell(f"begin {KEY.conversation_id} {2 * number}"),
                editor.tell(f"rename {KEY.conversation_id} begun-{number}"),
            )
            replied = await asyncio.gather(
                speaker.tell(f"reply {2 * number + 1}"),
                editor.tell(f"rename {KEY.conversation_id} ended-{number}"),
            )
            assert [begun[0].split()[0], begun[1], *replied] == ["begun", "done", "done", "done"]
            changed = await store.get_conversation(KEY)
            assert (changed.title, changed.total_messages) == (f"ended-{number}", 2 * number + 2)
    assert len(await store.load_messages(KEY)) == 40


async def test_uses_that_many_processes_count_are_all_counted(path: Path, store: SqliteStore) -> None:
    """Six processes count fifty uses each."""
    await store.put_memory(KEY.user_id, "m-1", memory("m-1"))
    async with worker_processes(path, 6) as workers:
        assert await asyncio.gather(*(worker.tell("use m-1 50") for worker in workers)) == ["done"] * 6
    [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert loaded.usage_count == 300
