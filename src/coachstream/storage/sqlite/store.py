"""`SqliteStore`: all that the domain asks of a store, in one SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from coachstream.conversation.coach import CoachConfig
from coachstream.conversation.model import (
    Conversation,
    ConversationChange,
    ConversationKey,
    Memory,
    Message,
    Workout,
)
from coachstream.conversation.ports import TurnClaim


class SqliteStore:
    """`TurnStore`, `ContextStore` and `ConversationStore`; nothing is opened before the first use."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError

    async def put_coach(self, user_id: str, coach_id: str, attributes: Mapping[str, object]) -> None:
        raise NotImplementedError

    async def put_memory(self, user_id: str, memory_id: str, attributes: Mapping[str, object]) -> None:
        raise NotImplementedError

    async def put_workout(self, user_id: str, workout_id: str, attributes: Mapping[str, object]) -> None:
        raise NotImplementedError

    async def begin_turn(self, key: ConversationKey, user_message: Message) -> TurnClaim:
        raise NotImplementedError

    async def save_reply(self, claim: TurnClaim, reply: Message) -> None:
        raise NotImplementedError

    async def abandon_turn(self, claim: TurnClaim) -> None:
        raise NotImplementedError

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        raise NotImplementedError

    async def load_history(self, key: ConversationKey, *, limit: int) -> Sequence[Message]:
        raise NotImplementedError

    async def load_memories(self, user_id: str, coach_id: str, *, limit: int) -> Sequence[Memory]:
        raise NotImplementedError

    async def load_recent_workouts(self, user_id: str, *, limit: int) -> Sequence[Workout]:
        raise NotImplementedError

    async def create_conversation(self, conversation: Conversation) -> None:
        raise NotImplementedError

    async def list_conversations(self, user_id: str, coach_id: str) -> Sequence[Conversation]:
        raise NotImplementedError

    async def get_conversation(self, key: ConversationKey) -> Conversation:
        raise NotImplementedError

    async def load_messages(self, key: ConversationKey) -> Sequence[Message]:
        raise NotImplementedError

    async def change_conversation(self, key: ConversationKey, change: ConversationChange) -> Conversation:
        raise NotImplementedError

    async def delete_conversation(self, key: ConversationKey) -> None:
        raise NotImplementedError
