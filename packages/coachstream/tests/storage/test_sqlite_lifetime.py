"""Which thread may use a connection and when it is closed: threads, closing, interpreter exit, forks."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections import defaultdict
from pathlib import Path

import pytest

from coachstream.storage.sqlite.database import Database
from support.patience import PATIENCE_S


class Uses:
    """Records which thread used which connection."""

    def __init__(self) -> None:
        self.threads: defaultdict[sqlite3.Connection, set[int]] = defaultdict(set)

    def note(self, connection: sqlite3.Connection) -> None:
        self.threads[connection].add(threading.get_ident())

    def assert_none_is_shared(self) -> None:
        assert all(len(threads) == 1 for threads in self.threads.values()), "two threads share a connection"


class SlowQuery:
    """Blocks the thread that runs it until it is released."""

    def __init__(self, uses: Uses) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self._uses = uses

    def __call__(self, connection: sqlite3.Connection) -> int:
        self._uses.note(connection)
        self.begun.set()
        assert self.may_end.wait(PATIENCE_S)
        (one,) = connection.execute("SELECT 1").fetchone()
        return int(one)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "coachstream.db")


async def test_a_query_that_comes_during_the_close_gets_a_connection_of_its_own(database: Database) -> None:
    """The old connection is closed only after its own thread has finished with it."""
    uses = Uses()
    early, late = SlowQuery(uses), SlowQuery(uses)
    first = asyncio.create_task(database.read(early))
    assert await asyncio.to_thread(early.begun.wait, PATIENCE_S)
    closing = asyncio.create_task(database.aclose())
    await asyncio.sleep(0)
    second = asyncio.create_task(database.read(late))
    assert await asyncio.to_thread(late.begun.wait, PATIENCE_S)
    early.may_end.set()
    assert await first == 1
    await closing
    late.may_end.set()
    assert await second == 1
    uses.assert_none_is_shared()
    assert len(uses.threads) == 2
    await database.aclose()


async def test_a_close_waits_for_the_query_that_runs_and_for_those_that_wait(database: Database) -> None:
    """Everything submitted before the close completes before it returns."""
    uses = Uses()
    running = SlowQuery(uses)
    first = asyncio.create_task(database.read(running))
    assert await asyncio.to_thread(running.begun.wait, PATIENCE_S)
    waiting = asyncio.create_task(database.read(lambda connection: connection.total_changes))
    await asyncio.sleep(0)
    closing = asyncio.create_task(database.aclose())
    await asyncio.sleep(0)
    running.may_end.set()
    await closing
    assert (await first, await waiting) == (1, 0)
    uses.assert_none_is_shared()


async def test_a_connection_is_closed_in_its_own_thread(database: Database) -> None:
    """This also holds if the database is garbage-collected without being closed."""
    closed_in: list[int] = []

    class Connection(sqlite3.Connection):
        def close(self) -> None:
            closed_in.append(threading.get_ident())
            super().close()

    used_in: list[int] = []

    def note(_: sqlite3.Connection) -> None:
        used_in.append(threading.get_ident())

    connect = sqlite3.connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *given, **more: connect(*given, **more, factory=Connection))
        await database.read(note)
        await database.aclose()
        forgotten = Database(database.path)
        await forgotten.read(note)
        workers = [thread for thread in threading.enumerate() if thread.name.startswith("sqlite-")]
        assert workers
        del forgotten
        gc.collect()
        for worker in workers:
            await asyncio.to_thread(worker.join, PATIENCE_S)
    assert closed_in == used_in
    assert threading.get_ident() not in closed_in


def run_program(program: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in its own interpreter, with crash reports enabled."""
    return subprocess.run(
        [
            sys.executable,
            "-X",
            "faulthandler",
            "-W",
            "error",
            "-c",
            textwrap.dedent(program),
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_the_interpreter_ends_well_without_a_close(tmp_path: Path) -> None:
    """No write-ahead log is left, a write in progress is complete or absent, and nothing is printed."""
    path = tmp_path / "coachstream.db"
    ended = run_program(
        """
        import asyncio, sys
        from pathlib import Path
        from coachstream.storage.sqlite.database import Database

        database = Database(Path(sys.argv[1]))

        async def main():
            await database.read(lambda connection: None)
            await database.write(lambda opened: opened.execute("CREATE TABLE notes (text)").rowcount)
            writing = asyncio.ensure_future(
                database.write(lambda opened: opened.execute("INSERT INTO notes VALUES ('kept')").rowcount)
            )
            await asyncio.sleep(0)

        asyncio.run(main())
        """,
        path,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert [file.name for file in tmp_path.iterdir()] == ["coachstream.db"]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT text FROM notes").fetchall() in ([], [("kept",)])
    connection.close()


def test_a_forked_child_neither_uses_nor_closes_what_it_inherits(tmp_path: Path) -> None:
    """It opens the file again; the parent's connections are unaffected when the child exits."""
    ended = run_program(
        """
        import asyncio, gc, os, sqlite3, sys, warnings
        from pathlib import Path
        from coachstream.storage.sqlite.database import Database

        warnings.simplefilter("ignore", DeprecationWarning)
        closed = []

        class Connection(sqlite3.Connection):
            def close(self):
                closed.append(os.getpid())
                super().close()

            def __del__(self):
                if os.getpid() != parent:
                    os.write(2, b"an inherited connection was dropped")

        connect, parent = sqlite3.connect, os.getpid()
        sqlite3.connect = lambda *given, **more: connect(*given, **more, factory=Connection)
        database, other = Database(Path(sys.argv[1])), Database(Path(sys.argv[1]))

        async def count(of):
            await of.write(lambda opened: opened.execute("CREATE TABLE IF NOT EXISTS n (v)").rowcount)
            await of.write(lambda opened: opened.execute("INSERT INTO n VALUES (1)").rowcount)
            return await of.read(lambda opened: opened.execute("SELECT count(*) FROM n").fetchone()[0])

        assert asyncio.run(count(database)) == 1
        assert asyncio.run(count(other)) == 2
        child = os.fork()
        if child == 0:
            sqlite3.connect = connect
            assert asyncio.run(count(database)) == 3
            asyncio.run(database.aclose())
            del other
            gc.collect()
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert closed == []
        assert asyncio.run(count(database)) == 4
        asyncio.run(database.aclose())
        """,
        tmp_path / "coachstream.db",
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_writes_survive_repeated_closes(tmp_path: Path) -> None:
    """Every write succeeds while the database is closed again and again."""
    ended = run_program(
        """
        import asyncio, sys
        from pathlib import Path
        from coachstream.storage.sqlite.database import Database

        database = Database(Path(sys.argv[1]))

        def insert(connection):
            return connection.execute("INSERT INTO n VALUES (1)").rowcount

        def count(connection):
            return connection.execute("SELECT count(*) FROM n").fetchone()

        async def save(times):
            for _ in range(times):
                await database.write(insert)
                await database.read(count)

        async def main():
            await database.write(lambda connection: connection.execute("CREATE TABLE n (v)").rowcount)
            saving = asyncio.gather(*(save(10) for _ in range(8)))
            while not saving.done():
                await database.aclose()
                await asyncio.sleep(0)  # closing what is closed does not let others run
            await saving
            assert await database.read(count) == (80,)

        asyncio.run(main())
        """,
        tmp_path / "coachstream.db",
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
