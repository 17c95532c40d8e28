"""Drives the models: streams one model's reply, and continues or restarts it if the model fails.

A rejected request is retried with a simpler prompt. A model that fails before its first text, or whose stream
breaks, is replaced by the fallback model, which continues the draft if it can, and otherwise restarts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import msgspec

from coachstream.conversation.errors import (
    ModelError,
    ModelRejected,
    ModelStreamBroken,
    NoCredentials,
    NoReply,
    describe_exception,
    log_failure,
)
from coachstream.conversation.model import StopReason
from coachstream.conversation.ports import ChatModel, ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.history import simpler_prompts
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.text import SurrogateJoiner
from coachstream.conversation.turn.deadline import SHARE_FOR_STOPPING_THE_MODEL, TurnDeadline
from coachstream.conversation.turn.draft import Draft
from coachstream.conversation.turn.report import TurnMeasurements
from coachstream.conversation.visible_text import is_blank

logger = logging.getLogger("coachstream.turn")

LEAST_FOR_ANOTHER_MODEL_S = 3.0

_ENDINGS_WITHOUT_WORDS = {StopReason.CONTENT_FILTERED, StopReason.INTERRUPTED}
"""Stop reasons that the model did not choose; `Reply` handles them."""


class Speech:
    """Streams the models' text into a draft.

    Args:
        draft: the draft of the reply.
        model: the model to try first.
        fallback: the model to try if the first one fails; may be the same one.
        deadline: the turn's deadline.
        measured: the turn's measurements, updated in place.
        on_first_text: called once, after a model's first text was sent.
        keeps_text: whether the draft's text may not be discarded: a reply is being continued.

    Attributes:
        model_name: display name of the model that was used last.
    """

    def __init__(
        self,
        draft: Draft,
        model: ChatModel,
        fallback: ChatModel,
        deadline: TurnDeadline,
        measured: TurnMeasurements,
        on_first_text: Callable[[], None],
        *,
        keeps_text: bool = False,
    ) -> None:
        self.model_name = model.display_name
        self._model = model
        self._fallback = fallback
        self._draft = draft
        self._deadline = deadline
        self._measured = measured
        self._on_first_text: Callable[[], None] | None = on_first_text
        self._pieces_heard = 0
        self._keeps_text = keeps_text
        self._can_fall_back = fallback.can_continue or not keeps_text

    async def speak(self, prompt: Prompt) -> ModelStop:
        """Stream the reply to a prompt, and return how the model stopped.

        Raises:
            ModelError: no model produced a reply.
            WorkInterrupted, DeadlineExceeded: as `TurnDeadline.bound` does.
        """
        # A model that is not usable is skipped for a while.
        is_first_skipped = not self._model.is_usable and self._fallback.is_usable and self._can_fall_back
        first = self._fallback if is_first_skipped else self._model
        heard_before = self._pieces_heard
        self._measured.model_asked_ms = self._deadline.elapsed_ms()
        try:
            return await self._speak_with(first, prompt)
        except ModelError as error:
            has_spoken = self._pieces_heard > heard_before
            if not self._may_fail_over(error, has_spoken=has_spoken, is_another=first is not self._fallback):
                raise
            if error.remedy:
                log_failure(logger, "Falling back to the other model, because the first one failed", error)
            else:
                logger.warning("Falling back to the other model after %s", error.code.value)
        return await self._speak_with(self._fallback, msgspec.structs.replace(prompt, said=self._draft.text))

    def _may_fail_over(self, error: ModelError, *, has_spoken: bool, is_another: bool) -> bool:
        if self._deadline.seconds_until(self._deadline.save_at) < LEAST_FOR_ANOTHER_MODEL_S:
            return False
        if not self._can_fall_back:
            return False
        if has_spoken or isinstance(error, NoReply):
            return isinstance(error, ModelStreamBroken)
        # For any failure: a rejected request may in fact be a rejected model, in an unknown wording.
        return is_another and not isinstance(error, NoCredentials)

    async def _speak_with(self, model: ChatModel, prompt: Prompt) -> ModelStop:
        """Stream one model's text; if its service rejects the request, retry with a simpler prompt."""
        self.model_name = model.display_name
        if prompt.said and not model.can_continue:
            await self._draft.restart()
            prompt = msgspec.structs.replace(prompt, said="")
        offset_before = self._draft.offset
        simpler = simpler_prompts(prompt)
        while True:
            try:
                return await self._listen(model, prompt)
            except ModelRejected as error:
                following = None if self._draft.offset > offset_before else next(simpler, None)
                if following is None or (self._keeps_text and not following.said):
                    raise
                logger.warning(
                    "The request was rejected (%s); retrying with %d messages instead of %d",
                    *(error.code.value, len(following.messages), len(prompt.messages)),
                )
            if prompt.said and not following.said:
                await self._draft.restart()
                offset_before = self._draft.offset
            prompt = following

    async def _listen(self, model: ChatModel, prompt: Prompt) -> ModelStop:
        """Write one model's text into the draft; leading blanks are held back until the first visible text.

        Raises:
            ModelStreamBroken: the stream ended without a stop reason; or another `ModelError`.
            NoReply: the model stopped before any visible text.
        """
        model_events = model.stream(prompt, deadline=self._deadline.save_at)
        try:
            # One limit for the whole stream: one for each event would cost more than passing it on.
            stop = await self._deadline.bound(self._hear(model_events))
        finally:
            await self._close(model_events)
        if stop is None:
            raise ModelStreamBroken("the model's stream ended without a stop reason")
        if not self._draft.has_words and stop.reason not in _ENDINGS_WITHOUT_WORDS:
            raise NoReply("the model's reply has no visible text")
        return stop

    async def _hear(self, model_events: AsyncIterator[ModelEvent]) -> ModelStop | None:
        """Write text into the draft until the model stops; None if it ends without a stop."""
        joiner = SurrogateJoiner()
        blanks = ""
        while True:
            # A model that never suspends would not notice that its time is up.
            self._deadline.check()
            event = await anext(model_events, None)
            text = joiner.feed(event.text) if isinstance(event, TextDelta) else joiner.flush()
            self._pieces_heard += bool(text)
            if not self._draft.has_words and is_blank(text):
                blanks += text
            elif text:
                self._draft.has_words = True
                self._note_first_text()
                text, blanks = blanks + text, ""
                is_whole = await self._draft.say(text)
                if self._on_first_text is not None:
                    self._on_first_text()
                    self._on_first_text = None
                if not is_whole:
                    logger.warning("The reply is truncated, because it is longer than a store can hold")
                    return ModelStop(StopReason.MAX_TOKENS)
            if not isinstance(event, TextDelta):
                return event

    def _note_first_text(self) -> None:
        measured = self._measured
        if measured.model_first_text_ms is None and measured.model_asked_ms is not None:
            measured.model_first_text_ms = self._deadline.elapsed_ms() - measured.model_asked_ms

    async def _close(self, model_events: AsyncGenerator[ModelEvent, None]) -> None:
        """Close the model's stream, if that is possible in time; saving the text matters more."""
        limit = asyncio.timeout(SHARE_FOR_STOPPING_THE_MODEL * self._deadline.save_reserve_s)
        try:
            async with limit:
                await model_events.aclose()
        except Exception as error:  # noqa: BLE001 (the ending of the turn is already known)
            logger.error("The model's stream could not be closed: %s", describe_exception(error))  # noqa: TRY400
