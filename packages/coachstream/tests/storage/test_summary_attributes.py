"""The stored shape of a summary, which all stores share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from coachstream.conversation.model import ConversationKey
from coachstream.conversation.ports import NewSummary, SummaryReason
from coachstream.conversation.prompt.summary import (
    EmotionalState,
    MethodologyPreferences,
    Preferences,
    SummaryContent,
)
from coachstream.conversation.prompt.user import parse_conversation_summary
from coachstream.storage.summary_attributes import summary_attributes

KEY = ConversationKey("user-1", "coach-1", "conv-1")
SUMMARY = NewSummary(
    content=SummaryContent(
        "They squat.",
        current_goals=("Run",),
        recent_progress=("100 kg",),
        preferences=Preferences("short", ("mornings",), ("no Mondays",)),
        methodology_preferences=MethodologyPreferences(("5/3/1",), ("slow",), ("How often?",)),
        emotional_state=EmotionalState("tired", "high", "low"),
        key_insights=("Rests little",),
        important_context=("Knee",),
        conversation_tags=("knee",),
        confidence=80,
    ),
    reason=SummaryReason.COMPLEXITY,
    total_messages=6,
    first_message_id="msg_1_user",
    last_message_id="msg_6_assistant",
    created_at=datetime(2026, 3, 1, 10, 0, 0, 7_999, tzinfo=UTC),
)


def as_stored(summary: NewSummary) -> dict[str, Any]:
    """The attributes as JSON has them."""
    return msgspec.json.decode(msgspec.json.encode(summary_attributes(KEY, summary)), type=dict[str, Any])


def test_attributes_are_those_of_the_existing_system() -> None:
    """All attributes have its names and values, and times its one format."""
    assert as_stored(SUMMARY) == {
        "summaryId": "conversation_summary_conv-1",
        "userId": "user-1",
        "coachId": "coach-1",
        "conversationId": "conv-1",
        "narrative": "They squat.",
        "structuredData": {
            "current_goals": ["Run"],
            "recent_progress": ["100 kg"],
            "preferences": {
                "communication_style": "short",
                "training_preferences": ["mornings"],
                "schedule_constraints": ["no Mondays"],
            },
            "methodology_preferences": {
                "mentioned_methodologies": ["5/3/1"],
                "preferred_approaches": ["slow"],
                "methodology_questions": ["How often?"],
            },
            "emotional_state": {
                "current_mood": "tired",
                "motivation_level": "high",
                "confidence_level": "low",
            },
            "key_insights": ["Rests little"],
            "important_context": ["Knee"],
            "conversation_tags": ["knee"],
        },
        "metadata": {
            "createdAt": "2026-03-01T10:00:00.007Z",
            "messageRange": {
                "startMessageId": "msg_1_user",
                "endMessageId": "msg_6_assistant",
                "totalMessages": 6,
            },
            "triggerReason": "complexity",
            "complexityIndicators": ["complexity_detected"],
            "confidence": 80,
        },
    }


@pytest.mark.parametrize("reason", SummaryReason)
def test_only_complexity_has_indicators(reason: SummaryReason) -> None:
    """As in the existing system's payload."""
    metadata = as_stored(msgspec.structs.replace(SUMMARY, reason=reason))["metadata"]
    assert ("complexityIndicators" in metadata) == (reason is SummaryReason.COMPLEXITY)


def test_a_summary_is_read_as_it_was_written() -> None:
    """The content's facts, its count and its date."""
    read = parse_conversation_summary(as_stored(SUMMARY))
    expected = SUMMARY.content.as_read(
        total_messages=6,
        created_at=datetime(2026, 3, 1, 10, 0, 0, 7_000, UTC),
        last_message_id=SUMMARY.last_message_id,
    )
    assert msgspec.structs.replace(read, preferences=()) == msgspec.structs.replace(expected, preferences=())
