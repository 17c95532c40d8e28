"""The lock is mutually exclusive, even if its file is removed in between."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coachstream.storage.sqlite.file_lock import hold_file_lock


def is_free(descriptor: int) -> bool:
    """Whether a lock on this open file could be taken; releases it again."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def test_a_held_lock_cannot_be_taken(tmp_path: Path) -> None:
    """Not even by the same process; after release it can be taken, and no file is left."""
    path = tmp_path / "lock"
    with hold_file_lock(path):
        descriptor = os.open(path, os.O_RDWR)
        assert not is_free(descriptor)
    assert is_free(descriptor)
    os.close(descriptor)
    assert not path.exists()


def test_a_block_that_fails_gives_the_lock_up(tmp_path: Path) -> None:
    """The next caller can take it."""
    path = tmp_path / "lock"
    with pytest.raises(RuntimeError), hold_file_lock(path):
        raise RuntimeError
    with hold_file_lock(path):
        assert path.exists()


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """The child inherits the open file, but a waiter still gets the lock while the child lives."""
    path = tmp_path / "lock"
    end, may_end = os.pipe()
    with hold_file_lock(path):
        waiting = os.open(path, os.O_RDWR)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os.close(may_end)
            os.read(end, 1)
            os._exit(0)
    assert is_free(waiting)
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.close(may_end)
    os.waitpid(child, 0)
    os.close(waiting)
    os.close(end)


def test_a_lock_whose_file_was_removed_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    """A waiter that locked the removed file must not believe that it holds the current lock.

    Eight threads take and release one lock 2,000 times; no two ever hold it at once.
    """
    path = tmp_path / "lock"
    holders = 0
    most = 0
    together = threading.Barrier(8)

    def work() -> None:
        nonlocal holders, most
        together.wait()
        for _ in range(250):
            with hold_file_lock(path):
                holders += 1
                most = max(most, holders)
                # Let the others contend for the held lock.
                time.sleep(0)
                holders -= 1

    with ThreadPoolExecutor(8) as executor:
        for done in [executor.submit(work) for _ in range(8)]:
            done.result()
    assert most == 1
    assert not path.exists()


def test_a_file_left_behind_by_a_dead_process_is_no_lock(tmp_path: Path) -> None:
    """Only the operating system's lock counts, not the existence of the file."""
    path = tmp_path / "lock"
    path.touch()
    with hold_file_lock(path):
        assert path.exists()
    assert not path.exists()
