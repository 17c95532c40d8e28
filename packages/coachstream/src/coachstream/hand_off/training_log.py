"""A training log in the store itself, for a machine without functions to hand workouts to.

It extracts nothing: a workout is what the user wrote, at the time they wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from coachstream.conversation.model import format_timestamp
from coachstream.conversation.ports import WorkoutLog

NAME = "Logged in the chat"


class WorkoutStore(Protocol):
    """The method used from the store."""

    async def put_workout(self, user_id: str, workout_id: str, attributes: Mapping[str, object]) -> None:
        """Store a workout, replacing one with the same id. Raises `StorageUnavailable`."""


class TrainingLog:
    """`WorkoutBuilder`: the id of a workout is derived from its message's, so that none is logged twice."""

    def __init__(self, store: WorkoutStore) -> None:
        self._store = store

    async def build(self, workout: WorkoutLog) -> None:
        """Store the workout in the existing system's format (its section 1.4)."""
        user_id = workout.key.user_id
        workout_id = f"ws_{user_id}_{workout.message_id.removeprefix('msg_').removesuffix('_user')}"
        at = format_timestamp(workout.sent_at)
        attributes = {
            "workoutId": workout_id,
            "userId": user_id,
            "coachIds": [workout.key.coach_id],
            "coachNames": [workout.coach.name],
            "conversationId": workout.key.conversation_id,
            "completedAt": at,
            "workoutName": NAME,
            "summary": workout.text,
            "workoutData": {"workout_id": workout_id, "user_id": user_id, "date": at, "workout_name": NAME},
            "extractionMetadata": {"confidence": 1, "extractedAt": at},
        }
        await self._store.put_workout(user_id, workout_id, attributes)
