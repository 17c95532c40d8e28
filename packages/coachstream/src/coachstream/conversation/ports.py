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
from coachstream.conversation.another_try import AnotherTry, TryRequest, Version
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
from coachstream.conversation.quotas import UNLIMITED, QuotaLimits, QuotaUse, Spent
from coachstream.conversation.run_log import LogEntry
from coachstream.conversation.run_queue import QueuedRun, RunQueue


class Clock(Protocol):
    """The time, read once a turn for dates and as often as needed for durations."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; comparable with deadlines."""


class RunBegun(msgspec.Struct, frozen=True):
    """A run that the store opened; its log has one entry, the given one, and what `said` is.

    Attributes:
        user_message: the stored user message: that of the first attempt, if this is a retry.
        is_first_attempt: whether the user message was not stored before.
        at: `Opened.at` of the first entry.
        another_try: `Opened.another_try`.
        said: the reply that is continued, which is the second entry; empty without one.
    """

    user_message: Message
    is_first_attempt: bool
    at: int
    another_try: AnotherTry | None = None
    said: str = ""


class AlreadyAnswered(msgspec.Struct, frozen=True):
    """The message has a complete reply from an earlier run; nothing was written."""

    user_message: Message
    reply: Message


class ConversationBusy(msgspec.Struct, frozen=True):
    """The conversation has an unfinished run, alive or not, or a queue; nothing was written.

    Attributes:
        run_id: the unfinished run; or the first in the queue, if none is unfinished.
        user_message: the stored message, if the request is a retry of it.
        queued: the queue; its first run is `run_id` if no run is unfinished.
    """

    run_id: str
    user_message: Message | None
    queued: tuple[QueuedRun, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether no run is unfinished, only others are queued."""
        return bool(self.queued) and self.queued[0].run_id == self.run_id


class RunQueued(msgspec.Struct, frozen=True):
    """A message that is in the queue: stored now, or before.

    Attributes:
        user_message: the stored message.
        run: its place in the queue.
    """

    user_message: Message
    run: QueuedRun


class QueueIsFull(msgspec.Struct, frozen=True):
    """The queue has as many runs as it may have; nothing was written."""


class RunStore(Protocol):
    """Runs: each user message exactly once, at most one unfinished run per conversation, and its log.

    The store interprets nothing: leases, epochs and stops are in the entries (`run_log`), which the domain
    reads. The store guarantees that an entry is appended under the next number or not at all, that each
    method but `quota_use` is one transaction, and that reads are strongly consistent.
    """

    async def begin_run(
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        """Save the user message exactly once, open a run for it, and make it the conversation's.

        A message whose id or `metadata.client_message_id` is already stored in this conversation is not saved
        again: the id is an idempotency key, under which no other text is accepted. If that message already
        has a complete reply, the reply is returned, even while another run is unfinished. A new message is
        stored after all others: if its id is not greater than every id of the conversation, because a clock
        was set back, it gets a greater one (`ids.id_after`). The `Opened` entry is stored as given, except
        for the message's id, whether this is the first attempt, and `at`, which is raised to the newest
        message's.

        A run that is queued begins in its turn only: no other run begins while there is a queue.

        A run that begins is taken from the user's quotas, in the same transaction and as of `Opened.at` as
        given. The user's own limits, if the store has any, replace the given ones.

        Raises:
            ConversationNotFound: there is none, or it is being deleted; nothing was written.
            IdempotencyMismatch: the stored message has another text; nothing was written.
            MessageWithdrawn: it was stored, queued and withdrawn before.
            QuotaExceeded: the run could begin, but nothing is left of a quota; nothing was written.
            StorageUnavailable: the store failed; the run may have begun nevertheless.
        """

    async def begin_try(
        self,
        key: ConversationKey,
        request: TryRequest,
        user_message: Message | None,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        """Open a run that tries the last exchange again (`another_try`), and make it the conversation's.

        The conversation's messages stay as they are until the run ends. `user_message`, for a message that
        replaces another one, is saved outside of them, and gets an id that is greater than all others. It
        takes over whether the workout of the message that it replaces was handed off.

        The request's `client_message_id` is an idempotency key of the attempt. With the same key and request,
        a run that is unfinished is returned as busy with its message, and a reply that is stored, even in an
        older version, as already there; after a failed attempt, another run begins.

        Raises:
            ConversationNotFound: there is none, or it is being deleted; nothing was written.
            NotTheLastExchange, CannotContinue: as `TryRequest.begin`; nothing was written.
            IdempotencyMismatch: the key was used for something else; nothing was written.
            QuotaExceeded: the run could begin, but nothing is left of a quota; nothing was written.
            StorageUnavailable: the store failed; the run may have begun nevertheless.
        """

    async def choose_version(self, key: ConversationKey, reply_id: str, version_id: str) -> None:
        """Make an older version of the last exchange the chosen one: one transaction.

        Nothing changes if it is the chosen one already.

        Args:
            key: the conversation.
            reply_id: the last reply, which is the chosen one.
            version_id: the reply of the version to choose.

        Raises:
            ConversationNotFound: there is none, or it is being deleted; nothing was written.
            NotTheLastExchange: that is not the last reply, or the exchange has no such version; nothing was
                written.
            TurnInProgress: the conversation has an unfinished run or a queue; nothing was written.
            StorageUnavailable: the store failed; the version may be chosen nevertheless.
        """

    async def save_waiting_message(
        self, key: ConversationKey, user_message: Message, run_id: str
    ) -> Message | None:
        """Save a user message that waits until the conversation's unfinished run ends.

        It is saved exactly once and after all other messages, as by `begin_run`, which opens its run in a
        later attempt. Its id must be greater than that of the run's reply.

        Returns:
            The stored message, perhaps of an earlier attempt; None if `run_id` is no longer what the
            conversation works on (`RunQueue.first_run_id`), and nothing was written.

        Raises:
            ConversationNotFound: there is none, or it is being deleted; nothing was written.
            IdempotencyMismatch: the stored message has another text; nothing was written.
            MessageWithdrawn: it was stored, queued and withdrawn before.
            StorageUnavailable: the store failed; the message may be saved nevertheless.
        """

    async def enqueue_run(
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        *,
        behind: str,
        most: int,
        time_zone: str | None = None,
    ) -> RunQueued | QueueIsFull | None:
        """Save the user message exactly once, as `save_waiting_message` does, and queue a run for it.

        A message that is stored already and has no complete reply is queued, unless it is in the queue.

        Args:
            key: the conversation.
            user_message: the message; its id must be greater than that of the reply of `behind`.
            run_id: the id of the new run.
            behind: what the conversation works on, as far as the caller knows (`RunQueue.first_run_id`).
            most: the maximum number of queued runs.
            time_zone: `Opened.time_zone`.

        Returns:
            The message's place in the queue, perhaps of an earlier attempt; None if the conversation no
            longer works on `behind`, and nothing was written.

        Raises:
            ConversationNotFound, IdempotencyMismatch, MessageWithdrawn: as `save_waiting_message`.
            StorageUnavailable: the store failed; the run may be queued nevertheless.
        """

    async def begin_queued(
        self, key: ConversationKey, run_id: str, opened: LogEntry, quotas: QuotaLimits = UNLIMITED
    ) -> RunBegun | None:
        """Begin the run that is the first in the queue, and take it out of the queue.

        The `Opened` entry is stored as given, except for what the queue knows of the run (`QueuedRun`). It is
        taken from the user's quotas as by `begin_run`.

        Returns:
            The run; None if it is not the first in the queue, or another run is unfinished.

        Raises:
            ConversationNotFound: the conversation was deleted, if the store detects it.
            MessageWithdrawn: its message is gone, though it has not left the queue.
            QuotaExceeded: nothing is left of a quota; the run is still in the queue.
            StorageUnavailable: the store failed; the run may have begun nevertheless.
        """

    async def leave_queue(
        self, key: ConversationKey, run_id: str, ended: LogEntry, *, is_withdrawn: bool
    ) -> bool:
        """Take a run out of the queue that will never begin; `ended` becomes the only entry of its log.

        If it is withdrawn, its message is deleted, unless an earlier run has left a part of a reply to it,
        and nothing is stored under its idempotency key again.

        Returns:
            Whether it was in the queue; otherwise nothing was written.

        Raises:
            ConversationNotFound: the conversation was deleted, if the store detects it.
            StorageUnavailable: the store failed; the run may have left nevertheless.
        """

    async def read_queue(self, key: ConversationKey) -> RunQueue:
        """What the conversation works on, with one read; nothing for an unknown conversation.

        Raises:
            ConversationNotFound: the store detects that there is none, or that it is being deleted.
        """

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
        """Append an entry unless its number is taken; in that case return the entry that has the number.

        Returns:
            None if the entry is in the log, including from an earlier attempt of the same writer.

        Raises:
            ConversationNotFound: the conversation was deleted, if the store detects it. A store that does
                not detect it has left a tombstone in the log.
            StorageUnavailable: the store failed; the entry may have been written nevertheless.
        """

    async def finish_run(
        self,
        key: ConversationKey,
        run_id: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
        another_try: AnotherTry | None = None,
    ) -> LogEntry | None:
        """Append the last entry, save the reply, if there is one, and release the conversation.

        What the run has spent, if that is given, is counted in the same transaction. If the run is another
        try that has a reply, the same transaction makes it the chosen version of the exchange, and moves what
        it replaces to the older versions; without a reply, the conversation stays as it was.

        A reply replaces an interrupted one to the same user message. Only the conversation's current
        unfinished run can be finished, so nothing is stored twice for a run whose log has expired. The run's
        `Opened.at` is not before any message but those that wait for its end, and the time in the reply's id
        is the next millisecond, so the reply comes between the two.

        Returns:
            None if the run is finished, also by an earlier attempt of the same writer; else the entry that
            already has the number, and nothing was written.

        Raises:
            ConversationNotFound: the conversation was deleted in the meantime.
            RunNotFound: the run is not the conversation's unfinished one, and its log does not record how it
                ended.
            StorageUnavailable: the store failed; the call can be retried.
        """

    async def read_log(self, key: ConversationKey, run_id: str, *, after: int = -1) -> Sequence[LogEntry]:
        """The entries with numbers above `after`, in order; empty for an unknown run."""

    async def read_last(self, key: ConversationKey, run_id: str) -> LogEntry | None:
        """The newest entry; None for an unknown run."""

    async def quota_use(self, user_id: str, limits: QuotaLimits, *, at: int) -> QuotaUse:
        """What a user has taken of the quotas, at a moment in milliseconds since 1970.

        The user's own limits, if the store has any, replace the given ones. A store may read one conversation
        after another: runs and tokens that change at the same time then count as of different moments.

        Raises:
            StorageUnavailable: the store failed.
        """

    async def load_message(self, key: ConversationKey, message_id: str) -> Message | None:
        """A message that a run saved, also of an older version; None if it does not exist."""

    async def mark_handed_off(self, key: ConversationKey, message_id: str) -> None:
        """Set `MessageMetadata.is_handed_off` of a stored message; a message that is gone stays gone.

        Raises:
            StorageUnavailable: the store failed; the message may be marked nevertheless.
        """

    async def find_recent_message(
        self, key: ConversationKey, text: str, *, since: datetime
    ) -> Message | None:
        """The newest user message with exactly this text.

        Only messages stored at or after `since` count, by the time in their ids. `None` if there is no such
        message, or no such conversation.
        """


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
