"""A lock between processes that the operating system releases when its holder dies, and that leaves no file.

The holder removes the file before it releases the lock. That is safe because `filelock` tries again when it
has locked a file that is no longer there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from coachstream.private_files import FILE_MODE

_POLL_INTERVAL_S = 0.01


@contextmanager
def hold_file_lock(path: Path) -> Iterator[None]:
    """Wait for the lock and hold it for the block.

    Raises:
        OSError: the file cannot be created, or its file system has no locks.
    """
    # The fallback is a marker file, which would outlive a holder that dies.
    with FileLock(path, mode=FILE_MODE, poll_interval=_POLL_INTERVAL_S, fallback_to_soft=False):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
