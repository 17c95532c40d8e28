"""The database file: connections, threads, transactions, schema.

Write-ahead logging (WAL), so that readers and a writer never wait for each other, in one process or many. Two
threads per process, each with its own connection: one writes, one reads, so that a read never queues behind a
write that waits for another process, and the event loop never blocks. Each caller waits for its own call, so
the number of callers bounds the queue.

`synchronous=FULL`: a commit is on disk before it is acknowledged. A lower level would survive `kill -9`,
because the operating system already has the data, but a power failure could lose a reply that a client
already knows to be saved. A run commits when it begins, when it ends, and about twice a second in between, at
about 0.2 ms each on an SSD, which is negligible compared with the model.
(macOS reports a write as done when it is in the drive's cache, so a power failure can still lose the last
commits there. It never corrupts the file.)
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from coachstream.conversation.errors import StorageUnavailable
from coachstream.sqlite_file import UnusableDatabase, connect, sqlite_errors
from coachstream.storage.sqlite.schema import SCHEMA_VERSION, migrate

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000
"""How long a write waits for another process; a transaction holds the lock for about a millisecond."""


class Database:
    """One SQLite file, used from one event loop; opened or created at the first use.

    After closing, the next use opens it again, with new threads and connections; work submitted before the
    close finishes on the old ones. Nothing is shared across a fork: a child process opens the file again.
    """

    def __init__(self, path: Path) -> None:
        """Store the path; its folder is created when needed."""
        self.path = path
        self._writer: _Worker | None = None
        self._reader: _Worker | None = None

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run queries in one read transaction, on one snapshot of the database.

        Raises:
            StorageUnavailable: SQLite failed.
        """
        if self._reader is None or not self._reader.is_open:
            self._reader = _Worker(self.path, "reader")
        return await asyncio.wrap_future(self._reader.submit("BEGIN", work))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run work as one transaction that no other write interleaves with; an exception rolls it back.

        Once started, it runs to completion even if the caller is cancelled.

        Raises:
            StorageUnavailable: SQLite failed; nothing was written.
        """
        if self._writer is None or not self._writer.is_open:
            self._writer = _Worker(self.path, "writer")
        return await asyncio.wrap_future(self._writer.submit("BEGIN IMMEDIATE", work))

    async def aclose(self) -> None:
        """Drain submitted work and close the file; safe to call when already closed."""
        workers = [worker for worker in (self._reader, self._writer) if worker is not None and worker.is_open]
        self._reader = self._writer = None
        if workers:
            await asyncio.to_thread(_close_all, workers)


class _Worker:
    """A thread and its connection, which its first task opens and its last one closes.

    No other thread uses the connection, or closes it while this one lives: closing it during a query crashes
    the process (sqlite.org/c3ref/close.html).
    """

    def __init__(self, path: Path, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{name}")
        self._connection = _Connection(path)
        # Also runs when the worker is garbage-collected, and at interpreter exit.
        self._finalizer = weakref.finalize(self, _end, self._executor, self._connection)
        _workers.add(self)

    @property
    def is_open(self) -> bool:
        """Whether it accepts work: it has not been closed, and was not inherited by a fork."""
        return self._finalizer.alive

    def submit(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run work as a transaction, after the work that was submitted before it."""
        try:
            return self._executor.submit(self._run, begin, work)
        except RuntimeError:
            raise StorageUnavailable("the program is shutting down") from None

    def close(self) -> None:
        """Wait until everything submitted is done and the connection closed."""
        self._finalizer()
        self._executor.shutdown(wait=True)

    def disown(self) -> None:
        """In a forked child: never use, close or even release what belongs to the parent's thread."""
        if self._finalizer.detach() is not None:
            import ctypes

            # Modules are cleared at interpreter exit; a leaked reference is not.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def _run(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        with sqlite_errors(self._connection.path), _transaction(self._connection.opened(), begin) as opened:
            return work(opened)


class _Connection:
    """A connection that is opened on demand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _open(self.path)
        return self._connection

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _close_all(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.close()


def _end(executor: ThreadPoolExecutor, connection: _Connection) -> None:
    """Close a connection in its thread, or after that thread has ended."""
    try:
        executor.submit(connection.close)
    except RuntimeError:  # the interpreter is shutting down and accepts no more work
        with suppress(RuntimeError):  # the current thread is the worker itself
            executor.shutdown(wait=True)
        connection.close()
    executor.shutdown(wait=False)


_workers: weakref.WeakSet[_Worker] = weakref.WeakSet()
"""All workers of this process."""


def _disown_all() -> None:
    for worker in tuple(_workers):
        worker.disown()


os.register_at_fork(after_in_child=_disown_all)


def _open(path: Path) -> sqlite3.Connection:
    # At interpreter exit, the main thread closes it, after the worker has been joined.
    connection = connect(path, check_same_thread=False)
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
    """Set WAL mode and the current schema; only the first of many processes has work to do."""
    if _is_prepared(connection, path):
        return
    from coachstream.storage.sqlite.file_lock import hold_file_lock

    # Changing the journal mode fails immediately, instead of waiting, if two processes try concurrently.
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
        # After some errors, such as a full disk, SQLite has already rolled back.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
