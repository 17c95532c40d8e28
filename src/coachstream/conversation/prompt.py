"""The prompt: an ordered list of named sections, then the conversation as alternating messages.

It is assembled once, from one list: no section can be lost on the way because another one was added.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from enum import StrEnum

import msgspec

from coachstream.conversation import sections
from coachstream.conversation.coach import CoachConfig
from coachstream.conversation.events import SemanticContextUse
from coachstream.conversation.model import Match, Memory, Role, Workout


class SectionName(StrEnum):
    """The sections of the system prompt, in their order."""

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
    MEMORIES = "memories"
    USER = "user"
    WORKOUTS = "workouts"
    ADDITIONAL_CONSTRAINTS = "additional_constraints"
    SEMANTIC_CONTEXT = "semantic_context"


class Section(msgspec.Struct, frozen=True):
    """A part of the system prompt. Static ones depend on the coach alone, come first and can be cached."""

    name: SectionName
    text: str
    is_static: bool


class PromptMessage(msgspec.Struct, frozen=True):
    """One message of the conversation as the model sees it."""

    role: Role
    text: str


class Prompt(msgspec.Struct, frozen=True):
    """Everything that a model is given.

    Attributes:
        coach_name: the coach's name, for models and logs that want it without parsing.
        sections: the system prompt; static sections come before the others.
        messages: the first and the last are the user's. The last one is the message to answer, by itself;
            before it roles alternate.
        semantic_context: how much of the semantic search the sections hold.
        said: the beginning of the reply that was said already; the model goes on from there.
    """

    coach_name: str
    sections: tuple[Section, ...]
    messages: tuple[PromptMessage, ...]
    semantic_context: SemanticContextUse = SemanticContextUse()
    said: str = ""


def build_prompt(
    *,
    coach: CoachConfig,
    now: datetime,
    messages: Sequence[PromptMessage],
    memories: Sequence[Memory] = (),
    workouts: Sequence[Workout] = (),
    matches: Sequence[Match] = (),
    additional_constraints: Sequence[str] = (),
    session_number: int = 1,
    timezone: tzinfo = UTC,
) -> Prompt:
    """Assemble the prompt of a turn.

    Args:
        coach: who answers.
        now: the turn's one reading of the clock.
        messages: what `fit_history` chose.
        memories: most important first.
        workouts: newest first.
        matches: of the semantic search, best first.
        additional_constraints: of this message, a sentence each.
        session_number: 1 for the first exchange of the conversation.
        timezone: the user's.
    """
    passages = sections.passages(matches)
    # What depends on the coach alone comes first, so that a model can cache it from turn to turn.
    static = {
        SectionName.CRITICAL_RULES: sections.critical_rules(),
        SectionName.IDENTITY: sections.identity(coach),
        SectionName.METHODOLOGY: sections.methodology(coach),
        SectionName.MOTIVATION: sections.motivation(coach),
        SectionName.SAFETY: sections.safety(coach),
        SectionName.BACKGROUND: sections.background(coach),
        SectionName.GUIDELINES: sections.guidelines(coach),
        SectionName.ADAPTATION: sections.adaptation(coach),
        SectionName.FINAL_INSTRUCTIONS: sections.final_instructions(coach),
    }
    dynamic = {
        SectionName.CURRENT_TIME: sections.current_time(now, timezone),
        SectionName.MEMORIES: sections.memories(memories, timezone),
        SectionName.USER: sections.user(session_number),
        SectionName.WORKOUTS: sections.workouts(workouts, now, timezone),
        SectionName.ADDITIONAL_CONSTRAINTS: sections.additional_constraints(additional_constraints),
        SectionName.SEMANTIC_CONTEXT: sections.semantic_context(passages),
    }
    return Prompt(
        coach_name=coach.name,
        sections=tuple(
            Section(name, text, is_static=part is static)
            for part in (static, dynamic)
            for name, text in part.items()
            if text
        ),
        messages=tuple(messages),
        semantic_context=SemanticContextUse(matches=len(passages), length=sum(map(len, passages))),
    )
