"""What is read of a stored profile and of a stored summary, in all forms that were stored."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.prompt.user import (
    ConversationSummary,
    UserProfile,
    parse_conversation_summary,
    parse_user_profile,
)
from support.odd_values import ODD_VALUES

STRUCTURED = {
    "current_goals": ["Squat 140 kg"],
    "recent_progress": ["Squat 120 kg"],
    "preferences": {"communication_style": "direct", "training_preferences": ["mornings"]},
    "methodology_preferences": {"preferred_approaches": ["5/3/1"]},
    "emotional_state": {"current_mood": "tired"},
    "key_insights": ["Rushes warm-ups"],
    "important_context": ["New job"],
}
SUMMARY = ConversationSummary(
    narrative="A long talk.",
    current_goals=("Squat 140 kg",),
    recent_progress=("Squat 120 kg",),
    preferences=(
        "communication style: direct",
        "training preferences: mornings",
        "preferred approaches: 5/3/1",
    ),
    key_insights=("Rushes warm-ups",),
    important_context=("New job",),
    total_messages=42,
    created_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
)
METADATA = {"createdAt": "2026-03-01T12:00:00.000Z", "messageRange": {"totalMessages": 42}}


def test_a_profile_is_read_without_what_a_coach_need_not_know() -> None:
    """Name, goals, training, rule, zone; neither the address nor the subscription."""
    profile = parse_user_profile(
        {
            "email": "ana@example.com",
            "username": "ana83",
            "firstName": "Ana",
            "lastName": "Ito",
            "displayName": "Ana I.",
            "preferences": {"timezone": "Asia/Tokyo"},
            "subscription": {"plan": "gold"},
            "fitness": {"experience_level": "beginner", "goals": ["Run 10 km", "Sleep"]},
            "goals": "Run 10 km",
            "athleteProfile": {"summary": "Runs.", "version": 3},
            "criticalTrainingDirective": {"enabled": True, "content": " No jumps. "},
        }
    )
    assert profile == UserProfile(
        name="Ana",
        goals=("Run 10 km", "Sleep"),
        fitness=("experience level: beginner",),
        directive="No jumps.",
        athlete_profile="Runs.",
        time_zone="Asia/Tokyo",
    )


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ({"nickname": "Nan", "firstName": "Ana"}, "Nan"),
        ({"nickname": " ", "firstName": "Ana", "displayName": "Ana I."}, "Ana"),
        ({"displayName": "Ana I."}, "Ana I."),
        ({"username": "ana83"}, ""),
    ],
)
def test_a_user_is_addressed_as_they_call_themselves(names: dict[str, object], name: str) -> None:
    """By the nickname, else the first name, else the display name; never by the account's name."""
    assert parse_user_profile(names).name == name


@pytest.mark.parametrize("enabled", [False, None, "true", 1])
def test_a_rule_that_is_not_switched_on_is_none(enabled: object) -> None:
    """Only the boolean counts."""
    stored = {"criticalTrainingDirective": {"enabled": enabled, "content": "No jumps."}}
    assert parse_user_profile(stored).directive == ""


def test_a_summary_is_read_nested_flat_and_in_camel_case() -> None:
    """All three were stored; the mood of a day is not kept."""
    camel = {
        "currentGoals": STRUCTURED["current_goals"],
        "recentProgress": STRUCTURED["recent_progress"],
        "preferences": STRUCTURED["preferences"],
        "methodologyPreferences": STRUCTURED["methodology_preferences"],
        "keyInsights": STRUCTURED["key_insights"],
        "importantContext": STRUCTURED["important_context"],
    }
    common = {"narrative": "A long talk.", "metadata": METADATA}
    for stored in ({**common, "structuredData": STRUCTURED}, {**common, **STRUCTURED}, {**common, **camel}):
        assert parse_conversation_summary(stored) == SUMMARY


@given(ODD_VALUES.filter(lambda value: isinstance(value, dict)) | st.dictionaries(st.text(), ODD_VALUES))
def test_nothing_stored_fails(stored: dict[str, object]) -> None:
    """Whatever it is, it is a profile and a summary."""
    assert isinstance(parse_user_profile(stored), UserProfile)
    assert isinstance(parse_conversation_summary(stored), ConversationSummary)
