"""`DynamoDbStore`: all that the domain asks of a store, in the existing system's table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from coachstream.storage.dynamodb.context import DynamoDbContext
from coachstream.storage.dynamodb.conversations import DynamoDbConversations
from coachstream.storage.dynamodb.memories import DynamoDbMemories
from coachstream.storage.dynamodb.mirror import Mirror
from coachstream.storage.dynamodb.runs import DynamoDbRuns
from coachstream.storage.dynamodb.table_client import OpenClient, TableClient


def _now() -> datetime:
    return datetime.now(UTC)


class DynamoDbStore(DynamoDbRuns, DynamoDbContext, DynamoDbConversations, DynamoDbMemories):
    """`RunStore`, `ContextStore`, `ConversationStore` and `MemoryStore` over one table.

    One for each process and event loop. It has nothing to close: the client is opened at the first use, and
    closed by whoever made it.
    """

    def __init__(
        self,
        client: OpenClient,
        table: str,
        *,
        mirror_messages: bool = False,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """Remember the table; nothing is called yet.

        Args:
            client: gives the SDK's client, which makes one attempt at a call: the store repeats what may be
                repeated.
            table: its name (`table` has its definition).
            mirror_messages: whether turns also appear in the list that the existing functions read.
            now: the time, for dates, expiry, and the age of memories.
        """
        calls = TableClient(client, table)
        mirror = Mirror(calls, now=now) if mirror_messages else None
        DynamoDbRuns.__init__(self, calls, mirror, now=now)
        DynamoDbContext.__init__(self, calls, now=now)
        DynamoDbConversations.__init__(self, calls, now=now)
        DynamoDbMemories.__init__(self, calls, now=now)
