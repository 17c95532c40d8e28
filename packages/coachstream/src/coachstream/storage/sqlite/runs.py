"""Runs: each user message exactly once, at most one unfinished run per conversation, and the run logs.

Each write is one `BEGIN IMMEDIATE` transaction, which no other one interleaves with, in this process or
another. So it can read and then write without checking for concurrent changes.

Liveness is recorded only in the log, as a lease: a killed process leaves nothing behind that must be cleaned
up before its run can be read and ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from coachstream.conversation.another_try import AnotherTry, TryRequest, Version
from coachstream.conversation.errors import ConversationNotFound, MessageWithdrawn, RunNotFound
from coachstream.conversation.ids import first_message_id, id_after, milliseconds_of, moment_of, time_in
from coachstream.conversation.model import ConversationKey, Message, Role, StopReason, format_timestamp
from coachstream.conversation.quotas import UNLIMITED, OwnLimits, QuotaLimits, QuotaUse, Spent
from coachstream.conversation.run_log import LogEntry, encode_entry
from coachstream.conversation.run_queue import QueuedRun, RunQueue, place_behind
from coachstream.conversation.run_store import (
    AlreadyAnswered,
    ConversationBusy,
    QueueIsFull,
    RunBegun,
    RunQueued,
)
from coachstream.storage.idempotency import require_same_text
from coachstream.storage.log_entries import as_begun, as_stored, continuing, is_repeated, opened_at
from coachstream.storage.sqlite import tries
from coachstream.storage.sqlite.database import Database
from coachstream.storage.sqlite.documents import decode_log_entry
from coachstream.storage.sqlite.queued_runs import (
    delete_queued,
    insert_queued,
    is_withdrawn,
    mark_withdrawn,
    queued_runs,
)
from coachstream.storage.sqlite.quotas import count_tokens, quota_use, set_own_limits, take_turn
from coachstream.storage.sqlite.rows import (
    MESSAGE_COLUMNS,
    conversation_number,
    insert_message,
    message_from_row,
)

Found = TypeVar("Found")


LOG_KEPT_FOR = timedelta(hours=24)
"""The retention of log entries: far longer than any reader needs."""

MOST_DELETED_AT_ONCE = 1_000
"""Old entries deleted when a run begins: more than most runs write, and only milliseconds of work."""


class SqliteRuns:
    """`RunStore`. `now` dates the entries; old ones are deleted when a run begins."""

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def begin_run(
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        """Save the user message exactly once and open a run for it (see `RunStore`)."""
        return await self._database.write(
            lambda connection: _begin(connection, key, user_message, run_id, opened, quotas, self._now())
        )

    async def begin_try(
        self,
        key: ConversationKey,
        request: TryRequest,
        user_message: Message | None,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        """Open a run that tries the last exchange again (see `RunStore`)."""

        def begin(connection: sqlite3.Connection) -> RunBegun | AlreadyAnswered | ConversationBusy:
            conversation = conversation_number(connection, key)
            queue = _queue(connection, conversation)
            found = tries.find(connection, conversation, request, user_message, queue.run_id)
            if found is not None:
                return found
            if queue.first_run_id is not None:
                return ConversationBusy(queue.first_run_id, None, queue.queued)
            another = request.begin(tries.last_exchange_of(connection, conversation))
            if quotas.is_on:
                take_turn(connection, key.user_id, quotas, at=opened_at(opened))
            message = tries.begin(connection, conversation, request, another, user_message, run_id)
            newest_id = tries.newest_id(connection, conversation) or message.id
            first = as_stored(
                *(opened, message.id), is_first_attempt=False, newest_id=newest_id, another_try=another
            )
            said = tries.said(connection, conversation, another)
            _make_unfinished(connection, conversation, run_id, first, self._now())
            for entry in continuing(first, said):
                _insert_entry(connection, conversation, run_id, entry, self._now())
            return RunBegun(message, False, opened_at(first), another, said)

        return await self._database.write(begin)

    async def choose_version(self, key: ConversationKey, reply_id: str, version_id: str) -> None:
        """Make an older version of the last exchange the chosen one (see `RunStore`)."""

        def choose(connection: sqlite3.Connection) -> None:
            conversation = conversation_number(connection, key)
            busy = _queue(connection, conversation).first_run_id
            tries.choose(connection, conversation, reply_id, version_id, busy)

        await self._database.write(choose)

    async def load_versions(self, key: ConversationKey, message_id: str) -> Sequence[Version]:
        """The versions of a message's exchange, oldest first (see `ConversationStore`)."""
        found = await self._read(
            key, lambda connection, conversation: tries.versions(connection, conversation, message_id)
        )
        return found or []

    async def save_waiting_message(
        self, key: ConversationKey, user_message: Message, run_id: str
    ) -> Message | None:
        """Save a user message that waits for the end of the unfinished run (see `RunStore`)."""

        def save(connection: sqlite3.Connection) -> Message | None:
            conversation = conversation_number(connection, key)
            if _queue(connection, conversation).first_run_id != run_id:
                return None
            stored = _stored_message(connection, conversation, user_message)
            return stored or _save_waiting(connection, conversation, user_message)

        return await self._database.write(save)

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
        """Save the user message exactly once and queue a run for it (see `RunStore`)."""

        def enqueue(connection: sqlite3.Connection) -> RunQueued | QueueIsFull | None:
            conversation = conversation_number(connection, key)
            queue = _queue(connection, conversation)
            stored = _stored_message(connection, conversation, user_message)
            found = None if stored is None else queue.run_of(stored.id)
            if stored is not None and found is not None:
                return RunQueued(stored, found)
            if queue.first_run_id != behind:
                return None
            if len(queue.queued) >= most:
                return QueueIsFull()
            newest = _newest_time(connection, conversation)
            message = stored or _save_waiting(connection, conversation, user_message)
            at = max(milliseconds_of(self._now()), newest + 2)
            if stored is None:
                at = time_in(message.id) or at
            run = QueuedRun(run_id, message.id, at, is_first_attempt=stored is None, time_zone=time_zone)
            insert_queued(connection, conversation, run)
            return RunQueued(message, run)

        return await self._database.write(enqueue)

    async def begin_queued(
        self, key: ConversationKey, run_id: str, opened: LogEntry, quotas: QuotaLimits = UNLIMITED
    ) -> RunBegun | None:
        """Begin the first run of the queue (see `RunStore`).

        Raises:
            MessageWithdrawn: its message is gone, though it has not left the queue.
        """

        def begin(connection: sqlite3.Connection) -> RunBegun | None:
            conversation = conversation_number(connection, key)
            queue = _queue(connection, conversation)
            if queue.run_id is not None or queue.position_of(run_id) != 1:
                return None
            run = queue.queued[0]
            message = _message(connection, "conversation = ? AND id = ?", conversation, run.user_message_id)
            if message is None:
                raise MessageWithdrawn
            if quotas.is_on:
                take_turn(connection, key.user_id, quotas, at=opened_at(opened))
            delete_queued(connection, conversation, run_id)
            _make_unfinished(connection, conversation, run_id, as_begun(opened, run), self._now())
            return RunBegun(message, run.is_first_attempt, run.at)

        return await self._database.write(begin)

    async def leave_queue(
        self, key: ConversationKey, run_id: str, ended: LogEntry, *, is_withdrawn: bool
    ) -> bool:
        """Take a run out of the queue (see `RunStore`)."""

        def leave(connection: sqlite3.Connection) -> bool:
            conversation = conversation_number(connection, key)
            queue = _queue(connection, conversation)
            position = queue.position_of(run_id)
            if position is None:
                return False
            delete_queued(connection, conversation, run_id)
            _put_entry(connection, conversation, run_id, ended, self._now())
            if is_withdrawn:
                _withdraw(connection, conversation, queue.queued[position - 1].user_message_id)
            return True

        return await self._database.write(leave)

    async def read_queue(self, key: ConversationKey) -> RunQueue:
        """What the conversation works on (see `RunStore`)."""
        return await self._read(key, _queue) or RunQueue()

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
        """Append an entry unless its number is taken (see `RunStore`).

        Raises:
            ConversationNotFound: nothing was written.
        """

        def append(connection: sqlite3.Connection) -> LogEntry | None:
            conversation = conversation_number(connection, key)
            there = _put_entry(connection, conversation, run_id, entry, self._now())
            return None if there is None or is_repeated(entry, there) else there

        return await self._database.write(append)

    async def finish_run(
        self,
        key: ConversationKey,
        run_id: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
        another_try: AnotherTry | None = None,
    ) -> LogEntry | None:
        """Append the last entry, save the reply and release the conversation (see `RunStore`)."""

        def finish(connection: sqlite3.Connection) -> LogEntry | None:
            conversation = conversation_number(connection, key)
            there = _put_entry(connection, conversation, run_id, ended, self._now())
            if there is not None:
                return None if is_repeated(ended, there) else there
            if _unfinished_run(connection, conversation) != run_id:
                raise RunNotFound
            if reply is not None and another_try is not None:
                added = tries.finish(connection, conversation, another_try, reply)
                _count(connection, conversation, added=added, last=reply)
            elif reply is not None:
                _save_reply(connection, conversation, reply)
            if spent is not None:
                count_tokens(connection, key.user_id, spent)
            connection.execute(
                "UPDATE conversations SET unfinished_run = NULL WHERE number = ?", (conversation,)
            )
            return None

        return await self._database.write(finish)

    async def read_log(self, key: ConversationKey, run_id: str, *, after: int = -1) -> Sequence[LogEntry]:
        """The entries with numbers above `after`, in order; empty for an unknown run."""

        def read(connection: sqlite3.Connection, conversation: int) -> list[LogEntry]:
            rows = connection.execute(
                "SELECT entry FROM log_entries WHERE conversation = ? AND run_id = ? AND number > ?"
                " ORDER BY number",
                (conversation, run_id, after),
            )
            return [decode_log_entry(row[0]) for row in rows]

        return await self._read(key, read) or []

    async def read_last(self, key: ConversationKey, run_id: str) -> LogEntry | None:
        """The newest entry; None for an unknown run."""

        def read(connection: sqlite3.Connection, conversation: int) -> LogEntry | None:
            row = connection.execute(
                "SELECT entry FROM log_entries WHERE conversation = ? AND run_id = ?"
                " ORDER BY number DESC LIMIT 1",
                (conversation, run_id),
            ).fetchone()
            return None if row is None else decode_log_entry(row[0])

        return await self._read(key, read)

    async def quota_use(self, user_id: str, limits: QuotaLimits, *, at: int) -> QuotaUse:
        """What a user has taken of the quotas (see `RunStore`)."""
        return await self._database.read(lambda connection: quota_use(connection, user_id, limits, at=at))

    async def set_own_limits(self, user_id: str, own: OwnLimits) -> None:
        """Give a user limits of their own, which replace those of all users."""
        await self._database.write(lambda connection: set_own_limits(connection, user_id, own))

    async def load_message(self, key: ConversationKey, message_id: str) -> Message | None:
        """A message, also of an older version; None if it does not exist."""
        return await self._read(
            key, lambda connection, conversation: tries.message(connection, conversation, message_id)
        )

    async def mark_handed_off(self, key: ConversationKey, message_id: str) -> None:
        """Mark a stored message (see `RunStore`)."""

        def mark(connection: sqlite3.Connection) -> None:
            with suppress(ConversationNotFound):
                tries.mark_handed_off(connection, conversation_number(connection, key), message_id)

        await self._database.write(mark)

    async def find_recent_message(
        self, key: ConversationKey, text: str, *, since: datetime
    ) -> Message | None:
        """The newest user message with exactly this text (see `RunStore`)."""
        return await self._read(
            key,
            lambda connection, conversation: _message(
                connection,
                "conversation = ? AND id >= ? AND role = ? AND content = ? ORDER BY id DESC LIMIT 1",
                *(conversation, first_message_id(since), Role.USER.value, text),
            ),
        )

    async def _read(
        self, key: ConversationKey, work: Callable[[sqlite3.Connection, int], Found | None]
    ) -> Found | None:
        """Read from a conversation; None if it does not exist."""

        def read(connection: sqlite3.Connection) -> Found | None:
            try:
                conversation = conversation_number(connection, key)
            except ConversationNotFound:
                return None
            return work(connection, conversation)

        return await self._database.read(read)


def _begin(
    connection: sqlite3.Connection,
    key: ConversationKey,
    user_message: Message,
    run_id: str,
    opened: LogEntry,
    quotas: QuotaLimits,
    now: datetime,
) -> RunBegun | AlreadyAnswered | ConversationBusy:
    conversation = conversation_number(connection, key)
    stored = _stored_message(connection, conversation, user_message)
    older = tries.replaced(connection, conversation, user_message) if stored is None else None
    reply = None if stored is None else _complete_reply(connection, conversation, stored)
    if stored is not None and reply is not None:
        return AlreadyAnswered(stored, reply)
    if older is not None:
        return older
    queue = _queue(connection, conversation)
    if queue.first_run_id is not None:
        return ConversationBusy(queue.first_run_id, stored, queue.queued)
    if quotas.is_on:
        take_turn(connection, key.user_id, quotas, at=opened_at(opened))
    message = stored or _save_new(connection, conversation, user_message)
    newest_id = tries.newest_id(connection, conversation) or message.id
    first = as_stored(opened, message.id, is_first_attempt=stored is None, newest_id=newest_id)
    _make_unfinished(connection, conversation, run_id, first, now)
    return RunBegun(message, is_first_attempt=stored is None, at=opened_at(first))


def _make_unfinished(
    connection: sqlite3.Connection, conversation: int, run_id: str, first: LogEntry, now: datetime
) -> None:
    """Make a run the conversation's unfinished one, with the first entry of its log."""
    _delete_old_entries(connection, written_before=now - LOG_KEPT_FOR)
    _insert_entry(connection, conversation, run_id, first, now)
    connection.execute("UPDATE conversations SET unfinished_run = ? WHERE number = ?", (run_id, conversation))


def _queue(connection: sqlite3.Connection, conversation: int) -> RunQueue:
    return RunQueue(_unfinished_run(connection, conversation), queued_runs(connection, conversation))


def _newest_time(connection: sqlite3.Connection, conversation: int) -> int:
    """The latest time that a message has in its id, or that is reserved for a reply."""
    queue = _queue(connection, conversation)
    times = [run.at for run in queue.queued]
    if queue.run_id is not None:
        first = _entry_numbered(connection, conversation, queue.run_id, 0)
        times += [] if first is None else [opened_at(first)]
    newest_id = tries.newest_id(connection, conversation)
    return max([*times, (None if newest_id is None else time_in(newest_id)) or 0])


def _save_waiting(connection: sqlite3.Connection, conversation: int, message: Message) -> Message:
    """Save a new message after all others, with room for the replies that come before it."""
    newest = first_message_id(moment_of(_newest_time(connection, conversation)))
    message = msgspec.structs.replace(message, id=place_behind(message.id, newest))
    return _save_new(connection, conversation, message)


def _withdraw(connection: sqlite3.Connection, conversation: int, message_id: str) -> None:
    """Delete a queued message, unless it has a part of a reply."""
    message = _message(
        connection,
        "conversation = ? AND id = ? AND NOT EXISTS"
        " (SELECT 1 FROM messages AS reply WHERE reply.conversation = messages.conversation"
        " AND reply.reply_to = messages.id)",
        *(conversation, message_id),
    )
    if message is None:
        return
    connection.execute("DELETE FROM messages WHERE conversation = ? AND id = ?", (conversation, message_id))
    connection.execute(
        "UPDATE conversations SET total_messages = total_messages - 1 WHERE number = ?", (conversation,)
    )
    mark_withdrawn(connection, conversation, message.metadata.client_message_id)


def _save_new(connection: sqlite3.Connection, conversation: int, message: Message) -> Message:
    """Save a new message after all others, and count it."""
    new_id = id_after(message.id, tries.newest_id(connection, conversation))
    message = msgspec.structs.replace(message, id=new_id)
    insert_message(connection, conversation, message)
    _count(connection, conversation, added=1, last=message)
    return message


def _save_reply(connection: sqlite3.Connection, conversation: int, reply: Message) -> None:
    replaced = connection.execute(
        "DELETE FROM messages WHERE conversation = ? AND reply_to = ? AND stop_reason = ?",
        (conversation, reply.metadata.reply_to, StopReason.INTERRUPTED.value),
    ).rowcount
    insert_message(connection, conversation, reply)
    _count(connection, conversation, added=1 - replaced, last=reply)


def _put_entry(
    connection: sqlite3.Connection, conversation: int, run_id: str, entry: LogEntry, now: datetime
) -> LogEntry | None:
    """Append an entry; return the existing one if its number is taken."""
    there = _entry_numbered(connection, conversation, run_id, entry.number)
    if there is None:
        _insert_entry(connection, conversation, run_id, entry, now)
    return there


def _entry_numbered(
    connection: sqlite3.Connection, conversation: int, run_id: str, number: int
) -> LogEntry | None:
    row = connection.execute(
        "SELECT entry FROM log_entries WHERE conversation = ? AND run_id = ? AND number = ?",
        (conversation, run_id, number),
    ).fetchone()
    return None if row is None else decode_log_entry(row[0])


def _insert_entry(
    connection: sqlite3.Connection, conversation: int, run_id: str, entry: LogEntry, now: datetime
) -> None:
    connection.execute(
        "INSERT INTO log_entries (conversation, run_id, number, entry, written_at) VALUES (?, ?, ?, ?, ?)",
        (conversation, run_id, entry.number, encode_entry(entry), format_timestamp(now)),
    )


def _delete_old_entries(connection: sqlite3.Connection, *, written_before: datetime) -> None:
    """Delete old entries of finished runs only: a clock set ahead must not delete a log in use."""
    connection.execute(
        "DELETE FROM log_entries WHERE rowid IN"
        " (SELECT rowid FROM log_entries WHERE written_at < ? AND NOT EXISTS"
        " (SELECT 1 FROM conversations WHERE number = conversation AND unfinished_run = run_id)"
        " ORDER BY written_at LIMIT ?)",
        (format_timestamp(written_before), MOST_DELETED_AT_ONCE),
    )


def _unfinished_run(connection: sqlite3.Connection, conversation: int) -> str | None:
    row: tuple[str | None] = connection.execute(
        "SELECT unfinished_run FROM conversations WHERE number = ?", (conversation,)
    ).fetchone()
    return row[0]


def _stored_message(connection: sqlite3.Connection, conversation: int, message: Message) -> Message | None:
    """The message as saved by an earlier attempt.

    Raises:
        IdempotencyMismatch: it has another text, or its idempotency key is that of another try.
        MessageWithdrawn: it was deleted.
    """
    if is_withdrawn(connection, conversation, message.metadata.client_message_id):
        raise MessageWithdrawn
    tries.refuse_key(connection, conversation, message.metadata.client_message_id)
    stored = _message(
        connection,
        "conversation = ? AND (client_message_id = ? OR id = ?)",
        *(conversation, message.metadata.client_message_id, message.id),
    )
    if stored is not None:
        require_same_text(stored, message)
    return stored


def _complete_reply(connection: sqlite3.Connection, conversation: int, message: Message) -> Message | None:
    return _message(
        connection,
        "conversation = ? AND reply_to = ? AND stop_reason IS NOT ?",
        *(conversation, message.id, StopReason.INTERRUPTED.value),
    )


def _message(connection: sqlite3.Connection, condition: str, *values: str | int | None) -> Message | None:
    row = connection.execute(f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE {condition}", values).fetchone()  # noqa: S608 (constants)
    return None if row is None else message_from_row(row)


def _count(connection: sqlite3.Connection, conversation: int, *, added: int, last: Message) -> None:
    connection.execute(
        "UPDATE conversations SET total_messages = total_messages + ?, last_activity = ? WHERE number = ?",
        (added, format_timestamp(last.timestamp), conversation),
    )
