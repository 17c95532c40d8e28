"""Many processes use one file, and some of them are killed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from coachstream.conversation.errors import TurnInProgress
from coachstream.storage.sqlite import SqliteStore
from coachstream.storage.sqlite.schema import SCHEMA_VERSION
from contracts.conversation_store import COACH, KEY, conversation, memory, user_message
from support.sqlite_version_1 import write_version_1

TESTS = Path(__file__).parents[2]
AMPLE_S = 30.0


class WorkerProcess:
    """A process of `support.store_worker`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def tell(self, command: str) -> str:
        """Give a command and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        await self.process.stdin.drain()
        return await self.line()

    async def line(self) -> str:
        """The next line, waited for."""
        assert self.process.stdout is not None
        async with asyncio.timeout(AMPLE_S):
            line = await self.process.stdout.readline()
        assert line, "the process ended"
        return line.decode().strip()

    async def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
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


async def test_what_was_committed_survives_a_kill(path: Path, store: SqliteStore) -> None:
    """A process killed in the middle of writing has lost nothing that it was told is saved."""
    await seed(store)
    async with worker_process(path) as worker:
        saved = [await worker.tell(f"turns {KEY.conversation_id}")]
        while len(saved) < 50:
            saved.append(await worker.line())
        await worker.kill()
    messages = await store.load_messages(KEY)
    stored = [message.id for message in messages]
    assert {line.removeprefix("saved ") for line in saved} <= set(stored)
    assert (await store.get_conversation(KEY)).total_messages == len(stored)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_killed_turn_is_taken_over_at_once(path: Path, store: SqliteStore) -> None:
    """While its process lives a turn blocks others; once it is killed the next one begins without waiting."""
    await seed(store)
    async with worker_process(path) as worker:
        assert await worker.tell(f"begin {KEY.conversation_id} 1 c-1") == "claimed"
        with pytest.raises(TurnInProgress):
            await store.begin_turn(KEY, user_message(2))
        await worker.kill()
        claim = await store.begin_turn(KEY, user_message(3, client_id="c-1"))
    assert claim.user_message.id == user_message(1).id
    assert claim.reply is None


async def test_a_forked_child_does_not_keep_a_dead_parents_turn_alive(path: Path, store: SqliteStore) -> None:
    """A child that inherited the lock's file lets go of it; and its letting go does not end the turn."""
    await seed(store)
    fifo = path.with_name("gate")
    os.mkfifo(fifo)
    async with worker_process(path) as worker:
        assert await worker.tell(f"begin {KEY.conversation_id} 1") == "claimed"
        assert await worker.tell(f"fork {fifo}") == "done"
        with pytest.raises(TurnInProgress):
            await store.begin_turn(KEY, user_message(2))
        await worker.kill()
        await store.begin_turn(KEY, user_message(3))
    # This opens only while somebody has the other end: the child was alive all the time.
    end = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(end, b"!")
    os.close(end)


async def test_a_live_turn_of_another_process_must_be_waited_for(path: Path, store: SqliteStore) -> None:
    """Claims hold between processes both ways, and end with the reply."""
    await seed(store)
    claim = await store.begin_turn(KEY, user_message(1))
    async with worker_process(path) as worker:
        assert await worker.tell(f"begin {KEY.conversation_id} 2") == "TURN_IN_PROGRESS"
        await store.abandon_turn(claim)
        assert await worker.tell(f"begin {KEY.conversation_id} 3 c-3") == "claimed"
        assert await worker.tell("reply 4") == "done"
        again = await store.begin_turn(KEY, user_message(5, client_id="c-3"))
    assert again.reply is not None


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
        assert set(begun) == {"claimed"}
        assert set(await asyncio.gather(*(worker.tell("reply 2") for worker in workers))) == {"done"}
    with closing(sqlite3.connect(path)) as connection:
        [(attributes,)] = connection.execute("SELECT attributes FROM coaches").fetchall()
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (16,)
    assert '"total_conversations":12' in attributes


async def test_processes_that_open_an_older_file_together_change_it_once(
    path: Path, store: SqliteStore
) -> None:
    """Six processes find a file of the first version at once: all of them read, write and lose nothing."""
    write_version_1(path)
    async with worker_processes(path, 6) as workers:
        answers = await asyncio.gather(
            *(worker.tell(f"begin {KEY.conversation_id} {n} c-1") for n, worker in enumerate(workers))
        )
        assert answers == ["answered"] * 6
        assert await asyncio.gather(*(worker.tell("use m-1 5") for worker in workers)) == ["done"] * 6
    [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert loaded.usage_count == 3 + 30
    assert len(await store.load_messages(KEY)) == 2
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_of_equal_requests_in_many_processes_one_turn_begins(path: Path, store: SqliteStore) -> None:
    """Exactly one process answers, the others are told to wait, and the message is stored once."""
    await seed(store)
    async with worker_processes(path, 6) as workers:
        answers = await asyncio.gather(
            *(worker.tell(f"begin {KEY.conversation_id} {n} c-1") for n, worker in enumerate(workers))
        )
        assert Counter(answers) == {"claimed": 1, "TURN_IN_PROGRESS": 5}
        winner = workers[answers.index("claimed")]
        assert await winner.tell("reply 9") == "done"
        answers = await asyncio.gather(
            *(worker.tell(f"begin {KEY.conversation_id} {n} c-1") for n, worker in enumerate(workers))
        )
    assert set(answers) == {"answered"}
    assert len(await store.load_messages(KEY)) == 2


async def test_a_rename_in_one_process_and_a_turn_in_another_lose_nothing(
    path: Path, store: SqliteStore
) -> None:
    """Both change the same conversation, twenty times at once: every message and the last title are there."""
    await seed(store)
    async with worker_processes(path, 2) as (speaker, editor):
        for number in range(20):
            begun = await asyncio.gather(
                speaker.tell(f"begin {KEY.conversation_id} {2 * number}"),
                editor.tell(f"rename {KEY.conversation_id} begun-{number}"),
            )
            ended = await asyncio.gather(
                speaker.tell(f"reply {2 * number + 1}"),
                editor.tell(f"rename {KEY.conversation_id} ended-{number}"),
            )
            assert [*begun, *ended] == ["claimed", "done", "done", "done"]
            changed = await store.get_conversation(KEY)
            assert (changed.title, changed.total_messages) == (f"ended-{number}", 2 * number + 2)
    assert len(await store.load_messages(KEY)) == 40


async def test_uses_that_many_processes_count_are_all_counted(path: Path, store: SqliteStore) -> None:
    """Six processes, fifty uses each."""
    await store.put_memory(KEY.user_id, "m-1", memory("m-1"))
    async with worker_processes(path, 6) as workers:
        assert await asyncio.gather(*(worker.tell("use m-1 50") for worker in workers)) == ["done"] * 6
    [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert loaded.usage_count == 300
