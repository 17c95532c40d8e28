"""The report of a finished turn: ids, counts and durations, but never any message text."""

from __future__ import annotations

import msgspec

from coachstream.conversation.errors import CoachStreamError, ErrorCode
from coachstream.conversation.model import ConversationKey, Message, StopReason, Usage
from coachstream.conversation.turn.context import Context


class TurnReport(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. Durations are whole milliseconds from its start; `None` if that point was never reached.

    Attributes:
        error: why there is no complete reply; `None` if there is one.
        stop_reason: why the stored reply ended; `INTERRUPTED` for a partial one, `None` if none is stored.
        is_first_attempt: whether the user message was new; `None` if the store was not reached.
        was_answered: whether the reply was already stored by an earlier attempt.
        context_ms: until the context for the prompt was loaded.
        model_asked_ms: until the model was called.
        model_first_text_ms: from calling the model to its first text.
        first_chunk_ms: until the first chunk of any text.
        total_ms: until the end.
        chunks: the number of chunks produced.
        reply_chars: the length of the reply in code points.
        run_id: the run that was produced; `None` if none was.
        was_released: whether the lease was released before the run's end, for the next reader to continue.
        epoch: the 1-based ordinal of the lease holder within the run.
        history_messages: the number of messages in the prompt, including the new one.
        left_out: optional context that failed or was late.
        failed_follow_ups: side effects that failed (hand-offs, counters); they do not fail the turn.
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
    """The measurements of a turn while it runs; see `TurnReport` for their meaning."""

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
        """The report of the finished turn."""
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
