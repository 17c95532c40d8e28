"""`DynamoDbStore`: all that the domain asks of a store, in the existing system's table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from coachstream.storage.dynamodb.calls import OpenClient, TableCalls
from coachstream.storage.dynamodb.context import DynamoDbContext
from coachstream.storage.dynamodb.conversations import DynamoDbConversations
from coachstream.storage.dynamodb.lease import TurnLeases
from coachstream.storage.dynamodb.memories import DynamoDbMemories
from coachstream.storage.dynamodb.mirror import Mirror
from coachstream.storage.dynamodb.turns import DynamoDbTurns

LEASE_S = 15.0
"""How long a conversation stays blocked after a process died in the middle of a turn."""


def _now() -> datetime:
    return datetime.now(UTC)


class DynamoDbStore(DynamoDbTurns, DynamoDbContext, DynamoDbConversations, DynamoDbMemories):
    """`TurnStore`, `ContextStore`, `ConversationStore` and `MemoryStore` over one table.

    One for each process and event loop. The client is opened at the first use, and closed by whoever made it.
    """

    def __init__(
        self,
        client: OpenClient,
        table: str,
        *,
        mirror_messages: bool = False,
        lease_s: float = LEASE_S,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """Remember the table; nothing is called yet.

        Args:
            client: gives the SDK's client. It may repeat a call whose answer was lost: only the use of a
                memory could be counted twice by that.
            table: its name (`table` has its definition).
            mirror_messages: whether turns also appear in the list that the existing functions read.
            lease_s: how long a turn is taken for alive after its process has last said so.
            now: the time, for dates, leases, and the age of memories.
        """
        calls = TableCalls(client, table)
        leases = TurnLeases(calls, lease_s=lease_s, now=now)
        mirror = Mirror(calls, now=now) if mirror_messages else None
        DynamoDbTurns.__init__(self, calls, leases, mirror, now=now)
        DynamoDbContext.__init__(self, calls, now=now)
        DynamoDbConversations.__init__(self, calls, leases, now=now)
        DynamoDbMemories.__init__(self, calls, now=now)

    async def aclose(self) -> None:
        """Give up the claims; the store can go on being used."""
        await self.abandon_all()
