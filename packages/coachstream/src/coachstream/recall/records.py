"""The namespaces, types and texts that all search backends share (existing system, section 4.3)."""

from __future__ import annotations

from coachstream.conversation.model import Memory
from coachstream.conversation.prompt.user import ConversationSummary

METHODOLOGY = "methodology"
"""The namespace that every user's searches include; it is also its records' type."""

USER_MEMORY = "user_memory"
"""The type of a memory. Prompts get memories from the store, so searches exclude this type."""

CONVERSATION_SUMMARY = "conversation_summary"

WRITTEN_TYPES = (USER_MEMORY, CONVERSATION_SUMMARY)
"""The types of the records that coachstream writes."""

CONTEXT_TYPES = ("workout_summary", "coach_creator_summary", CONVERSATION_SUMMARY)
"""The types of a user's own records that a search for a prompt's context finds."""


def user_namespace(user_id: str) -> str:
    """The namespace of a user's own records."""
    return f"user_{user_id}"


def memory_text(memory: Memory) -> str:
    """The searchable text of a memory: its content and its tags, one per line."""
    return "\n".join((memory.content, *(f"tag: {tag}" for tag in memory.tags)))


def summary_id(conversation_id: str) -> str:
    """The id of a conversation's summary in its user's namespace: one record, however often it is written."""
    return f"{CONVERSATION_SUMMARY}_{conversation_id}"


def summary_text(summary: ConversationSummary) -> str:
    """The searchable text of a summary: the narrative, and the entries of its lists, one per line."""
    entries = {
        "goal": summary.current_goals,
        "progress": summary.recent_progress,
        "insight": summary.key_insights,
        "context": summary.important_context,
    }
    lines = (f"{name}: {text}" for name, texts in entries.items() for text in texts)
    return "\n".join((summary.narrative, *lines))
