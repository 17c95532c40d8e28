"""A memory that the user requests by command: how it is created, saved and confirmed.

The service writes the confirmation, because only the service knows whether the memory is saved. It is written
after the save, as the beginning of the reply, which is streamed and stored.
"""

from __future__ import annotations

import logging
from datetime import datetime

from coachstream.conversation.errors import CoachStreamError
from coachstream.conversation.model import Importance, Memory, MemorySource, Message
from coachstream.conversation.ports import MemoryStore

logger = logging.getLogger("coachstream.turn")

USAGE = "\u274c To save a memory, write it after the command: /save-memory I train on Mondays."
NOT_SAVED = "\u274c Sorry, I could not save that. Please try again in a moment."


def requested_memory(user_id: str, message: Message, content: str, *, at: datetime) -> Memory:
    """The memory that a message requests.

    Its id is derived from the message's id, so that a retry saves no duplicate. It applies to every coach,
    and has the existing system's defaults (its section 8): a preference of medium importance.
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
    """All possible confirmations for a memory."""
    return (saved(memory), NOT_SAVED) if memory.content else (USAGE,)


async def save_and_confirm(user_id: str, memory: Memory, store: MemoryStore) -> str:
    """Save a memory and return the confirmation for the user."""
    if not memory.content:
        return USAGE
    try:
        await store.save_memory(user_id, memory)
    except CoachStreamError as error:
        logger.warning("A memory could not be saved: %s", error.code.value)
        return NOT_SAVED
    return saved(memory)


def saved(memory: Memory) -> str:
    """The confirmation for a saved memory."""
    return f'\u2705 I will remember this: "{memory.content}"'
