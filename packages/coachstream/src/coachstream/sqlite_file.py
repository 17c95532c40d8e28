"""What all our SQLite files share: private permissions and redacted errors.

An error of SQLite or of Python's `sqlite3` may quote stored data ("Could not decode to UTF-8 column 'content'
with text ..."), so its text is redacted: only the name of its code is passed on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from coachstream.conversation.errors import StorageUnavailable
from coachstream.private_files import make_private_folder, tighten, write_once

P = ParamSpec("P")
T = TypeVar("T")

_SIDE_FILES = ("-wal", "-shm", "-journal")
"""SQLite gives new ones the mode of the file itself (`findCreateFileMode` in its os_unix.c)."""

_PRIMARY_CODE = 0xFF
"""An extended result code has the primary one in its lowest byte (sqlite.org/rescode.html)."""

_DAMAGE = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT})


class UnusableDatabase(StorageUnavailable):
    """The file is damaged, not a database of this program, or of a newer version; retrying does not help."""

    retryable = False


class DamagedValue(Exception):
    """A stored value cannot be decoded; neither this nor its cause quotes it."""


def connect(path: Path, *, check_same_thread: bool = True) -> sqlite3.Connection:
    """Open a private database in autocommit mode, and create it if it is missing.

    If an existing file is accessible to others, their permissions are removed.

    Raises:
        StorageUnavailable: its folder or the file cannot be created.
        sqlite3.Error: it cannot be opened.
    """
    path = path.resolve()  # as SQLite does, which keeps its other files next to the target of a link
    try:
        make_private_folder(path.parent)
        if not path.exists():
            write_once(path, b"")  # an empty file is an empty database
    except OSError as error:
        raise StorageUnavailable(f"{error.filename or path} cannot be created: {error.strerror}") from error
    for name in (path.name, *(path.name + suffix for suffix in _SIDE_FILES)):
        tighten(path.with_name(name))
    return sqlite3.connect(path, isolation_level=None, check_same_thread=check_same_thread)


def decoding(decode: Callable[P, T]) -> Callable[P, T]:
    """Make a function that decodes stored values raise `DamagedValue` instead of errors that quote them."""

    @wraps(decode)
    def decode_or_say_damaged(*given: P.args, **more: P.kwargs) -> T:
        try:
            return decode(*given, **more)
        except (msgspec.MsgspecError, ValueError, TypeError):
            raise DamagedValue from None

    return decode_or_say_damaged


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Map SQLite's errors and `DamagedValue`, without their texts.

    Raises:
        UnusableDatabase: the file is damaged, or was never a database.
        StorageUnavailable: anything else.
    """
    try:
        yield
    except DamagedValue:
        raise _damaged(path) from None
    except sqlite3.Error as error:
        if _is_damage(error):
            raise _damaged(path) from None
        raise StorageUnavailable(f"SQLite: {error_name(error)}") from None
    except UnicodeEncodeError:
        raise StorageUnavailable("a lone surrogate cannot be stored as text") from None


def error_name(error: sqlite3.Error) -> str:
    """SQLite's name of an error (`SQLITE_BUSY`), or its class if Python's module raised it."""
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def _is_damage(error: sqlite3.Error) -> bool:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Text that is not UTF-8 is the only operational error that Python's module itself raises.
        return type(error) is sqlite3.OperationalError
    return code & _PRIMARY_CODE in _DAMAGE


def _damaged(path: Path) -> UnusableDatabase:
    return UnusableDatabase(
        f"{path} is not a database, or is damaged. Move it away, or use another data folder"
    )
