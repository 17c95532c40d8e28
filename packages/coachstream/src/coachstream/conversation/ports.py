"""The ports of the domain: small protocols, implemented by the adapters.

Every method may raise a `CoachStreamError`; an adapter maps its technology's errors at its own boundary and
never deliberately lets another exception out. The contract suites in `tests/contracts` specify the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from coachstream.conversation.analysis import MessageAnalysis
from coachstream.conversation.another_try import Version
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
from coachstream.conversation.prompt.coach import CoachConfig
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage
from coachstream.conversation.prompt.summary import SummaryContent
from coachstream.conversation.prompt.user import ConversationSummary, UserProfile


class Clock(Protocol):
    """The time, read once a turn for dates and as often as needed for durations."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; comparable with deadlines."""


class ContextStore(Protocol):
    """Reads that feed a prompt."""

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        """Raises `CoachConfigNotFound` or `StorageUnavailable`."""

    async def load_history(self, key: ConversationKey, *, limit: int, budget_chars: int) -> Sequence[Message]:
        """The newest `limit` messages, oldest first; empty for an unknown conversation.

        Messages beyond the newest `budget_chars` characters may be omitted, so that reading a long
        conversation costs no more than reading a short one.
        """

    async def load_memories(self, user_id: str, coach_id: str, *, limit: int) -> Sequence[Memory]:
        """The `limit` most important memories of this coach or of all coaches, most important first."""

    async def load_recent_workouts(self, user_id: str, *, limit: int) -> Sequence[Workout]:
        """The `limit` most recently completed workouts, newest first."""

    async def load_profile(self, user_id: str) -> UserProfile:
        """What is known about a user; an empty profile if nothing is."""

    async def load_summary(self, key: ConversationKey) -> ConversationSummary:
        """The newest summary of a conversation; an empty one if there is none."""


class MemoryStore(Protocol):
    """Writes a coach's memories of a user."""

    async def save_memory(self, user_id: str, memory: Memory) -> None:
        """Save a memory; saving it again under the same id changes nothing but its content.

        Raises:
            StorageUnavailable: the store failed.
        """

    async def change_memory_traits(self, user_id: str, memory: Memory) -> None:
        """Change type, importance, tags and coach of a stored memory to the given one's; skip a deleted one.

        Raises:
            StorageUnavailable: the store failed.
        """

    async def delete_memory(self, user_id: str, memory_id: str) -> None:
        """Delete a memory; deleting one that does not exist succeeds.

        Raises:
            StorageUnavailable: the store failed.
        """

    async def note_memories_used(self, user_id: str, memory_ids: Sequence[str], *, at: datetime) -> None:
        """Atomically increment each memory's use count and set its last use; skip deleted memories."""


class ConversationStore(Protocol):
    """The conversations of a user with a coach."""

    async def create_conversation(self, conversation: Conversation) -> None:
        """Save a new conversation and increment its coach's count.

        Raises:
            CoachConfigNotFound: the user has no such coach; nothing was saved.
            StorageUnavailable: the store failed.
        """

    async def list_conversations(self, user_id: str, coach_id: str) -> Sequence[Conversation]:
        """All conversations, most recent activity first."""

    async def get_conversation(self, key: ConversationKey) -> Conversation:
        """Raises `ConversationNotFound` or `StorageUnavailable`."""

    async def load_messages(self, key: ConversationKey) -> Sequence[Message]:
        """All messages, oldest first."""

    async def load_newest(
        self, key: ConversationKey, *, limit: int, before: str | None = None
    ) -> Sequence[Message]:
        """The newest `limit` messages, oldest first; empty for an unknown conversation.

        With `before`, the id of a message, only those that come before it, also if it is gone. Reading a page
        of a long conversation costs no more than reading one of a short conversation.
        """

    async def load_versions(self, key: ConversationKey, message_id: str) -> Sequence[Version]:
        """The versions of the exchange that a message of the conversation belongs to, oldest first.

        Empty if the conversation has no such message. A failed attempt has no version.
        """

    async def change_conversation(self, key: ConversationKey, change: ConversationChange) -> Conversation:
        """Change only the given fields and return the result. Raises `ConversationNotFound`."""

    async def replace_default_title(self, key: ConversationKey, title: str) -> bool:
        """Give a conversation a title if it still has `DEFAULT_TITLE` or none, and change nothing else.

        Returns:
            Whether it got the title: not if a user or another process has given it one, or it is gone.
        """

    async def save_summary(self, key: ConversationKey, summary: NewSummary) -> bool:
        """Save the summary of a conversation in place of one of fewer messages.

        It also replaces one of as many messages whose last one has a smaller id.

        Returns:
            Whether it was saved: not if there is a newer one.

        Raises:
            ConversationNotFound: there is none, or it is being deleted; nothing was written.
            StorageUnavailable: the store failed.
        """

    async def delete_conversation(self, key: ConversationKey) -> None:
        """Delete the conversation with its messages and runs, and end its unfinished run.

        The lease holder finds out with its next write, readers with their next read, and nothing more is
        stored. Its summary is deleted as well. A deletion that was interrupted can be repeated.

        Raises:
            ConversationNotFound: there is no such conversation.
        """


class CoachDirectory(Protocol):
    """The coaches of a user; asked on a person's machine, never in a turn."""

    async def list_coaches(self, user_id: str) -> Sequence[CoachConfig]:
        """All of them, by their ids. Raises `StorageUnavailable`."""


class TextDelta(msgspec.Struct, frozen=True):
    """The next piece of text from the model; may be empty."""

    text: str


class ModelStop(msgspec.Struct, frozen=True):
    """The model finished the reply; the last event of a complete stream."""

    reason: StopReason
    usage: Usage = Usage()


ModelEvent = TextDelta | ModelStop


class ChatModel(Protocol):
    """A language model that streams."""

    @property
    def display_name(self) -> str:
        """The name stored with every reply."""

    @property
    def can_continue(self) -> bool:
        """Whether it can continue the partial reply in `Prompt.said`; otherwise it would start over."""

    @property
    def is_usable(self) -> bool:
        """False for a while after it raised `ModelNotUsable`; the fallback model, if any, is used then."""

    def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        """Stream the reply; `deadline` is on the turn's monotonic clock.

        The iterator ends after `ModelStop`. Ending without one, or raising a `ModelError`, means that the
        reply is incomplete. Closing the iterator (`aclose`) stops the model.
        """


class SemanticMemory(Protocol):
    """Semantic search over the user's own records and the shared methodology."""

    async def search(self, user_id: str, text: str, *, limit: int) -> Sequence[Match]:
        """The `limit` best matches, best first; never another user's records."""

    async def remember(self, user_id: str, memory: Memory) -> None:
        """Index a memory for its owner; an existing one with the same id is replaced."""

    async def remember_summary(self, key: ConversationKey, summary: ConversationSummary) -> None:
        """Index the summary of a conversation; an existing one of the same conversation is replaced."""

    async def forget_conversation(self, user_id: str, conversation_id: str) -> None:
        """Remove the summaries of a conversation; its workouts and memories outlive it."""

    async def forget_user(self, user_id: str) -> None:
        """Remove all memories and summaries of conversations of a user; the user's workouts are kept."""


class MessageAnalyser(Protocol):
    """Finds out what a message asks of the application besides a reply."""

    async def analyse(self, text: str) -> MessageAnalysis:
        """Analyse a message; the caller cancels it when it takes too long.

        Raises:
            ModelError: there is no verdict.
        """


class WorkoutLog(msgspec.Struct, frozen=True):
    """A workout that the user reported, to be extracted and stored by a separate function.

    Attributes:
        message_id: the message that reports it: the idempotency key of the hand-off.
        text: what the user wrote, without the command.
        command: the slash command, without the slash; None if the user reported it in plain words.
        sent_at: when the user wrote it.
        time_zone: the IANA name of the user's time zone.
    """

    key: ConversationKey
    message_id: str
    text: str
    coach: CoachConfig
    command: str | None
    sent_at: datetime
    time_zone: str


class WorkoutBuilder(Protocol):
    """Hands workouts to the function that builds them."""

    async def build(self, workout: WorkoutLog) -> None:
        """Start the function and do not wait for its result. Raises `HandOffFailed`."""


class SummaryReason(StrEnum):
    """Why a conversation is summarized now; the values are those of the existing payload."""

    MESSAGE_COUNT = "message_count"
    COMPLEXITY = "complexity"


COMPLEXITY_INDICATORS = ("complexity_detected",)
"""What the existing system adds to a request or a summary for complexity: only this."""


class SummaryRequest(msgspec.Struct, frozen=True):
    """A conversation that is due for a summary; `message_count` counts all its messages."""

    key: ConversationKey
    reason: SummaryReason
    message_count: int


class SummaryBuilder(Protocol):
    """Has conversations summarized, by another function or later."""

    async def build(self, request: SummaryRequest) -> None:
        """Start it and do not wait for its result. Raises `HandOffFailed`."""


class TitleRequest(msgspec.Struct, frozen=True):
    """A conversation with a default title, of which enough has been said for a better one."""

    key: ConversationKey


class TitleBuilder(Protocol):
    """Has titles written for conversations, by another function or later."""

    async def build(self, request: TitleRequest) -> None:
        """Start it and do not wait for its result. Raises `HandOffFailed`."""


class NewSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A summary to store.

    Attributes:
        total_messages: how many messages the conversation had when the summary was requested.
        first_message_id: the oldest message that was read for it, besides the earlier summary.
        last_message_id: the newest one.
    """

    content: SummaryContent
    reason: SummaryReason
    total_messages: int
    first_message_id: str
    last_message_id: str
    created_at: datetime

    def is_newer_than(self, stored: ConversationSummary) -> bool:
        """Whether it summarizes more messages, or as many of which the last one replaces an older version."""
        if stored.total_messages == self.total_messages:
            return bool(stored.last_message_id) and stored.last_message_id < self.last_message_id
        return stored.total_messages < self.total_messages


class Summarizer(Protocol):
    """Writes summaries and titles of conversations: a small model, or rules."""

    async def summarize(
        self, messages: Sequence[PromptMessage], earlier: ConversationSummary
    ) -> SummaryContent:
        """Summarize the messages and what the earlier summary says, which may be empty.

        Raises:
            ModelError: there is no summary.
        """

    async def suggest_title(self, messages: Sequence[PromptMessage]) -> str:
        """Suggest a title, which may not fit (`title.title_from`); empty if there is none.

        Raises:
            ModelError: there is no suggestion.
        """


class TokenVerifier(Protocol):
    """Turns a bearer token into an identity, or rejects it."""

    async def verify(self, token: str) -> Identity:
        """Verify signature, issuer, audience, expiry and use of an ID token.

        Raises:
            InvalidTokenFormat, InvalidToken, TokenExpired, MissingCustomUserId: as named.
        """

    async def authenticate_provisionally(self, token: str) -> Identity:
        """Verify a token like `verify`, but against cached keys, which may include a revoked one.

        A known key needs no request to the issuer, so a cold environment can send `start` immediately. This
        provisional authentication is enough for `start` only: call `verify` before anything is read, written
        or billed.
        """
