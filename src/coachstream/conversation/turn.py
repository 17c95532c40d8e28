"""One turn: a user's message in, a coach's reply out, as a stream of events over the ports.

The order is the promise. `Started` goes out before anything is read or written. The user's message is stored
before the model is called. A message that is being answered already is not answered again: its sender reads
the run that answers it. However a turn ends, its last event is `Completed`, `Failed` or `Reconnect`.

All dates come from one reading of the clock: the moments of a turn are that reading plus the time since.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from functools import partial

from coachstream.conversation.context import ContextLoad
from coachstream.conversation.despite_cancellation import despite_cancellation
from coachstream.conversation.errors import (
    CoachStreamError,
    ContentFiltered,
    ConversationNotFound,
    ErrorCode,
    ProcessingError,
    RunNotFound,
    TurnInProgress,
    log_failure,
    whereabouts,
)
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Completed,
    Event,
    Failed,
    LogPoint,
    Reset,
    SemanticContextUse,
    Started,
    Timings,
)
from coachstream.conversation.message_id import message_id, run_id
from coachstream.conversation.model import (
    ConversationKey,
    Message,
    MessageMetadata,
    Role,
    StopReason,
    to_milliseconds,
)
from coachstream.conversation.parts import TurnParts
from coachstream.conversation.ports import AlreadyAnswered
from coachstream.conversation.reply import ReplyProduction
from coachstream.conversation.report import TurnMeasurements
from coachstream.conversation.runs.claim import RunClaim
from coachstream.conversation.runs.closing import RunCloser
from coachstream.conversation.runs.opening import RunOpener
from coachstream.conversation.runs.watching import HasLeft, RunWatcher, never_leaves
from coachstream.conversation.runs.writer import RunLost
from coachstream.conversation.turn_request import FROM_THE_BEGINNING, ResumeRequest, TurnRequest
from coachstream.conversation.turn_settings import TurnSettings
from coachstream.conversation.turn_time import TurnTime

logger = logging.getLogger("coachstream.turn")


def run_turn(
    request: TurnRequest,
    parts: TurnParts,
    settings: TurnSettings | None = None,
    *,
    has_left: HasLeft = never_leaves,
) -> AsyncGenerator[Event, None]:
    """Run a turn, or join the one that answers the message; it waits while the events are not taken.

    Closing the generator, or cancelling the task that reads it, ends the reply as an interruption if it is
    produced here. A run that is only read along is left when `has_left` says that its reader has.
    """
    return _MessageTurn(request, parts, settings or TurnSettings(), has_left).events()


def resume_run(
    request: ResumeRequest,
    watcher: RunWatcher,
    parts: TurnParts,
    settings: TurnSettings | None = None,
    *,
    has_left: HasLeft = never_leaves,
) -> AsyncGenerator[Event, None]:
    """Read a run along, with a watcher that was opened; produce it, where nobody does."""
    return _ResumedTurn(request, watcher, parts, settings or TurnSettings(), has_left).events()


def watcher_of(
    request: ResumeRequest,
    parts: TurnParts,
    settings: TurnSettings | None = None,
    *,
    has_left: HasLeft = never_leaves,
) -> RunWatcher:
    """The reader of a run, for `resume_run`."""
    return _watcher(request.key, request.run_id, request.after, request.deadline, parts, settings, has_left)


def user_message_of(request: TurnRequest, parts: TurnParts) -> Message:
    """The message as it is to be stored, sent now."""
    now = to_milliseconds(parts.clock.now())
    return Message(
        id=message_id(now, Role.USER, parts.random_below),
        role=Role.USER,
        content=request.text,
        timestamp=now if request.sent_at is None else to_milliseconds(request.sent_at),
        metadata=MessageMetadata(client_message_id=request.client_message_id, streamed=request.streamed),
    )


def opener_of(parts: TurnParts, settings: TurnSettings) -> RunOpener:
    """Opens and stops runs."""
    return RunOpener(parts.runs, parts.clock, closer_of(parts, settings), settings.runs)


def closer_of(parts: TurnParts, settings: TurnSettings) -> RunCloser:
    """Closes dead runs."""
    return RunCloser(
        parts.runs,
        parts.clock,
        settings.runs,
        model_name=parts.model.display_name,
        random_below=parts.random_below,
    )


def _watcher(
    key: ConversationKey,
    of_run: str,
    after: int,
    deadline: float,
    parts: TurnParts,
    settings: TurnSettings | None,
    has_left: HasLeft,
) -> RunWatcher:
    settings = settings or TurnSettings()
    return RunWatcher(
        key,
        of_run,
        after=after,
        store=parts.runs,
        clock=parts.clock,
        closer=closer_of(parts, settings),
        settings=settings.runs,
        deadline=deadline - settings.save_reserve_s,
        can_continue=parts.model.can_continue,
        has_left=has_left,
    )


@contextmanager
def _of_unfinished_run() -> Iterator[None]:
    """Its log is deleted before its time with its conversation only."""
    try:
        yield
    except RunNotFound:
        raise ConversationNotFound from None


class _Turn(ABC):
    """What the two kinds of turns share: producing, reading along, and the end."""

    def __init__(
        self,
        request: TurnRequest | ResumeRequest,
        parts: TurnParts,
        settings: TurnSettings,
        has_left: HasLeft,
    ) -> None:
        self._key = request.key
        self._parts = parts
        self._settings = settings
        self._has_left = has_left
        self._may_release = request.streamed
        self._time = TurnTime(parts.clock, deadline=request.deadline, save_reserve_s=settings.save_reserve_s)
        self._now = to_milliseconds(parts.clock.now())
        self._measured = TurnMeasurements()
        #: Of a run that others produce, and report.
        self._is_only_reader = False

    async def events(self) -> AsyncGenerator[Event, None]:
        failure: CoachStreamError | None = None
        try:
            yield Started()
            async with aclosing(self._answer()) as answer:
                async for event in answer:
                    yield event
        except CoachStreamError as error:
            log_failure(logger, "The turn fails", error)
            failure = error
        except Exception as error:  # noqa: BLE001 (a stream never ends without a terminal event)
            logger.error("The turn fails with %s", whereabouts(error))  # noqa: TRY400 (its text may quote the user)
            failure = ProcessingError()
        finally:
            self._measured.failure = self._measured.failure or failure
            if not self._is_only_reader or self._measured.was_answered or failure is not None:
                self._parts.report(self._measured.report(self._key, total_ms=self._time.elapsed_ms()))
        if failure is not None:
            in_the_way = failure.run_id if isinstance(failure, TurnInProgress) else None
            yield Failed(failure.code, failure.sentence, failure.retryable, run_id=in_the_way)

    @abstractmethod
    def _answer(self) -> AsyncGenerator[Event, None]: ...

    async def _produce(self, claim: RunClaim, load: ContextLoad) -> AsyncGenerator[Event, None]:
        self._is_only_reader = False
        production = ReplyProduction(
            claim,
            self._parts,
            self._settings,
            self._time,
            self._measured,
            now=self._now,
            may_release=self._may_release,
        )
        try:
            async with aclosing(production.events(load)) as events:
                async for event in events:
                    yield event
        except RunLost:
            logger.warning("The run was taken over, or ended from outside; its reader reads it along")
        else:
            return
        self._time.go_on()
        # What was said here and not stored is not what the others know of.
        with _of_unfinished_run():
            watcher = await self._open(claim.run_id, after=production.point.number)
        yield Reset(watcher.offset)
        async with aclosing(self._watch(watcher)) as events:
            async for event in events:
                yield event

    async def _watch(self, watcher: RunWatcher) -> AsyncGenerator[Event, None]:
        self._is_only_reader = self._measured.run_id is None
        async with aclosing(watcher.events()) as events:
            async for event in events:
                yield event
        claim = watcher.claim
        if claim is not None:
            async with (
                self._load(claim.user_message.content) as load,
                aclosing(self._produce(claim, load)) as events,
            ):
                async for event in events:
                    yield event

    async def _open(self, of_run: str, *, after: int) -> RunWatcher:
        watcher = _watcher(
            self._key, of_run, after, self._time.deadline, self._parts, self._settings, self._has_left
        )
        if await self._time.in_time(watcher.open()) is None:
            raise RunNotFound
        return watcher

    def _load(self, text: str) -> ContextLoad:
        return ContextLoad(
            self._parts.context,
            self._parts.recall,
            self._key,
            text,
            self._settings.limits,
            history_budget_chars=self._settings.history_budget_chars,
        )


class _MessageTurn(_Turn):
    def __init__(
        self, request: TurnRequest, parts: TurnParts, settings: TurnSettings, has_left: HasLeft
    ) -> None:
        super().__init__(request, parts, settings, has_left)
        self._request = request

    async def _answer(self) -> AsyncGenerator[Event, None]:
        async with aclosing(self._attempt()) as events:
            async for event in events:
                if self._has_joined_a_dead_run(event):
                    break
                yield event
                if self._has_other_text(event):
                    yield Reset(0)
            else:
                return
        # Whoever sends a message again wants an answer, not the news that the first one broke off.
        yield Reset(0)
        async with aclosing(self._attempt()) as events:
            async for event in events:
                yield event

    def _has_joined_a_dead_run(self, event: Event) -> bool:
        return self._is_only_reader and isinstance(event, Failed) and event.code is ErrorCode.TURN_INTERRUPTED

    async def _attempt(self) -> AsyncGenerator[Event, None]:
        message_now = partial(user_message_of, self._request, self._parts)
        opener = opener_of(self._parts, self._settings)
        opening = asyncio.create_task(
            opener.open(
                self._key,
                message_now,
                run_id(self._now, self._parts.random_below),
                deadline=self._time.save_deadline,
            )
        )
        opened: RunClaim | LogPoint | AlreadyAnswered | None = None
        try:
            async with AsyncExitStack() as loading:
                load = await loading.enter_async_context(self._load(self._request.text))
                # Shielded, because a run that is being opened when the turn ends must still be closed.
                opened = await self._time.in_time(asyncio.shield(opening))
                if isinstance(opened, RunClaim):
                    if opener.has_waited:
                        await loading.aclose()
                        load = await loading.enter_async_context(self._load(self._request.text))
                    async with aclosing(self._produce(opened, load)) as events:
                        async for event in events:
                            yield event
                    return
        finally:
            if opened is None:
                await despite_cancellation(self._close_what_opens(opening))
        if isinstance(opened, AlreadyAnswered):
            self._note(opened)
            watcher = await self._replay(opened)
            if watcher is None:
                for event in self._answered(opened):
                    yield event
                return
        else:
            with _of_unfinished_run():
                watcher = await self._open_for_reader(opened.run_id)
        yield Attached(watcher.point)
        async with aclosing(self._watch(watcher)) as events:
            async for event in events:
                yield event

    def _note(self, answered: AlreadyAnswered) -> None:
        self._measured.user_message = answered.user_message
        self._measured.is_first_attempt = False
        self._measured.was_answered = True
        self._measured.reply = answered.reply
        self._measured.chunks = 1
        self._measured.first_chunk_ms = self._time.elapsed_ms()

    async def _replay(self, answered: AlreadyAnswered) -> RunWatcher | None:
        """The run that gave the reply, as long as its log is kept."""
        of_run = answered.reply.metadata.run_id
        if of_run is None:
            return None
        try:
            return await self._open_for_reader(of_run)
        except RunNotFound:
            return None

    async def _open_for_reader(self, of_run: str) -> RunWatcher:
        """The run behind what the reader has of it; from its beginning, if nothing is left behind that."""
        after = self._request.after
        if after is not None and after.run_id == of_run:
            watcher = await self._open(of_run, after=after.number)
            if not watcher.is_at_the_end:
                return watcher
        return await self._open(of_run, after=FROM_THE_BEGINNING)

    def _has_other_text(self, event: Event) -> bool:
        """Whether the reader has text of a run that is not the one whose events come now."""
        after = self._request.after
        return after is not None and isinstance(event, Attached) and event.point.run_id != after.run_id

    def _answered(self, answered: AlreadyAnswered) -> tuple[Event, ...]:
        reply = answered.reply
        chunks = (Chunk(reply.content),) if reply.content else ()
        if reply.is_withheld:
            blocked = ContentFiltered()
            partial = reply if reply.content else None
            return (*chunks, Failed(blocked.code, blocked.sentence, blocked.retryable, partial))
        completed = Completed(
            user_message=answered.user_message,
            reply=reply,
            conversation_id=self._key.conversation_id,
            semantic_context=SemanticContextUse(),
            stop_reason=reply.metadata.stop_reason or StopReason.END_TURN,
            usage=self._measured.usage,
            timings=Timings(context=0, first_chunk=None, total=self._time.elapsed_ms()),
        )
        return (*chunks, completed)

    async def _close_what_opens(self, opening: asyncio.Task[RunClaim | LogPoint | AlreadyAnswered]) -> None:
        """Free the conversation of a run that nobody will produce, as far as that can be done in time."""
        await asyncio.wait((opening,), timeout=self._time.seconds_until(self._time.saving_ends()))
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        if opening.cancelled() or opening.exception() is not None:
            return
        opened = opening.result()
        if isinstance(opened, RunClaim):
            try:
                async with asyncio.timeout(self._time.seconds_until(self._time.saving_ends())):
                    await closer_of(self._parts, self._settings).abandon(opened)
            except Exception as error:  # noqa: BLE001 (the turn is over; a lease ends by itself)
                logger.error("A run could not be closed: %s", whereabouts(error))  # noqa: TRY400


class _ResumedTurn(_Turn):
    def __init__(
        self,
        request: ResumeRequest,
        watcher: RunWatcher,
        parts: TurnParts,
        settings: TurnSettings,
        has_left: HasLeft,
    ) -> None:
        super().__init__(request, parts, settings, has_left)
        self._watcher = watcher

    async def _answer(self) -> AsyncGenerator[Event, None]:
        async with aclosing(self._watch(self._watcher)) as events:
            async for event in events:
                yield event
