"""Writes a coach's memories of a user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from coachstream.conversation.model import Memory, format_timestamp
from coachstream.storage.dynamodb.counter_repair import COUNT, is_count, repair_counter
from coachstream.storage.dynamodb.errors import ConditionFailed
from coachstream.storage.dynamodb.items import memory_item
from coachstream.storage.dynamodb.keys import ItemKey, memory_key
from coachstream.storage.dynamodb.requests import IS_NOT_THERE, IS_THERE, Delete, Put, Update
from coachstream.storage.dynamodb.table_client import TableClient


class DynamoDbMemories:
    """`MemoryStore`."""

    def __init__(self, table: TableClient, *, now: Callable[[], datetime]) -> None:
        self._table = table
        self._now = now

    async def save_memory(self, user_id: str, memory: Memory) -> None:
        """Save a memory; saving it again under the same id changes nothing but its content."""
        now = self._now()
        try:
            await self._table.put(Put(memory_item(user_id, memory, at=now), IS_NOT_THERE))
        except ConditionFailed:
            change = Update(
                memory_key(user_id, memory.id),
                "SET #attributes.#content = :content, #updatedAt = :now",
                IS_THERE,
                {":content": memory.content, ":now": format_timestamp(now)},
            )
            with suppress(ConditionFailed):  # deleted in the meantime, and stays deleted
                await self._table.change(change)

    async def change_memory_traits(self, user_id: str, memory: Memory) -> None:
        """Change type, importance, tags and coach of a memory (see `MemoryStore`)."""
        change = Update(
            memory_key(user_id, memory.id),
            "SET #attributes.#memoryType = :type, #attributes.#coachId = :coach,"
            " #attributes.#metadata.#importance = :importance, #attributes.#metadata.#tags = :tags,"
            " #updatedAt = :now",
            IS_THERE,
            {
                ":type": memory.memory_type,
                ":coach": memory.coach_id,
                ":importance": memory.importance.value,
                ":tags": list(memory.tags),
                ":now": format_timestamp(self._now()),
            },
        )
        with suppress(ConditionFailed):  # deleted in the meantime, and stays deleted
            await self._table.change(change)

    async def delete_memory(self, user_id: str, memory_id: str) -> None:
        """Delete a memory; deleting one that does not exist succeeds."""
        await self._table.delete(Delete(memory_key(user_id, memory_id)))

    async def note_memories_used(self, user_id: str, memory_ids: Sequence[str], *, at: datetime) -> None:
        """Atomically increment each memory's use count and set its last use; skip deleted memories.

        The updates run concurrently, and the failure of one does not prevent the others.
        """
        counting = (self._count_use(memory_key(user_id, each), at) for each in dict.fromkeys(memory_ids))
        outcomes = await asyncio.gather(*counting, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _count_use(self, key: ItemKey, at: datetime) -> None:
        counting = Update(
            key,
            "SET #attributes.#metadata.#usageCount = #attributes.#metadata.#usageCount + :one,"
            " #attributes.#metadata.#lastUsed = :at, #updatedAt = :at",
            is_count("#attributes.#metadata.#usageCount"),
            {**COUNT, ":one": 1, ":at": format_timestamp(at)},
        )
        try:
            await self._table.change(counting, is_repeatable=False)
        except ConditionFailed:
            # The memory is deleted, which the repair ignores, or its counter is malformed.
            await repair_counter(self._table, key, "usageCount")
            with suppress(ConditionFailed):
                await self._table.change(counting, is_repeatable=False)
