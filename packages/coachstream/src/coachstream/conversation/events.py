"""What a turn sends its reader: `Started`, `Chunk`..., then one of `Completed`, `Failed` or `Reconnect`.

Offsets count UTF-16 code units from the beginning of the reply, as a JavaScript string's length does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import Message, SemanticContextUse, StopReason, Timings, Usage


class LogPoint(msgspec.Struct, frozen=True):
    """A place in the log of a run: everything up to this entry is stored."""

    run_id: str
    number: int

    def __str__(self) -> str:
        return f"{self.run_id}:{self.number}"


class Started(msgspec.Struct, frozen=True):
    """The request was accepted; nothing has been read or written yet."""


class Attached(msgspec.Struct, frozen=True):
    """The reader has a run, a new one or one that answers the message already."""

    point: LogPoint


class Chunk(msgspec.Struct, frozen=True):
    """The next piece of the reply; never empty, never cut inside a code point.

    Attributes:
        content: the text.
        offset: where it begins.
        point: what is stored by now, if that is news. It never lies behind the end of this chunk.
    """

    content: str
    offset: int = 0
    point: LogPoint | None = None


class Reset(msgspec.Struct, frozen=True):
    """What was said from `offset` on does not hold; the reply goes on from there."""

    offset: int = 0
    point: LogPoint | None = None


class Reconnect(msgspec.Struct, frozen=True):
    """The run goes on, but not for this reader, who must come again after `point`."""

    point: LogPoint


class Completed(msgspec.Struct, frozen=True):
    """The reply is stored, and is the concatenation of all chunks."""

    user_message: Message
    reply: Message
    conversation_id: str
    semantic_context: SemanticContextUse
    stop_reason: StopReason
    usage: Usage
    timings: Timings
    point: LogPoint | None = None


class Failed(msgspec.Struct, frozen=True):
    """The turn ended without a complete reply.

    Attributes:
        partial_reply: the part that was saved as an interrupted reply, if any.
        run_id: the run that is in the way, where one is.
    """

    code: ErrorCode
    sentence: str
    retryable: bool
    partial_reply: Message | None = None
    point: LogPoint | None = None
    run_id: str | None = None


Event = Started | Attached | Chunk | Reset | Reconnect | Completed | Failed

Ending = Completed | Failed | Reconnect
"""What a stream ends with."""

Send = Callable[[Event], Awaitable[None]]
"""Takes an event for the reader; waits while the reader is slow."""
