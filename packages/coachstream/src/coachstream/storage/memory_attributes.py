"""The stored format of a memory (existing system, section 1.4); `parse_memory` reads it."""

from __future__ import annotations

from coachstream.conversation.model import Memory, format_timestamp


def memory_attributes(user_id: str, memory: Memory) -> dict[str, object]:
    """The attributes of a `userMemory` item; a null coach means any coach."""
    metadata: dict[str, object] = {
        "createdAt": format_timestamp(memory.created_at),
        "usageCount": memory.usage_count,
        "source": memory.source.value,
        "importance": memory.importance.value,
        "tags": list(memory.tags),
    }
    if memory.last_used is not None:
        metadata["lastUsed"] = format_timestamp(memory.last_used)
    return {
        "memoryId": memory.id,
        "userId": user_id,
        "coachId": memory.coach_id,
        "content": memory.content,
        "memoryType": memory.memory_type,
        "metadata": metadata,
    }
