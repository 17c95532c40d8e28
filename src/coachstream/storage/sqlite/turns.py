"""Turns: a user's message exactly once, and at most one live turn in a conversation.

**Who is live.** A turn claims its conversation with a file lock of the operating system (`file_lock`), not by
a date in a row. A lease would have to outlast the longest answer, so a conversation whose process was killed
would stay blocked for minutes, or else a slow but healthy turn would be robbed; no timeout is right for both.
The operating system knows at once: a process that dies, of whatever cause, gives its locks up, and the next
turn begins without waiting.

**Fencing.** A reply is saved only by who holds the lock at that moment, checked inside the transaction and in
the one thread that also releases, so a claim that was given up cannot write.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from contextlib import ExitStack
from datetime import datetime

from coachstream.conversation.errors import ConversationNotFound, StorageUnavailable, TurnInProgress
from coachstream.conversation.message_id import first_message_id
from coachstream.conversation.model import ConversationKey, Message, Role, StopReason, format_timestamp
from coachstream.conversation.ports import TurnClaim
from coachstream.storage.sqlite.database import Database
from coachstream.storage.sqlite.file_lock import FileLock, try_file_lock
from coachstream.storage.sqlite.rows import (
    MESSAGE_COLUMNS,
    conversation_number,
    insert_message,
    message_from_row,
)


class SqliteTurns:
    """`TurnStore`. The locks lie in the folder `<database>.turns`, a file for each turn under way."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks_dir = database.path.with_name(database.path.name + ".turns")
        #: The locks of this process by claim token; touched in the writing thread only.
        self._held: dict[str, FileLock] = {}

    async def begin_turn(self, key: ConversationKey, user_message: Message) -> TurnClaim:
        """Save the user message exactly once and claim the conversation (see `TurnStore`)."""
        return await self._database.in_writer(lambda: self._begin(key, user_message), undo=self._release)

    async def save_reply(self, claim: TurnClaim, reply: Message) -> None:
        """Save the reply and give up the claim (see `TurnStore`). Saving the same reply again does nothing.

        Raises:
            StorageUnavailable: also when the claim was given up before.
        """
        await self._database.in_writer(lambda: self._save_and_release(claim, reply))

    async def abandon_turn(self, claim: TurnClaim) -> None:
        """Give up the claim (see `TurnStore`); the database is not touched."""
        await self._database.in_writer(lambda: self._release(claim))

    async def find_streamed_message(
        self, key: ConversationKey, text: str, *, since: datetime
    ) -> Message | None:
        """The newest user message with exactly this text that was sent for a stream (see `TurnStore`)."""
        return await self._database.read(lambda connection: _streamed_message(connection, key, text, since))

    async def abandon_all(self) -> None:
        """Give up every claim of this store."""
        await self._database.in_writer(self._release_all)

    def _begin(self, key: ConversationKey, user_message: Message) -> TurnClaim:
        with ExitStack() as on_failure:

            def claim(connection: sqlite3.Connection) -> TurnClaim:
                conversation = conversation_number(connection, key)
                stored = _stored_message(connection, conversation, user_message)
                reply = None if stored is None else _complete_reply(connection, conversation, stored)
                if stored is not None and reply is not None:
                    return TurnClaim(key, stored, reply, token="", is_first_attempt=False)
                token = secrets.token_hex(16)
                self._held[token] = self._lock(key)
                claim = TurnClaim(key, stored or user_message, None, token, is_first_attempt=stored is None)
                on_failure.callback(self._release, claim)
                if stored is None:
                    insert_message(connection, conversation, user_message)
                    _count(connection, conversation, added=1, last=user_message)
                return claim

            claimed = self._database.write_now(claim)
            on_failure.pop_all()
        return claimed

    def _save_and_release(self, claim: TurnClaim, reply: Message) -> None:
        try:
            self._database.write_now(lambda connection: self._save(connection, claim, reply))
        except ConversationNotFound:
            self._release(claim)
            raise
        self._release(claim)

    def _lock(self, key: ConversationKey) -> FileLock:
        try:
            self._locks_dir.mkdir(mode=0o700, exist_ok=True)
            lock = try_file_lock(self._locks_dir / _lock_name(key))
        except OSError as error:
            raise StorageUnavailable(f"the lock of a turn cannot be taken: {error.strerror}") from error
        if lock is None:
            raise TurnInProgress
        return lock

    def _save(self, connection: sqlite3.Connection, claim: TurnClaim, reply: Message) -> None:
        conversation = conversation_number(connection, claim.key)
        if _is_stored(connection, conversation, reply.id):
            return
        if claim.token not in self._held:
            raise StorageUnavailable("the claim on the conversation was given up")
        replaced = connection.execute(
            "DELETE FROM messages WHERE conversation = ? AND reply_to = ? AND stop_reason = ?",
            (conversation, claim.user_message.id, StopReason.INTERRUPTED.value),
        ).rowcount
        insert_message(connection, conversation, reply)
        _count(connection, conversation, added=1 - replaced, last=reply)

    def _release(self, claim: TurnClaim) -> None:
        lock = self._held.pop(claim.token, None)
        if lock is not None:
            lock.release()

    def _release_all(self) -> None:
        while self._held:
            self._held.popitem()[1].release()


def _lock_name(key: ConversationKey) -> str:
    """A file name for any key: ids come from paths, and may hold anything and be long."""
    parts = (key.user_id, key.coach_id, key.conversation_id)
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _stored_message(connection: sqlite3.Connection, conversation: int, message: Message) -> Message | None:
    """The message as an earlier attempt saved it."""
    row = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM messages"  # noqa: S608 (a constant)
        " WHERE conversation = ? AND (client_message_id = ? OR id = ?)",
        (conversation, message.metadata.client_message_id, message.id),
    ).fetchone()
    return None if row is None else message_from_row(row)


def _streamed_message(
    connection: sqlite3.Connection, key: ConversationKey, text: str, since: datetime
) -> Message | None:
    try:
        conversation = conversation_number(connection, key)
    except ConversationNotFound:
        return None
    row = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM messages"  # noqa: S608 (a constant)
        " WHERE conversation = ? AND streamed AND id >= ? AND role = ? AND content = ?"
        " ORDER BY id DESC LIMIT 1",
        (conversation, first_message_id(since), Role.USER.value, text),
    ).fetchone()
    return None if row is None else message_from_row(row)


def _complete_reply(connection: sqlite3.Connection, conversation: int, message: Message) -> Message | None:
    row = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM messages"  # noqa: S608 (a constant)
        " WHERE conversation = ? AND reply_to = ? AND stop_reason IS NOT ?",
        (conversation, message.id, StopReason.INTERRUPTED.value),
    ).fetchone()
    return None if row is None else message_from_row(row)


def _is_stored(connection: sqlite3.Connection, conversation: int, message_id: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM messages WHERE conversation = ? AND id = ?", (conversation, message_id)
    ).fetchone()
    return row is not None


def _count(connection: sqlite3.Connection, conversation: int, *, added: int, last: Message) -> None:
    connection.execute(
        "UPDATE conversations SET total_messages = total_messages + ?, last_activity = ? WHERE number = ?",
        (added, format_timestamp(last.timestamp), conversation),
    )
