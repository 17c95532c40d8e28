"""What the existing system stores about a user and a conversation, coerced: nothing in it fails a turn.

Field names are those of the stored attributes (existing system, section 1.4). Its later version stores a
summary flat, earlier ones nest it; both are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from coachstream.conversation.prompt.records import as_count, as_moment, as_record, as_text, as_texts


class UserProfile(msgspec.Struct, frozen=True):
    """What the prompt needs to know about a user; empty where nothing is known.

    Attributes:
        name: how the coach addresses the user.
        goals: the user's goals.
        fitness: other facts about their training, each as `name: value`.
        directive: the rule that the user set for all of their training; empty if it is switched off.
        athlete_profile: a text about the user as an athlete.
        time_zone: the name of a time zone, unchecked.
    """

    name: str = ""
    goals: tuple[str, ...] = ()
    fitness: tuple[str, ...] = ()
    directive: str = ""
    athlete_profile: str = ""
    time_zone: str = ""


class ConversationSummary(msgspec.Struct, frozen=True):
    """The summary of a conversation's messages; empty if there is none.

    Attributes:
        narrative: what was said, as a text.
        total_messages: how many messages the conversation had then; 0 if unknown.
        created_at: when it was written, if known.
        last_message_id: the newest message that was read for it; empty if unknown.
    """

    narrative: str = ""
    current_goals: tuple[str, ...] = ()
    recent_progress: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()
    key_insights: tuple[str, ...] = ()
    important_context: tuple[str, ...] = ()
    total_messages: int = 0
    created_at: datetime | None = None
    last_message_id: str = ""


def parse_user_profile(attributes: Mapping[str, object]) -> UserProfile:
    """Read `user` attributes; never raises."""
    fitness = dict(as_record(attributes.get("fitness")))
    goals = (*as_texts(attributes.get("goals")), *as_texts(fitness.pop("goals", None)))
    directive = as_record(attributes.get("criticalTrainingDirective"))
    return UserProfile(
        name=_first_text(attributes, "nickname", "firstName", "displayName"),
        goals=tuple(dict.fromkeys(goals)),
        fitness=as_texts(fitness),
        directive=as_text(directive.get("content")) if directive.get("enabled") is True else "",
        athlete_profile=as_text(as_record(attributes.get("athleteProfile")).get("summary")),
        time_zone=as_text(as_record(attributes.get("preferences")).get("timezone")),
    )


def parse_conversation_summary(attributes: Mapping[str, object]) -> ConversationSummary:
    """Read `conversationSummary` attributes; never raises."""
    data = {**attributes, **as_record(attributes.get("structuredData"))}
    metadata = as_record(attributes.get("metadata"))
    return ConversationSummary(
        narrative=as_text(attributes.get("narrative")),
        current_goals=_texts(data, "current_goals", "currentGoals"),
        recent_progress=_texts(data, "recent_progress", "recentProgress"),
        preferences=(
            *_texts(data, "preferences"),
            *_texts(data, "methodology_preferences", "methodologyPreferences"),
        ),
        key_insights=_texts(data, "key_insights", "keyInsights"),
        important_context=_texts(data, "important_context", "importantContext"),
        total_messages=as_count(as_record(metadata.get("messageRange")).get("totalMessages")),
        last_message_id=as_text(as_record(metadata.get("messageRange")).get("endMessageId")),
        created_at=as_moment(metadata.get("createdAt")),
    )


def _first_text(stored: Mapping[str, object], *names: str) -> str:
    return next((text for name in names if (text := as_text(stored.get(name)))), "")


def _texts(stored: Mapping[str, object], *names: str) -> tuple[str, ...]:
    return next((texts for name in names if (texts := as_texts(stored.get(name)))), ())
