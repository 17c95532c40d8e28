"""Doubles of the ports that keep state: what is stored can be looked at, and a failure can be ordered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from coachstream.conversation.coach import CoachConfig
from coachstream.conversation.errors import (
    CoachConfigNotFound,
    CoachStreamError,
    ConversationNotFound,
    TurnInProgress,
)
from coachstream.conversation.model import (
    Conversation,
    ConversationChange,
    ConversationKey,
    Identity,
    Memory,
    Message,
    StopReason,
    Workout,
)
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta, TurnClaim
from coachstream.conversation.prompt import Prompt


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
    """A whole store in memory; counts how often it was asked for anything.

    While `failure` is set, every operation raises it. `coaches` are pairs of user id and coach id.
    """

    def __init__(self, *coaches: tuple[str, str]) -> None:
        self.coaches = set(coaches)
        self.claims: set[ConversationKey] = set()
        self.conversations: dict[ConversationKey, Conversation] = {}
        self.messages: dict[ConversationKey, list[Message]] = {}
        self.operations = 0
        self.failure: Exception | None = None

    async def create_conversation(self, conversation: Conversation) -> None:
        self._begin()
        if (conversation.key.user_id, conversation.key.coach_id) not in self.coaches:
            raise CoachConfigNotFound
        self.conversations[conversation.key] = conversation
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
        return self.messages.get(key, [])

    async def change_conversation(self, key: ConversationKey, change: ConversationChange) -> Conversation:
        self._begin()
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
        changed = self.conversations[key] = msgspec.structs.replace(self._find(key), **changes)
        return changed

    async def delete_conversation(self, key: ConversationKey) -> None:
        self._begin()
        self._find(key)
        del self.conversations[key]

    async def begin_turn(self, key: ConversationKey, user_message: Message) -> TurnClaim:
        self._begin()
        self._find(key)
        name = user_message.metadata.client_message_id
        known = [m for m in self.messages[key] if name is not None and m.metadata.client_message_id == name]
        if known:
            user_message = known[0]
        replies = [
            m for m in self.messages[key] if m.metadata.reply_to == user_message.id and not m.is_interrupted
        ]
        if not replies and key in self.claims:
            raise TurnInProgress
        if not known:
            self.messages[key].append(user_message)
        if not replies:
            self.claims.add(key)
        return TurnClaim(key, user_message, replies[0] if replies else None, token="claim")

    async def save_reply(self, claim: TurnClaim, reply: Message) -> None:
        self.claims.discard(claim.key)
        self._begin()
        earlier = [m for m in self.messages[claim.key] if m.metadata.reply_to != claim.user_message.id]
        self.messages[claim.key] = [*earlier, reply]

    async def abandon_turn(self, claim: TurnClaim) -> None:
        self.claims.discard(claim.key)

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        self._begin()
        if (user_id, coach_id) not in self.coaches:
            raise CoachConfigNotFound
        return CoachConfig(coach_id=coach_id, name=coach_id.title())

    async def load_history(self, key: ConversationKey, *, limit: int) -> Sequence[Message]:
        self._begin()
        return self.messages.get(key, [])[-limit:]

    async def load_memories(self, _user_id: str, _coach_id: str, *, limit: int) -> Sequence[Memory]:
        self._begin()
        return [][:limit]

    async def load_recent_workouts(self, _user_id: str, *, limit: int) -> Sequence[Workout]:
        self._begin()
        return [][:limit]

    def _begin(self) -> None:
        self.operations += 1
        if self.failure is not None:
            raise self.failure

    def _find(self, key: ConversationKey) -> Conversation:
        if key not in self.conversations:
            raise ConversationNotFound
        return self.conversations[key]


class ScriptedModel:
    """Says what its script says: text, a stop, an exception, or nothing until an event is set."""

    display_name = "scripted"

    def __init__(self, *script: str | ModelEvent | Exception | asyncio.Event) -> None:
        self.script = script or ("Hello, ", "you!", ModelStop(StopReason.END_TURN))
        self.calls = 0

    async def stream(self, _prompt: Prompt, *, deadline: float) -> AsyncIterator[ModelEvent]:
        assert deadline > 0
        self.calls += 1
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
