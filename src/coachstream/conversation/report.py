"""What is worth knowing of a turn that is over: ids, counts and durations, never a word of what was said."""

from __future__ import annotations

import msgspec

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import ConversationKey, StopReason, Usage


class TurnReport(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. Durations are whole milliseconds from its start; `None` where that point was never reached.

    Attributes:
        error: why there is no complete reply; `None` where there is one.
        stop_reason: why the stored reply ended; `INTERRUPTED` for a partial one, `None` where none is stored.
        is_first_attempt: whether the user message was new; `None` where the store was not reached.
        was_answered: whether the reply was there already, from an earlier attempt.
        context_ms: until everything that feeds the prompt was there.
        model_asked_ms: until the model was called.
        model_first_text_ms: from calling the model to its first text.
        first_chunk_ms: until the first chunk of any text.
        total_ms: until the end.
        chunks: pieces of the reply that were produced.
        reply_chars: code points of the reply.
        history_messages: in the prompt, the new one included.
        left_out: optional context that failed or was late.
        failed_follow_ups: side effects that failed (hand-offs, counters); they fail no turn.
    """

    key: ConversationKey
    user_message_id: str | None
    reply_id: str | None
    error: ErrorCode | None
    stop_reason: StopReason | None
    is_first_attempt: bool | None
    was_answered: bool
    context_ms: int | None
    model_asked_ms: int | None
    model_first_text_ms: int | None
    first_chunk_ms: int | None
    total_ms: int
    chunks: int
    reply_chars: int
    history_messages: int
    memories: int
    workouts: int
    matches: int
    left_out: tuple[str, ...]
    failed_follow_ups: tuple[str, ...]
    usage: Usage
