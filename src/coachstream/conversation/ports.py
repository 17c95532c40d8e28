"""What the domain asks of the world: small protocols, implemented by the adapters.

Every method may raise a `CoachStreamError`; an adapter maps its technology's errors at its own border and
never lets another exception out on purpose. The contract suites in `tests/contracts` say the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from enum import StrEnum
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
        reply: the complete reply of an earlier attempt at the same message. When it is set, the turn is over
            and nothing is claimed.
        token: the store's own name for the claim.
        is_first_attempt: whether the user message was not stored before.
    """

    key: ConversationKey
    user_message: Message
    reply: Message | None
    token: str
    is_first_attempt: bool


class TurnStore(Protocol):
    """Writes of one turn: the user message before the model is called, the reply after the last token."""

    async def begin_turn(self, key: ConversationKey, user_message: Message) -> TurnClaim:
        """Save the user message exactly once and claim the conversation, in one transaction.

        A message whose id or `metadata.client_message_id` is already stored in this conversation is not saved
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

    async def find_streamed_message(
        self, key: ConversationKey, text: str, *, since: datetime
    ) -> Message | None:
        """The newest user message with exactly this text whose reply was asked for as a stream.

        Only messages that the store took at or after `since` count, by the time in their ids. `None` where
        there is no such message, or no such conversation.
        """


class ContextStore(Protocol):
    """Reads that feed a prompt."""

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        """Raises `CoachConfigNotFound` or `StorageUnavailable`."""

    async def load_history(self, key: ConversationKey, *, limit: int, budget_chars: int) -> Sequence[Message]:
        """The newest `limit` messages, oldest first; empty for an unknown conversation.

        Messages that are older than the newest ones that together have `budget_chars` characters may be
        missing, so that reading a long conversation costs no more than reading a short one.
        """

    async def load_memories(self, user_id: str, coach_id: str, *, limit: int) -> Sequence[Memory]:
        """The `limit` memories of this coach or of all coaches that matter most, most important first."""

    async def load_recent_workouts(self, user_id: str, *, limit: int) -> Sequence[Workout]:
        """The `limit` workouts completed last, newest first."""


class MemoryStore(Protocol):
    """Writes of what a coach remembers of a user."""

    async def save_memory(self, user_id: str, memory: Memory) -> None:
        """Save a memory; saving it again under the same id changes nothing but its content.

        Raises:
            StorageUnavailable: the store failed.
        """

    async def note_memories_used(self, user_id: str, memory_ids: Sequence[str], *, at: datetime) -> None:
        """Count one more use of each memory, atomically, and date it; memories that are gone stay gone."""


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

    async def remember(self, user_id: str, memory: Memory) -> None:
        """Make a memory findable by its owner; the same id again takes the earlier one's place."""


class WorkoutLog(msgspec.Struct, frozen=True):
    """A workout that the user told of, to be extracted and stored by a function of its own.

    Attributes:
        text: what the user wrote, without the command.
        command: the slash command, without the slash.
        sent_at: when the user wrote it.
    """

    key: ConversationKey
    text: str
    coach: CoachConfig
    command: str
    sent_at: datetime


class WorkoutBuilder(Protocol):
    """Hands workouts to the function that builds them."""

    async def build(self, workout: WorkoutLog) -> None:
        """Start the function and do not wait for its result. Raises `HandOffFailed`."""


class SummaryReason(StrEnum):
    """Why a conversation is summarized now; the values are those of the existing payload."""

    MESSAGE_COUNT = "message_count"


class SummaryRequest(msgspec.Struct, frozen=True):
    """A conversation that is due for a summary; `message_count` counts all its messages."""

    key: ConversationKey
    reason: SummaryReason
    message_count: int


class SummaryBuilder(Protocol):
    """Hands conversations to the function that summarizes them."""

    async def build(self, request: SummaryRequest) -> None:
        """Start the function and do not wait for its result. Raises `HandOffFailed`."""


class TokenVerifier(Protocol):
    """Turns a bearer token into an identity, or refuses."""

    async def verify(self, token: str) -> Identity:
        """Verify signature, issuer, audience, expiry and use of an ID token.

        Raises:
            InvalidTokenFormat, InvalidToken, TokenExpired, MissingCustomUserId: as named.
        """
