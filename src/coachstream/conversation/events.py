"""What a turn tells its readers: `Started`, `Chunk`..., then exactly one of `Completed` or `Failed`."""

from __future__ import annotations

import msgspec

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import Message, StopReason, Usage


class Started(msgspec.Struct, frozen=True):
    """The turn was accepted; nothing has been read or written yet."""


class Chunk(msgspec.Struct, frozen=True):
    """The next piece of the reply; never empty, never cut inside a code point."""

    content: str


class SemanticContextUse(msgspec.Struct, frozen=True):
    """How much of the semantic search the prompt really holds; `length` in characters."""

    matches: int = 0
    length: int = 0


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds from the start of the turn; `first_chunk` is `None` when the reply was already stored."""

    context: int
    first_chunk: int | None
    total: int


class Completed(msgspec.Struct, frozen=True):
    """The reply is stored, and is the concatenation of all chunks."""

    user_message: Message
    reply: Message
    conversation_id: str
    semantic_context: SemanticContextUse
    stop_reason: StopReason
    usage: Usage
    timings: Timings


class Failed(msgspec.Struct, frozen=True):
    """The turn ended without a complete reply.

    `partial_reply` is the part that was saved as an interrupted reply, if any.
    """

    code: ErrorCode
    sentence: str
    retryable: bool
    partial_reply: Message | None = None


Event = Started | Chunk | Completed | Failed
