"""The prompt context: the coach, the newest messages, memories and workouts."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from coachstream.conversation.errors import CoachConfigNotFound, ConversationNotFound
from coachstream.conversation.model import ConversationKey, Memory, Message, Workout
from coachstream.conversation.prompt.coach import CoachConfig, parse_coach_config, parse_memory, parse_workout
from coachstream.conversation.prompt.records import as_record, as_text
from coachstream.conversation.prompt.user import (
    ConversationSummary,
    UserProfile,
    parse_conversation_summary,
    parse_user_profile,
)
from coachstream.storage.dynamodb.history import newest_messages
from coachstream.storage.dynamodb.items import COACH, MEMORY, PROFILE, SUMMARY, WORKOUT, Attributes, envelope
from coachstream.storage.dynamodb.keys import (
    COACHES,
    MEMORIES,
    WORKOUTS,
    ItemKey,
    coach_key,
    is_name,
    memory_key,
    partition,
    profile_key,
    summary_key,
    workout_key,
)
from coachstream.storage.dynamodb.requests import Put
from coachstream.storage.dynamodb.table_client import Range, TableClient
from coachstream.storage.memory_ranking import most_important

_OF_A_WORKOUT = ", ".join(  # noqa: FLY002 (a list is easier to read)
    (
        "#sk",
        "#attributes.#workoutId",
        "#attributes.#completedAt",
        "#attributes.#summary",
        "#attributes.#workoutName",
        "#attributes.#workoutData.#workout_id",
        "#attributes.#workoutData.#date",
        "#attributes.#workoutData.#discipline",
        "#attributes.#workoutData.#workout_name",
    )
)
"""A workout item has about 30 KB; these are the attributes that a prompt uses."""

_OF_A_PROFILE = ", ".join(  # noqa: FLY002 (a list is easier to read)
    (
        "#attributes.#nickname",
        "#attributes.#firstName",
        "#attributes.#displayName",
        "#attributes.#goals",
        "#attributes.#fitness",
        "#attributes.#criticalTrainingDirective",
        "#attributes.#athleteProfile.#summary",
        "#attributes.#preferences.#timezone",
    )
)
"""Not the address, the subscription and the rest that a coach need not know."""


class DynamoDbContext:
    """`ContextStore`, and the methods that write what it reads. `now` determines the age of memories."""

    def __init__(self, table: TableClient, *, now: Callable[[], datetime]) -> None:
        self._table = table
        self._now = now

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        """Raises `CoachConfigNotFound` or `StorageUnavailable`."""
        item = await self._table.get(coach_key(user_id, coach_id), consistent=False)
        if item is None:
            raise CoachConfigNotFound
        return parse_coach_config(coach_id, as_record(item.get("attributes")))

    async def list_coaches(self, user_id: str) -> Sequence[CoachConfig]:
        """All coaches of a user, by their ids."""
        found = self._table.query(Range.of(partition(user_id), COACHES))
        return [
            parse_coach_config(str(item["sk"]).removeprefix(COACHES), as_record(item.get("attributes")))
            async for item in found
        ]

    async def load_history(self, key: ConversationKey, *, limit: int, budget_chars: int) -> Sequence[Message]:
        """The newest `limit` messages, oldest first; empty for an unknown conversation.

        Reads the conversation's item, whose own list does not grow with our messages, and no more message
        items than needed for `limit` or `budget_chars`. The reads are strongly consistent, so that the coach
        always knows its own last reply.
        """
        return await newest_messages(self._table, key, limit=limit, budget_chars=budget_chars)

    async def load_memories(self, user_id: str, coach_id: str, *, limit: int) -> Sequence[Memory]:
        """The `limit` most important memories of this coach or of all coaches, most important first."""
        found = self._table.query(Range.of(partition(user_id), MEMORIES), only="#sk, #attributes")
        memories = [
            memory
            async for item in found
            if (memory := _memory_of(item)).coach_id is None or memory.coach_id == coach_id
        ]
        return most_important(memories, self._now(), limit=limit)

    async def load_recent_workouts(self, user_id: str, *, limit: int) -> Sequence[Workout]:
        """The `limit` most recently completed workouts, newest first.

        Neither their ids nor any index sort by time, so all of the user's workouts are read.
        """
        found = self._table.query(Range.of(partition(user_id), WORKOUTS), only=_OF_A_WORKOUT)
        workouts = [parse_workout(as_record(item.get("attributes"))) async for item in found]
        return heapq.nlargest(max(0, limit), workouts, key=lambda workout: (workout.completed_at, workout.id))

    async def load_profile(self, user_id: str) -> UserProfile:
        """What is known about a user; an empty profile if nothing is."""
        if not is_name(user_id):
            return UserProfile()
        item = await self._table.get(profile_key(user_id), only=_OF_A_PROFILE, consistent=False)
        return parse_user_profile(as_record((item or {}).get("attributes")))

    async def load_summary(self, key: ConversationKey) -> ConversationSummary:
        """The newest summary of a conversation; an empty one if there is none."""
        try:
            item_key = summary_key(key)
        except ConversationNotFound:
            return ConversationSummary()
        item = await self._table.get(item_key, consistent=False)
        attributes = as_record((item or {}).get("attributes"))
        # The key does not have the coach, and conversations of two coaches could have the same id.
        if as_text(attributes.get("coachId")) not in {"", key.coach_id}:
            return ConversationSummary()
        return parse_conversation_summary(attributes)

    async def put_coach(self, user_id: str, coach_id: str, attributes: Attributes) -> None:
        """Store a coach config in the existing system's format, replacing one with the same id."""
        await self._put(coach_key(user_id, coach_id), COACH, attributes)

    async def put_memory(self, user_id: str, memory_id: str, attributes: Attributes) -> None:
        """Store a memory in the existing system's format, replacing one with the same id."""
        await self._put(memory_key(user_id, memory_id), MEMORY, attributes)

    async def put_workout(self, user_id: str, workout_id: str, attributes: Attributes) -> None:
        """Store a workout in the existing system's format, replacing one with the same id."""
        await self._put(workout_key(user_id, workout_id), WORKOUT, attributes)

    async def put_profile(self, user_id: str, attributes: Attributes) -> None:
        """Store a user's profile in the existing system's format, replacing an earlier one."""
        await self._put(profile_key(user_id), PROFILE, attributes)

    async def put_summary(self, key: ConversationKey, attributes: Attributes) -> None:
        """Store a conversation's summary in the existing system's format, replacing an earlier one."""
        await self._put(summary_key(key), SUMMARY, attributes)

    async def _put(self, key: ItemKey, entity_type: str, attributes: Attributes) -> None:
        await self._table.put(Put(envelope(key, entity_type, attributes, at=self._now())))


def _memory_of(item: Mapping[str, object]) -> Memory:
    """The memory in an item, with the id from the item's key, which updates use."""
    memory = parse_memory(as_record(item.get("attributes")))
    return msgspec.structs.replace(memory, id=str(item.get("sk")).removeprefix(MEMORIES))
