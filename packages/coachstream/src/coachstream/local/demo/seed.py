"""Writes the demo data into the store, once.

The JSON files next to this module hold the stored attributes; only dates are relative (`daysAgo`,
`minutesAgo`) and become absolute at the first start. Everything is written with fixed ids, so seeding is
idempotent: an interrupted first start is repeated, and a finished one leaves a marker file.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from coachstream.conversation.errors import CoachConfigNotFound, ConversationNotFound
from coachstream.conversation.ids import message_id
from coachstream.conversation.model import (
    Conversation,
    ConversationKey,
    Message,
    MessageMetadata,
    Role,
    StopReason,
    format_timestamp,
    to_milliseconds,
)
from coachstream.conversation.ports import ContextStore, ConversationStore
from coachstream.conversation.run_store import RunStore
from coachstream.conversation.runs.exchange import store_exchange
from coachstream.private_files import replace
from coachstream.recall.records import METHODOLOGY, user_namespace
from coachstream.recall.sqlite import RecallRecord, SqliteRecall

USER_ID = "demo-V1StGXR8_Z5jdHi6"
USER_NAME = "Sam"
CONVERSATION_ID = "conv_1767225600000_demo00001"

_Shape = TypeVar("_Shape")

Attributes = dict[str, Any]
"""Stored attributes, in the existing system's format, which only the store interprets."""


class DemoCoach(msgspec.Struct, frozen=True):
    """The displayed part of a coach's configuration; the rest is for the prompt."""

    coach_id: str
    coach_name: str
    coach_description: str


class _Exchange(msgspec.Struct):
    role: Role
    minutes_ago: float = msgspec.field(name="minutesAgo")
    content: str


class _Conversation(msgspec.Struct):
    title: str
    messages: list[_Exchange]


class _Passage(msgspec.Struct):
    id: str
    title: str
    discipline: str
    text: str


class DemoStore(ContextStore, ConversationStore, RunStore, Protocol):
    """A store that accepts the demo data."""

    async def put_coach(self, user_id: str, coach_id: str, attributes: Attributes) -> None:
        """Store a coach config."""

    async def put_memory(self, user_id: str, memory_id: str, attributes: Attributes) -> None:
        """Store a memory."""

    async def put_workout(self, user_id: str, workout_id: str, attributes: Attributes) -> None:
        """Store a workout."""


async def seed(store: DemoStore, recall: SqliteRecall, note: Path, *, user_id: str, now: datetime) -> None:
    """Write the demo data for a user, unless it exists.

    Args:
        store: receives the coaches, memories, workouts and a conversation.
        recall: receives the passages to search.
        note: the marker file of a finished seeding.
        user_id: the user who gets the data.
        now: the time to which relative dates refer.

    Raises:
        StorageUnavailable: store or recall cannot be used.
    """
    if await asyncio.to_thread(note.exists) and await _has_demo(store, user_id):
        return
    moment = to_milliseconds(now)
    await _write(store, recall, user_id, moment)
    await asyncio.to_thread(replace, note, f"{format_timestamp(moment)}\n".encode())


async def demo_coaches() -> tuple[DemoCoach, ...]:
    """Return the demo coaches; the first one is the default, and the conversation's."""
    return tuple(await asyncio.to_thread(_read, "coaches", list[DemoCoach]))


async def _has_demo(store: ContextStore, user_id: str) -> bool:
    try:
        await store.load_coach(user_id, (await demo_coaches())[0].coach_id)
    except CoachConfigNotFound:
        return False
    return True


async def _write(store: DemoStore, recall: SqliteRecall, user_id: str, now: datetime) -> None:
    coaches = await asyncio.to_thread(_read, "coaches", list[Attributes])
    memories = await asyncio.to_thread(_read, "memories", list[Attributes])
    workouts = await asyncio.to_thread(_read, "workouts", list[Attributes])
    passages = await asyncio.to_thread(_read, "methodology", list[_Passage])
    conversation = await asyncio.to_thread(_read, "conversation", _Conversation)
    for coach in coaches:
        await store.put_coach(user_id, coach["coach_id"], coach)
    for memory in memories:
        created = now - timedelta(days=memory.pop("daysAgo"))
        memory["metadata"]["createdAt"] = format_timestamp(created)
        await store.put_memory(user_id, memory["memoryId"], memory)
    for workout in workouts:
        # In the morning, so that the day is the same however late it is now.
        day = now - timedelta(days=workout.pop("daysAgo"))
        completed = format_timestamp(day.replace(hour=6, minute=30, second=0, microsecond=0))
        workout["completedAt"] = workout["workoutData"]["date"] = completed
        await store.put_workout(user_id, workout["workoutId"], workout)
    await recall.add(*_records(user_id, passages, workouts))
    await _write_conversation(
        store, ConversationKey(user_id, coaches[0]["coach_id"], CONVERSATION_ID), conversation, now
    )


def _records(user_id: str, passages: list[_Passage], workouts: list[Attributes]) -> list[RecallRecord]:
    methodology = [
        RecallRecord(passage.id, METHODOLOGY, passage.text, "methodology", passage.title)
        for passage in passages
    ]
    return methodology + [
        RecallRecord(
            id=workout["workoutId"],
            namespace=user_namespace(user_id),
            text=workout["summary"],
            record_type="workout_summary",
            title=workout["workoutName"],
        )
        for workout in workouts
    ]


async def _write_conversation(
    store: DemoStore, key: ConversationKey, conversation: _Conversation, now: datetime
) -> None:
    messages = conversation.messages
    moments = [to_milliseconds(now - timedelta(minutes=message.minutes_ago)) for message in messages]
    try:
        await store.get_conversation(key)
    except ConversationNotFound:
        await store.create_conversation(
            Conversation(key, conversation.title, started_at=moments[0], last_activity=moments[0])
        )
    for at in range(0, len(messages), 2):
        question = Message(
            id=message_id(moments[at], Role.USER, _always_zero),
            role=Role.USER,
            content=messages[at].content,
            timestamp=moments[at],
            metadata=MessageMetadata(client_message_id=f"demo-{at}"),
        )
        reply = Message(
            id=message_id(moments[at + 1], Role.ASSISTANT, _always_zero),
            role=Role.ASSISTANT,
            content=messages[at + 1].content,
            timestamp=moments[at + 1],
            metadata=MessageMetadata(model="demo", stop_reason=StopReason.END_TURN),
        )
        await store_exchange(store, key, question, reply)


def _always_zero(_below: int) -> int:
    return 0


def _read(name: str, shape: type[_Shape]) -> _Shape:
    return msgspec.json.decode((Path(__file__).parent / f"{name}.json").read_bytes(), type=shape)
