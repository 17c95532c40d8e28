"""Other tries at the last exchange, and the older versions that they leave, within transactions of `runs`.

A message is in `messages`, which is the chosen line, or in `older_messages`, never in both. There is also a
message that replaces another one, as long as its attempt has not succeeded: it is pending.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from coachstream.conversation.another_try import (
    MOST_VERSIONS,
    AnotherTry,
    LastExchange,
    TryKind,
    TryRequest,
    Version,
    last_exchange,
    replacing,
    surplus,
    surroundings_of,
    versions_of,
)
from coachstream.conversation.errors import IdempotencyMismatch, NotTheLastExchange, TryInProgress
from coachstream.conversation.model import Message, StopReason
from coachstream.conversation.run_log import Broken, Finished
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy
from coachstream.storage.idempotency import require_same_text
from coachstream.storage.sqlite.documents import decode_log_entry
from coachstream.storage.sqlite.queued_runs import is_withdrawn
from coachstream.storage.sqlite.rows import MESSAGE_COLUMNS, insert_message, message_from_row

LINE, OLDER = "messages", "older_messages"


def find(
    connection: sqlite3.Connection,
    conversation: int,
    request: TryRequest,
    user_message: Message | None,
    unfinished: str | None,
) -> AlreadyAnswered | ConversationBusy | None:
    """What prevents a try: another run, or what an earlier attempt with its key has led to.

    Raises:
        IdempotencyMismatch: the key was used for something else.
        NotTheLastExchange: the earlier attempt's result is not known any more.
    """
    tried: tuple[str, str, str, str] | None = connection.execute(
        "SELECT kind, message_id, run_id, user_message_id FROM tries"
        " WHERE conversation = ? AND client_message_id = ?",
        (conversation, request.client_message_id),
    ).fetchone()
    if tried is None:
        key = request.client_message_id
        is_used = _by_key(connection, conversation, key) is not None
        if is_used or is_withdrawn(connection, conversation, key):
            raise IdempotencyMismatch
        return None if unfinished is None else ConversationBusy(unfinished, None)
    kind, message_id, run_id, user_message_id = tried
    if (kind, message_id) != (request.kind.value, request.message_id):
        raise IdempotencyMismatch
    stored = message(connection, conversation, user_message_id)
    if stored is not None and user_message is not None:
        require_same_text(stored, user_message)
    if unfinished is not None:
        return ConversationBusy(unfinished, stored if run_id == unfinished else None)
    reply = _reply_of(connection, conversation, run_id)
    return None if stored is None or reply is None else AlreadyAnswered(stored, reply)


def begin(
    connection: sqlite3.Connection,
    conversation: int,
    request: TryRequest,
    another: AnotherTry,
    user_message: Message | None,
    run_id: str,
) -> Message:
    """Note the run under the attempt's key, and return its user message."""
    found = message(connection, conversation, another.user_message_id)
    pending = _by_key(connection, conversation, request.client_message_id)
    if another.kind is TryKind.REPLACE:
        if found is None or user_message is None:
            raise TypeError("a message replaces another one")
        if pending is None:
            pending = replacing(user_message, found, newest_id(connection, conversation))
            insert_message(connection, conversation, pending, table=OLDER)
            connection.execute(
                "UPDATE older_messages SET is_pending = 1 WHERE conversation = ? AND id = ?",
                (conversation, pending.id),
            )
        found = pending
    if found is None:
        raise NotTheLastExchange
    connection.execute(
        "INSERT OR REPLACE INTO tries"
        " (conversation, client_message_id, kind, message_id, run_id, user_message_id)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            *(conversation, request.client_message_id, request.kind.value, request.message_id),
            *(run_id, found.id),
        ),
    )
    return found


def said(connection: sqlite3.Connection, conversation: int, another: AnotherTry) -> str:
    """The text of the reply that is continued; empty without one."""
    if another.continued_id is None:
        return ""
    reply = message(connection, conversation, another.continued_id)
    return "" if reply is None else reply.content


def finish(connection: sqlite3.Connection, conversation: int, another: AnotherTry, reply: Message) -> int:
    """Make the reply's version the chosen one; return how many messages the line has more."""
    earlier = None if another.reply_id is None else _message(connection, LINE, conversation, another.reply_id)
    if another.continued_id is not None:
        _delete(connection, LINE, conversation, another.continued_id)
    else:
        for each in another.older_ids:
            _move(connection, LINE, OLDER, conversation, each)
        if another.kind is TryKind.REPLACE and reply.metadata.reply_to is not None:
            _move(connection, OLDER, LINE, conversation, reply.metadata.reply_to)
    insert_message(connection, conversation, reply)
    if reply.metadata.versions == MOST_VERSIONS:
        for old in surplus(_older(connection, conversation, reply.id), keep=MOST_VERSIONS - 1):
            _delete(connection, OLDER, conversation, old.id)
    return int(earlier is None)


def choose(
    connection: sqlite3.Connection, conversation: int, reply_id: str, version_id: str, unfinished: str | None
) -> None:
    """Swap the last exchange's version.

    Raises:
        NotTheLastExchange, TryInProgress: as named.
    """
    last = last_exchange_of(connection, conversation)
    if unfinished is not None:
        raise TryInProgress(unfinished)
    if last is None or last.reply is None or last.reply.id != reply_id:
        raise NotTheLastExchange
    found = [
        each for each in versions(connection, conversation, reply_id) if each.has_whole_reply(version_id)
    ]
    if not found:
        raise NotTheLastExchange
    if found[0].is_chosen:
        return
    for older, chosen in ((last.reply.id, version_id), (last.user_message.id, found[0].user_message.id)):
        if older != chosen:
            _move(connection, LINE, OLDER, conversation, older)
            _move(connection, OLDER, LINE, conversation, chosen)
    connection.execute(
        "UPDATE messages SET versions = ? WHERE conversation = ? AND id = ?",
        (last.reply.metadata.versions, conversation, version_id),
    )


def versions(connection: sqlite3.Connection, conversation: int, message_id: str) -> list[Version]:
    """The versions of a message's exchange, oldest first."""
    around = surroundings_of(message_id, _around(connection, conversation, message_id))
    if around is None:
        return []
    return versions_of(around.chosen, _older(connection, conversation, message_id))


def replaced(connection: sqlite3.Connection, conversation: int, again: Message) -> AlreadyAnswered | None:
    """The reply to a message that another one has replaced; None if there is no such message.

    Raises:
        IdempotencyMismatch: it has another text.
        NotTheLastExchange: it had no complete reply.
    """
    rows = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM older_messages"  # noqa: S608 (a constant)
        " WHERE conversation = ? AND (client_message_id = ? OR id = ?)",
        (conversation, again.metadata.client_message_id, again.id),
    )
    found = [message_from_row(row) for row in rows]
    if not found:
        return None
    require_same_text(found[0], again)
    replies = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM older_messages"  # noqa: S608 (a constant)
        " WHERE conversation = ? AND reply_to = ? AND stop_reason IS NOT ? ORDER BY id DESC",
        (conversation, found[0].id, StopReason.INTERRUPTED.value),
    ).fetchone()
    if replies is None:
        raise NotTheLastExchange
    return AlreadyAnswered(found[0], message_from_row(replies))


def refuse_key(connection: sqlite3.Connection, conversation: int, client_message_id: str | None) -> None:
    """Refuse the idempotency key of another try for a message that is sent.

    A message that has replaced another one can be sent again like any other.

    Raises:
        IdempotencyMismatch: it is one.
    """
    if connection.execute(
        "SELECT 1 FROM tries WHERE conversation = :conversation AND client_message_id = :key AND NOT EXISTS"
        " (SELECT 1 FROM messages WHERE conversation = :conversation AND client_message_id = :key)",
        {"conversation": conversation, "key": client_message_id},
    ).fetchone():
        raise IdempotencyMismatch


def last_exchange_of(connection: sqlite3.Connection, conversation: int) -> LastExchange | None:
    """The last exchange in the line."""
    return last_exchange(_line(connection, conversation, "TRUE", "", newest_first=True, limit=2))


def newest_id(connection: sqlite3.Connection, conversation: int) -> str | None:
    """The greatest id of all messages, older ones included; None if there is none."""
    row: tuple[str | None] = connection.execute(
        "SELECT max(id) FROM (SELECT max(id) AS id FROM messages WHERE conversation = ?"
        " UNION ALL SELECT max(id) FROM older_messages WHERE conversation = ?)",
        (conversation, conversation),
    ).fetchone()
    return row[0]


def message(connection: sqlite3.Connection, conversation: int, message_id: str) -> Message | None:
    """A message, wherever it is."""
    return _message(connection, LINE, conversation, message_id) or _message(
        connection, OLDER, conversation, message_id
    )


def mark_handed_off(connection: sqlite3.Connection, conversation: int, message_id: str) -> None:
    """Mark a message, also one that is pending: its workout is handed off before its reply is stored."""
    for table in (LINE, OLDER):
        connection.execute(
            f"UPDATE {table} SET is_handed_off = 1 WHERE conversation = ? AND id = ?",  # noqa: S608 (constants)
            (conversation, message_id),
        )


def _reply_of(connection: sqlite3.Connection, conversation: int, run_id: str) -> Message | None:
    """The reply of an attempt's run; None if it failed.

    Raises:
        NotTheLastExchange: it is not known, or deleted.
    """
    row = connection.execute(
        "SELECT entry FROM log_entries WHERE conversation = ? AND run_id = ? ORDER BY number DESC LIMIT 1",
        (conversation, run_id),
    ).fetchone()
    ending = None if row is None else decode_log_entry(row[0]).content
    if isinstance(ending, Broken):
        return None
    last = last_exchange_of(connection, conversation)
    reply = None if last is None else last.reply
    if isinstance(ending, Finished):
        reply = message(connection, conversation, ending.reply_id)
    elif reply is not None and reply.metadata.run_id != run_id:
        reply = None
    if reply is None:
        raise NotTheLastExchange
    return reply


def _by_key(connection: sqlite3.Connection, conversation: int, client_message_id: str) -> Message | None:
    for table in (LINE, OLDER):
        row = connection.execute(
            f"SELECT {MESSAGE_COLUMNS} FROM {table} WHERE conversation = ? AND client_message_id = ?",  # noqa: S608 (constants)
            (conversation, client_message_id),
        ).fetchone()
        if row is not None:
            return message_from_row(row)
    return None


def _message(connection: sqlite3.Connection, table: str, conversation: int, name: str) -> Message | None:
    row = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM {table} WHERE conversation = ? AND id = ?",  # noqa: S608 (constants)
        (conversation, name),
    ).fetchone()
    return None if row is None else message_from_row(row)


def _older(connection: sqlite3.Connection, conversation: int, message_id: str) -> list[Message]:
    """The older messages of the exchange that a message in the line belongs to."""
    around = surroundings_of(message_id, _around(connection, conversation, message_id))
    rows = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM older_messages"  # noqa: S608 (a constant)
        " WHERE conversation = ? AND id > ? AND NOT is_pending ORDER BY id",
        (conversation, "" if around is None else around.after),
    )
    found = map(message_from_row, rows)
    return [] if around is None else around.older(list(found))


def _around(connection: sqlite3.Connection, conversation: int, message_id: str) -> Sequence[Message]:
    before = _line(connection, conversation, "id <= ?", message_id, newest_first=True, limit=3)
    after = _line(connection, conversation, "id > ?", message_id, newest_first=False, limit=2)
    return [*before, *after]


def _line(
    connection: sqlite3.Connection,
    conversation: int,
    condition: str,
    message_id: str,
    *,
    newest_first: bool,
    limit: int,
) -> list[Message]:
    values = (conversation, message_id, limit) if message_id else (conversation, limit)
    rows = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE conversation = ? AND {condition}"  # noqa: S608 (constants)
        f" ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?",
        values,
    )
    return sorted(map(message_from_row, rows), key=lambda each: each.id)


def _move(connection: sqlite3.Connection, source: str, target: str, conversation: int, name: str) -> None:
    connection.execute(
        f"INSERT INTO {target} (conversation, {MESSAGE_COLUMNS})"  # noqa: S608 (constants)
        f" SELECT conversation, {MESSAGE_COLUMNS} FROM {source} WHERE conversation = ? AND id = ?",
        (conversation, name),
    )
    _delete(connection, source, conversation, name)


def _delete(connection: sqlite3.Connection, table: str, conversation: int, name: str) -> None:
    connection.execute(f"DELETE FROM {table} WHERE conversation = ? AND id = ?", (conversation, name))  # noqa: S608 (constants)
