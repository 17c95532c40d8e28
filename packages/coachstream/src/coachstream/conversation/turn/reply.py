"""Produces the reply of one run: from a claim to a stored reply, using the ports.

The order is guaranteed. The model's text goes to the reader immediately, and to the log in the background.
The reply is stored before `Completed` is sent. If anything fails, the text so far is stored as an interrupted
reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

import msgspec

from coachstream.conversation.another_try import TryKind
from coachstream.conversation.errors import (
    CoachStreamError,
    ContentFiltered,
    DeadlineExceeded,
    ModelStreamBroken,
    ProcessingError,
    StorageUnavailable,
    TurnInterrupted,
    describe_exception,
    log_failure,
)
from coachstream.conversation.events import Ending, Event, Failed, LogPoint, Reconnect, Send
from coachstream.conversation.ids import message_id
from coachstream.conversation.model import (
    Message,
    MessageMetadata,
    Role,
    SemanticContextUse,
    StopReason,
    Timings,
)
from coachstream.conversation.prompt.assembly import build_prompt
from coachstream.conversation.prompt.history import fit_history
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.quotas import Spent
from coachstream.conversation.run_log import Broken, Finished, reply_time
from coachstream.conversation.run_log import Ending as RunEnding
from coachstream.conversation.runs.claim import RunClaim
from coachstream.conversation.runs.closer import completed
from coachstream.conversation.runs.writer import RunLost, RunWriter
from coachstream.conversation.turn.context import Context, ContextLoad
from coachstream.conversation.turn.deadline import TurnDeadline, WorkInterrupted, run_shielded
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.draft import Draft
from coachstream.conversation.turn.quota_use import PendingQuotaUse
from coachstream.conversation.turn.report import TurnMeasurements
from coachstream.conversation.turn.settings import TurnSettings
from coachstream.conversation.turn.side_effects import SideEffects
from coachstream.conversation.turn.speech import Speech
from coachstream.time_zone import load_zone

logger = logging.getLogger("coachstream.turn")

SAVE_AGAIN_AFTER_S = 0.2
"""The delay before the second attempt to save a reply."""


class Reply:
    """Produces the reply for one claim.

    Args:
        claim: the claim on the run.
        dependencies: the adapters.
        settings: the turn's settings.
        deadline: the turn's deadline.
        measured: the turn's measurements, updated in place.
        send: sends events to the reader.
        now: the turn's single clock value.
        may_release: whether the reader can reconnect, so that the run can continue past the deadline.
    """

    def __init__(
        self,
        claim: RunClaim,
        dependencies: TurnDependencies,
        settings: TurnSettings,
        deadline: TurnDeadline,
        measured: TurnMeasurements,
        send: Send,
        *,
        now: datetime,
        may_release: bool,
    ) -> None:
        self._claim = claim
        self._dependencies = dependencies
        self._settings = settings
        self._deadline = deadline
        self._measured = measured
        self._send = send
        self._now = now
        self._may_release = may_release
        self._is_over = False
        self._is_withheld = False
        self._message: Message | None = None
        self._prompt_chars = 0
        self._semantic_context = SemanticContextUse()
        self._side_effects = SideEffects(
            claim, dependencies, now=now, tell=send if may_release and settings.contextual_events else None
        )
        self._writer = RunWriter(
            claim, dependencies.runs, dependencies.clock, settings.runs, deadline.interrupt
        )
        self._draft = Draft(claim.said, self._writer, send, deadline, measured)
        self._speech = Speech(
            self._draft,
            dependencies.model,
            dependencies.fallback_model or dependencies.model,
            deadline,
            measured,
            on_first_text=self._count_memories,
            keeps_text=claim.another_try is not None and claim.another_try.continued_id is not None,
        )
        self._quota_use = PendingQuotaUse(
            dependencies.runs, dependencies.clock, claim.key.user_id, settings.runs.quotas
        )
        measured.run_id = claim.run_id
        measured.epoch = claim.epoch
        measured.user_message = claim.user_message
        measured.is_first_attempt = claim.is_first_attempt

    @property
    def point(self) -> LogPoint:
        """The newest entry of this lease holder."""
        return self._writer.point

    async def produce(self, load: ContextLoad, *, first: Sequence[Event]) -> Ending:
        """Send `first`, then the reply; cancellation ends it as interrupted.

        Returns:
            The last event, which is not sent.

        Raises:
            RunLost: another process continues the run.
        """
        failure: CoachStreamError = TurnInterrupted()  # what later readers see if the turn is cancelled
        partial: Message | None = None
        async with self._quota_use, self._writer:
            try:
                for event in first:
                    await self._send(event)
                return await self._produce(load)
            except RunLost:
                self._is_over = True
                raise
            except CoachStreamError as error:
                log_failure(logger, "The turn failed", error)
                failure = self._measured.failure = error
            except Exception as error:  # noqa: BLE001 (a stream never ends without a terminal event)
                # Its text may quote the user.
                logger.error("The turn failed with %s", describe_exception(error))  # noqa: TRY400
                failure = self._measured.failure = ProcessingError()
            finally:
                partial = await run_shielded(self._end(failure))
        return Failed(failure.code, failure.sentence, failure.retryable, partial, self._writer.point)

    async def _produce(self, load: ContextLoad) -> Ending:
        try:
            stop_reason = await self._speak(load)
        except WorkInterrupted:
            if self._writer.is_lost:
                raise RunLost from None
            stop_reason = StopReason.STOPPED
            if self._claim.another_try is not None and not self._draft.has_words:
                raise TurnInterrupted from None  # the earlier version stays
        except DeadlineExceeded:
            if not self._can_be_released():
                raise
            return Reconnect(await run_shielded(self._release()))
        ending, reply = await run_shielded(self._conclude(stop_reason))
        self._side_effects.follow_reply()
        await self._finish_side_effects()
        claim = self._claim
        return completed(claim.key, claim.user_message, reply, ending, self._writer.point, claim.another_try)

    async def _conclude(self, stop_reason: StopReason) -> tuple[Finished, Message]:
        """Do what must be done before the reply is stored, then store it."""
        context = self._measured.context
        closing_words = await self._side_effects.settle(
            None if context is None else context.coach,
            longest_s=self._deadline.seconds_until(self._deadline.save_at),
            within_s=self._seconds_for_follow_ups(),
        )
        await self._draft.end(closing_words)
        spent = await self._spent()
        reply = self._message = self._reply_message(stop_reason)
        ending = Finished(
            reply_id=reply.id,
            stop_reason=stop_reason,
            semantic_context=self._semantic_context,
            usage=self._measured.usage,
            timings=Timings(
                context=self._measured.context_ms or 0,
                first_chunk=self._measured.first_chunk_ms,
                total=self._deadline.elapsed_ms(),
            ),
            quotas=() if spent is None or spent.use is None else spent.use.left(),
        )
        await self._save(ending, reply, spent)
        return ending, reply

    async def _speak(self, load: ContextLoad) -> StopReason:
        """Build the prompt and let the model reply to it.

        Raises:
            ContentFiltered, ModelStreamBroken: the model stopped for a reason that means there is no reply.
        """
        said = self._claim.said
        self._side_effects.begin(load.analysis)
        if said:
            confirmation = self._side_effects.confirmation_in(said)
        else:
            confirmation = await self._deadline.bound(self._side_effects.confirm())
        context = await self._deadline.bound(load.loaded())
        self._measured.context = context
        zone = await self._deadline.bound(
            load_zone(self._claim.time_zone, context.profile.time_zone, self._settings.time_zone)
        )
        self._side_effects.time_zone = str(zone)
        self._measured.context_ms = self._deadline.elapsed_ms()
        await self._draft.begin(confirmation)
        prompt = self._prompt(context, zone)
        self._prompt_chars = prompt.chars
        self._semantic_context = prompt.semantic_context
        self._measured.matches = prompt.semantic_context.matches
        self._measured.history_messages = len(prompt.messages)
        stop = await self._speech.speak(prompt)
        self._measured.usage = stop.usage
        if stop.reason is StopReason.CONTENT_FILTERED:
            self._is_withheld = True
            await self._draft.take_back_confirmation()
            raise ContentFiltered
        if stop.reason is StopReason.INTERRUPTED:
            raise ModelStreamBroken("the model ended without a reply")
        return stop.reason

    def _can_be_released(self) -> bool:
        return (
            self._may_release
            and self._claim.epoch < self._settings.runs.epochs
            and (self._dependencies.model.can_continue or self._draft.is_empty)
        )

    async def _release(self) -> LogPoint:
        async with asyncio.timeout(self._deadline.seconds_to_save()):
            point = await self._writer.release()
        self._is_over = True
        self._measured.was_released = True
        return point

    async def _save(self, ending: RunEnding, reply: Message | None, spent: Spent | None = None) -> None:
        """End the run.

        Raises:
            RunLost, CoachStreamError: the run could not be ended.
        """
        limit = asyncio.timeout(self._deadline.seconds_to_save())
        try:
            async with limit:
                try:
                    await self._writer.finish(ending, reply, spent)
                except StorageUnavailable as error:
                    logger.warning("The reply could not be saved (%s); trying once more", error)
                    await asyncio.sleep(SAVE_AGAIN_AFTER_S)
                    await self._writer.finish(ending, reply, spent)
        except TimeoutError as error:
            raise StorageUnavailable("saving took too long") from error
        self._is_over = True
        self._measured.reply = reply

    async def _end(self, failure: CoachStreamError) -> Message | None:
        """End the run unless it has ended, keeping its text; return the stored partial reply, if any."""
        partial: Message | None = None
        self._side_effects.stop()
        # A reply whose save failed is not lost: the log has it, and is closed when the lease expires.
        if not self._is_over and self._message is None:
            reply = self._unfinished_reply()
            partial = reply if reply is not None and reply.content else None
            reason = ContentFiltered() if self._is_withheld else failure
            ending = Broken(reason.code, reason.retryable, None if partial is None else partial.id)
            try:
                if self._is_withheld and self._is_of_new_message:
                    await self._withdraw_side_effects()
                await self._save(ending, reply, await self._spent())
            except RunLost:
                partial = None
            except CoachStreamError as error:
                logger.error("The run could not be ended: %s", error.code.value)  # noqa: TRY400
                partial = None
            except Exception as error:  # noqa: BLE001 (the turn is over; its lease expires)
                logger.error("The run could not be ended: %s", describe_exception(error))  # noqa: TRY400
                partial = None
        await self._finish_side_effects()
        return partial

    async def _spent(self) -> Spent | None:
        chars = self._prompt_chars + len(self._draft.text) if self._draft.has_words else 0
        return await self._quota_use.spent(self._measured.usage, chars=chars)

    async def _withdraw_side_effects(self) -> None:
        # Before the message is marked as blocked: without the mark, a retry gets here again.
        try:
            async with asyncio.timeout(self._deadline.seconds_to_save() / 2):
                await self._side_effects.withdraw()
        except TimeoutError:
            logger.error("The side effects of a blocked message could not be undone in time")  # noqa: TRY400

    async def _finish_side_effects(self) -> None:
        self._measured.failed_follow_ups = await self._side_effects.finish(
            within_s=self._seconds_for_follow_ups()
        )

    def _seconds_for_follow_ups(self) -> float:
        remaining_s = self._deadline.seconds_until(self._deadline.at)
        return min(self._settings.follow_ups_within_s, remaining_s / 2)

    def _count_memories(self) -> None:
        context = self._measured.context
        # An exchange counts them once, however often it is tried.
        if context is not None and self._claim.another_try is None:
            self._side_effects.count_memories(context.memories)

    @property
    def _is_of_new_message(self) -> bool:
        """Whether the run is the first one for the text of its message."""
        another_try = self._claim.another_try
        return another_try is None or another_try.kind is TryKind.REPLACE

    def _unfinished_reply(self) -> Message | None:
        """The message to store for an unfinished reply; a withheld one is stored even without text.

        None for another try: the earlier version stays.
        """
        if self._claim.another_try is not None:
            return None
        if self._is_withheld:
            return self._reply_message(StopReason.CONTENT_FILTERED)
        return None if self._draft.is_empty else self._reply_message(StopReason.INTERRUPTED)

    def _reply_message(self, stop_reason: StopReason) -> Message:
        moment = self._now + timedelta(milliseconds=max(1, self._deadline.elapsed_ms()))
        another_try = self._claim.another_try
        new_id = message_id(
            reply_time(self._claim.opened_at), Role.ASSISTANT, self._dependencies.random_below
        )
        return Message(
            id=new_id if another_try is None else another_try.continued_id or new_id,
            role=Role.ASSISTANT,
            content=self._draft.text,
            timestamp=moment,
            metadata=MessageMetadata(
                model=self._speech.model_name,
                stop_reason=stop_reason,
                reply_to=self._claim.user_message.id,
                run_id=self._claim.run_id,
                versions=0 if another_try is None else another_try.versions,
            ),
        )

    def _prompt(self, context: Context, zone: tzinfo) -> Prompt:
        user_message = self._claim.user_message
        # The reply to the same message, from an earlier attempt, or a whole exchange is about to be replaced.
        another_try = self._claim.another_try
        replaced = {user_message.id, another_try.user_message_id if another_try else user_message.id}
        earlier = [
            message
            for message in context.history
            if replaced.isdisjoint({message.id, message.metadata.reply_to})
        ]
        prompt = build_prompt(
            coach=context.coach,
            now=self._now,
            messages=fit_history(earlier, user_message, budget_chars=self._settings.history_budget_chars),
            memories=context.memories,
            workouts=context.workouts,
            matches=context.matches,
            profile=context.profile,
            summary=context.summary,
            additional_constraints=self._side_effects.constraints(),
            session_number=self._session_number(context.history, earlier),
            timezone=zone,
        )
        return msgspec.structs.replace(prompt, said=self._claim.said) if self._claim.said else prompt

    def _session_number(self, history: Sequence[Message], earlier: Sequence[Message]) -> int:
        loaded_chars = sum(len(message.content) for message in history)
        if (
            len(history) >= self._settings.limits.messages
            or loaded_chars >= self._settings.history_budget_chars
        ):
            return 1  # not all messages may be loaded, and a wrong number is worse than none
        return 1 + sum(message.role is Role.USER for message in earlier)
