"""The events a turn sends its reader: `Started`, `Chunk`..., then `Completed`, `Failed` or `Reconnect`.

Offsets count UTF-16 code units from the beginning of the reply, as a JavaScript string's length does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

import msgspec

from coachstream.conversation.errors import CoachStreamError, ErrorCode, QuotaExceeded, TurnInProgress
from coachstream.conversation.model import Message, QuotaLeft, SemanticContextUse, StopReason, Timings, Usage


class LogPoint(msgspec.Struct, frozen=True):
    """A position in a run's log: everything up to this entry is stored."""

    run_id: str
    number: int

    def __str__(self) -> str:
        return f"{self.run_id}:{self.number}"


class Started(msgspec.Struct, frozen=True):
    """The request was accepted; nothing has been read or written yet."""


class Attached(msgspec.Struct, frozen=True):
    """The reader is attached to a run: a new one, or the one that already handles the message."""

    point: LogPoint


class Queued(msgspec.Struct, frozen=True):
    """The message is stored, and its run begins after others; sent again when the position has changed.

    Attributes:
        position: the 1-based position of the run in the queue: 1 for the next one that begins.
        point: the beginning of the run.
    """

    position: int
    point: LogPoint


class Chunk(msgspec.Struct, frozen=True):
    """The next piece of the reply; never empty, never cut inside a code point.

    Attributes:
        content: the text.
        offset: where it begins.
        point: the stored position, if it has advanced. It is never past the end of this chunk.
    """

    content: str
    offset: int = 0
    point: LogPoint | None = None


class Stage(StrEnum):
    """What a `Contextual` event is about."""

    MEMORY_SAVED = "memory_saved"
    MEMORY_NOT_SAVED = "memory_not_saved"
    MEMORY_WITHDRAWN = "memory_withdrawn"
    WORKOUT_HANDED_OFF = "workout_handed_off"
    WORKOUT_NOT_HANDED_OFF = "workout_not_handed_off"


class Contextual(msgspec.Struct, frozen=True):
    """What the application has done, or could not do, besides the reply.

    Ephemeral: it is no part of the reply or of the run's log, and a reader that resumes does not get it.

    Attributes:
        content: a sentence for the user.
        stage: what it is about.
    """

    content: str
    stage: Stage


class GuardrailWarning(msgspec.Struct, frozen=True):
    """A guardrail flagged the message or the reply; the text is kept, and `Completed` follows.

    Every reader of a flagged reply gets it, because it derives from the stored reply.
    """

    sentence: str = (
        "A safety check flagged this message or the reply to it. Please treat the reply with caution."
    )


class Reset(msgspec.Struct, frozen=True):
    """Discard the text from `offset` on; the reply continues from there."""

    offset: int = 0
    point: LogPoint | None = None


class Reconnect(msgspec.Struct, frozen=True):
    """The run continues, but this response ends; the reader must reconnect after `point`."""

    point: LogPoint


class Completed(msgspec.Struct, frozen=True):
    """The reply is stored, and is the concatenation of all chunks.

    Attributes:
        quotas: `Finished.quotas`.
    """

    user_message: Message
    reply: Message
    conversation_id: str
    semantic_context: SemanticContextUse
    stop_reason: StopReason
    usage: Usage
    timings: Timings
    point: LogPoint | None = None
    quotas: tuple[QuotaLeft, ...] = ()


class Failed(msgspec.Struct, frozen=True):
    """The turn ended without a complete reply.

    Attributes:
        partial_reply: the part that was saved as an interrupted reply, if any.
        run_id: the unfinished run that blocks this message, if there is one.
        user_message: the message, if it is stored and waits for that run.
        quota: the quota that is used up, if that is the cause.
        retry_after_s: when to try again, if it is known.
    """

    code: ErrorCode
    sentence: str
    retryable: bool
    partial_reply: Message | None = None
    point: LogPoint | None = None
    run_id: str | None = None
    user_message: Message | None = None
    quota: QuotaLeft | None = None
    retry_after_s: int | None = None


def failed_by(error: CoachStreamError) -> Failed:
    """The event of a turn that this error ended, or that it kept from beginning."""
    failed = Failed(error.code, error.sentence, error.retryable)
    if isinstance(error, TurnInProgress):
        return msgspec.structs.replace(failed, run_id=error.run_id, user_message=error.user_message)
    if isinstance(error, QuotaExceeded):
        return msgspec.structs.replace(failed, quota=error.quota, retry_after_s=error.retry_after_s)
    return failed


Event = (
    Started
    | Queued
    | Attached
    | Contextual
    | Chunk
    | Reset
    | GuardrailWarning
    | Reconnect
    | Completed
    | Failed
)

Ending = Completed | Failed | Reconnect
"""The last event of a stream."""

Send = Callable[[Event], Awaitable[None]]
"""Takes an event for the reader; waits while the reader is slow."""
