"""When each event carries an id, and an example of it; what it means is the docstring of its frame."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coachstream.conversation.errors import ErrorCode, kind_of
from coachstream.conversation.events import GuardrailWarning
from coachstream.conversation.model import Role, StopReason
from coachstream.web.frames import (
    ChunkFrame,
    CompleteFrame,
    ContextualFrame,
    ErrorFrame,
    GuardrailWarningFrame,
    MessageFrame,
    MessageMetadataFrame,
    PineconeContextFrame,
    QueuedFrame,
    ReconnectFrame,
    ResetFrame,
    RunFrame,
    StartFrame,
    TimingsFrame,
    UsageFrame,
)

_RUN_ID = "run_1795428000123_6v1or0she"
_QUESTION = MessageFrame(
    id="msg_1795428000123_k2j9x0a1b_user",
    role=Role.USER.value,
    content="How was my week?",
    timestamp="2026-11-23T10:00:00.123Z",
    metadata=MessageMetadataFrame(client_message_id="5f0c2b1e"),
)


def _reply(content: str, stop_reason: StopReason) -> MessageFrame:
    return MessageFrame(
        id="msg_1795428004567_p3q8z7c2d_assistant",
        role=Role.ASSISTANT.value,
        content=content,
        timestamp="2026-11-23T10:00:04.567Z",
        metadata=MessageMetadataFrame(
            model="coach-model", stop_reason=stop_reason.value, reply_to=_QUESTION.id
        ),
    )


class EventFacts(msgspec.Struct, frozen=True):
    """What the reference says of one event.

    Attributes:
        has_id: when its block has an `id` line.
        ends: whether the stream ends behind it.
        example: a frame that the encoder accepts.
        example_id: the `id` of the example; None where it has none.
    """

    has_id: str
    example: msgspec.Struct
    example_id: str | None = None
    ends: bool = False


_BROKEN = kind_of(ErrorCode.MODEL_STREAM_BROKEN)

EVENT_FACTS: Mapping[type[msgspec.Struct], EventFacts] = {
    StartFrame: EventFacts(
        has_id="Over `GET`, together with `runId`: the position from which the reader continues.",
        example=StartFrame(),
    ),
    QueuedFrame: EventFacts(
        has_id="Always.",
        example=QueuedFrame(_RUN_ID, 1),
        example_id=f"{_RUN_ID}:0",
    ),
    RunFrame: EventFacts(
        has_id="Always.",
        example=RunFrame(_RUN_ID),
        example_id=f"{_RUN_ID}:0",
    ),
    ContextualFrame: EventFacts(
        has_id="Never.",
        example=ContextualFrame("Workout sent to your training log.", "workout_handed_off"),
    ),
    ChunkFrame: EventFacts(
        has_id="If something was committed since the previous id.",
        example=ChunkFrame("Nice work today, ", 0),
        example_id=f"{_RUN_ID}:1",
    ),
    ResetFrame: EventFacts(
        has_id="If the reset is committed.",
        example=ResetFrame(0),
        example_id=f"{_RUN_ID}:2",
    ),
    GuardrailWarningFrame: EventFacts(
        has_id="Never.",
        example=GuardrailWarningFrame(GuardrailWarning().sentence),
    ),
    ReconnectFrame: EventFacts(
        has_id="Always; the same as `after`.",
        example=ReconnectFrame(f"{_RUN_ID}:7"),
        example_id=f"{_RUN_ID}:7",
        ends=True,
    ),
    CompleteFrame: EventFacts(
        has_id="Unless the reply was stored earlier and the log of its run has expired.",
        example=CompleteFrame(
            message_id="msg_1795428004567_p3q8z7c2d_assistant",
            status="finished",
            user_message=_QUESTION,
            ai_message=_reply("Nice work today, Sam.", StopReason.END_TURN),
            conversation_id="conv_1795427000000_a1b2c3d4e",
            pinecone_context=PineconeContextFrame(used=True, matches=3, context_length=1840),
            stop_reason=StopReason.END_TURN.value,
            usage=UsageFrame(412, 96, 2048, 0),
            timings=TimingsFrame(180, 930, 4440, 4100),
        ),
        example_id=f"{_RUN_ID}:9",
        ends=True,
    ),
    ErrorFrame: EventFacts(
        has_id="If the failure is committed to the log of the run.",
        example=ErrorFrame(
            message=_BROKEN.sentence,
            code=_BROKEN.code.value,
            retryable=_BROKEN.retryable,
            partial_message=_reply("Nice work to", StopReason.INTERRUPTED),
        ),
        example_id=f"{_RUN_ID}:5",
        ends=True,
    ),
}
"""In the order in which they are documented; a test compares it with the union of frames."""
