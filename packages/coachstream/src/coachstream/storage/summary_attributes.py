"""The stored format of a summary (existing system, section 1.4); `parse_conversation_summary` reads it."""

from __future__ import annotations

import msgspec

from coachstream.conversation.model import ConversationKey, format_timestamp
from coachstream.conversation.ports import COMPLEXITY_INDICATORS, NewSummary, SummaryReason


def summary_attributes(key: ConversationKey, summary: NewSummary) -> dict[str, object]:
    """The attributes of a `conversationSummary` item. Its id is derived, because a conversation has one."""
    content = msgspec.to_builtins(summary.content)
    narrative, confidence = content.pop("narrative"), content.pop("confidence")
    metadata: dict[str, object] = {
        "createdAt": format_timestamp(summary.created_at),
        "messageRange": {
            "startMessageId": summary.first_message_id,
            "endMessageId": summary.last_message_id,
            "totalMessages": summary.total_messages,
        },
        "triggerReason": summary.reason.value,
        "confidence": confidence,
    }
    if summary.reason is SummaryReason.COMPLEXITY:
        metadata["complexityIndicators"] = list(COMPLEXITY_INDICATORS)
    return {
        "summaryId": f"conversation_summary_{key.conversation_id}",
        "userId": key.user_id,
        "coachId": key.coach_id,
        "conversationId": key.conversation_id,
        "narrative": narrative,
        "structuredData": content,
        "metadata": metadata,
    }
