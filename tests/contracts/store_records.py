"""Test data of the store's contracts: one user, one coach, one conversation and its messages."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.ids import milliseconds_of, run_id
from coachstream.conversation.model import (
    Conversation,
    ConversationKey,
    Message,
    MessageMetadata,
    Role,
    SemanticContextUse,
    StopReason,
    Timings,
    Usage,
    format_timestamp,
    to_milliseconds,
)
from coachstream.conversation.ports import CoachDirectory, ContextStore, ConversationStore, MemoryStore
from coachstream.conversation.quotas import OwnLimits
from coachstream.conversation.run_log import Broken, Content, Ending, Finished, LogEntry, Opened, Said
from coachstream.conversation.run_store import RunBegun, RunStore
from coachstream.conversation.user_data import UserDataStore

NOW = to_milliseconds(datetime.now(UTC))
KEY = ConversationKey("user-1", "coach-1", "conv-1")
RUN = "run_1774990800000_aaaaaaaaa"
NEXT_RUN = "run_1774990800001_bbbbbbbbb"
WRITER = "0123456789abcdef"
ANOTHER_WRITER = "fedcba9876543210"
AMPLE_CHARS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COACH: Mapping[str, object] = {
    "coach_id": "coach-1",
    "coach_name": "Mara",
    "metadata": {"total_conversations": 4},
}


class SeedableStore(
    RunStore, ContextStore, ConversationStore, MemoryStore, CoachDirectory, UserDataStore, Protocol
):
    """All ports, plus methods to store the records that the domain only reads."""

    async def put_coach(self, user_id: str, coach_id: str, attributes: Mapping[str, object]) -> None: ...
    async def put_memory(self, user_id: str, memory_id: str, attributes: Mapping[str, object]) -> None: ...
    async def put_workout(self, user_id: str, workout_id: str, attributes: Mapping[str, object]) -> None: ...
    async def put_profile(self, user_id: str, attributes: Mapping[str, object]) -> None: ...
    async def put_summary(self, key: ConversationKey, attributes: Mapping[str, object]) -> None: ...
    async def set_own_limits(self, user_id: str, own: OwnLimits) -> None: ...


def user_message(
    number: int, content: str = "How was it?", *, client_id: str | None = None, streamed: bool = False
) -> Message:
    """The user message sent at second `number`; its id has `number` as milliseconds."""
    moment = NOW + timedelta(seconds=number)
    return Message(
        id=f"msg_{number:013d}_{'u' * 9}_user",
        role=Role.USER,
        content=content,
        timestamp=moment,
        metadata=MessageMetadata(client_message_id=client_id, streamed=streamed),
    )


def reply_to(
    message: Message, number: int, content: str = "Well done.", *, stop: StopReason = StopReason.END_TURN
) -> Message:
    """A reply, sent at second `number`."""
    return Message(
        id=f"msg_{number:013d}_{'a' * 9}_assistant",
        role=Role.ASSISTANT,
        content=content,
        timestamp=NOW + timedelta(seconds=number),
        metadata=MessageMetadata(model="demo", stop_reason=stop, reply_to=message.id),
    )


def entry(number: int, content: Content, *, writer: str = WRITER, epoch: int = 1) -> LogEntry:
    """A log entry of a lease holder whose lease outlives the tests."""
    return LogEntry(number, epoch, milliseconds_of(NOW) + 3_600_000, writer, content)


def opened(*, writer: str = WRITER, has_producer: bool = True) -> LogEntry:
    """The first entry as passed to a store, which adds the message."""
    return entry(0, Opened("", has_producer=has_producer), writer=writer, epoch=int(has_producer))


def said(number: int, text: str = "Well", *, offset: int = 0, writer: str = WRITER) -> LogEntry:
    """A segment of the reply."""
    return entry(number, Said(text, offset), writer=writer)


def ended(number: int, reply: Message | None = None, *, writer: str = WRITER) -> LogEntry:
    """The last entry of a run with this reply or none."""
    return entry(number, _ending(reply), writer=writer)


def _ending(reply: Message | None) -> Ending:
    if reply is None or reply.is_interrupted:
        return Broken(ErrorCode.MODEL_STREAM_BROKEN, True, None if reply is None else reply.id)
    assert reply.metadata.stop_reason is not None
    return Finished(
        reply.id, reply.metadata.stop_reason, SemanticContextUse(2, 90), Usage(7, 5), Timings(1, 2, 3)
    )


async def begin(
    store: RunStore, message: Message, run_id: str = RUN, *, key: ConversationKey = KEY, writer: str = WRITER
) -> RunBegun:
    """Begin a run in a conversation that is free."""
    begun = await store.begin_run(key, message, run_id, opened(writer=writer))
    assert isinstance(begun, RunBegun)
    return begun


def begun_for(begun: RunBegun) -> tuple[Message, bool]:
    """The message of a run, and whether it is new."""
    return begun.user_message, begun.is_first_attempt


async def store_reply(
    store: RunStore, message: Message, reply: Message, *, key: ConversationKey = KEY
) -> None:
    """Store a complete run, from a message to its reply."""
    run = run_id(NOW, secrets.randbelow)
    await begin(store, message, run, key=key)
    assert await store.finish_run(key, run, ended(1, reply), reply) is None


def conversation(key: ConversationKey = KEY, *, title: str = "Squats", age_days: float = 1) -> Conversation:
    """A new conversation."""
    began = NOW - timedelta(days=age_days)
    return Conversation(key=key, title=title, started_at=began, last_activity=began, tags=("legs",))


def memory(
    memory_id: str,
    *,
    importance: str = "high",
    age_days: float = 100,
    uses: int = 0,
    coach_id: str | None = None,
) -> Mapping[str, object]:
    """A stored memory in the existing system's shape."""
    return {
        "memoryId": memory_id,
        "userId": KEY.user_id,
        "coachId": coach_id,
        "content": f"Remember {memory_id}.",
        "memoryType": "goal",
        "metadata": {
            "createdAt": format_timestamp(NOW - timedelta(days=age_days)),
            "usageCount": uses,
            "source": "conversation",
            "importance": importance,
            "tags": ["squat"],
        },
    }


def workout(workout_id: str, completed_at: str) -> Mapping[str, object]:
    """A stored workout in the existing system's shape."""
    return {
        "workoutId": workout_id,
        "userId": KEY.user_id,
        "completedAt": completed_at,
        "summary": f"Did {workout_id}.",
        "workoutData": {"workout_id": workout_id, "discipline": "strength", "workout_name": "Squat day"},
    }


class StoreContract:
    """The common setup of every part of the contract."""

    @pytest.fixture(autouse=True)
    async def begun(self, store: SeedableStore) -> None:
        """Create a coach with one conversation."""
        await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
        await store.create_conversation(conversation())
