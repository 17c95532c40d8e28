from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given

import coachstream.local.demo
from coachstream.conversation.model import Importance, Memory, Workout
from coachstream.conversation.prompt.coach import (
    DEFAULT_NAME,
    UNKNOWN_MOMENT,
    CoachConfig,
    parse_coach_config,
    parse_memory,
    parse_workout,
)
from support.odd_values import odd_records

COACH = {
    "coach_name": (),
    "coach_description": (),
    "selected_personality": ("primary_template", "secondary_influences", "blending_weights"),
    "selected_methodology": ("primary_methodology", "methodology_reasoning"),
    "technical_config": (
        "programming_focus",
        "injury_considerations",
        "equipment_available",
        "training_frequency",
        "time_constraints",
        "safety_constraints",
    ),
    "generated_prompts": ("personality_prompt", "motivation_prompt"),
    "modification_capabilities": ("enabled_modifications",),
    "metadata": ("safety_profile", "methodology_profile", "coach_creator_session_summary"),
}
MEMORY = {
    "memoryId": (),
    "content": (),
    "memoryType": (),
    "coachId": (),
    "metadata": ("createdAt", "lastUsed", "usageCount", "importance", "tags"),
}
WORKOUT = {
    "workoutId": (),
    "completedAt": (),
    "summary": (),
    "workoutName": (),
    "workoutData": ("discipline", "workout_name", "date"),
}


@given(odd_records(COACH))
def test_no_stored_coach_fails(attributes: dict[str, object]) -> None:
    """Whatever is stored, parsing yields a coach that has a name and can be encoded as UTF-8."""
    coach = parse_coach_config("coach", attributes)
    assert coach.name
    assert coach.stored is attributes
    coach = msgspec.structs.replace(coach, stored={})
    assert msgspec.json.decode(msgspec.json.encode(coach), type=CoachConfig) == coach


@given(odd_records(MEMORY))
def test_no_stored_memory_fails(attributes: dict[str, object]) -> None:
    """Whatever is stored, the memory can be ranked and encoded as UTF-8."""
    memory = parse_memory(attributes)
    assert memory.created_at >= UNKNOWN_MOMENT
    assert memory.usage_count >= 0
    assert msgspec.json.decode(msgspec.json.encode(memory), type=Memory) == memory


@given(odd_records(WORKOUT))
def test_no_stored_workout_fails(attributes: dict[str, object]) -> None:
    """Whatever is stored, the workout has a date to sort by and can be encoded as UTF-8."""
    workout = parse_workout(attributes)
    assert workout.completed_at >= UNKNOWN_MOMENT
    assert msgspec.json.decode(msgspec.json.encode(workout), type=Workout) == workout


def test_a_coach_of_which_nothing_is_stored_has_defaults() -> None:
    """Missing fields are empty, and the coach still has a name."""
    assert parse_coach_config("c1", {}) == CoachConfig("c1", DEFAULT_NAME)


def _leaves(value: object) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value] if isinstance(value, str) and value else []


#: Stored text that no prompt needs: record metadata, and values that other fields repeat.
UNUSED = {"version", "created_date", "coach_id", "experienceLevel", "timeConstraints"}


def _without_unused(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_unused(item) for name, item in value.items() if name not in UNUSED}
    return value


def test_every_text_of_a_stored_coach_is_read() -> None:
    """No field is lost to a misspelt name: every text of the demo's coaches reaches some field."""
    stored = json.loads((Path(coachstream.local.demo.__file__).parent / "coaches.json").read_text())
    for attributes in stored:
        coach = parse_coach_config(attributes["coach_id"], attributes)
        read = _leaves(msgspec.to_builtins(coach))
        missing = [
            leaf for leaf in _leaves(_without_unused(attributes)) if not any(leaf in text for text in read)
        ]
        assert missing == []


def test_numbers_and_flags_are_read_as_a_person_writes_them() -> None:
    """The stored samples hold numbers where the types promise text, and keys that no type declares."""
    coach = parse_coach_config(
        "c1",
        {
            "technical_config": {
                "training_frequency": Decimal("4.0"),
                "time_constraints": {
                    "session_duration": 60,
                    "weekly_frequency": "5",
                    "morning_preferred": True,
                },
            },
        },
    )
    assert coach.technical.training_frequency == "4"
    assert coach.technical.session_duration == "60"
    assert coach.technical.weekly_frequency == "5"
    assert coach.technical.other_time_constraints == ("morning preferred: yes",)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (None, ()),
        ("box jumps", ("box jumps",)),
        ("  ", ()),
        ({"box jumps": "landing hurts"}, ("box jumps: landing hurts",)),
        ([{"exercise": "box jumps", "reason": "knee"}], ("exercise: box jumps; reason: knee",)),
        (["box jumps", None, "", 5], ("box jumps", "5")),
        ({"lunges", "box jumps"}, ("box jumps", "lunges")),
    ],
)
def test_an_exercise_to_avoid_is_never_lost(stored: object, read: tuple[str, ...]) -> None:
    """Every stored form of the list keeps its contents."""
    constraints = {"contraindicated_exercises": stored}
    coach = parse_coach_config("c1", {"technical_config": {"safety_constraints": constraints}})
    assert coach.safety.contraindicated_exercises == read


@pytest.mark.parametrize(
    ("stored", "share"),
    [
        (None, None),
        (0.6, 0.6),
        ("0.6", 0.6),
        (60, 0.6),
        (1, 1),
        (0, 0),
        (-1, None),
        (101, None),
        ("most", None),
    ],
)
def test_a_weight_is_a_share_or_a_percentage(stored: object, share: float | None) -> None:
    """The stored data uses both forms; any other value is unknown."""
    personality = {"blending_weights": {"primary": stored}}
    assert parse_coach_config("c1", {"selected_personality": personality}).personality.primary_weight == share


def test_a_stored_memory_is_read() -> None:
    """A memory without a coach is known to all coaches."""
    assert parse_memory(
        {
            "memoryId": "m1",
            "coachId": None,
            "content": "Trains before work.",
            "memoryType": "preference",
            "metadata": {
                "createdAt": "2026-03-01T10:00:00.000Z",
                "lastUsed": None,
                "usageCount": Decimal(3),
                "importance": "HIGH",
                "tags": ["schedule"],
            },
        }
    ) == Memory(
        id="m1",
        content="Trains before work.",
        memory_type="preference",
        importance=Importance.HIGH,
        created_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
        usage_count=3,
        tags=("schedule",),
    )


def test_a_stored_workout_is_read() -> None:
    """The discipline comes from the extracted data, as do date and name if the record lacks them."""
    read = parse_workout(
        {
            "workoutId": "w1",
            "summary": "Fran in 4:10",
            "workoutName": "Benchmark",
            "workoutData": {"discipline": "crossfit", "date": "2026-03-01T10:00:00.000Z"},
        }
    )
    completed_at = datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert read == Workout("w1", completed_at, "Fran in 4:10", discipline="crossfit", name="Benchmark")
