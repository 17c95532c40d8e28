"""The wire format of a stream's events (design, section 4): tagged, camelCase, `type` first."""

from __future__ import annotations

from typing import Literal, assert_never

import msgspec

from coachstream.conversation.errors import CoachStreamError
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Completed,
    Contextual,
    Event,
    Failed,
    GuardrailWarning,
    LogPoint,
    Queued,
    Reconnect,
    Reset,
    Started,
    failed_by,
)
from coachstream.conversation.model import (
    Message,
    MessageMetadata,
    SemanticContextUse,
    StopReason,
    Usage,
    format_timestamp,
)
from coachstream.web.quotas import QuotaFrame, quota_frame, quota_frames


class MessageMetadataFrame(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is known of a message besides its text.

    `versions` is on a reply whose exchange has several versions: how many are kept, counting this one.
    """

    model: str | None = None
    stop_reason: str | None = None
    client_message_id: str | None = None
    reply_to: str | None = None
    guardrail_warning: bool = False
    versions: int = 0


class MessageFrame(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message as it is stored."""

    id: str
    role: str
    content: str
    timestamp: str
    metadata: MessageMetadataFrame | None = None


class PineconeContextFrame(msgspec.Struct, frozen=True, rename="camel"):
    """How much of the semantic search reached the prompt; the name is the existing system's."""

    used: bool
    matches: int
    context_length: int


class UsageFrame(msgspec.Struct, frozen=True, rename="camel"):
    """What the model call consumed."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


class TimingsFrame(msgspec.Struct, frozen=True, rename="camel"):
    """Milliseconds from the beginning of the turn, except for the model's latency."""

    context_ms: int
    first_chunk_ms: int | None
    total_ms: int
    model_latency_ms: int


class StartFrame(msgspec.Struct, frozen=True, rename="camel", tag="start"):
    """The request is accepted. Sent immediately; over `POST`, before anything is stored."""

    status: Literal["initialized"] = "initialized"
    run_id: str | msgspec.UnsetType = msgspec.UNSET


class QueuedFrame(msgspec.Struct, frozen=True, rename="camel", tag="queued"):
    """The message is stored, and will be answered after others; sent again when the position changes.

    From now on the run can be joined, resumed and withdrawn. `run` follows when its turn has come.
    """

    run_id: str
    position: int


class RunFrame(msgspec.Struct, frozen=True, rename="camel", tag="run"):
    """The run that writes the reply. From now on it can be stopped, joined and resumed.

    If it names a different run than the previous `run` event, the text starts again at offset 0.
    """

    run_id: str


class ChunkFrame(msgspec.Struct, frozen=True, tag="chunk"):
    """The next piece of the reply.

    Discard the part that you already have. If `offset` is past the end of your text, read the run again
    without a cursor.
    """

    content: str
    offset: int


class ContextualFrame(msgspec.Struct, frozen=True, tag="contextual"):
    """What the service did besides the reply: saved a memory, sent a workout to the training log.

    Ephemeral: it is not part of the reply, is not stored, has no id, and is not sent to a reader that
    resumes. Show `content`, or your own words for the `stage`; ignore a `stage` that you do not know.
    """

    content: str
    stage: str


class GuardrailWarningFrame(msgspec.Struct, frozen=True, tag="guardrail_warning"):
    """A guardrail in the mode `warn` flagged the message or the reply.

    The text is kept. `complete` follows, and records it in `aiMessage.metadata.guardrailWarning`. Every
    reader of the reply gets this event; it has no id.
    """

    message: str


class ResetFrame(msgspec.Struct, frozen=True, tag="reset"):
    """The text from `offset` on is withdrawn; new text follows."""

    offset: int


class ReconnectFrame(msgspec.Struct, frozen=True, tag="reconnect"):
    """This stream ends, but the reply goes on.

    The function is near its timeout, or the reader accepted nothing for too long. Resume immediately with
    `GET …/stream/{runId}`.
    """

    after: str


class CompleteFrame(msgspec.Struct, frozen=True, rename="camel", tag="complete"):
    """The reply is complete and stored; `aiMessage.content` is all of it.

    Every reader of a run gets the same event. `quotas` is what was left when the reply ended, if the user has
    quotas and it is known. After another try, `replaced` has the ids of the messages that gave way to these.
    """

    message_id: str
    status: Literal["finished"]
    user_message: MessageFrame
    ai_message: MessageFrame
    conversation_id: str
    pinecone_context: PineconeContextFrame
    stop_reason: str
    usage: UsageFrame
    timings: TimingsFrame
    quotas: tuple[QuotaFrame, ...] | msgspec.UnsetType = msgspec.UNSET
    replaced: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class ErrorFrame(msgspec.Struct, frozen=True, rename="camel", tag="error"):
    """There is no complete reply. This is also the body of a refused request.

    With `QUOTA_EXCEEDED`, `quota` is the one that is used up, and `retryAfter` says in how many seconds to
    try again.
    """

    message: str
    code: str
    retryable: bool
    partial_message: MessageFrame | msgspec.UnsetType = msgspec.UNSET
    run_id: str | msgspec.UnsetType = msgspec.UNSET
    user_message: MessageFrame | msgspec.UnsetType = msgspec.UNSET
    quota: QuotaFrame | msgspec.UnsetType = msgspec.UNSET
    retry_after: int | msgspec.UnsetType = msgspec.UNSET


Frame = (
    StartFrame
    | QueuedFrame
    | RunFrame
    | ContextualFrame
    | ChunkFrame
    | ResetFrame
    | GuardrailWarningFrame
    | ReconnectFrame
    | CompleteFrame
    | ErrorFrame
)


def point_of(event: Event) -> LogPoint | None:
    """The position in the run's log from which the reader can resume after this event."""
    return None if isinstance(event, Started | Contextual | GuardrailWarning) else event.point


def frame_of(event: Event) -> Frame:
    """Convert a domain event to its wire format."""
    frame: Frame
    match event:
        case Chunk(content, offset):
            frame = ChunkFrame(content, offset)
        case Started():
            frame = StartFrame()
        case Queued(position, point):
            frame = QueuedFrame(point.run_id, position)
        case Attached(point):
            frame = RunFrame(point.run_id)
        case Contextual(content, stage):
            frame = ContextualFrame(content, stage.value)
        case Reset(offset):
            frame = ResetFrame(offset)
        case GuardrailWarning(sentence):
            frame = GuardrailWarningFrame(sentence)
        case Reconnect(point):
            frame = ReconnectFrame(str(point))
        case Completed() | Failed():
            frame = _complete_frame(event) if isinstance(event, Completed) else _failed_frame(event)
        case _:
            assert_never(event)
    return frame


def _complete_frame(event: Completed) -> CompleteFrame:
    return CompleteFrame(
        message_id=event.reply.id,
        status="finished",
        user_message=message_frame(event.user_message),
        ai_message=message_frame(event.reply),
        conversation_id=event.conversation_id,
        pinecone_context=pinecone_context_frame(event.semantic_context),
        stop_reason=event.stop_reason.value,
        usage=_usage_frame(event.usage),
        timings=TimingsFrame(
            event.timings.context,
            event.timings.first_chunk,
            event.timings.total,
            event.usage.latency_ms,
        ),
        quotas=quota_frames(event.quotas) if event.quotas else msgspec.UNSET,
        replaced=event.replaced or msgspec.UNSET,
    )


def _failed_frame(event: Failed) -> ErrorFrame:
    partial = event.partial_reply
    return ErrorFrame(
        message=event.sentence,
        code=event.code.value,
        retryable=event.retryable,
        partial_message=msgspec.UNSET if partial is None else message_frame(partial),
        run_id=msgspec.UNSET if event.run_id is None else event.run_id,
        user_message=msgspec.UNSET if event.user_message is None else message_frame(event.user_message),
        quota=msgspec.UNSET if event.quota is None else quota_frame(event.quota),
        retry_after=msgspec.UNSET if event.retry_after_s is None else event.retry_after_s,
    )


def error_frame(error: CoachStreamError) -> ErrorFrame:
    """The frame of an error that happened before the turn began."""
    return _failed_frame(failed_by(error))


def pinecone_context_frame(use: SemanticContextUse) -> PineconeContextFrame:
    """How many search results the prompt has."""
    return PineconeContextFrame(used=use.matches > 0, matches=use.matches, context_length=use.length)


def message_frame(message: Message) -> MessageFrame:
    """Convert a message to its wire format."""
    return MessageFrame(
        id=message.id,
        role=message.role.value,
        content=message.content,
        timestamp=format_timestamp(message.timestamp),
        metadata=_metadata_frame(message.metadata),
    )


def _metadata_frame(metadata: MessageMetadata) -> MessageMetadataFrame | None:
    frame = MessageMetadataFrame(
        model=metadata.model,
        stop_reason=None if metadata.stop_reason is None else metadata.stop_reason.value,
        client_message_id=metadata.client_message_id,
        reply_to=metadata.reply_to,
        guardrail_warning=metadata.stop_reason is StopReason.GUARDRAIL_WARNING,
        versions=metadata.versions,
    )
    return None if frame == MessageMetadataFrame() else frame


def _usage_frame(usage: Usage) -> UsageFrame:
    return UsageFrame(
        usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens
    )
