"""`DynamoDbStore`: all store ports of the domain, in the existing system's table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from coachstream.storage.dynamodb.context import DynamoDbContext
from coachstream.storage.dynamodb.conversations import DynamoDbConversations
from coachstream.storage.dynamodb.memories import DynamoDbMemories
from coachstream.storage.dynamodb.mirror import Mirror
from coachstream.storage.dynamodb.queued_runs import DynamoDbQueuedRuns
from coachstream.storage.dynamodb.table_client import OpenClient, TableClient
from coachstream.storage.dynamodb.user_data import DynamoDbUserData


async def _ignore() -> None:
    pass


def _now() -> datetime:
    return datetime.now(UTC)


class DynamoDbStore(
    DynamoDbQueuedRuns, DynamoDbContext, DynamoDbConversations, DynamoDbMemories, DynamoDbUserData
):
    """`RunStore`, `ContextStore`, `ConversationStore`, `MemoryStore` and `UserDataStore` over one table.

    Create one per process and event loop. It needs no closing: the client is opened at the first use, and its
    creator closes it.
    """

    def __init__(
        self,
        client: OpenClient,
        table: str,
        *,
        mirror_messages: bool = False,
        on_mirror_stop: Callable[[], Awaitable[None]] = _ignore,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """Store the configuration; make no call yet.

        Args:
            client: returns the SDK's client, with its retries switched off: the store retries what may be
                retried.
            table: the table's name (the module `table` defines it).
            mirror_messages: whether turns are also copied to the list that the existing functions read.
            on_mirror_stop: called for each reply that is not copied because the list is full.
            now: the clock, for dates, expiry, and the age of memories.
        """
        table_client = TableClient(client, table)
        mirror = Mirror(table_client, now=now, on_stop=on_mirror_stop) if mirror_messages else None
        DynamoDbQueuedRuns.__init__(self, table_client, mirror, now=now)
        DynamoDbContext.__init__(self, table_client, now=now)
        DynamoDbConversations.__init__(self, table_client, now=now)
        DynamoDbMemories.__init__(self, table_client, now=now)
        DynamoDbUserData.__init__(self, table_client)
