"""Locks that the operating system gives up when their holder dies: `flock` on small files.

A lock belongs to the open file. It works between processes and between two claims inside one process, and it
ends when the file is closed, which a dying process does whatever it dies of. The files are removed by who
holds the lock; who locks a file that was removed meanwhile has locked nothing, notices, and tries again.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FileLock:
    """A held lock. Gone when released, or when the process is."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor
        _held.add(self)

    def release(self) -> None:
        """Give the lock up; harmless when already given up."""
        if self._descriptor is None:
            return
        try:
            self._path.unlink(missing_ok=True)
        finally:
            self.close_inherited()

    def close_inherited(self) -> None:
        """Close the file only: the lock stays with the process that this one was forked from, if any."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    # A forked child shares the open file; while the child lives, its copy would keep a dead parent's lock.
    for lock in list(_held):
        lock.close_inherited()


os.register_at_fork(after_in_child=_forget_in_child)


def try_file_lock(path: Path) -> FileLock | None:
    """Take the lock, or return `None` at once if it is held.

    Raises:
        OSError: the file cannot be made.
    """
    return _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def hold_file_lock(path: Path) -> Iterator[None]:
    """Wait for the lock and hold it for the block.

    Raises:
        OSError: the file cannot be made.
    """
    lock = _lock(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _lock(path: Path, operation: int) -> FileLock | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_still_at(path, descriptor):
            return FileLock(path, descriptor)
        os.close(descriptor)


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
