"""One turn: a user's message in, a coach's reply out, as a stream of events over the ports.

The order is the promise. `Started` goes out before anything is read or written. The user's message is stored
before the model is called. What the model says goes out as it comes. The reply is stored before `Completed`.
Whatever goes wrong, what was said so far is stored as an interrupted reply, the claim on the conversation is
given up, and the last event is `Completed` or `Failed`.

All dates come from one reading of the clock: the moments of a turn are that reading plus the time since.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import TypeVar

import msgspec

from coachstream.conversation.commands import Command, parse_command
from coachstream.conversation.context import Context, ContextLimits, ContextLoad
from coachstream.conversation.errors import (
    CoachStreamError,
    ContentFiltered,
    DeadlineExceeded,
    ModelStreamBroken,
    ProcessingError,
    StorageUnavailable,
    whereabouts,
)
from coachstream.conversation.events import (
    Chunk,
    Completed,
    Event,
    Failed,
    SemanticContextUse,
    Started,
    Timings,
)
from coachstream.conversation.history import PARAGRAPH, fit_history
from coachstream.conversation.message_id import message_id
from coachstream.conversation.model import (
    Message,
    MessageMetadata,
    Role,
    StopReason,
    to_milliseconds,
)
from coachstream.conversation.parts import TurnParts
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta, TurnClaim
from coachstream.conversation.prompt import Prompt, build_prompt
from coachstream.conversation.report import TurnMeasurements
from coachstream.conversation.side_effects import SideEffects, constraints_of
from coachstream.conversation.text import SurrogateJoiner
from coachstream.conversation.turn_request import TurnRequest

logger = logging.getLogger("coachstream.turn")

T = TypeVar("T")

SAVE_AGAIN_AFTER_S = 0.2
"""A reply that was paid for is worth a second try."""

# How the reserve is spent when everything hangs: what remains is for sending the last event, because Lambda
# stops the process at the deadline.
SHARE_FOR_STOPPING_THE_MODEL = 0.1
SHARE_FOR_SAVING = 0.7
SHARE_FOR_GIVING_UP = 0.1


class TurnSettings(msgspec.Struct, frozen=True):
    """What can be tuned.

    Attributes:
        history_budget_chars: how many characters of history the prompt holds.
        save_reserve_s: seconds before the deadline at which the model is stopped, for saving; no save takes
            longer, however far the deadline is.
        follow_ups_within_s: how long the end of a turn waits for what it set off.
        limits: of what is loaded for the prompt.
    """

    history_budget_chars: int = 60_000
    save_reserve_s: float = 3.0
    follow_ups_within_s: float = 2.0
    limits: ContextLimits = ContextLimits()


def run_turn(
    request: TurnRequest, parts: TurnParts, settings: TurnSettings | None = None
) -> AsyncGenerator[Event, None]:
    """Run a turn; the events are its reader's, and the turn waits while they are not taken.

    Closing the generator, or cancelling the task that reads it, ends the turn as an interruption.
    """
    return _Turn(request, parts, settings or TurnSettings()).events()


class _Turn:
    def __init__(self, request: TurnRequest, parts: TurnParts, settings: TurnSettings) -> None:
        self._request = request
        self._parts = parts
        self._settings = settings
        self._began = parts.clock.monotonic()
        self._now = to_milliseconds(parts.clock.now())
        self._claim: TurnClaim | None = None
        self._claiming: asyncio.Task[TurnClaim] | None = None
        self._said: list[str] = []
        self._reply: Message | None = None
        self._side_effects = SideEffects(request.key, parts, now=self._now)
        self._measured = TurnMeasurements()

    async def events(self) -> AsyncGenerator[Event, None]:
        failure: CoachStreamError | None = None
        try:
            yield Started()
            async with aclosing(self._answer()) as answer:
                async for event in answer:
                    yield event
        except CoachStreamError as error:
            logger.info("The turn fails with %s: %s", error.code.value, error)
            failure = error
        except Exception as error:  # noqa: BLE001 (a stream never ends without a terminal event)
            logger.error("The turn fails with %s", whereabouts(error))  # noqa: TRY400 (its text may quote the user)
            failure = ProcessingError()
        finally:
            # Also when the reader closed the turn or its task was cancelled: then nobody is told.
            partial = await _despite_cancellation(self._end(failure))
        if failure is not None:
            yield Failed(failure.code, failure.sentence, failure.retryable, partial)

    async def _answer(self) -> AsyncGenerator[Event, None]:
        parts, request = self._parts, self._request
        self._claiming = asyncio.create_task(parts.turns.begin_turn(request.key, self._user_message()))
        async with ContextLoad(
            parts.context,
            parts.recall,
            request.key,
            request.text,
            self._settings.limits,
            history_budget_chars=self._settings.history_budget_chars,
        ) as load:
            # Shielded, because a claim that is being made when the turn ends must still be given up.
            claim = await self._in_time(asyncio.shield(self._claiming))
            self._claiming = None
            self._measured.user_message = claim.user_message
            self._measured.is_first_attempt = claim.is_first_attempt
            if claim.reply is not None:
                self._measured.was_answered = True
                self._measured.reply = claim.reply
                yield self._chunk(claim.reply.content)
                yield self._completed(claim, claim.reply, SemanticContextUse())
                return
            self._claim = claim
            command = parse_command(claim.user_message.content)
            confirmation = await self._in_time(self._side_effects.confirm(claim, command))
            context = await self._in_time(load.loaded())
        self._measured.context = context
        self._measured.context_ms = self._elapsed_ms()
        self._side_effects.hand_off_workout(claim, command, context.coach)
        if confirmation:
            yield self._say(confirmation + PARAGRAPH)
        async with aclosing(self._reply_of_the_model(claim, command, context)) as reply:
            async for event in reply:
                yield event

    async def _reply_of_the_model(
        self, claim: TurnClaim, command: Command | None, context: Context
    ) -> AsyncGenerator[Event, None]:
        prompt = self._prompt(claim, command, context)
        self._measured.matches = prompt.semantic_context.matches
        self._measured.history_messages = len(prompt.messages)
        self._measured.model_asked_ms = self._elapsed_ms()
        stop = ModelStop(StopReason.INTERRUPTED)
        has_begun = False
        async with aclosing(self._speech(prompt)) as speech:
            async for event in speech:
                if isinstance(event, ModelStop):
                    stop = event
                    self._measured.usage = stop.usage
                    continue
                yield event
                if not has_begun:
                    has_begun = True
                    self._side_effects.count_memories(context.memories)  # the first text has gone out by now
        if stop.reason is StopReason.CONTENT_FILTERED:
            raise ContentFiltered
        if stop.reason is StopReason.INTERRUPTED or not has_begun:
            raise ModelStreamBroken("the model ended without a reply")
        reply = await _despite_cancellation(self._save_reply(claim, stop.reason))
        self._side_effects.trigger_summary(claim)
        await self._finish_side_effects()
        yield self._completed(claim, reply, prompt.semantic_context)

    async def _speech(self, prompt: Prompt) -> AsyncGenerator[Chunk | ModelStop, None]:
        """What the model says until it stops; ends without `ModelStop` where the model does."""
        joiner = SurrogateJoiner()
        model_events = self._parts.model.stream(prompt, deadline=self._save_deadline)
        try:
            while True:
                # A model that never waits would not notice that its time is up.
                if self._seconds_until(self._save_deadline) == 0:
                    raise DeadlineExceeded
                event = await self._in_time(anext(model_events, None))
                text = joiner.feed(event.text) if isinstance(event, TextDelta) else joiner.flush()
                if text:
                    self._note_first_text()
                    yield self._say(text)
                if not isinstance(event, TextDelta):
                    break
            if event is not None:
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

    async def _in_time(self, work: Awaitable[T]) -> T:
        """Wait for work while there is time to save what it may lead to.

        Raises:
            DeadlineExceeded: there is not.
        """
        try:
            async with asyncio.timeout(self._seconds_until(self._save_deadline)) as limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise DeadlineExceeded from None
            raise

    async def _save_reply(self, claim: TurnClaim, stop_reason: StopReason) -> Message:
        # Made once: a save whose answer was lost may have been done, and must not be repeated under a new id.
        reply = self._reply = self._reply_message(claim, stop_reason)
        limit = asyncio.timeout(self._seconds_until(self._saving_ends()))
        try:
            async with limit:
                try:
                    await self._parts.turns.save_reply(claim, reply)
                except StorageUnavailable as error:
                    logger.warning("The reply could not be saved (%s); trying once more", error)
                    await asyncio.sleep(SAVE_AGAIN_AFTER_S)
                    await self._parts.turns.save_reply(claim, reply)
        except TimeoutError as error:
            raise StorageUnavailable("saving took too long") from error
        self._claim = None
        self._measured.reply = reply
        return reply

    async def _end(self, failure: CoachStreamError | None) -> Message | None:
        """Leave nothing behind, and report; the partial reply that was stored, if one was."""
        partial = await self._give_up(failure)
        failed = await self._finish_side_effects()
        total_ms = self._elapsed_ms()
        self._parts.report(
            self._measured.report(self._request.key, failure, total_ms=total_ms, failed_follow_ups=failed)
        )
        return partial

    async def _give_up(self, failure: CoachStreamError | None) -> Message | None:
        """Store what was said as a partial reply, unless a save failed, and leave no claim behind."""
        claim = await self._held_claim()
        if claim is None:
            return None
        if self._said and self._reply is None:
            filtered = isinstance(failure, ContentFiltered)
            try:
                return await self._save_reply(
                    claim, StopReason.CONTENT_FILTERED if filtered else StopReason.INTERRUPTED
                )
            except CoachStreamError as error:
                logger.error("An interrupted reply is lost: %s", error.code.value)  # noqa: TRY400
            except Exception as error:  # noqa: BLE001 (the claim must be given up in any case)
                logger.error("An interrupted reply is lost: %s", whereabouts(error))  # noqa: TRY400
        try:
            async with asyncio.timeout(SHARE_FOR_GIVING_UP * self._settings.save_reserve_s):
                await self._parts.turns.abandon_turn(claim)
        except Exception as error:  # noqa: BLE001 (the turn is over; a claim ends with its lease)
            logger.error("The claim could not be given up: %s", whereabouts(error))  # noqa: TRY400
        self._claim = None
        return None

    async def _held_claim(self) -> TurnClaim | None:
        """The claim, also when it was still being made."""
        claiming, self._claiming = self._claiming, None
        if claiming is not None:
            await asyncio.wait((claiming,), timeout=self._seconds_until(self._saving_ends()))
            claiming.cancel()
            await asyncio.gather(claiming, return_exceptions=True)
            if not claiming.cancelled() and claiming.exception() is None:
                claim = claiming.result()
                self._claim = claim if claim.reply is None else None
        return self._claim

    def _saving_ends(self) -> float:
        """When a save that begins now must be over."""
        begins = min(self._parts.clock.monotonic(), self._save_deadline)
        share = SHARE_FOR_STOPPING_THE_MODEL + SHARE_FOR_SAVING
        return begins + share * self._settings.save_reserve_s

    def _user_message(self) -> Message:
        request = self._request
        if request.repeats is not None:
            return request.repeats
        return Message(
            id=message_id(self._now, Role.USER, self._parts.random_below),
            role=Role.USER,
            content=request.text,
            timestamp=self._now if request.sent_at is None else to_milliseconds(request.sent_at),
            metadata=MessageMetadata(client_message_id=request.client_message_id, streamed=request.streamed),
        )

    def _reply_message(self, claim: TurnClaim, stop_reason: StopReason) -> Message:
        # At least a millisecond later, so that the reply's id sorts behind the message's.
        moment = self._now + timedelta(milliseconds=max(1, self._elapsed_ms()))
        return Message(
            id=message_id(moment, Role.ASSISTANT, self._parts.random_below),
            role=Role.ASSISTANT,
            content="".join(self._said),
            timestamp=moment,
            metadata=MessageMetadata(
                model=self._parts.model.display_name,
                stop_reason=stop_reason,
                reply_to=claim.user_message.id,
            ),
        )

    def _prompt(self, claim: TurnClaim, command: Command | None, context: Context) -> Prompt:
        user_message = claim.user_message
        # An earlier attempt's interrupted reply to this very message is about to be replaced.
        earlier = [
            message
            for message in context.history
            if user_message.id not in {message.id, message.metadata.reply_to}
        ]
        return build_prompt(
            coach=context.coach,
            now=self._now,
            messages=fit_history(earlier, user_message, budget_chars=self._settings.history_budget_chars),
            memories=context.memories,
            workouts=context.workouts,
            matches=context.matches,
            additional_constraints=constraints_of(command),
            session_number=self._session_number(context.history, earlier),
        )

    def _session_number(self, history: Sequence[Message], earlier: Sequence[Message]) -> int:
        loaded_chars = sum(len(message.content) for message in history)
        if (
            len(history) >= self._settings.limits.messages
            or loaded_chars >= self._settings.history_budget_chars
        ):
            return 1  # there may be more than was loaded, and a wrong number is worse than none
        return 1 + sum(message.role is Role.USER for message in earlier)

    async def _finish_side_effects(self) -> tuple[str, ...]:
        remaining_s = self._request.deadline - self._parts.clock.monotonic()
        return await self._side_effects.finish(
            within_s=min(self._settings.follow_ups_within_s, remaining_s / 2)
        )

    def _say(self, text: str) -> Chunk:
        self._said.append(text)
        return self._chunk(text)

    def _chunk(self, text: str) -> Chunk:
        measured = self._measured
        measured.chunks += 1
        if measured.first_chunk_ms is None:
            measured.first_chunk_ms = self._elapsed_ms()
        return Chunk(text)

    def _note_first_text(self) -> None:
        measured = self._measured
        if measured.model_first_text_ms is None and measured.model_asked_ms is not None:
            measured.model_first_text_ms = self._elapsed_ms() - measured.model_asked_ms

    def _completed(self, claim: TurnClaim, reply: Message, semantic_context: SemanticContextUse) -> Completed:
        measured = self._measured
        return Completed(
            user_message=claim.user_message,
            reply=reply,
            conversation_id=claim.key.conversation_id,
            semantic_context=semantic_context,
            stop_reason=reply.metadata.stop_reason or StopReason.END_TURN,
            usage=measured.usage,
            timings=Timings(
                context=measured.context_ms or 0,
                first_chunk=None if measured.was_answered else measured.first_chunk_ms,
                total=self._elapsed_ms(),
            ),
        )

    @property
    def _save_deadline(self) -> float:
        return self._request.deadline - self._settings.save_reserve_s

    def _seconds_until(self, moment: float) -> float:
        return max(0.0, moment - self._parts.clock.monotonic())

    def _elapsed_ms(self) -> int:
        return round((self._parts.clock.monotonic() - self._began) * 1000)


async def _despite_cancellation(work: Coroutine[object, object, T]) -> T:
    """Do work to its end even if this task is cancelled, and be cancelled then."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        with suppress(Exception):
            task.result()
        raise cancelled
    return task.result()
