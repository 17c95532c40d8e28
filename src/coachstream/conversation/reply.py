"""The producer of a run: from a claim to a stored reply, over the ports.

The order is the promise. What the model says goes out as it comes, and into the log behind it. The reply
is stored before `Completed`. Whatever goes wrong, what was said so far is stored as an interrupted reply, and
the last event is `Completed`, `Failed` or `Reconnect`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

import msgspec

from coachstream.conversation.context import Context, ContextLoad
from coachstream.conversation.despite_cancellation import despite_cancellation
from coachstream.conversation.errors import (
    CoachStreamError,
    ContentFiltered,
    DeadlineExceeded,
    ErrorCode,
    ModelError,
    ModelRejected,
    ModelStreamBroken,
    NoCredentials,
    NoReply,
    ProcessingError,
    StorageUnavailable,
    TurnInterrupted,
    log_failure,
    whereabouts,
)
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Event,
    Failed,
    LogPoint,
    Reconnect,
    Reset,
    SemanticContextUse,
    Timings,
)
from coachstream.conversation.history import PARAGRAPH, fit_history, simpler_prompts
from coachstream.conversation.message_id import message_id, moment_of
from coachstream.conversation.model import LONGEST_REPLY_BYTES, Message, MessageMetadata, Role, StopReason
from coachstream.conversation.parts import TurnParts
from coachstream.conversation.ports import ChatModel, ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt import Prompt, build_prompt
from coachstream.conversation.report import TurnMeasurements
from coachstream.conversation.runs.claim import RunClaim
from coachstream.conversation.runs.closing import completed
from coachstream.conversation.runs.log import Broken, Finished
from coachstream.conversation.runs.log import Ending as RunEnding
from coachstream.conversation.runs.writer import RunLost, RunWriter
from coachstream.conversation.side_effects import SideEffects
from coachstream.conversation.text import SurrogateJoiner, beginning_of, utf16_length
from coachstream.conversation.turn_settings import TurnSettings
from coachstream.conversation.turn_time import SHARE_FOR_STOPPING_THE_MODEL, TurnTime, WorkInterrupted
from coachstream.conversation.visible_text import is_blank

logger = logging.getLogger("coachstream.turn")

SAVE_AGAIN_AFTER_S = 0.2
"""A reply that was paid for is worth a second try."""

LEAST_FOR_ANOTHER_MODEL_S = 3.0

_ENDINGS_WITHOUT_WORDS = {StopReason.CONTENT_FILTERED, StopReason.INTERRUPTED}
"""Which are no end of the model's own; what they mean is decided elsewhere."""


class ReplyProduction:
    """Produces the reply of one claim.

    Args:
        claim: on the run.
        parts: the adapters.
        settings: of the turn.
        time: of the turn.
        measured: what is known of the turn; grows.
        now: the turn's one reading of the clock.
        may_release: whether the reader can come again, so that the run can go on behind the deadline.
    """

    def __init__(
        self,
        claim: RunClaim,
        parts: TurnParts,
        settings: TurnSettings,
        time: TurnTime,
        measured: TurnMeasurements,
        *,
        now: datetime,
        may_release: bool,
    ) -> None:
        self._claim = claim
        self._parts = parts
        self._settings = settings
        self._time = time
        self._measured = measured
        self._now = now
        self._may_release = may_release
        self._said = [claim.said] if claim.said else []
        self._offset = utf16_length(claim.said)
        self._bytes_left = LONGEST_REPLY_BYTES - len(claim.said.encode())
        self._preface = ""
        #: How many pieces of text came from models, and whether a person sees anything of what holds.
        self._heard = 0
        self._has_words = False
        self._told = claim.last
        self._is_over = False
        self._is_withheld = False
        self._reply: Message | None = None
        self._model_name = parts.model.display_name
        self._semantic_context = SemanticContextUse()
        self._side_effects = SideEffects(claim, parts, now=now)
        self._writer = RunWriter(claim, parts.runs, parts.clock, settings.runs, time.interrupt)
        measured.run_id = claim.run_id
        measured.epoch = claim.epoch
        measured.user_message = claim.user_message
        measured.is_first_attempt = claim.is_first_attempt

    @property
    def point(self) -> LogPoint:
        """The newest entry of this producer."""
        return self._writer.point

    async def events(self, load: ContextLoad) -> AsyncGenerator[Event, None]:
        """Produce; closing the generator ends the reply as an interruption.

        Raises:
            RunLost: somebody else goes on with the run.
        """
        failure: CoachStreamError | None = None
        partial: Message | None = None
        async with self._writer:
            try:
                yield Attached(self._claim.point)
                async with aclosing(self._produce(load)) as produced:
                    async for event in produced:
                        yield event
            except RunLost:
                self._is_over = True
                raise
            except CoachStreamError as error:
                log_failure(logger, "The turn fails", error)
                failure = error
            except Exception as error:  # noqa: BLE001 (a stream never ends without a terminal event)
                logger.error("The turn fails with %s", whereabouts(error))  # noqa: TRY400 (it may quote the user)
                failure = ProcessingError()
            finally:
                # Also when the reader closed the turn or its task was cancelled: then nobody is told.
                self._measured.failure = failure
                partial = await despite_cancellation(self._end(failure))
        if failure is not None:
            yield Failed(failure.code, failure.sentence, failure.retryable, partial, self._writer.point)

    async def _produce(self, load: ContextLoad) -> AsyncGenerator[Event, None]:
        try:
            async with aclosing(self._answer(load)) as answer:
                async for event in answer:
                    if isinstance(event, ModelStop):
                        stop_reason = event.reason
                    else:
                        yield event
        except WorkInterrupted:
            if self._writer.is_lost:
                raise RunLost from None
            stop_reason = StopReason.STOPPED
        except DeadlineExceeded:
            if not self._can_be_released():
                raise
            yield Reconnect(await despite_cancellation(self._release()))
            return
        reply = self._reply = self._reply_message(stop_reason)
        ending = Finished(
            reply_id=reply.id,
            stop_reason=stop_reason,
            semantic_context=self._semantic_context,
            usage=self._measured.usage,
            timings=Timings(
                context=self._measured.context_ms or 0,
                first_chunk=self._measured.first_chunk_ms,
                total=self._time.elapsed_ms(),
            ),
        )
        await despite_cancellation(self._save(ending, reply))
        context = self._measured.context
        self._side_effects.follow_reply(None if context is None else context.coach)
        await self._finish_side_effects()
        yield completed(self._claim.key, self._claim.user_message, reply, ending, self._writer.point)

    async def _answer(self, load: ContextLoad) -> AsyncGenerator[Chunk | Reset | ModelStop, None]:
        said = self._claim.said
        if said:
            confirmation = self._side_effects.confirmation_in(said)
        else:
            confirmation = await self._time.in_time(self._side_effects.confirm())
        self._preface = confirmation + PARAGRAPH if confirmation else ""
        self._has_words = not is_blank(said.removeprefix(self._preface))
        context = await self._time.in_time(load.loaded())
        self._measured.context = context
        self._measured.context_ms = self._time.elapsed_ms()
        if self._preface and not said:
            yield self._say(self._preface)
        prompt = self._prompt(context)
        self._semantic_context = prompt.semantic_context
        self._measured.matches = prompt.semantic_context.matches
        self._measured.history_messages = len(prompt.messages)
        self._measured.model_asked_ms = self._time.elapsed_ms()
        has_begun = False
        async with aclosing(self._speech(prompt)) as speech:
            async for event in speech:
                if isinstance(event, ModelStop):
                    self._measured.usage = event.usage
                    if event.reason is StopReason.CONTENT_FILTERED:
                        self._is_withheld = True
                        for taken_back in self._take_back_preface():
                            yield taken_back
                        raise ContentFiltered
                    if event.reason is StopReason.INTERRUPTED:
                        raise ModelStreamBroken("the model ended without a reply")
                yield event
                if not has_begun:
                    has_begun = True
                    self._side_effects.count_memories(context.memories)  # the first text has gone out by now

    async def _speech(self, prompt: Prompt) -> AsyncGenerator[Chunk | Reset | ModelStop, None]:
        """What the model says until it stops; where it breaks off, what another one says instead."""
        first, second = self._models()
        before = self._heard
        try:
            async with aclosing(self._spoken_on_by(first, prompt)) as speech:
                async for event in speech:
                    yield event
        except ModelError as error:
            is_another = second is not first
            if not self._may_fail_over(error, has_spoken=self._heard > before, is_another=is_another):
                raise
            if error.remedy:
                log_failure(logger, "The other model is asked, because the first one failed", error)
            else:
                logger.warning("The other model is asked after %s", error.code.value)
        else:
            return
        prompt = msgspec.structs.replace(prompt, said="".join(self._said))
        async with aclosing(self._spoken_on_by(second, prompt)) as speech:
            async for event in speech:
                yield event

    def _models(self) -> tuple[ChatModel, ChatModel]:
        """Which model is asked, and which one where that fails; a refused one is passed over for a while."""
        model = self._parts.model
        fallback = self._parts.fallback_model or model
        return (model if model.is_usable or not fallback.is_usable else fallback), fallback

    async def _spoken_on_by(
        self, model: ChatModel, prompt: Prompt
    ) -> AsyncGenerator[Chunk | Reset | ModelStop, None]:
        """What a model says; where the request is refused, what it says to one with less in it."""
        self._model_name = model.display_name
        if prompt.said and not model.can_continue:
            for taken_back in self._begin_anew():
                yield taken_back
            prompt = msgspec.structs.replace(prompt, said="")
        before = self._offset
        simpler = simpler_prompts(prompt)
        while True:
            try:
                async with aclosing(self._spoken_by(model, prompt)) as speech:
                    async for event in speech:
                        yield event
            except ModelRejected as error:
                following = None if self._offset > before else next(simpler, None)
                if following is None:
                    raise
                logger.warning(
                    "The request is refused (%s); asking again with %d messages instead of %d",
                    *(error.code.value, len(following.messages), len(prompt.messages)),
                )
            else:
                return
            if prompt.said and not following.said:
                for taken_back in self._begin_anew():
                    yield taken_back
                before = self._offset
            prompt = following

    def _take_back_preface(self) -> Iterator[Chunk | Reset]:
        """Leave what the model said: what the application has confirmed is undone."""
        if self._preface:
            spoken = "".join(self._said).removeprefix(self._preface)
            self._preface = ""
            yield from self._begin_anew()
            if spoken:
                yield self._say(spoken)

    def _begin_anew(self) -> Iterator[Chunk | Reset]:
        """Take back what was said."""
        self._said.clear()
        self._offset = 0
        self._bytes_left = LONGEST_REPLY_BYTES
        self._has_words = False
        self._writer.reset()
        yield Reset(0, self._news())
        if self._preface:
            yield self._say(self._preface)

    def _may_fail_over(self, error: ModelError, *, has_spoken: bool, is_another: bool) -> bool:
        if self._time.seconds_until(self._time.save_deadline) < LEAST_FOR_ANOTHER_MODEL_S:
            return False
        if has_spoken or isinstance(error, NoReply):
            return isinstance(error, ModelStreamBroken)
        # Whatever the first one fails with: a refusal of the request may be one of the model, in new words.
        return is_another and not isinstance(error, NoCredentials)

    async def _spoken_by(self, model: ChatModel, prompt: Prompt) -> AsyncGenerator[Chunk | ModelStop, None]:
        """What one model says, `ModelStop` last; blanks before the first word are said with it.

        Raises:
            ModelStreamBroken: it did not come to an end; or another `ModelError`, as the model does.
            NoReply: it came to an end before the first word.
        """
        joiner = SurrogateJoiner()
        blanks = ""
        model_events = model.stream(prompt, deadline=self._time.save_deadline)
        try:
            while True:
                # A model that never waits would not notice that its time is up.
                self._time.check()
                event = await self._time.in_time(anext(model_events, None))
                text = joiner.feed(event.text) if isinstance(event, TextDelta) else joiner.flush()
                self._heard += bool(text)
                if not self._has_words and is_blank(text):
                    blanks += text
                elif text:
                    self._has_words = True
                    self._note_first_text()
                    text, blanks = blanks + text, ""
                    storable = beginning_of(text, most_bytes=self._bytes_left)
                    if storable:
                        yield self._say(storable)
                    if storable != text:
                        logger.warning("The reply is cut off, because it is longer than a store can hold")
                        yield ModelStop(StopReason.MAX_TOKENS)
                        return
                if not isinstance(event, TextDelta):
                    break
            if event is None:
                raise ModelStreamBroken("the model ended without a reason")
            if not self._has_words and event.reason not in _ENDINGS_WITHOUT_WORDS:
                raise NoReply("the model said nothing that a person sees")
            yield event
        finally:
            await self._stop(model_events)

    async def _stop(self, model_events: AsyncGenerator[ModelEvent, None]) -> None:
        """Close the model's stream, if it lets itself be closed; what was said matters more."""
        limit = asyncio.timeout(SHARE_FOR_STOPPING_THE_MODEL * self._settings.save_reserve_s)
        try:
            async with limit:
                await model_events.aclose()
        except Exception as error:  # noqa: BLE001 (the ending of the turn is known already)
            logger.error("The model's stream could not be closed: %s", whereabouts(error))  # noqa: TRY400

    def _can_be_released(self) -> bool:
        return (
            self._may_release
            and self._claim.epoch < self._settings.runs.epochs
            and (self._parts.model.can_continue or not self._said)
        )

    async def _release(self) -> LogPoint:
        async with asyncio.timeout(self._time.seconds_until(self._time.saving_ends())):
            point = await self._writer.release()
        self._is_over = True
        self._measured.was_released = True
        return point

    async def _save(self, ending: RunEnding, reply: Message | None) -> None:
        """End the run.

        Raises:
            RunLost, CoachStreamError: it could not be done.
        """
        limit = asyncio.timeout(self._time.seconds_until(self._time.saving_ends()))
        try:
            async with limit:
                try:
                    await self._writer.finish(ending, reply)
                except StorageUnavailable as error:
                    logger.warning("The reply could not be saved (%s); trying once more", error)
                    await asyncio.sleep(SAVE_AGAIN_AFTER_S)
                    await self._writer.finish(ending, reply)
        except TimeoutError as error:
            raise StorageUnavailable("saving took too long") from error
        self._is_over = True
        self._measured.reply = reply

    async def _end(self, failure: CoachStreamError | None) -> Message | None:
        """End what was not ended, keeping what was said; the partial reply that was stored, if one was."""
        partial: Message | None = None
        # A reply whose save failed is not given up: the log has it, and is closed when its lease is over.
        if not self._is_over and self._reply is None:
            reply = self._unfinished_reply()
            partial = reply if reply is not None and reply.content else None
            code, retryable = _known(ContentFiltered() if self._is_withheld else failure)
            ending = Broken(code, retryable, None if partial is None else partial.id)
            try:
                if self._is_withheld:
                    await self._withdraw_side_effects()
                await self._save(ending, reply)
            except RunLost:
                partial = None
            except CoachStreamError as error:
                logger.error("The run could not be ended: %s", error.code.value)  # noqa: TRY400
                partial = None
            except Exception as error:  # noqa: BLE001 (the turn is over; its lease ends by itself)
                logger.error("The run could not be ended: %s", whereabouts(error))  # noqa: TRY400
                partial = None
        self._measured.failed_follow_ups = await self._finish_side_effects()
        return partial

    async def _withdraw_side_effects(self) -> None:
        # Before the mark that the message was blocked: without it, a retry comes here again.
        try:
            async with asyncio.timeout(self._time.seconds_until(self._time.saving_ends()) / 2):
                await self._side_effects.withdraw()
        except TimeoutError:
            logger.error("What was done for a blocked message could not be undone in time")  # noqa: TRY400

    def _unfinished_reply(self) -> Message | None:
        """What is stored of a reply that came to no end; a withheld one also without text, as a mark."""
        if self._is_withheld:
            return self._reply_message(StopReason.CONTENT_FILTERED)
        return self._reply_message(StopReason.INTERRUPTED) if self._said else None

    def _reply_message(self, stop_reason: StopReason) -> Message:
        moment = self._now + timedelta(milliseconds=max(1, self._time.elapsed_ms()))
        # Whatever this clock says: behind all messages that were there when the run was opened.
        in_order = max(moment, moment_of(self._claim.opened_at + 1))
        return Message(
            id=message_id(in_order, Role.ASSISTANT, self._parts.random_below),
            role=Role.ASSISTANT,
            content="".join(self._said),
            timestamp=moment,
            metadata=MessageMetadata(
                model=self._model_name,
                stop_reason=stop_reason,
                reply_to=self._claim.user_message.id,
                run_id=self._claim.run_id,
            ),
        )

    def _prompt(self, context: Context) -> Prompt:
        user_message = self._claim.user_message
        # An earlier attempt's interrupted reply to this very message is about to be replaced.
        earlier = [
            message
            for message in context.history
            if user_message.id not in {message.id, message.metadata.reply_to}
        ]
        prompt = build_prompt(
            coach=context.coach,
            now=self._now,
            messages=fit_history(earlier, user_message, budget_chars=self._settings.history_budget_chars),
            memories=context.memories,
            workouts=context.workouts,
            matches=context.matches,
            additional_constraints=self._side_effects.constraints,
            session_number=self._session_number(context.history, earlier),
        )
        return msgspec.structs.replace(prompt, said=self._claim.said) if self._claim.said else prompt

    def _session_number(self, history: Sequence[Message], earlier: Sequence[Message]) -> int:
        loaded_chars = sum(len(message.content) for message in history)
        if (
            len(history) >= self._settings.limits.messages
            or loaded_chars >= self._settings.history_budget_chars
        ):
            return 1  # there may be more than was loaded, and a wrong number is worse than none
        return 1 + sum(message.role is Role.USER for message in earlier)

    async def _finish_side_effects(self) -> tuple[str, ...]:
        remaining_s = self._time.seconds_until(self._time.deadline)
        return await self._side_effects.finish(
            within_s=min(self._settings.follow_ups_within_s, remaining_s / 2)
        )

    def _say(self, text: str) -> Chunk:
        measured = self._measured
        measured.chunks += 1
        if measured.first_chunk_ms is None:
            measured.first_chunk_ms = self._time.elapsed_ms()
        chunk = Chunk(text, self._offset, self._news())
        self._said.append(text)
        self._bytes_left -= len(text.encode())
        self._offset += utf16_length(text)
        self._writer.say(text)
        return chunk

    def _news(self) -> LogPoint | None:
        point = self._writer.point
        if point.number == self._told:
            return None
        self._told = point.number
        return point

    def _note_first_text(self) -> None:
        measured = self._measured
        if measured.model_first_text_ms is None and measured.model_asked_ms is not None:
            measured.model_first_text_ms = self._time.elapsed_ms() - measured.model_asked_ms


def _known(failure: CoachStreamError | None) -> tuple[ErrorCode, bool]:
    """What later readers are told; a turn that was cancelled was interrupted."""
    known = TurnInterrupted() if failure is None else failure
    return known.code, known.retryable
