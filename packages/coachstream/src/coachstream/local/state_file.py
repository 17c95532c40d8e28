"""How `coachstream chat` finds a running `coachstream serve`: a state file per server in the data folder.

A server holds a lock on its file while it runs. The operating system releases the lock when the process ends,
however it ends, so an unlocked file is stale; its reader removes it.

A reader probes with a shared lock, so that two readers do not take each other for the server. `filelock` has
no shared locks that die with their process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from coachstream.private_files import private_opener

_NOTES = "serve*.json"


class ServeState(msgspec.Struct, frozen=True, order=True):
    """A running server; servers are ordered by their start.

    Attributes:
        started_at: its start, in seconds since the epoch.
        url: its address.
        pid: its process id.
    """

    started_at: float
    url: str
    pid: int


@contextmanager
def announced(data_dir: Path, url: str, *, now: float) -> Iterator[None]:
    """Keep the state file of a server that started at `now` in the folder during the block."""
    state = ServeState(started_at=now, url=url, pid=os.getpid())
    path = data_dir / f"serve-{state.pid}.json"
    draft = path.with_suffix(".tmp")
    with open(draft, "wb", opener=private_opener) as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        note.write(msgspec.json.encode(state))
        note.flush()
        draft.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def find_servers(data_dir: Path) -> tuple[ServeState, ...]:
    """Return the servers that use this folder, the latest first; stale files are removed."""
    found = []
    for path in data_dir.glob(_NOTES):
        with suppress(OSError, msgspec.MsgspecError), path.open("rb") as note:
            if _is_locked(note):
                found.append(msgspec.json.decode(note.read(), type=ServeState))
            else:
                path.unlink(missing_ok=True)
    return tuple(sorted(found, reverse=True))


def _is_locked(note: IO[bytes]) -> bool:
    try:
        fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
