"""`SqliteStore`: all store ports of the domain, in one SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from coachstream.storage.sqlite.context import SqliteContext
from coachstream.storage.sqlite.conversations import SqliteConversations
from coachstream.storage.sqlite.database import Database
from coachstream.storage.sqlite.memories import SqliteMemories
from coachstream.storage.sqlite.runs import SqliteRuns
from coachstream.storage.sqlite.user_data import SqliteUserData


def _now() -> datetime:
    return datetime.now(UTC)


class SqliteStore(SqliteRuns, SqliteContext, SqliteConversations, SqliteMemories, SqliteUserData):
    """All store ports in one file; create one per process.

    Nothing is opened or created before the first use. The file's folder is created if it is missing.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime] = _now) -> None:
        """Store the configuration; `now` is the clock for the age of memories and of run logs."""
        database = Database(path)
        SqliteRuns.__init__(self, database, now=now)
        SqliteContext.__init__(self, database, now=now)
        SqliteConversations.__init__(self, database)
        SqliteMemories.__init__(self, database)
        SqliteUserData.__init__(self, database)

    async def aclose(self) -> None:
        """Close the file; safe to call when already closed. Later use opens it again."""
        await self._database.aclose()
