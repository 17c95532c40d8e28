"""How `coachstream chat` finds a running `coachstream serve`: a note in the data folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

_NAME = "serve.json"


class ServeState(msgspec.Struct, frozen=True):
    """A server that was running when this was written."""

    url: str
    pid: int


@contextmanager
def announced(data_dir: Path, url: str) -> Iterator[None]:
    """Leave the note for as long as the block lasts; a server killed meanwhile leaves it behind.

    Where two servers share a folder, the one that started last is found.
    """
    path = data_dir / _NAME
    state = ServeState(url=url, pid=os.getpid())
    draft = path.with_suffix(f".{state.pid}.tmp")
    draft.write_bytes(msgspec.json.encode(state))
    draft.replace(path)
    try:
        yield
    finally:
        if find_server(data_dir) == state:
            path.unlink(missing_ok=True)


def find_server(data_dir: Path) -> ServeState | None:
    """The server that uses this folder, or `None` where none is running."""
    with suppress(OSError, msgspec.MsgspecError, ValueError):
        state = msgspec.json.decode((data_dir / _NAME).read_bytes(), type=ServeState)
        if _is_alive(state.pid):
            return state
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
