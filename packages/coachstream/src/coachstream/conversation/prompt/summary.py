"""The summary of a conversation as a model or rules write it: coerced and bounded, because it is stored.

The fields are those of the existing system's stored summary (its section 1.4); `user` reads what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from coachstream.conversation.prompt.quoting import one_line
from coachstream.conversation.prompt.records import as_count, as_record, as_text, as_texts
from coachstream.conversation.prompt.user import ConversationSummary

MOST_NARRATIVE_CHARS = 2_000
MOST_ENTRIES = 8
"""Of each list."""
MOST_ENTRY_CHARS = 200

Texts = tuple[str, ...]


class Preferences(msgspec.Struct, frozen=True):
    """How the user likes to talk and to train, and when they can."""

    communication_style: str = ""
    training_preferences: Texts = ()
    schedule_constraints: Texts = ()


class MethodologyPreferences(msgspec.Struct, frozen=True):
    """Training methods that came up."""

    mentioned_methodologies: Texts = ()
    preferred_approaches: Texts = ()
    methodology_questions: Texts = ()


class EmotionalState(msgspec.Struct, frozen=True):
    """How the user feels, each in a word or two."""

    current_mood: str = ""
    motivation_level: str = ""
    confidence_level: str = ""


class SummaryContent(msgspec.Struct, frozen=True):
    """A summary, without saying of what; `confidence` in it is from 0 to 100."""

    narrative: str
    current_goals: Texts = ()
    recent_progress: Texts = ()
    preferences: Preferences = Preferences()
    methodology_preferences: MethodologyPreferences = MethodologyPreferences()
    emotional_state: EmotionalState = EmotionalState()
    key_insights: Texts = ()
    important_context: Texts = ()
    conversation_tags: Texts = ()
    confidence: int = 0

    def as_read(
        self, *, total_messages: int, created_at: datetime, last_message_id: str
    ) -> ConversationSummary:
        """The summary as it will be read from the store."""
        likes, methods = self.preferences, self.methodology_preferences
        style = (likes.communication_style,) if likes.communication_style else ()
        return ConversationSummary(
            narrative=self.narrative,
            current_goals=self.current_goals,
            recent_progress=self.recent_progress,
            preferences=(
                *style,
                *likes.training_preferences,
                *likes.schedule_constraints,
                *methods.mentioned_methodologies,
                *methods.preferred_approaches,
                *methods.methodology_questions,
            ),
            key_insights=self.key_insights,
            important_context=self.important_context,
            total_messages=total_messages,
            created_at=created_at,
            last_message_id=last_message_id,
        )


def parse_summary_content(written: Mapping[str, object]) -> SummaryContent | None:
    """Coerce what a model wrote, with the fields' stored names; None if it has no narrative.

    What is too long is shortened, and an entry that is no text is left out.
    """
    narrative = one_line(as_text(written.get("narrative")), MOST_NARRATIVE_CHARS)
    if not narrative:
        return None
    preferences = as_record(written.get("preferences"))
    methods = as_record(written.get("methodology_preferences"))
    emotions = as_record(written.get("emotional_state"))
    return SummaryContent(
        narrative=narrative,
        current_goals=_entries(written, "current_goals"),
        recent_progress=_entries(written, "recent_progress"),
        preferences=Preferences(
            communication_style=_entry(preferences, "communication_style"),
            training_preferences=_entries(preferences, "training_preferences"),
            schedule_constraints=_entries(preferences, "schedule_constraints"),
        ),
        methodology_preferences=MethodologyPreferences(
            mentioned_methodologies=_entries(methods, "mentioned_methodologies"),
            preferred_approaches=_entries(methods, "preferred_approaches"),
            methodology_questions=_entries(methods, "methodology_questions"),
        ),
        emotional_state=EmotionalState(
            current_mood=_entry(emotions, "current_mood"),
            motivation_level=_entry(emotions, "motivation_level"),
            confidence_level=_entry(emotions, "confidence_level"),
        ),
        key_insights=_entries(written, "key_insights"),
        important_context=_entries(written, "important_context"),
        conversation_tags=_entries(written, "conversation_tags"),
        confidence=min(100, as_count(written.get("confidence"))),
    )


def _entry(record: Mapping[str, object], name: str) -> str:
    return one_line(as_text(record.get(name)), MOST_ENTRY_CHARS)


def _entries(record: Mapping[str, object], name: str) -> Texts:
    entries = (one_line(each, MOST_ENTRY_CHARS) for each in as_texts(record.get(name)))
    return tuple(dict.fromkeys(each for each in entries if each))[:MOST_ENTRIES]
