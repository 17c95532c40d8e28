"""What the domain asks of the world: small protocols, implemented by the adapters.

Every method may raise a `CoachStreamError`; an adapter maps its technology's errors at its own border and
never lets another exception out on purpose. The contract suites in `tests/contracts` say the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from coachstream.conversation.coach import CoachConfig
from coachstream.conversation.model import (
    Conversation,
    ConversationChange,
    ConversationKey,
    Identity,
    Match,
    Memory,
    Message,
    StopReason,
    Usage,
    Workout,
)
from coachstream.conversation.prompt import Prompt


class Clock(Protocol):
    """The time, read once a turn for dates and as often as needed for durations."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; comparable with deadlines."""


class TurnClaim(msgspec.Struct, frozen=True):
    """A turn that the store lets begin.

    Attributes:
        key: the conversation.
        user_message: the stored user message: an earlier attempt's where `client_message_id` is known.
        reply: the complete reply of an earlier attempt with the same `client_message_id`. When it is set,
            the turn is over and nothing is claimed.
        token: the store's own name for the claim.
    """

    key: ConversationKey
    user_message: Message
    reply: Message | None
    token: str


class TurnStore(Protocol):
    """Writes of one turn: the user message before the model is called, the reply after the last token."""

    async def begin_turn(self, key: ConversationKey, user_message: Message) -> TurnClaim:
        """Save the user message exactly once and claim the conversation, in one transaction.

        A message whose `metadata.client_message_id` is already stored in this conversation is not saved
        again: the claim names the stored one, and its complete reply if it has one.

        Raises:
            ConversationNotFound: nothing was saved.
            TurnInProgress: another live turn holds the conversation; nothing was saved. A turn whose
                process has died is not live.
            StorageUnavailable: the store failed.
        """

    async def save_reply(self, claim: TurnClaim, reply: Message) -> None:
        """Save the reply (complete or interrupted) and give up the claim, in one transaction.

        A reply takes the place of an interrupted one to the same user message.

        Raises:
            ConversationNotFound: the conversation was deleted in the meantime.
            StorageUnavailable: the store failed; the claim is still held, so saving can be tried again.
        """

    async def abandon_turn(self, claim: TurnClaim) -> None:
        """Give up the claim without a reply; harmless when it is already given up."""


class ContextStore(Protocol):
    """Reads that feed a prompt."""

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        """Raises `CoachConfigNotFound` or `StorageUnavailable`."""

    async def load_history(self, key: ConversationKey, *, limit: int) -> Sequence[Message]:
        """The newest `limit` messages, oldest first; empty for an unknown conversation."""

    async def load_memories(self, user_id: str, coach_id: str, *, limit: int) -> Sequence[Memory]:
        """The `limit` memories of this coach or of all coaches that matter most, most important first."""

    async def load_recent_workouts(self, user_id: str, *, limit: int) -> Sequence[Workout]:
        """The `limit` workouts completed last, newest first."""


class ConversationStore(Protocol):
    """The conversations of a user with a coach."""

    async def create_conversation(self, conversation: Conversation) -> None:
        """Save a new conversation and count it on its coach.

        Raises:
            CoachConfigNotFound: the user has no such coach; nothing was saved.
            StorageUnavailable: the store failed.
        """

    async def list_conversations(self, user_id: str, coach_id: str) -> Sequence[Conversation]:
        """All conversations, the latest activity first."""

    async def get_conversation(self, key: ConversationKey) -> Conversation:
        """Raises `ConversationNotFound` or `StorageUnavailable`."""

    async def load_messages(self, key: ConversationKey) -> Sequence[Message]:
        """All messages, oldest first."""

    async def change_conversation(self, key: ConversationKey, change: ConversationChange) -> Conversation:
        """Change only what is given and return the result. Raises `ConversationNotFound`."""

    async def delete_conversation(self, key: ConversationKey) -> None:
        """Delete the conversation with its messages. Raises `ConversationNotFound`."""


class TextDelta(msgspec.Struct, frozen=True):
    """The next piece of text from the model; may be empty."""

    text: str


class ModelStop(msgspec.Struct, frozen=True):
    """The model's own end of the reply; the last event of a healthy stream."""

    reason: StopReason
    usage: Usage = Usage()


ModelEvent = TextDelta | ModelStop


class ChatModel(Protocol):
    """A language model that streams."""

    @property
    def display_name(self) -> str:
        """The name stored with every reply."""

    def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        """Stream the reply; `deadline` is on the turn's monotonic clock.

        The iterator ends after `ModelStop`. Ending without one, or raising a `ModelError`, means that the
        reply broke off. Closing the iterator (`aclose`) stops the model.
        """


class SemanticMemory(Protocol):
    """Search by meaning over the user's own records and the shared methodology."""

    async def search(self, user_id: str, text: str, *, limit: int) -> Sequence[Match]:
        """The best `limit` matches, best first; never another user's."""


class TokenVerifier(Protocol):
    """Turns a bearer token into an identity, or refuses."""

    async def verify(self, token: str) -> Identity:
        """Verify signature, issuer, audience, expiry and use of an ID token.

        Raises:
            InvalidTokenFormat, InvalidToken, TokenExpired, MissingCustomUserId: as named.
        """
