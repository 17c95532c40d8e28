"""Recognizes a message that was sent before.

A retry is recognized by the client's idempotency key, which the store compares. Without a key, it is
recognized by its text, within a minute, if the run for the earlier message is unfinished, or if that one was
streamed and this request is not: then the stream seems to have failed, and the client falls back to a plain
request.
"""

from __future__ import annotations

from datetime import timedelta

from coachstream.conversation.ids import milliseconds_of, time_in
from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.ports import Clock
from coachstream.conversation.run_store import RunStore

REPEATED_WITHIN = timedelta(seconds=60)
"""How long the same text counts as a retry of the same message."""


async def find_earlier(
    store: RunStore, clock: Clock, key: ConversationKey, message: Message
) -> Message | None:
    """Return the recent message with the same text; None for a message with an idempotency key.

    Raises:
        ConversationNotFound, StorageUnavailable: as the store does.
    """
    if message.metadata.client_message_id is not None:
        return None
    found = await store.find_recent_message(key, message.content, since=clock.now() - REPEATED_WITHIN)
    return found if found is not None and is_recent(found, clock) else None


def is_recent(message: Message, clock: Clock) -> bool:
    """Whether the same text still counts as a retry of a message.

    Judged by the time in its id, which may be ahead of a clock that was set back, or its timestamp.
    """
    now = milliseconds_of(clock.now())
    within = REPEATED_WITHIN // timedelta(milliseconds=1)
    times = (time_in(message.id), milliseconds_of(message.timestamp))
    return any(time is not None and abs(now - time) <= within for time in times)


def has_failed_to_arrive(earlier: Message, again: Message) -> bool:
    """Whether a message that has a reply was sent again because its stream failed."""
    return earlier.metadata.streamed and not again.metadata.streamed
