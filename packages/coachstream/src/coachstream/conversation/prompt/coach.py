"""A coach's configuration and a user's records, coerced: a missing or malformed field never fails a turn.

Field names are those of the stored attributes (existing system, section 1.4).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coachstream.conversation.model import Importance, Memory, MemorySource, Workout
from coachstream.conversation.prompt.records import (
    EPOCH,
    as_count,
    as_moment,
    as_number,
    as_record,
    as_text,
    as_texts,
)

UNKNOWN_MOMENT = EPOCH
"""The value for a missing time; it sorts before every real one."""

DEFAULT_NAME = "Coach"

DEFAULT_MEMORY_TYPE = "context"


class Personality(msgspec.Struct, frozen=True):
    """`selected_personality`; weights are from 0 to 1, `None` where unknown."""

    primary_template: str = ""
    secondary_influences: tuple[str, ...] = ()
    selection_reasoning: str = ""
    primary_weight: float | None = None
    secondary_weight: float | None = None


class Methodology(msgspec.Struct, frozen=True):
    """`selected_methodology`."""

    primary: str = ""
    reasoning: str = ""
    programming_emphasis: str = ""
    periodization_approach: str = ""
    creativity_emphasis: str = ""
    workout_innovation: str = ""


class MethodologyProfile(msgspec.Struct, frozen=True):
    """`metadata.methodology_profile`: what the user said about training when creating the coach."""

    primary: str = ""
    experience: tuple[str, ...] = ()
    focus: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()


class Safety(msgspec.Struct, frozen=True):
    """`technical_config.safety_constraints`."""

    contraindicated_exercises: tuple[str, ...] = ()
    required_modifications: tuple[str, ...] = ()
    recovery_requirements: tuple[str, ...] = ()
    safety_monitoring: tuple[str, ...] = ()
    volume_progression_limit: str = ""


class SafetyProfile(msgspec.Struct, frozen=True):
    """`metadata.safety_profile`: what the user said about health and environment."""

    contraindications: tuple[str, ...] = ()
    environmental_factors: tuple[str, ...] = ()
    equipment: tuple[str, ...] = ()
    injuries: tuple[str, ...] = ()
    learning_considerations: tuple[str, ...] = ()
    modifications: tuple[str, ...] = ()
    recovery_needs: tuple[str, ...] = ()
    risk_factors: tuple[str, ...] = ()


class Technical(msgspec.Struct, frozen=True):
    """`technical_config`, without its safety constraints."""

    methodology: str = ""
    experience_level: str = ""
    programming_focus: tuple[str, ...] = ()
    specializations: tuple[str, ...] = ()
    injury_considerations: tuple[str, ...] = ()
    equipment_available: tuple[str, ...] = ()
    goal_timeline: str = ""
    preferred_intensity: str = ""
    training_frequency: str = ""
    session_duration: str = ""
    weekly_frequency: str = ""
    preferred_time: str = ""
    other_time_constraints: tuple[str, ...] = ()


class GeneratedPrompts(msgspec.Struct, frozen=True):
    """`generated_prompts`: how the coach speaks and thinks, written as instructions for a model."""

    personality: str = ""
    safety: str = ""
    motivation: str = ""
    methodology: str = ""
    communication_style: str = ""
    learning_adaptation: str = ""


class Adaptation(msgspec.Struct, frozen=True):
    """`modification_capabilities`: how far the coach may deviate from its plan."""

    personality_flexibility: str = ""
    programming_adaptability: str = ""
    safety_override_level: str = ""
    creative_programming: str = ""
    workout_variety_emphasis: str = ""
    enabled_modifications: tuple[str, ...] = ()


class CoachConfig(msgspec.Struct, frozen=True):
    """What the prompt needs to know about a coach; empty where nothing is known.

    Attributes:
        background: `metadata.coach_creator_session_summary`, what the user said when creating the coach.
        stored: all attributes as stored, for functions that need them unchanged.
    """

    coach_id: str
    name: str
    description: str = ""
    personality: Personality = Personality()
    methodology: Methodology = Methodology()
    methodology_profile: MethodologyProfile = MethodologyProfile()
    technical: Technical = Technical()
    safety: Safety = Safety()
    safety_profile: SafetyProfile = SafetyProfile()
    prompts: GeneratedPrompts = GeneratedPrompts()
    adaptation: Adaptation = Adaptation()
    background: str = ""
    stored: Mapping[str, object] = {}


def parse_coach_config(coach_id: str, attributes: Mapping[str, object]) -> CoachConfig:
    """Read `coachConfig` attributes; never raises."""
    technical = as_record(attributes.get("technical_config"))
    metadata = as_record(attributes.get("metadata"))
    return CoachConfig(
        coach_id=coach_id,
        name=as_text(attributes.get("coach_name")) or DEFAULT_NAME,
        description=as_text(attributes.get("coach_description")),
        personality=_personality(as_record(attributes.get("selected_personality"))),
        methodology=_methodology(as_record(attributes.get("selected_methodology"))),
        methodology_profile=_methodology_profile(as_record(metadata.get("methodology_profile"))),
        technical=_technical(technical),
        safety=_safety(as_record(technical.get("safety_constraints"))),
        safety_profile=_safety_profile(as_record(metadata.get("safety_profile"))),
        prompts=_prompts(as_record(attributes.get("generated_prompts"))),
        adaptation=_adaptation(as_record(attributes.get("modification_capabilities"))),
        background=as_text(metadata.get("coach_creator_session_summary")),
        stored=attributes,
    )


def parse_memory(attributes: Mapping[str, object]) -> Memory:
    """Read `userMemory` attributes; never raises. A missing creation time becomes `UNKNOWN_MOMENT`."""
    metadata = as_record(attributes.get("metadata"))
    importance = as_text(metadata.get("importance")).lower()
    source = as_text(metadata.get("source")).lower()
    return Memory(
        id=as_text(attributes.get("memoryId")),
        content=as_text(attributes.get("content")),
        memory_type=as_text(attributes.get("memoryType")).lower() or DEFAULT_MEMORY_TYPE,
        importance=Importance(importance) if importance in set(Importance) else Importance.MEDIUM,
        created_at=as_moment(metadata.get("createdAt")) or UNKNOWN_MOMENT,
        coach_id=as_text(attributes.get("coachId")) or None,
        last_used=as_moment(metadata.get("lastUsed")),
        usage_count=as_count(metadata.get("usageCount")),
        tags=as_texts(metadata.get("tags")),
        source=MemorySource(source) if source in set(MemorySource) else MemorySource.CONVERSATION,
    )


def parse_workout(attributes: Mapping[str, object]) -> Workout:
    """Read `workout` attributes; never raises. A missing completion time becomes `UNKNOWN_MOMENT`."""
    data = as_record(attributes.get("workoutData"))
    return Workout(
        id=as_text(attributes.get("workoutId")) or as_text(data.get("workout_id")),
        completed_at=as_moment(attributes.get("completedAt"))
        or as_moment(data.get("date"))
        or UNKNOWN_MOMENT,
        summary=as_text(attributes.get("summary")),
        discipline=as_text(data.get("discipline")),
        name=as_text(data.get("workout_name")) or as_text(attributes.get("workoutName")),
    )


def _personality(stored: Mapping[str, object]) -> Personality:
    weights = as_record(stored.get("blending_weights"))
    return Personality(
        primary_template=as_text(stored.get("primary_template")),
        secondary_influences=as_texts(stored.get("secondary_influences")),
        selection_reasoning=as_text(stored.get("selection_reasoning")),
        primary_weight=_share(weights.get("primary")),
        secondary_weight=_share(weights.get("secondary")),
    )


def _share(value: object) -> float | None:
    """A weight as a share of 1; both shares and percentages were stored."""
    number = as_number(value)
    if number is None or not 0 <= number <= 100:  # noqa: PLR2004 (percent)
        return None
    return number if number <= 1 else number / 100


def _methodology(stored: Mapping[str, object]) -> Methodology:
    return Methodology(
        primary=as_text(stored.get("primary_methodology")),
        reasoning=as_text(stored.get("methodology_reasoning")),
        programming_emphasis=as_text(stored.get("programming_emphasis")),
        periodization_approach=as_text(stored.get("periodization_approach")),
        creativity_emphasis=as_text(stored.get("creativity_emphasis")),
        workout_innovation=as_text(stored.get("workout_innovation")),
    )


def _methodology_profile(stored: Mapping[str, object]) -> MethodologyProfile:
    return MethodologyProfile(
        primary=as_text(stored.get("primary")),
        experience=as_texts(stored.get("experience")),
        focus=as_texts(stored.get("focus")),
        preferences=as_texts(stored.get("preferences")),
    )


def _technical(stored: Mapping[str, object]) -> Technical:
    # Stored records have keys that the types do not declare, such as `morning_preferred`.
    times = dict(as_record(stored.get("time_constraints")))
    session_duration = as_text(times.pop("session_duration", None))
    weekly_frequency = as_text(times.pop("weekly_frequency", None))
    preferred_time = as_text(times.pop("preferred_time", None))
    return Technical(
        methodology=as_text(stored.get("methodology")),
        experience_level=as_text(stored.get("experience_level")),
        programming_focus=as_texts(stored.get("programming_focus")),
        specializations=as_texts(stored.get("specializations")),
        injury_considerations=as_texts(stored.get("injury_considerations")),
        equipment_available=as_texts(stored.get("equipment_available")),
        goal_timeline=as_text(stored.get("goal_timeline")),
        preferred_intensity=as_text(stored.get("preferred_intensity")),
        training_frequency=as_text(stored.get("training_frequency")),
        session_duration=session_duration,
        weekly_frequency=weekly_frequency,
        preferred_time=preferred_time,
        other_time_constraints=as_texts(times),
    )


def _safety(stored: Mapping[str, object]) -> Safety:
    return Safety(
        contraindicated_exercises=as_texts(stored.get("contraindicated_exercises")),
        required_modifications=as_texts(stored.get("required_modifications")),
        recovery_requirements=as_texts(stored.get("recovery_requirements")),
        safety_monitoring=as_texts(stored.get("safety_monitoring")),
        volume_progression_limit=as_text(stored.get("volume_progression_limit")),
    )


def _safety_profile(stored: Mapping[str, object]) -> SafetyProfile:
    return SafetyProfile(
        contraindications=as_texts(stored.get("contraindications")),
        environmental_factors=as_texts(stored.get("environmentalFactors")),
        equipment=as_texts(stored.get("equipment")),
        injuries=as_texts(stored.get("injuries")),
        learning_considerations=as_texts(stored.get("learningConsiderations")),
        modifications=as_texts(stored.get("modifications")),
        recovery_needs=as_texts(stored.get("recoveryNeeds")),
        risk_factors=as_texts(stored.get("riskFactors")),
    )


def _prompts(stored: Mapping[str, object]) -> GeneratedPrompts:
    return GeneratedPrompts(
        personality=as_text(stored.get("personality_prompt")),
        safety=as_text(stored.get("safety_integrated_prompt")),
        motivation=as_text(stored.get("motivation_prompt")),
        methodology=as_text(stored.get("methodology_prompt")),
        communication_style=as_text(stored.get("communication_style")),
        learning_adaptation=as_text(stored.get("learning_adaptation_prompt")),
    )


def _adaptation(stored: Mapping[str, object]) -> Adaptation:
    return Adaptation(
        personality_flexibility=as_text(stored.get("personality_flexibility")),
        programming_adaptability=as_text(stored.get("programming_adaptability")),
        safety_override_level=as_text(stored.get("safety_override_level")),
        creative_programming=as_text(stored.get("creative_programming")),
        workout_variety_emphasis=as_text(stored.get("workout_variety_emphasis")),
        enabled_modifications=as_texts(stored.get("enabled_modifications")),
    )
