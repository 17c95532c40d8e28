"""Stands in for the domain's own parsing until that is there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from coachstream.conversation.coach import CoachConfig
from coachstream.conversation.model import Importance, Memory, Workout


def parse_coach_config(a: Mapping[str, Any]) -> CoachConfig:
    """Parse."""
    return CoachConfig(a["coach_id"], a["coach_name"])


def parse_memory(a: Mapping[str, Any]) -> Memory:
    """Parse."""
    m = a["metadata"]
    return Memory(
        a["memoryId"],
        a["content"],
        a["memoryType"],
        Importance(m["importance"]),
        datetime.fromisoformat(m["createdAt"]),
        a["coachId"],
        None,
        m["usageCount"],
        tuple(m.get("tags", ())),
    )


def parse_workout(a: Mapping[str, Any]) -> Workout:
    """Parse."""
    return Workout(a["workoutId"], datetime.fromisoformat(a["completedAt"]), a.get("summary", ""))
