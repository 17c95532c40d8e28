"""A memory that the user asks for by command: how it is made, saved, and confirmed.

The confirmation is the service's own, because only the service knows whether the memory is saved. It is given
after the save, and is the beginning of the reply: streamed and stored alike.
"""

from __future__ import annotations

import logging
from datetime import datetime

from coachstream.conversation.errors import CoachStreamError
from coachstream.conversation.model import Importance, Memory, MemorySource, Message
from coachstream.conversation.ports import MemoryStore

logger = logging.getLogger("coachstream.turn")

USAGE = "\u274c To save a memory, write it behind the command: /save-memory I train on Mondays."
NOT_SAVED = "\u274c Sorry, I could not save that. Please try again in a moment."


def requested_memory(user_id: str, message: Message, content: str, *, at: datetime) -> Memory:
    """The memory that a message asks for.

    Its id follows from the message's, so that a retry of the message saves no second one. It is for every
    coach, and what the existing system takes when it knows nothing else of a memory (its section 8): a
    preference of medium importance.
    """
    name = message.id.removeprefix("msg_").removesuffix(f"_{message.role.value}")
    return Memory(
        id=f"user_memory_{user_id}_{name}",
        content=content,
        memory_type="preference",
        importance=Importance.MEDIUM,
        created_at=at,
        tags=("preference", "helpful"),
        source=MemorySource.EXPLICIT_REQUEST,
    )


def confirmations(memory: Memory) -> tuple[str, ...]:
    """All that a user may be told of saving a memory."""
    return (saved(memory), NOT_SAVED) if memory.content else (USAGE,)


async def save_and_confirm(user_id: str, memory: Memory, store: MemoryStore) -> str:
    """Save a memory and return what the user is told."""
    if not memory.content:
        return USAGE
    try:
        await store.save_memory(user_id, memory)
    except CoachStreamError as error:
        logger.warning("A memory could not be saved: %s", error.code.value)
        return NOT_SAVED
    return saved(memory)


def saved(memory: Memory) -> str:
    """What the user is told of a memory that is saved."""
    return f'\u2705 I will remember this: "{memory.content}"'
