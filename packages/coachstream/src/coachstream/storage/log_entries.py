"""The only properties of a log entry that a store must interpret."""

from __future__ import annotations

import msgspec

from coachstream.conversation.ids import time_in
from coachstream.conversation.run_log import LogEntry, Opened
from coachstream.conversation.run_queue import QueuedRun


def as_stored(opened: LogEntry, message_id: str, *, is_first_attempt: bool, newest_id: str) -> LogEntry:
    """The first entry of a run for a message stored under this id.

    Args:
        opened: the entry as passed to the store.
        message_id: the id of the stored message.
        is_first_attempt: whether the message was not stored before.
        newest_id: the greatest id of the conversation, including the message; the reply's must be greater.

    Raises:
        TypeError: `opened` is not a first entry.
    """
    content = opened.content
    if not isinstance(content, Opened):
        raise TypeError(f"a run begins with Opened, not with {type(content).__name__}")
    content = msgspec.structs.replace(
        content,
        user_message_id=message_id,
        is_first_attempt=is_first_attempt,
        at=max(content.at, time_in(newest_id) or 0),
    )
    return msgspec.structs.replace(opened, content=content)


def as_begun(opened: LogEntry, run: QueuedRun) -> LogEntry:
    """The first entry of a queued run: as passed to the store, with what the queue knows of the run.

    Raises:
        TypeError: `opened` is not a first entry.
    """
    first = as_stored(opened, run.user_message_id, is_first_attempt=run.is_first_attempt, newest_id="")
    content = msgspec.structs.replace(first.content, at=run.at, time_zone=run.time_zone)
    return msgspec.structs.replace(first, content=content)


def opened_at(first: LogEntry) -> int:
    """`Opened.at` of a first entry; raises as `as_stored` does."""
    if not isinstance(first.content, Opened):
        raise TypeError(f"a run begins with Opened, not with {type(first.content).__name__}")
    return first.content.at


def is_repeated(entry: LogEntry, there: LogEntry) -> bool:
    """Whether the existing entry is this one, written by an attempt whose response was lost.

    The lease may have been renewed since, so it is not compared. Different content of the same writer is a
    different entry: the writer must find out that the log does not have what it expects.
    """
    return (entry.writer, entry.content) == (there.writer, there.content)
