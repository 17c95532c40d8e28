"""The port of the run log: what a turn needs of a store. Adapters implement it, as they do `ports`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from coachstream.conversation.another_try import AnotherTry, TryRequest
from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.quotas import UNLIMITED, QuotaLimits, QuotaUse, Spent
from coachstream.conversation.run_log import LogEntry
from coachstream.conversation.run_queue import QueuedRun, RunQueue


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
