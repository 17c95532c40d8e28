"""The store for conversations and prompt context in one SQLite file that many processes share."""

from coachstream.sqlite_file import UnusableDatabase
from coachstream.storage.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "UnusableDatabase"]
