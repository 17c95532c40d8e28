"""The tables of queued runs and of withdrawn messages, inside the transactions of `runs`."""

from __future__ import annotations

import sqlite3

from coachstream.conversation.run_queue import QueuedRun


def queued_runs(connection: sqlite3.Connection, conversation: int) -> tuple[QueuedRun, ...]:
    """The queue, in its order."""
    rows = connection.execute(
        "SELECT run_id, user_message_id, opened_at, is_first_attempt, time_zone FROM queued_runs"
        " WHERE conversation = ? ORDER BY number",
        (conversation,),
    )
    return tuple(
        QueuedRun(run_id, message_id, at, bool(is_first), time_zone)
        for run_id, message_id, at, is_first, time_zone in rows
    )


def insert_queued(connection: sqlite3.Connection, conversation: int, run: QueuedRun) -> None:
    """Append a run to the queue."""
    connection.execute(
        "INSERT INTO queued_runs"
        " (conversation, run_id, user_message_id, opened_at, is_first_attempt, time_zone)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (conversation, run.run_id, run.user_message_id, run.at, run.is_first_attempt, run.time_zone),
    )


def delete_queued(connection: sqlite3.Connection, conversation: int, run_id: str) -> None:
    """Take a run out of the queue."""
    connection.execute(
        "DELETE FROM queued_runs WHERE conversation = ? AND run_id = ?", (conversation, run_id)
    )


def mark_withdrawn(connection: sqlite3.Connection, conversation: int, client_message_id: str | None) -> None:
    """Remember the idempotency key of a message that was withdrawn, if it has one."""
    if client_message_id is not None:
        connection.execute(
            "INSERT OR IGNORE INTO withdrawn_messages (conversation, client_message_id) VALUES (?, ?)",
            (conversation, client_message_id),
        )


def is_withdrawn(connection: sqlite3.Connection, conversation: int, client_message_id: str | None) -> bool:
    """Whether a message with this idempotency key was withdrawn."""
    row = connection.execute(
        "SELECT 1 FROM withdrawn_messages WHERE conversation = ? AND client_message_id = ?",
        (conversation, client_message_id),
    ).fetchone()
    return row is not None
