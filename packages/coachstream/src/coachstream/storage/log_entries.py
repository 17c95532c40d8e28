"""What every store must know of an entry in the log of a run; else it only keeps it."""

from __future__ import annotations

import msgspec

from coachstream.conversation.ids import time_in
from coachstream.conversation.run_log import LogEntry, Opened


def as_stored(opened: LogEntry, message_id: str, *, is_first_attempt: bool, newest_id: str) -> LogEntry:
    """The first entry of a run for a message that is stored under this id.

    Args:
        opened: as it was given.
        message_id: of the message.
        is_first_attempt: whether the message was not stored before.
        newest_id: the greatest id of the conversation, with the message: the reply's must be greater.

    Raises:
        TypeError: it is not a first entry.
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


def opened_at(first: LogEntry) -> int:
    """`Opened.at` of a first entry; raises as `as_stored` does."""
    if not isinstance(first.content, Opened):
        raise TypeError(f"a run begins with Opened, not with {type(first.content).__name__}")
    return first.content.at


def is_repeated(entry: LogEntry, there: LogEntry) -> bool:
    """Whether the entry that has the number is this one, from an attempt whose answer was lost.

    The lease may have been renewed since. The same writer's other words are another entry: it must be told
    that it said less, or something else, than it is about to believe.
    """
    return (entry.writer, entry.content) == (there.writer, there.content)
