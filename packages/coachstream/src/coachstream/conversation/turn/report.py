"""What is worth knowing of a turn that is over: ids, counts and durations, never a word of what was said."""

from __future__ import annotations

import msgspec

from coachstream.conversation.errors import CoachStreamError, ErrorCode
from coachstream.conversation.model import ConversationKey, Message, StopReason, Usage
from coachstream.conversation.turn.context import Context


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
        run_id: the run that was produced; `None` where none was.
        was_released: whether the run was left, before its end, to who reads it on.
        epoch: the how-manieth producer of the run this was.
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
    run_id: str | None = None
    was_released: bool = False
    epoch: int = 0


class TurnMeasurements(msgspec.Struct):
    """What is known of a turn while it runs; the report says what each means."""

    user_message: Message | None = None
    reply: Message | None = None
    is_first_attempt: bool | None = None
    was_answered: bool = False
    context: Context | None = None
    context_ms: int | None = None
    model_asked_ms: int | None = None
    model_first_text_ms: int | None = None
    first_chunk_ms: int | None = None
    chunks: int = 0
    history_messages: int = 0
    matches: int = 0
    usage: Usage = Usage()
    failure: CoachStreamError | None = None
    failed_follow_ups: tuple[str, ...] = ()
    run_id: str | None = None
    was_released: bool = False
    epoch: int = 0

    def report(self, key: ConversationKey, *, total_ms: int) -> TurnReport:
        """The report of a turn that is over."""
        user_message, reply, context = self.user_message, self.reply, self.context
        failure = self.failure
        return TurnReport(
            key=key,
            user_message_id=None if user_message is None else user_message.id,
            reply_id=None if reply is None else reply.id,
            error=None if failure is None else failure.code,
            stop_reason=None if reply is None else reply.metadata.stop_reason,
            is_first_attempt=self.is_first_attempt,
            was_answered=self.was_answered,
            context_ms=self.context_ms,
            model_asked_ms=self.model_asked_ms,
            model_first_text_ms=self.model_first_text_ms,
            first_chunk_ms=self.first_chunk_ms,
            total_ms=total_ms,
            chunks=self.chunks,
            reply_chars=0 if reply is None else len(reply.content),
            history_messages=self.history_messages,
            memories=0 if context is None else len(context.memories),
            workouts=0 if context is None else len(context.workouts),
            matches=self.matches,
            left_out=() if context is None else context.left_out,
            failed_follow_ups=self.failed_follow_ups,
            usage=self.usage,
            run_id=self.run_id,
            was_released=self.was_released,
            epoch=self.epoch,
        )
