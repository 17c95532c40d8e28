"""Assembles the prompt in one place, from one ordered list, so that adding a section cannot drop another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from coachstream.conversation.model import Match, Memory, SemanticContextUse, Workout
from coachstream.conversation.prompt import sections
from coachstream.conversation.prompt.coach import CoachConfig
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage, Section, SectionName
from coachstream.conversation.prompt.user import ConversationSummary, UserProfile


def build_prompt(
    *,
    coach: CoachConfig,
    now: datetime,
    messages: Sequence[PromptMessage],
    memories: Sequence[Memory] = (),
    workouts: Sequence[Workout] = (),
    matches: Sequence[Match] = (),
    profile: UserProfile = UserProfile(),  # noqa: B008 (immutable)
    summary: ConversationSummary = ConversationSummary(),  # noqa: B008 (immutable)
    additional_constraints: Sequence[str] = (),
    session_number: int = 1,
    timezone: tzinfo = UTC,
) -> Prompt:
    """Assemble the prompt of a turn.

    Args:
        coach: the coach who replies.
        now: the turn's single clock value.
        messages: the messages selected by `fit_history`.
        memories: most important first.
        workouts: newest first.
        matches: semantic search results, best first.
        profile: who the user is.
        summary: of the whole conversation, including what `messages` leave out.
        additional_constraints: constraints for this message, one sentence each.
        session_number: 1 for the first exchange of the conversation.
        timezone: the user's time zone.
    """
    passages = sections.passages(matches)
    # What only a change of the user's rule or of the coach changes comes first, so that a model can cache it
    # from turn to turn.
    static = {
        SectionName.DIRECTIVE: sections.directive(profile),
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
        SectionName.PROFILE: sections.profile(profile),
        SectionName.ATHLETE_PROFILE: sections.athlete_profile(profile),
        SectionName.MEMORIES: sections.memories(memories, timezone),
        SectionName.CONVERSATION_SUMMARY: sections.conversation_summary(summary, timezone),
        SectionName.USER: sections.user(session_number),
        SectionName.WORKOUTS: sections.workouts(workouts, now, timezone),
        SectionName.ADDITIONAL_CONSTRAINTS: sections.additional_constraints(additional_constraints),
        SectionName.SEMANTIC_CONTEXT: sections.semantic_context(passages),
    }
    return Prompt(
        coach_name=coach.name,
        sections=tuple(
            Section(name, text, is_static=group is static)
            for group in (static, dynamic)
            for name, text in group.items()
            if text
        ),
        messages=tuple(messages),
        semantic_context=SemanticContextUse(matches=len(passages), length=sum(map(len, passages))),
    )
