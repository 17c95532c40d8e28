"""A lock between processes that the operating system releases when its holder dies: `flock` on a small file.

It also works between threads of one process. The holder removes the file before it releases the lock; a
waiter that then locks the removed file detects that and tries again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold_file_lock(path: Path) -> Iterator[None]:
    """Wait for the lock and hold it for the block.

    Raises:
        OSError: the file cannot be created.
    """
    descriptor = _lock(path)
    try:
        yield
    finally:
        try:
            path.unlink(missing_ok=True)
        finally:
            # Closing alone would leave the lock with a child forked meanwhile, which inherits the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)  # the umask may have removed more bits
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_the_lock = _is_still_at(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if is_the_lock:
            return descriptor
        os.close(descriptor)


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
