from __future__ import annotations

from datetime import UTC, datetime

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.events import Attached, Chunk, Completed, Failed, LogPoint, Started
from coachstream.conversation.model import (
    Message,
    MessageMetadata,
    Role,
    SemanticContextUse,
    StopReason,
    Timings,
    Usage,
)
from coachstream.web.frames import frame_of
from coachstream.web.sse import encode_frame

USER = Message("msg_1_user", Role.USER, "Hi\nthere", datetime(2025, 9, 28, 10, 0, tzinfo=UTC))
REPLY = Message(
    "msg_2_assistant",
    Role.ASSISTANT,
    "Nice work ✓ 🏋️",
    datetime(2025, 9, 28, 10, 0, 9, 5000, UTC),
    MessageMetadata(model="claude-sonnet-4", stop_reason=StopReason.END_TURN, reply_to="msg_1_user"),
)


def wire(event: Started | Attached | Chunk | Completed | Failed) -> str:
    return encode_frame(frame_of(event)).decode()


def test_start_and_chunk_are_exactly_as_in_the_contract() -> None:
    """Byte for byte: `type` first, one line, a blank line."""
    assert wire(Started()) == 'data: {"type":"start","status":"initialized"}\n\n'
    assert wire(Attached(LogPoint("run_1", 0))) == 'data: {"type":"run","runId":"run_1"}\n\n'
    chunk = Chunk("Nice work today, ", 3)
    assert wire(chunk) == 'data: {"type":"chunk","content":"Nice work today, ","offset":3}\n\n'


def test_complete_is_one_line_in_the_shape_that_the_existing_clients_read() -> None:
    """Every field is in camelCase, and dates have the one format that the TypeScript clients parse."""
    completed = Completed(
        user_message=USER,
        reply=REPLY,
        conversation_id="conv_1_abc",
        semantic_context=SemanticContextUse(matches=3, length=812),
        stop_reason=StopReason.END_TURN,
        usage=Usage(
            input_tokens=100, output_tokens=20, cache_read_tokens=5, cache_write_tokens=6, latency_ms=8100
        ),
        timings=Timings(context=12, first_chunk=340, total=9005),
    )
    assert wire(completed) == (
        'data: {"type":"complete","messageId":"msg_2_assistant","status":"finished",'
        '"userMessage":{"id":"msg_1_user","role":"user","content":"Hi\\nthere",'
        '"timestamp":"2025-09-28T10:00:00.000Z"},'
        '"aiMessage":{"id":"msg_2_assistant","role":"assistant","content":"Nice work ✓ 🏋️",'
        '"timestamp":"2025-09-28T10:00:09.005Z",'
        '"metadata":{"model":"claude-sonnet-4","stopReason":"end_turn","replyTo":"msg_1_user"}},'
        '"conversationId":"conv_1_abc","pineconeContext":{"used":true,"matches":3,"contextLength":812},'
        '"stopReason":"end_turn",'
        '"usage":{"inputTokens":100,"outputTokens":20,"cacheReadTokens":5,"cacheWriteTokens":6},'
        '"timings":{"contextMs":12,"firstChunkMs":340,"totalMs":9005,"modelLatencyMs":8100}}\n\n'
    )


def test_error_has_three_fields_and_the_partial_reply_only_when_one_was_saved() -> None:
    """Clients that know only the contract find exactly the contract."""
    failed = Failed(ErrorCode.MODEL_THROTTLED, "Busy.", retryable=True)
    assert wire(failed) == (
        'data: {"type":"error","message":"Busy.","code":"MODEL_THROTTLED","retryable":true}\n\n'
    )
    partial = Failed(ErrorCode.MODEL_STREAM_BROKEN, "Broke off.", retryable=True, partial_reply=USER)
    assert wire(partial) == (
        'data: {"type":"error","message":"Broke off.","code":"MODEL_STREAM_BROKEN","retryable":true,'
        '"partialMessage":{"id":"msg_1_user","role":"user","content":"Hi\\nthere",'
        '"timestamp":"2025-09-28T10:00:00.000Z"}}\n\n'
    )
