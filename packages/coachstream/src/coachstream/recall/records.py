"""What every semantic memory holds: namespaces, types, texts (existing system, section 4.3)."""

from __future__ import annotations

from coachstream.conversation.model import Memory

METHODOLOGY = "methodology"
"""The namespace that everybody's searches include; its records are of this type, too."""

USER_MEMORY = "user_memory"
"""The type of a remembered memory. A prompt gets memories from the store, so a search leaves them out."""

CONTEXT_TYPES = ("workout_summary", "coach_creator_summary", "conversation_summary")
"""The types of a user's own records that a search for a prompt's context finds."""


def user_namespace(user_id: str) -> str:
    """The namespace of a user's own records."""
    return f"user_{user_id}"


def memory_text(memory: Memory) -> str:
    """What is searched of a memory: its content, and its tags, a line each."""
    return "\n".join((memory.content, *(f"tag: {tag}" for tag in memory.tags)))
