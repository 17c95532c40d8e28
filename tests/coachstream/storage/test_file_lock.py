"""A lock that is only ever one's, whoever removes its file in between."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coachstream.storage.sqlite.file_lock import hold_file_lock, try_file_lock


def test_a_held_lock_cannot_be_taken(tmp_path: Path) -> None:
    """Not by this process either; released, it can, and releasing twice releases nobody else's."""
    path = tmp_path / "lock"
    first = try_file_lock(path)
    assert first is not None
    assert try_file_lock(path) is None
    first.release()
    second = try_file_lock(path)
    assert second is not None
    first.release()
    assert try_file_lock(path) is None
    second.release()
    assert not path.exists()


def test_a_lock_whose_file_was_removed_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    """Who waited on the removed file does not believe to hold what somebody else holds by now.

    Eight threads take and give up one lock 2,000 times; never do two of them hold it.
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
                # Lets the others run into the held lock.
                time.sleep(0)
                holders -= 1

    with ThreadPoolExecutor(8) as executor:
        for done in [executor.submit(work) for _ in range(8)]:
            done.result()
    assert most == 1
    assert not path.exists()


def test_a_file_left_behind_by_a_dead_process_is_no_lock(tmp_path: Path) -> None:
    """Only the operating system's lock counts, not the file."""
    path = tmp_path / "lock"
    path.touch()
    lock = try_file_lock(path)
    assert lock is not None
    lock.release()
