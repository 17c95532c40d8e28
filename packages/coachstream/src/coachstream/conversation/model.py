"""The data types of a coaching conversation: immutable values, valid from construction.

Times are aware `datetime`s in UTC, truncated to milliseconds, because that is all the stored and the wire
form (`YYYY-MM-DDTHH:MM:SS.mmmZ`) can hold. Text is never altered: what was streamed is what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

import msgspec


class Role(StrEnum):
    """Who wrote a message; the values are the stored ones."""

    USER = "user"
    ASSISTANT = "assistant"


class StopReason(StrEnum):
    """Why a reply ended: the model's own stop reason, or ours where the model did not end it.

    `GUARDRAIL_WARNING`: a guardrail in the mode `warn` flagged the message or the reply, whose text is kept.
    """

    END_TURN = "end_turn"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    CONTENT_FILTERED = "content_filtered"
    STOPPED = "stopped"
    GUARDRAIL_WARNING = "guardrail_warning"
    INTERRUPTED = "interrupted"


class ConversationKey(msgspec.Struct, frozen=True):
    """Names one conversation; every part is needed to find it in the store."""

    user_id: str
    coach_id: str
    conversation_id: str


class MessageMetadata(msgspec.Struct, frozen=True):
    """Metadata of a message.

    Attributes:
        model: display name of the model that wrote it, for replies.
        stop_reason: why a reply ended; `INTERRUPTED` marks a partial one.
        client_message_id: the client's idempotency key for a user message.
        reply_to: the id of the user message to which this message is the reply.
        streamed: whether the client requested the reply to a user message as a stream.
        run_id: the run that produced a reply.
        is_handed_off: whether the workout that a user message reports was handed off.
        versions: how many versions of its exchange are kept, including the one with this reply; 0 for a reply
            whose exchange has no other.
        exchange_id: for a user message that replaced another one, the id of its exchange's first message.
    """

    model: str | None = None
    stop_reason: StopReason | None = None
    client_message_id: str | None = None
    reply_to: str | None = None
    streamed: bool = False
    run_id: str | None = None
    is_handed_off: bool = False
    versions: int = 0
    exchange_id: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One message. Ids of one conversation sort by time, as strings."""

    id: str
    role: Role
    content: str
    timestamp: datetime
    metadata: MessageMetadata = MessageMetadata()

    @property
    def is_interrupted(self) -> bool:
        """Whether the text is only the beginning of a reply."""
        return self.metadata.stop_reason is StopReason.INTERRUPTED

    @property
    def is_withheld(self) -> bool:
        """Whether a content filter blocked this reply or its question; it may have no text."""
        return self.metadata.stop_reason is StopReason.CONTENT_FILTERED

    @property
    def is_flagged(self) -> bool:
        """Whether a guardrail warned of this reply or its question; the user has the text."""
        return self.metadata.stop_reason is StopReason.GUARDRAIL_WARNING


class Conversation(msgspec.Struct, frozen=True):
    """A conversation without its messages.

    Attributes:
        more: other stored attributes, which clients receive as they are.
        more_metadata: likewise, of its metadata.
    """

    key: ConversationKey
    title: str
    started_at: datetime
    last_activity: datetime
    total_messages: int = 0
    is_active: bool = True
    tags: tuple[str, ...] = ()
    more: Mapping[str, object] = {}
    more_metadata: Mapping[str, object] = {}


class ConversationChange(msgspec.Struct, frozen=True):
    """The fields an update may change; `None` leaves a field unchanged."""

    title: str | None = None
    tags: tuple[str, ...] | None = None
    is_active: bool | None = None


class Importance(StrEnum):
    """How much a memory matters."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class MemorySource(StrEnum):
    """How a memory was created."""

    CONVERSATION = "conversation"
    EXPLICIT_REQUEST = "explicit_request"


class Memory(msgspec.Struct, frozen=True):
    """Something the user asked the coach to remember; `coach_id` is `None` when any coach may know it."""

    id: str
    content: str
    memory_type: str
    importance: Importance
    created_at: datetime
    coach_id: str | None = None
    last_used: datetime | None = None
    usage_count: int = 0
    tags: tuple[str, ...] = ()
    source: MemorySource = MemorySource.CONVERSATION


class Workout(msgspec.Struct, frozen=True):
    """What the prompt includes about a workout; empty text if the record has none."""

    id: str
    completed_at: datetime
    summary: str = ""
    discipline: str = ""
    name: str = ""


class Match(msgspec.Struct, frozen=True):
    """A passage found by semantic search. `score` ranks matches within one search only."""

    id: str
    content: str
    score: float
    record_type: str
    namespace: str
    title: str = ""


class Usage(msgspec.Struct, frozen=True):
    """Token usage of a model call; latency in milliseconds as measured by the model's service."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    latency_ms: int = 0


class QuotaLeft(msgspec.Struct, frozen=True, rename="camel"):
    """What is left of one of the user's quotas (`quotas`).

    Attributes:
        quota: its name.
        limit: its limit.
        remaining: what is left of it, not below 0.
        reset_s: in how many seconds all of it is back; None for concurrent runs, which end when they end.
    """

    quota: str
    limit: int
    remaining: int
    reset_s: int | None = None


class SemanticContextUse(msgspec.Struct, frozen=True):
    """How many search results the prompt holds; `length` in characters."""

    matches: int = 0
    length: int = 0


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds from the start of the turn; `first_chunk` is `None` when the reply was already stored."""

    context: int
    first_chunk: int | None
    total: int


class Identity(msgspec.Struct, frozen=True):
    """A verified caller: `user_id` is the application's id (claim `custom:user_id`), `subject` the pool's."""

    user_id: str
    subject: str


def to_milliseconds(moment: datetime) -> datetime:
    """Truncate an aware time to whole milliseconds in UTC.

    Raises:
        ValueError: if the time has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone is ambiguous")
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def format_timestamp(moment: datetime) -> str:
    """The only form in which a time leaves the program: `YYYY-MM-DDTHH:MM:SS.mmmZ`.

    The existing TypeScript readers revive dates with a regular expression that knows no other fraction
    and no other zone (existing system, section 1.3).
    """
    return to_milliseconds(moment).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
