"""The database file: connections, threads, transactions, schema.

Strategy. WAL, so that readers and a writer never wait for each other, in one process or many. Two threads a
process, each with a connection of its own: one writes, one reads, so that a read never stands behind a write
that waits for another process, and the event loop never stands behind either. Callers wait for their own
calls, so what is queued is bounded by who waits.

`synchronous=FULL`: a commit is on the disk before anybody hears of it. A commit is safe from `kill -9` with
less, because the operating system already has it; but then a power cut could take back a reply that a client
was told is saved. A run commits when it begins, when it ends, and about twice a second in between, at about
0.2 ms each on an SSD, which is nothing beside a model.
(macOS calls a write done when it is in the drive's own cache, so there a power cut can still lose the last
commits. It never harms the file.)
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from coachstream.conversation.errors import StorageUnavailable
from coachstream.storage.sqlite.file_lock import hold_file_lock
from coachstream.storage.sqlite.schema import SCHEMA_VERSION, migrate

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000
"""How long a write waits for another process's; a transaction holds the lock for about a millisecond."""


class UnusableDatabase(StorageUnavailable):
    """The file is not a database of this program, or of a newer version; waiting does not help."""

    retryable = False


class Database:
    """One SQLite file, used from the event loop; opened and created at the first use.

    Not shared across a fork: a child process that uses it opens it anew.
    """

    def __init__(self, path: Path) -> None:
        """Remember the path; its folder is made when needed."""
        self.path = path
        self._process = os.getpid()
        self._writer = _Worker(path, "writer")
        self._reader = _Worker(path, "reader")

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run queries that see one state of the database.

        Raises:
            StorageUnavailable: SQLite failed.
        """
        self._after_fork()
        return await asyncio.wrap_future(self._reader.submit(partial(self._reader.run, "BEGIN", work)))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run work as one transaction that no other write interleaves with; an exception rolls it back.

        Once begun, it runs to its end even when the caller is cancelled meanwhile.

        Raises:
            StorageUnavailable: SQLite failed; nothing was written.
        """
        self._after_fork()
        return await asyncio.wrap_future(
            self._writer.submit(partial(self._writer.run, "BEGIN IMMEDIATE", work))
        )

    async def aclose(self) -> None:
        """Let running work end and close the file; harmless when already closed. Later use opens it again."""
        if self._process == os.getpid():
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _after_fork(self) -> None:
        """Give a forked child workers of its own: threads do not survive a fork, and connections must not."""
        if self._process != os.getpid():
            self._process = os.getpid()
            _inherited.extend((self._writer, self._reader))
            self._writer = _Worker(self.path, "writer")
            self._reader = _Worker(self.path, "reader")


_inherited: list[_Worker] = []
"""What a forked child got from its parent: kept and never touched, because letting go would close files."""


class _Worker:
    """A thread and its connection."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = f"sqlite-{name}"
        self._executor: ThreadPoolExecutor | None = None
        self._connections: list[sqlite3.Connection] = []
        # Also at the end of the interpreter, after its threads have been joined.
        self._process = os.getpid()
        self._finalizer = weakref.finalize(self, _close_connections, self._connections, self._process)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        return self._executor.submit(work)

    def run(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run work as a transaction; called in the thread only."""
        with _sqlite_errors(self._path):
            if not self._connections:
                self._connections.append(_open(self._path))
            with _transaction(self._connections[0], begin) as connection:
                return work(connection)

    def close(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)
        _close_connections(self._connections, self._process)


def _close_connections(connections: list[sqlite3.Connection], process: int) -> None:
    # Closing an inherited connection in a forked child would drop the parent's locks on the file.
    while connections and process == os.getpid():
        connections.pop().close()


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnavailable(f"the folder of {path} cannot be made: {error.strerror}") from error
    # Another thread than the worker closes it, after the worker has ended.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to WAL mode and the current schema; only the first of many processes has work to do."""
    if _is_prepared(connection, path):
        return
    # Changing the journal mode fails at once, instead of waiting, when two processes try it together.
    try:
        with hold_file_lock(path.with_name(path.name + ".setup")):
            if not _is_prepared(connection, path):
                connection.execute("PRAGMA journal_mode = WAL")
                migrate(connection, _version(connection))
    except OSError as error:
        raise StorageUnavailable(f"{path} cannot be set up: {error.strerror}") from error


def _is_prepared(connection: sqlite3.Connection, path: Path) -> bool:
    with _transaction(connection, "BEGIN"):
        version = _version(connection)
        is_empty = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
        mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise UnusableDatabase(
            f"{path} was written by a newer version of coachstream: its schema is {version}, this version "
            f"knows {SCHEMA_VERSION}. Update coachstream, or use another data folder."
        )
    if version == 0 and not is_empty:
        raise UnusableDatabase(f"{path} is another program's database. Use another data folder.")
    return version == SCHEMA_VERSION and mode == "wal"


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[sqlite3.Connection]:
    connection.execute(begin)
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors, a full disk for one.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Map what SQLite raises; its messages name tables and files, never values."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise UnusableDatabase(
                f"{path} is not a database, or is damaged. Move it away, or use another data folder."
            ) from error
        raise StorageUnavailable(f"SQLite: {error}") from error
    except sqlite3.Error as error:
        raise StorageUnavailable(f"SQLite: {error}") from error
    except UnicodeEncodeError:
        # The error itself holds the text.
        raise StorageUnavailable("half of a surrogate pair cannot be stored as text") from None
