"""Doubles of the ports that keep state: what is stored can be looked at, and a failure can be ordered."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from coachstream.conversation.coach import CoachConfig, parse_coach_config, parse_memory, parse_workout
from coachstream.conversation.errors import (
    CoachConfigNotFound,
    CoachStreamError,
    ConversationNotFound,
    StorageUnavailable,
    TurnInProgress,
)
from coachstream.conversation.message_id import first_message_id
from coachstream.conversation.model import (
    Conversation,
    ConversationChange,
    ConversationKey,
    Identity,
    Memory,
    Message,
    Role,
    StopReason,
    Workout,
)
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta, TurnClaim
from coachstream.conversation.prompt import Prompt
from coachstream.storage.memory_ranking import most_important


class KnownTokens:
    """A verifier that knows its tokens by heart: what each stands for, an identity or a refusal."""

    def __init__(self, tokens: dict[str, Identity | CoachStreamError]) -> None:
        self.tokens = tokens

    async def verify(self, token: str) -> Identity:
        known = self.tokens[token]
        if isinstance(known, CoachStreamError):
            raise known
        return known


class RememberedConversations:
    """A whole store in memory, which keeps the contract of stores; counts how often it was asked.

    While `failure` is set, every operation raises it. `coaches` are under their user's and their own id.
    """

    def __init__(self, *coaches: tuple[str, str]) -> None:
        self.coaches: dict[tuple[str, str], Mapping[str, object]] = {
            names: {"coach_name": names[1].title()} for names in coaches
        }
        self.conversations: dict[ConversationKey, Conversation] = {}
        self.messages: dict[ConversationKey, list[Message]] = {}
        self.operations = 0
        self.failure: Exception | None = None
        self._memories: dict[tuple[str, str], Memory] = {}
        self._workouts: dict[tuple[str, str], Workout] = {}
        self._tokens: dict[ConversationKey, str] = {}
        self._numbers = itertools.count(1)

    @property
    def claims(self) -> set[ConversationKey]:
        """Conversations that a turn holds."""
        return set(self._tokens)

    async def put_coach(self, user_id: str, coach_id: str, attributes: Mapping[str, object]) -> None:
        self.coaches[user_id, coach_id] = attributes

    async def put_memory(self, user_id: str, memory_id: str, attributes: Mapping[str, object]) -> None:
        self._memories[user_id, memory_id] = msgspec.structs.replace(parse_memory(attributes), id=memory_id)

    async def put_workout(self, user_id: str, workout_id: str, attributes: Mapping[str, object]) -> None:
        self._workouts[user_id, workout_id] = parse_workout(attributes)

    async def create_conversation(self, conversation: Conversation) -> None:
        self._begin()
        if (conversation.key.user_id, conversation.key.coach_id) not in self.coaches:
            raise CoachConfigNotFound
        if self.conversations.setdefault(conversation.key, conversation) is conversation:
            self.messages[conversation.key] = []

    async def list_conversations(self, user_id: str, coach_id: str) -> Sequence[Conversation]:
        self._begin()
        own = [
            c for c in self.conversations.values() if (c.key.user_id, c.key.coach_id) == (user_id, coach_id)
        ]
        return sorted(own, key=lambda conversation: conversation.last_activity, reverse=True)

    async def get_conversation(self, key: ConversationKey) -> Conversation:
        self._begin()
        return self._find(key)

    async def load_messages(self, key: ConversationKey) -> Sequence[Message]:
        self._begin()
        return list(self.messages.get(key, []))

    async def change_conversation(self, key: ConversationKey, change: ConversationChange) -> Conversation:
        self._begin()
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
        changed = self.conversations[key] = msgspec.structs.replace(self._find(key), **changes)
        return changed

    async def delete_conversation(self, key: ConversationKey) -> None:
        self._begin()
        self._find(key)
        del self.conversations[key], self.messages[key]

    async def begin_turn(self, key: ConversationKey, user_message: Message) -> TurnClaim:
        self._begin()
        self._find(key)
        name = user_message.metadata.client_message_id
        messages = self.messages[key]
        known = [
            message
            for message in messages
            if message.id == user_message.id
            or (name is not None and message.metadata.client_message_id == name)
        ]
        user_message = known[0] if known else user_message
        for reply in messages:
            if reply.metadata.reply_to == user_message.id and not reply.is_interrupted:
                return TurnClaim(key, user_message, reply, token="", is_first_attempt=False)
        if key in self._tokens:
            raise TurnInProgress
        token = self._tokens[key] = f"claim-{next(self._numbers)}"
        if not known:
            self._replace_messages(key, [*messages, user_message], user_message)
        return TurnClaim(key, user_message, None, token, is_first_attempt=not known)

    async def save_reply(self, claim: TurnClaim, reply: Message) -> None:
        self._begin()
        if claim.key not in self.conversations:
            await self.abandon_turn(claim)
            raise ConversationNotFound
        messages = self.messages[claim.key]
        if reply.id in {message.id for message in messages}:
            await self.abandon_turn(claim)
            return
        if self._tokens.get(claim.key) != claim.token:
            raise StorageUnavailable("the claim was given up")
        replaced = [m for m in messages if m.is_interrupted and m.metadata.reply_to == claim.user_message.id]
        kept = [message for message in messages if message not in replaced]
        self._replace_messages(claim.key, [*kept, reply], reply)
        await self.abandon_turn(claim)

    async def abandon_turn(self, claim: TurnClaim) -> None:
        if self._tokens.get(claim.key) == claim.token:
            del self._tokens[claim.key]

    async def find_streamed_message(
        self, key: ConversationKey, text: str, *, since: datetime
    ) -> Message | None:
        self._begin()
        for message in reversed(self.messages.get(key, [])):
            is_asked_for = message.role is Role.USER and message.metadata.streamed
            if is_asked_for and message.content == text and message.id >= first_message_id(since):
                return message
        return None

    async def save_memory(self, user_id: str, memory: Memory) -> None:
        self._begin()
        stored = self._memories.get((user_id, memory.id), memory)
        self._memories[user_id, memory.id] = msgspec.structs.replace(stored, content=memory.content)

    async def note_memories_used(self, user_id: str, memory_ids: Sequence[str], *, at: datetime) -> None:
        self._begin()
        for memory_id in set(memory_ids):
            if (memory := self._memories.get((user_id, memory_id))) is not None:
                self._memories[user_id, memory_id] = msgspec.structs.replace(
                    memory, usage_count=memory.usage_count + 1, last_used=at
                )

    async def saved_memories(self, user_id: str) -> list[Memory]:
        """All memories of a user, in the order of their saving."""
        return [memory for (owner, _), memory in self._memories.items() if owner == user_id]

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        self._begin()
        if (user_id, coach_id) not in self.coaches:
            raise CoachConfigNotFound
        return parse_coach_config(coach_id, self.coaches[user_id, coach_id])

    async def load_history(self, key: ConversationKey, *, limit: int, budget_chars: int) -> Sequence[Message]:
        messages = await self.load_messages(key)
        newest: list[Message] = []
        for message in reversed(messages):
            if len(newest) >= limit or sum(len(newer.content) for newer in newest) >= budget_chars:
                break
            newest.append(message)
        return newest[::-1]

    async def load_memories(self, user_id: str, coach_id: str, *, limit: int) -> Sequence[Memory]:
        self._begin()
        own = [memory for (owner, _), memory in self._memories.items() if owner == user_id]
        known = [memory for memory in own if memory.coach_id in {None, coach_id}]
        return most_important(known, datetime.now(UTC), limit=limit)

    async def load_recent_workouts(self, user_id: str, *, limit: int) -> Sequence[Workout]:
        self._begin()
        own = [workout for (owner, _), workout in self._workouts.items() if owner == user_id]
        return sorted(own, key=lambda workout: workout.completed_at, reverse=True)[:limit]

    def _begin(self) -> None:
        self.operations += 1
        if self.failure is not None:
            raise self.failure

    def _find(self, key: ConversationKey) -> Conversation:
        if key not in self.conversations:
            raise ConversationNotFound
        return self.conversations[key]

    def _replace_messages(self, key: ConversationKey, messages: list[Message], last: Message) -> None:
        self.messages[key] = messages
        self.conversations[key] = msgspec.structs.replace(
            self.conversations[key], total_messages=len(messages), last_activity=last.timestamp
        )


class ScriptedModel:
    """Says what its script says: text, a stop, an exception, or nothing until an event is set."""

    display_name = "scripted"

    def __init__(self, *script: str | ModelEvent | Exception | asyncio.Event) -> None:
        self.script = script or ("Hello, ", "you!", ModelStop(StopReason.END_TURN))
        self.prompts: list[Prompt] = []

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.prompts)

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        assert deadline > 0
        self.prompts.append(prompt)
        for line in self.script:
            match line:
                case str():
                    yield TextDelta(line)
                case asyncio.Event():
                    await line.wait()
                case Exception():
                    raise line
                case _:
                    yield line
