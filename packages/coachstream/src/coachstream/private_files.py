"""Files of one user: readable and writable by their owner only, complete or absent, whatever the umask is."""

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
    """Make a folder and its missing parents, each for its owner only; an existing one keeps its mode.

    Raises:
        OSError: it cannot be made, or something else has its name.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        # Another process may be faster.
        with suppress(FileExistsError):
            each.mkdir(FOLDER_MODE)
            each.chmod(FOLDER_MODE)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def write_once(path: Path, content: bytes) -> None:
    """Write a new file in one step; when another process was faster, its file stays."""
    temporary = _temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def replace(path: Path, content: bytes) -> None:
    """Write a file in one step, in place of one that may be there."""
    _temporary(path, content).replace(path)


def private_opener(path: str, flags: int) -> int:
    """Open a file for its owner only, also one that exists: `open(path, opener=private_opener)`."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)
    return descriptor


def tighten(path: Path) -> None:
    """Withdraw what the group and everyone else may do with a file, if it exists and is ours.

    By its name, because opening and closing a database would drop the locks that SQLite holds on it.
    """
    with suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)
            logger.warning("%s was open to other users of this machine; now only its owner can use it", path)


def _temporary(path: Path, content: bytes) -> Path:
    """A file next to `path`, readable by its owner only, whose content is on the disk."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, FILE_MODE)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
