"""Watches folders for changes of files, so that environments can be replaced by ones with the new code.

It compares modification times and sizes from time to time. Notifications of the operating system would need a
library for each, and do not cross the border of a container's volume.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

logger = logging.getLogger("lambda_streaming.emulator")

INTERVAL_S: Final = 0.5
"""Between two comparisons; longer where one takes longer than a tenth of this."""

_IGNORED_FOLDERS: Final = frozenset({"__pycache__", "node_modules"})
_VIRTUAL_ENVIRONMENT: Final = "pyvenv.cfg"

Snapshot = Mapping[str, tuple[int, int]]
"""Modification time in nanoseconds and size in bytes of each file, by path."""


def snapshot(folders: Sequence[Path]) -> Snapshot:
    """Return the files below some folders. Accesses the file system; what cannot be read is left out.

    Hidden files and folders, virtual environments, `__pycache__`, `node_modules` and this process's own log
    are not watched.
    """
    own = _own_output()
    return dict(file for folder in folders for file in _files(str(folder), own))


def _own_output() -> frozenset[tuple[int, int]]:
    """Return the files that this process logs to: logging a change would be another change."""
    found = set()
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            status = os.fstat(descriptor)
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _files(folder: str, ignored: frozenset[tuple[int, int]]) -> Iterator[tuple[str, tuple[int, int]]]:
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        entries = [entry for entry in found if not entry.name.startswith(".")]
        if any(entry.name == _VIRTUAL_ENVIRONMENT for entry in entries):
            return
        for entry in entries:
            with contextlib.suppress(OSError):  # removed meanwhile
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in _IGNORED_FOLDERS:
                        yield from _files(entry.path, ignored)
                elif entry.is_file():
                    status = entry.stat()
                    if (status.st_dev, status.st_ino) not in ignored:
                        yield entry.path, (status.st_mtime_ns, status.st_size)


class FolderWatch:
    """Calls a function after each change below some folders.

    Args:
        folders: with all files below them.
        on_change: called on the event loop.
    """

    def __init__(self, folders: Sequence[Path], on_change: Callable[[], None]) -> None:
        self._folders = folders
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch; a change from now on is noticed."""
        self._task = asyncio.create_task(self._watch(await asyncio.to_thread(snapshot, self._folders)))

    async def aclose(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _watch(self, known: Snapshot) -> None:
        took_s = 0.0
        while True:
            await asyncio.sleep(max(INTERVAL_S, 10 * took_s))
            began = time.monotonic()
            found = await asyncio.to_thread(snapshot, self._folders)
            took_s = time.monotonic() - began
            if found != known:
                changed = min(path for path, _ in found.items() ^ known.items())
                logger.info("%s has changed: the next request starts a new environment", changed)
                known = found
                self._on_change()
