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
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.run_log import LogEntry


class Clock(Protocol):
    """The time, read once a turn for dates and as often as needed for durations."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; comparable with deadlines."""


class RunBegun(msgspec.Struct, frozen=True):
    """A run that the store opened; its log has the one entry that was given.

    Attributes:
        user_message: the stored user message: an earlier attempt's where there was one.
        is_first_attempt: whether the user message was not stored before.
        at: `Opened.at` of the first entry.
    """

    user_message: Message
    is_first_attempt: bool
    at: int


class AlreadyAnswered(msgspec.Struct, frozen=True):
    """The message has a complete reply from an earlier run; nothing was written."""

    user_message: Message
    reply: Message


class ConversationBusy(msgspec.Struct, frozen=True):
    """The conversation has a run that was not finished, alive or not; nothing was written.

    Attributes:
        run_id: of that run.
        user_message: the stored message that was sent again, if it is one.
    """

    run_id: str
    user_message: Message | None


class RunStore(Protocol):
    """Runs: a user message exactly once, at most one unfinished run in a conversation, and its log.

    The store judges nothing: leases, epochs and stops are in the entries (`runs.log`), and the domain reads
    them. What it promises is that an entry is appended under the next number or not at all, that each method
    is one transaction, and that what it reads is what was last written.
    """

    async def begin_run(
        self, key: ConversationKey, user_message: Message, run_id: str, opened: LogEntry
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        """Save the user message exactly once, open a run for it, and make it the conversation's.

        A message whose id or `metadata.client_message_id` is already stored in this conversation is not saved
        again. Where it has a complete reply, that is the answer, whatever else goes on. A new one is saved
        behind all others: where its id is not greater than every id of the conversation, a clock having been
        set back, it gets one that is (`message_id.id_after`). The `Opened` entry is stored as it is given,
        but for its message's id, whether this is the first attempt at it, and `at`, which is raised to the
        newest message's.

        Raises:
            ConversationNotFound: there is none, or it is being deleted; nothing was written.
            StorageUnavailable: the store failed; the run may have begun all the same.
        """

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
        """Append an entry, unless its number is taken; then the entry that has it is returned.

        Returns:
            None where the entry is in the log, also from an earlier attempt of the same writer.

        Raises:
            ConversationNotFound: the conversation was deleted, if the store notices. One that does not has
                left a last entry in the log that says so.
            StorageUnavailable: the store failed; the entry may be there all the same.
        """

    async def finish_run(
        self, key: ConversationKey, run_id: str, ended: LogEntry, reply: Message | None
    ) -> LogEntry | None:
        """Append the last entry, save the reply, if there is one, and free the conversation.

        A reply takes the place of an interrupted one to the same user message. Only the conversation's own
        unfinished run can be finished: so nothing is stored twice for a run whose log has expired. Its
        `Opened.at` is behind all other messages, so a reply with a later id is the newest one.

        Returns:
            None where that is done, also by an earlier attempt of the same writer; else the entry that has
            the number already, and nothing was written.

        Raises:
            ConversationNotFound: the conversation was deleted in the meantime.
            RunNotFound: the run is not the conversation's unfinished one, and its log does not say how it
                ended.
            StorageUnavailable: the store failed; it can be tried again.
        """

    async def read_log(self, key: ConversationKey, run_id: str, *, after: int = -1) -> Sequence[LogEntry]:
        """The entries with higher numbers than `after`, in order; none for an unknown run."""

    async def read_last(self, key: ConversationKey, run_id: str) -> LogEntry | None:
        """The newest entry; None for an unknown run."""

    async def unfinished_run(self, key: ConversationKey) -> str | None:
        """The id of the conversation's run that was not finished, alive or not."""

    async def load_message(self, key: ConversationKey, message_id: str) -> Message | None:
        """One message that a run saved; None where it is not there."""

    async def find_recent_message(
        self, key: ConversationKey, text: str, *, since: datetime
    ) -> Message | None:
        """The newest user message with exactly this text.

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

    async def delete_memory(self, user_id: str, memory_id: str) -> None:
        """Delete a memory; one that is not there is no failure.

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
        """Delete the conversation with its messages and runs, and end the one that is unfinished.

        Its producer learns of that with its next entry, its readers with their next look, and nothing is
        stored any more. A deletion that was cut off in the middle can be repeated.

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
    """The model's own end of the reply; the last event of a healthy stream."""

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
        """Whether it goes on from `Prompt.said`; another one would begin anew."""

    @property
    def is_usable(self) -> bool:
        """False for a while after it raised `ModelNotUsable`; another one, if there is one, is then asked."""

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

    async def authenticate_provisionally(self, token: str) -> Identity:
        """The same, but not necessarily with the issuer's current keys: a withdrawn one may still be known.

        Asks nobody for a key that is known, so a cold environment can greet at once. Good for a greeting:
        `verify` must follow before anything is read, written or paid for.
        """
