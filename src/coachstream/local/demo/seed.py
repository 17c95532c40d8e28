"""Puts the demo's data where the functions look for it, once.

The JSON files beside this one hold the stored attributes (existing system, section 1.4); only dates are
relative (`daysAgo`, `minutesAgo`) and become real ones at the first start. Everything is written under fixed
ids, so a first start that was interrupted is simply repeated; a finished one leaves a note and is not.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from coachstream.conversation.errors import CoachConfigNotFound, ConversationNotFound
from coachstream.conversation.message_id import conversation_id, message_id
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
from coachstream.recall.records import METHODOLOGY, user_namespace
from coachstream.recall.sqlite import RecallRecord, SqliteRecall
from coachstream.settings import Settings
from coachstream.storage.sqlite import SqliteStore
from coachstream.web.request import DEFAULT_TITLE

USER_ID = "demo-V1StGXR8_Z5jdHi6"
USER_NAME = "Sam"
CONVERSATION_ID = "conv_1767225600000_demo00001"

_NOTE = "seeded"

_Shape = TypeVar("_Shape")

Attributes = dict[str, Any]
"""Stored attributes; their shape is the existing system's, and only the store reads them."""


class DemoCoach(msgspec.Struct, frozen=True):
    """What is shown of a coach; the rest of its configuration is for the prompt."""

    coach_id: str
    coach_name: str
    coach_description: str


class Demo(msgspec.Struct, frozen=True):
    """Who and what there is to talk to; the first coach is the default one, and the conversation's."""

    user_id: str
    user_name: str
    coaches: tuple[DemoCoach, ...]
    conversation_id: str


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


async def seed(settings: Settings, *, now: datetime | None = None) -> Demo:
    """Write the demo's data unless it is there, and tell what there is.

    Raises:
        StorageUnavailable: the data folder holds something that cannot be used.
    """
    moment = to_milliseconds(now or datetime.now(UTC))
    coaches = await asyncio.to_thread(_read, "coaches", list[DemoCoach])
    note = settings.data_dir / _NOTE
    recall = SqliteRecall(settings.recall_database)
    async with aclosing(SqliteStore(settings.database)) as store:
        if not (await asyncio.to_thread(note.exists) and await _has_coach(store, coaches[0].coach_id)):
            await _write(store, recall, moment)
            await asyncio.to_thread(note.write_text, format_timestamp(moment) + "\n")
        conversation = await _open_conversation(store, coaches[0].coach_id, moment)
    return Demo(USER_ID, USER_NAME, tuple(coaches), conversation)


async def _has_coach(store: SqliteStore, coach_id: str) -> bool:
    try:
        await store.load_coach(USER_ID, coach_id)
    except CoachConfigNotFound:
        return False
    return True


async def _open_conversation(store: SqliteStore, coach_id: str, now: datetime) -> str:
    """The seeded conversation, or the latest one if that was deleted, or a new one."""
    ids = [c.key.conversation_id for c in await store.list_conversations(USER_ID, coach_id)]
    if not ids:
        key = ConversationKey(USER_ID, coach_id, conversation_id(now, secrets.randbelow))
        await store.create_conversation(Conversation(key, DEFAULT_TITLE, started_at=now, last_activity=now))
        return key.conversation_id
    return CONVERSATION_ID if CONVERSATION_ID in ids else ids[0]


async def _write(store: SqliteStore, recall: SqliteRecall, now: datetime) -> None:
    coaches = await asyncio.to_thread(_read, "coaches", list[Attributes])
    memories = await asyncio.to_thread(_read, "memories", list[Attributes])
    workouts = await asyncio.to_thread(_read, "workouts", list[Attributes])
    passages = await asyncio.to_thread(_read, "methodology", list[_Passage])
    conversation = await asyncio.to_thread(_read, "conversation", _Conversation)
    for coach in coaches:
        await store.put_coach(USER_ID, coach["coach_id"], coach)
    for memory in memories:
        created = now - timedelta(days=memory.pop("daysAgo"))
        memory["metadata"]["createdAt"] = format_timestamp(created)
        await store.put_memory(USER_ID, memory["memoryId"], memory)
    for workout in workouts:
        completed = format_timestamp(now - timedelta(days=workout.pop("daysAgo"), hours=2))
        workout["completedAt"] = workout["workoutData"]["date"] = completed
        await store.put_workout(USER_ID, workout["workoutId"], workout)
    await recall.add(
        *(
            RecallRecord(passage.id, METHODOLOGY, passage.text, "methodology", passage.title)
            for passage in passages
        ),
        *(
            RecallRecord(
                id=workout["workoutId"],
                namespace=user_namespace(USER_ID),
                text=workout["summary"],
                record_type="workout_summary",
                title=workout["workoutName"],
            )
            for workout in workouts
        ),
    )
    await _write_conversation(
        store, ConversationKey(USER_ID, coaches[0]["coach_id"], CONVERSATION_ID), conversation, now
    )


async def _write_conversation(
    store: SqliteStore, key: ConversationKey, conversation: _Conversation, now: datetime
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
        claim = await store.begin_turn(key, question)
        if claim.reply is None:
            reply = Message(
                id=message_id(moments[at + 1], Role.ASSISTANT, _always_zero),
                role=Role.ASSISTANT,
                content=messages[at + 1].content,
                timestamp=moments[at + 1],
                metadata=MessageMetadata(
                    model="demo", stop_reason=StopReason.END_TURN, reply_to=claim.user_message.id
                ),
            )
            await store.save_reply(claim, reply)


def _always_zero(_below: int) -> int:
    return 0


def _read(name: str, shape: type[_Shape]) -> _Shape:
    return msgspec.json.decode((Path(__file__).parent / f"{name}.json").read_bytes(), type=shape)
