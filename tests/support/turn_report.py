"""The report of a turn."""

from __future__ import annotations

from coachstream.conversation.model import ConversationKey, StopReason, Usage
from coachstream.conversation.turn.report import TurnReport


def a_report(key: ConversationKey) -> TurnReport:
    """The report of a successful turn."""
    return TurnReport(
        key=key,
        user_message_id="msg_1_user",
        reply_id="msg_2_assistant",
        error=None,
        stop_reason=StopReason.END_TURN,
        is_first_attempt=True,
        was_answered=False,
        context_ms=20,
        model_asked_ms=21,
        model_first_text_ms=400,
        first_chunk_ms=421,
        total_ms=3000,
        chunks=80,
        reply_chars=900,
        history_messages=5,
        memories=2,
        workouts=3,
        matches=4,
        left_out=(),
        failed_follow_ups=(),
        usage=Usage(1000, 200, 800, 100, 2900),
    )
