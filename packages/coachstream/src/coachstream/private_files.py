"""Private files: accessible to their owner only, whatever the umask, and written atomically."""

from __future__ import annotations

import errno
import logging
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = 0o077
"""The permissions of the group and of everyone else."""

logger = logging.getLogger("coachstream.private_files")


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents, each for its owner only; existing ones keep their mode.

    Raises:
        OSError: it cannot be created, or the path is not a folder.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        # Another process may create it first.
        with suppress(FileExistsError):
            each.mkdir(FOLDER_MODE)
            each.chmod(FOLDER_MODE)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def write_once(path: Path, content: bytes) -> None:
    """Create a file atomically; if another process has created it first, that file is kept."""
    temporary = _temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def replace(path: Path, content: bytes) -> None:
    """Write a file atomically, replacing an existing one."""
    _temporary(path, content).replace(path)


def private_opener(path: str, flags: int) -> int:
    """Open a file and make it private, even an existing one: `open(path, opener=private_opener)`."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)
    return descriptor


def tighten(path: Path) -> None:
    """Remove the permissions of the group and of others on a file, if it exists and is ours.

    It uses the path, because opening and closing a database would drop the locks that SQLite holds on it.
    """
    with suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)
            logger.warning("%s was accessible to other users of this machine; now only to its owner", path)


def _temporary(path: Path, content: bytes) -> Path:
    """Write a private file next to `path`, synced to disk, and return its path."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, FILE_MODE)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
