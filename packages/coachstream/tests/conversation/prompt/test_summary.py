"""What a model writes as a summary, coerced and bounded."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.prompt.summary import (
    MOST_ENTRIES,
    MOST_ENTRY_CHARS,
    MOST_NARRATIVE_CHARS,
    EmotionalState,
    Preferences,
    SummaryContent,
    parse_summary_content,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FIELDS = SummaryContent.__struct_fields__


def test_a_summary_is_read_in_full() -> None:
    """Every field, by its stored name."""
    content = parse_summary_content(
        {
            "narrative": "They squat.",
            "current_goals": ["Run a marathon"],
            "preferences": {"communication_style": "short", "training_preferences": ["mornings"]},
            "emotional_state": {"current_mood": "tired"},
            "conversation_tags": ["knee"],
            "confidence": 80,
        }
    )
    assert content == SummaryContent(
        "They squat.",
        current_goals=("Run a marathon",),
        preferences=Preferences("short", ("mornings",)),
        emotional_state=EmotionalState("tired"),
        conversation_tags=("knee",),
        confidence=80,
    )


def test_a_summary_without_a_narrative_is_none() -> None:
    """It has nothing to say."""
    assert parse_summary_content({}) is None
    assert parse_summary_content({"narrative": " \n ", "current_goals": ["Run"]}) is None


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON, max_size=12))
def test_whatever_a_model_writes_is_bounded(written: dict[str, object]) -> None:
    """Nothing raises; texts are on one line and short, lists have few entries."""
    content = parse_summary_content(written)
    if content is None:
        return
    assert len(content.narrative) <= MOST_NARRATIVE_CHARS
    assert 0 <= content.confidence <= 100
    values = msgspec.to_builtins(content)
    nested = [values.pop(name) for name in ("preferences", "methodology_preferences", "emotional_state")]
    for record in (values, *nested):
        for name, value in record.items():
            if isinstance(value, tuple | list):
                assert len(value) <= MOST_ENTRIES
                assert all(0 < len(each) <= MOST_ENTRY_CHARS and "\n" not in each for each in value)
            elif name != "narrative" and isinstance(value, str):
                assert len(value) <= MOST_ENTRY_CHARS
    msgspec.json.encode(content).decode()


def test_a_summary_is_read_back_with_its_date() -> None:
    """As prompts and the index get it."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    content = SummaryContent("They squat.", preferences=Preferences("short", ("mornings",), ("no Mondays",)))
    read = content.as_read(total_messages=6, created_at=at, last_message_id="m")
    assert (read.narrative, read.total_messages, read.created_at) == ("They squat.", 6, at)
    assert read.preferences == ("short", "mornings", "no Mondays")
