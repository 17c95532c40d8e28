"""`SqliteStore`: all that the domain asks of a store, in one SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from coachstream.storage.sqlite.context import SqliteContext
from coachstream.storage.sqlite.conversations import SqliteConversations
from coachstream.storage.sqlite.database import Database
from coachstream.storage.sqlite.memories import SqliteMemories
from coachstream.storage.sqlite.turns import SqliteTurns


def _now() -> datetime:
    return datetime.now(UTC)


class SqliteStore(SqliteTurns, SqliteContext, SqliteConversations, SqliteMemories):
    """`TurnStore`, `ContextStore`, `ConversationStore` and `MemoryStore` over one file, for each process one.

    Nothing is opened or created before the first use. The folder of the file is made when it is missing.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime] = _now) -> None:
        """Remember the file; `now` tells how old a memory is."""
        database = Database(path)
        SqliteTurns.__init__(self, database)
        SqliteContext.__init__(self, database, now=now)
        SqliteConversations.__init__(self, database)
        SqliteMemories.__init__(self, database)

    async def aclose(self) -> None:
        """Give up the claims and close the file; harmless when already closed. Later use opens it again."""
        await self.abandon_all()
        await self._database.aclose()
