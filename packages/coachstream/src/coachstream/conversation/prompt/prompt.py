"""The prompt as a value: an ordered list of named sections, then the conversation as alternating messages."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from coachstream.conversation.model import Role, SemanticContextUse


class SectionName(StrEnum):
    """The sections of the system prompt, in their order."""

    DIRECTIVE = "directive"
    CRITICAL_RULES = "critical_rules"
    IDENTITY = "identity"
    METHODOLOGY = "methodology"
    MOTIVATION = "motivation"
    SAFETY = "safety"
    BACKGROUND = "background"
    GUIDELINES = "guidelines"
    ADAPTATION = "adaptation"
    FINAL_INSTRUCTIONS = "final_instructions"
    CURRENT_TIME = "current_time"
    PROFILE = "profile"
    ATHLETE_PROFILE = "athlete_profile"
    MEMORIES = "memories"
    CONVERSATION_SUMMARY = "conversation_summary"
    USER = "user"
    WORKOUTS = "workouts"
    ADDITIONAL_CONSTRAINTS = "additional_constraints"
    SEMANTIC_CONTEXT = "semantic_context"


class Section(msgspec.Struct, frozen=True):
    """A section of the system prompt. Static ones, the same in every turn, come first and can be cached."""

    name: SectionName
    text: str
    is_static: bool


class PromptMessage(msgspec.Struct, frozen=True):
    """One message of the conversation as the model sees it."""

    role: Role
    text: str


class Prompt(msgspec.Struct, frozen=True):
    """Everything the model receives.

    Attributes:
        coach_name: the coach's name, for models and logs that need it without parsing.
        sections: the system prompt; static sections come before the others.
        messages: the first and the last are the user's. The last one is the message to reply to, by itself;
            before it roles alternate.
        semantic_context: how much of the semantic search the sections hold.
        said: the partial reply produced so far, which the model continues.
    """

    coach_name: str
    sections: tuple[Section, ...]
    messages: tuple[PromptMessage, ...]
    semantic_context: SemanticContextUse = SemanticContextUse()
    said: str = ""

    @property
    def chars(self) -> int:
        """The length of its texts in characters."""
        sections = sum(len(section.text) for section in self.sections)
        return sections + sum(len(message.text) for message in self.messages) + len(self.said)
