"""A memory that the user asks for, by command or in plain words: how it is created, saved and confirmed.

The service writes the confirmation, because only the service knows whether the memory is saved. After a
command, it is the beginning of the reply, which is streamed and stored.
"""

from __future__ import annotations

import logging
from datetime import datetime

from coachstream.conversation.analysis import MemoryTraits
from coachstream.conversation.errors import CoachStreamError
from coachstream.conversation.model import ConversationKey, Memory, MemorySource, Message, Role
from coachstream.conversation.ports import MemoryStore

logger = logging.getLogger("coachstream.turn")

USAGE = "\u274c To save a memory, write it after the command: /save-memory I train on Mondays."
NOT_SAVED = "\u274c Sorry, I could not save that. Please try again in a moment."


def memory_id(user_id: str, message: Message) -> str:
    """The id of the memory that a message requests: the message's own, so that a retry saves no duplicate."""
    return memory_id_of(user_id, message.id)


def memory_id_of(user_id: str, message_id: str) -> str:
    """The id of the memory that the user message with this id requests."""
    name = message_id.removeprefix("msg_").removesuffix(f"_{Role.USER.value}")
    return f"user_memory_{user_id}_{name}"


def requested_memory(
    key: ConversationKey,
    message: Message,
    content: str,
    traits: MemoryTraits,
    source: MemorySource,
    *,
    at: datetime,
) -> Memory:
    """The memory that a message requests."""
    return Memory(
        id=memory_id(key.user_id, message),
        content=content,
        memory_type=traits.memory_type,
        importance=traits.importance,
        created_at=at,
        coach_id=key.coach_id if traits.is_coach_specific else None,
        tags=traits.tags,
        source=source,
    )


def confirmations(content: str) -> tuple[str, ...]:
    """All possible confirmations for a memory with this content."""
    return (saved(content), NOT_SAVED) if content else (USAGE,)


async def save(user_id: str, memory: Memory, store: MemoryStore) -> bool:
    """Save a memory; return whether it is saved."""
    try:
        await store.save_memory(user_id, memory)
    except CoachStreamError as error:
        logger.warning("A memory could not be saved: %s", error.code.value)
        return False
    return True


def saved(content: str) -> str:
    """The confirmation for a saved memory."""
    return f'\u2705 I will remember this: "{content}"'
