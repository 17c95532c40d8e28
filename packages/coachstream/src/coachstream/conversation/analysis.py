"""What a message asks of the application besides a reply: the verdict of a small model, or of rules.

The thresholds are the existing system's (its section 8).
"""

from __future__ import annotations

import msgspec

from coachstream.conversation.model import Importance

WORKOUT_ABOVE = 0.5
"""A message with a higher confidence reports a workout."""

MEMORY_ABOVE = 0.7
"""A message with a higher confidence asks to have something remembered."""

MEMORY_TYPES = ("preference", "goal", "constraint", "instruction", "context")

MOST_TAGS = 5


class MemoryTraits(msgspec.Struct, frozen=True):
    """The characteristics of a memory; the defaults are the existing system's, for want of a verdict.

    Attributes:
        memory_type: one of `MEMORY_TYPES`.
        is_coach_specific: whether only this coach may know it.
        tags: at most `MOST_TAGS`.
    """

    memory_type: str = "preference"
    importance: Importance = Importance.MEDIUM
    is_coach_specific: bool = False
    tags: tuple[str, ...] = ("preference", "helpful")


class MessageAnalysis(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one message.

    Attributes:
        workout_confidence: from 0 to 1, that the user reports a workout that is done.
        memory_confidence: from 0 to 1, that the user asks to have something remembered.
        memory_text: what to remember: a part of the message, word for word; empty for all of it.
        traits: of that memory; of what follows the command, if the message is one.
        is_complex: whether the message changes the picture of the user so much that it calls for a summary.
        needs_search: whether earlier records may help to reply.
        language: of the message, as an ISO 639-1 code; empty if unknown.
    """

    workout_confidence: float = 0.0
    memory_confidence: float = 0.0
    memory_text: str = ""
    traits: MemoryTraits = MemoryTraits()
    is_complex: bool = False
    needs_search: bool = True
    language: str = ""

    @property
    def reports_workout(self) -> bool:
        """Whether to hand off a workout."""
        return self.workout_confidence > WORKOUT_ABOVE

    @property
    def requests_memory(self) -> bool:
        """Whether to save a memory."""
        return self.memory_confidence > MEMORY_ABOVE


def quotation_from(message: str, quoted: str) -> str:
    """A quotation, if it is word for word in the message; else all of the message.

    A model chooses what to remember, but must not write it: a memory is in every later prompt.
    """
    quoted = quoted.strip()
    return quoted if quoted and quoted in message else message.strip()
