"""One turn: takes a user's message and sends the coach's reply to the reader as events, using the ports.

The order is guaranteed. `Started` is sent before anything is read or written. The user's message is stored
before the model is called. A message that already has a run gets no second one: its sender follows that run.
However a turn ends, its last event is `Completed`, `Failed` or `Reconnect`, and is sent in one place.

All dates derive from one clock value: the times of a turn are that value plus the elapsed time.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial

import msgspec

from coachstream.conversation.another_try import last_exchange
from coachstream.conversation.errors import (
    CoachStreamError,
    ContentFiltered,
    ConversationNotFound,
    ErrorCode,
    NotTheLastExchange,
    ProcessingError,
    RunNotFound,
    describe_exception,
    log_failure,
)
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Completed,
    Ending,
    Event,
    Failed,
    GuardrailWarning,
    LogPoint,
    Reconnect,
    Reset,
    Send,
    Started,
    failed_by,
)
from coachstream.conversation.ids import message_id
from coachstream.conversation.ids import run_id as new_run_id
from coachstream.conversation.model import (
    ConversationKey,
    Message,
    MessageMetadata,
    Role,
    SemanticContextUse,
    StopReason,
    Timings,
    to_milliseconds,
)
from coachstream.conversation.run_log import FROM_THE_BEGINNING
from coachstream.conversation.run_store import AlreadyAnswered, RunQueued
from coachstream.conversation.runs.claim import RunClaim
from coachstream.conversation.runs.closer import RunCloser
from coachstream.conversation.runs.opener import RunOpener
from coachstream.conversation.runs.queue import QueueWaiter
from coachstream.conversation.runs.watcher import HasLeft, RunWatcher, never_leaves
from coachstream.conversation.runs.writer import RunLost
from coachstream.conversation.turn.analysis import PendingAnalysis
from coachstream.conversation.turn.context import ContextLoad
from coachstream.conversation.turn.deadline import TurnDeadline, run_shielded
from coachstream.conversation.turn.dependencies import TurnDependencies, ignore_report
from coachstream.conversation.turn.reply import Reply
from coachstream.conversation.turn.report import TurnMeasurements
from coachstream.conversation.turn.request import ResumeRequest, TurnRequest
from coachstream.conversation.turn.settings import TurnSettings

logger = logging.getLogger("coachstream.turn")


async def run_turn(
    request: TurnRequest,
    dependencies: TurnDependencies,
    settings: TurnSettings | None = None,
    *,
    send: Send,
    has_left: HasLeft = never_leaves,
) -> None:
    """Run a turn, or follow the run that the message already has.

    Cancellation ends the reply as interrupted, if this process produces it. If it only follows a run, it
    stops when `has_left` reports that the reader has disconnected.
    """
    await _MessageTurn(request, dependencies, settings or TurnSettings(), send, has_left).run()


async def resume_run(
    request: ResumeRequest,
    watcher: RunWatcher | None,
    dependencies: TurnDependencies,
    settings: TurnSettings | None = None,
    *,
    send: Send,
    has_left: HasLeft = never_leaves,
) -> None:
    """Follow a run with an opened watcher; produce its reply if the run has no lease holder.

    Without a watcher the run is in the queue: the reader waits for its turn.
    """
    turn = _ResumedTurn(request, watcher, dependencies, settings or TurnSettings(), send, has_left)
    await turn.run()


def run_watcher(
    request: ResumeRequest, dependencies: TurnDependencies, settings: TurnSettings | None = None
) -> RunWatcher:
    """Create the watcher of a run, for `resume_run`."""
    settings = settings or TurnSettings()
    return _watcher(request.key, request.run_id, request.after, request.deadline, dependencies, settings)


def new_user_message(request: TurnRequest, dependencies: TurnDependencies) -> Message:
    """The message to store, with the current time."""
    now = to_milliseconds(dependencies.clock.now())
    return Message(
        id=message_id(now, Role.USER, dependencies.random_below),
        role=Role.USER,
        content=request.text,
        timestamp=now if request.sent_at is None else to_milliseconds(request.sent_at),
        metadata=MessageMetadata(client_message_id=request.client_message_id, streamed=request.streamed),
    )


def run_opener(dependencies: TurnDependencies, settings: TurnSettings) -> RunOpener:
    """Create the opener, which opens and stops runs."""
    closer = run_closer(dependencies, settings)
    return RunOpener(
        dependencies.runs,
        dependencies.clock,
        closer,
        settings.runs,
        can_continue=dependencies.model.can_continue,
    )


def run_closer(dependencies: TurnDependencies, settings: TurnSettings) -> RunCloser:
    """Create the closer, which closes dead runs."""
    return RunCloser(
        dependencies.runs,
        dependencies.clock,
        settings.runs,
        model_name=dependencies.model.display_name,
        random_below=dependencies.random_below,
    )


def _watcher(
    key: ConversationKey,
    run_id: str,
    after: int,
    deadline: float,
    dependencies: TurnDependencies,
    settings: TurnSettings,
) -> RunWatcher:
    return RunWatcher(
        key,
        run_id,
        after=after,
        store=dependencies.runs,
        clock=dependencies.clock,
        closer=run_closer(dependencies, settings),
        settings=settings.runs,
        deadline=deadline - settings.save_reserve_s,
        can_continue=dependencies.model.can_continue,
    )


@contextmanager
def _of_unfinished_run() -> Iterator[None]:
    """Map a missing log: the log of an unfinished run is deleted only with its conversation."""
    try:
        yield
    except RunNotFound:
        raise ConversationNotFound from None


class _Turn(ABC):
    """The base of both kinds of turns: producing, following, and the single ending."""

    def __init__(
        self,
        request: TurnRequest | ResumeRequest,
        dependencies: TurnDependencies,
        settings: TurnSettings,
        send: Send,
        has_left: HasLeft,
    ) -> None:
        self._key = request.key
        self._dependencies = dependencies
        self._settings = settings
        self._send = send
        self._has_left = has_left
        self._may_release = request.streamed
        self._deadline = TurnDeadline(
            dependencies.clock, at=request.deadline, save_reserve_s=settings.save_reserve_s
        )
        self._now = to_milliseconds(dependencies.clock.now())
        self._measured = TurnMeasurements()
        #: Whether another process produces, and reports, the run.
        self._is_only_reader = False
        #: The replies to other messages in the queue that this process writes.
        self._others: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send every event, the ending last, and report the turn."""
        try:
            await self._run_to_the_end()
        except asyncio.CancelledError:
            for other in self._others:
                other.cancel()
            raise
        finally:
            if self._others:
                await asyncio.wait(self._others)

    async def _run_to_the_end(self) -> None:
        failure: CoachStreamError | None = None
        try:
            await self._send(Started())
            ending = await self._run()
        except CoachStreamError as error:
            log_failure(logger, "The turn failed", error)
            failure = error
        except Exception as error:  # noqa: BLE001 (a stream never ends without a terminal event)
            # Its text may quote the user.
            logger.error("The turn failed with %s", describe_exception(error))  # noqa: TRY400
            failure = ProcessingError()
        finally:
            self._measured.failure = self._measured.failure or failure
            if not self._is_only_reader or self._measured.was_answered or failure is not None:
                self._dependencies.report(
                    self._measured.report(self._key, total_ms=self._deadline.elapsed_ms())
                )
        if failure is not None:
            ending = failed_by(failure)
        if isinstance(ending, Completed) and ending.reply.is_flagged:
            await self._send(GuardrailWarning())
        if ending is not None:
            await self._send(ending)

    @abstractmethod
    async def _run(self) -> Ending | None:
        """Send all events but the last, and return the last; None if the reader has disconnected."""

    def _attaching(self, point: LogPoint) -> Sequence[Event]:
        """The events that attach the reader to a run."""
        return (Attached(point),)

    async def _produce(
        self, claim: RunClaim, load: ContextLoad, first: Sequence[Event] | None = None
    ) -> Ending | None:
        self._is_only_reader = False
        reply = Reply(
            claim,
            self._dependencies,
            self._settings,
            self._deadline,
            self._measured,
            self._send,
            now=self._now,
            may_release=self._may_release,
        )
        try:
            return await reply.produce(load, first=self._attaching(claim.point) if first is None else first)
        except RunLost:
            logger.warning("Another process took over or ended the run; the reader follows it")
        self._deadline.lift_interruption()
        # Text that this process sent but did not store is not in the run's log.
        with _of_unfinished_run():
            watcher = await self._open(claim.run_id, after=reply.point.number)
        await self._send(Reset(watcher.offset))
        return await self._follow(watcher)

    async def _follow(self, watcher: RunWatcher) -> Ending | None:
        self._is_only_reader = self._measured.run_id is None
        found = await watcher.follow(self._send, has_left=self._has_left)
        if not isinstance(found, RunClaim):
            return found
        async with self._load(found.user_message.content) as load:
            return await self._produce(found, load)

    async def _wait_in_queue(
        self, run_id: str, *, has_left: HasLeft
    ) -> RunClaim | LogPoint | Failed | Reconnect | None:
        """Wait for the run's turn (see `QueueWaiter.wait`)."""
        self._is_only_reader = True
        waiter = QueueWaiter(
            self._key,
            run_id,
            store=self._dependencies.runs,
            clock=self._dependencies.clock,
            closer=run_closer(self._dependencies, self._settings),
            settings=self._settings.runs,
            deadline=self._deadline.queue_until,
        )
        found = await waiter.wait(self._send, self._take_over, has_left=has_left)
        self._now = to_milliseconds(self._dependencies.clock.now())
        self._deadline.begin_now()
        return found

    def _take_over(self, claim: RunClaim) -> None:
        """Produce the reply of a run that no process attends, next to this turn."""
        # The report is of the request's own turn.
        dependencies = msgspec.structs.replace(self._dependencies, report=ignore_report)
        turn = _UnattendedTurn(claim, self._deadline.at, dependencies, self._settings)
        self._others.add(asyncio.create_task(turn.run(), name="queued-run"))

    async def _open(self, run_id: str, *, after: int) -> RunWatcher:
        watcher = _watcher(self._key, run_id, after, self._deadline.at, self._dependencies, self._settings)
        if await self._deadline.bound(watcher.open()) is None:
            raise RunNotFound
        return watcher

    def _load(self, text: str) -> ContextLoad:
        return ContextLoad(
            self._dependencies.context,
            self._dependencies.recall,
            self._key,
            text,
            self._settings.limits,
            PendingAnalysis(self._dependencies.analyser, text, budget_s=self._settings.analysis_budget_s),
            history_budget_chars=self._settings.history_budget_chars,
        )


class _MessageTurn(_Turn):
    def __init__(
        self,
        request: TurnRequest,
        dependencies: TurnDependencies,
        settings: TurnSettings,
        send: Send,
        has_left: HasLeft,
    ) -> None:
        super().__init__(request, dependencies, settings, send, has_left)
        self._request = request
        #: The run whose text the reader has.
        self._read_run_id = None if request.after is None else request.after.run_id

    async def _run(self) -> Ending | None:
        ending = await self._attempt()
        if self._has_joined_a_dead_run(ending):
            # A client that sends a message again wants a reply, not the failure of the first attempt.
            await self._send(Reset(0))
            self._read_run_id = None
            ending = await self._attempt()
        return ending

    def _has_joined_a_dead_run(self, ending: Ending | None) -> bool:
        return (
            self._is_only_reader and isinstance(ending, Failed) and ending.code is ErrorCode.TURN_INTERRUPTED
        )

    def _attaching(self, point: LogPoint) -> Sequence[Event]:
        """Also discards the reader's text of another run."""
        has_other_text = self._read_run_id not in {None, point.run_id}
        self._read_run_id = point.run_id
        return (Attached(point), Reset(0)) if has_other_text else (Attached(point),)

    async def _attempt(self) -> Ending | None:
        await self._resolve()
        new_message = partial(new_user_message, self._request, self._dependencies)
        another_try = self._request.another_try
        opener = run_opener(self._dependencies, self._settings)
        opening = asyncio.create_task(
            opener.open(
                self._key,
                new_message,
                new_run_id(self._now, self._dependencies.random_below),
                deadline=self._deadline.save_at,
                time_zone=self._request.time_zone,
                policy=self._request.policy,
                another_try=another_try,
            )
        )
        opened: RunClaim | LogPoint | RunQueued | AlreadyAnswered | None = None
        try:
            async with AsyncExitStack() as loading:
                load: ContextLoad | None = None
                if another_try is None:
                    load = await loading.enter_async_context(self._load(self._request.text))
                # Shielded, because a run that is being opened when the turn ends must still be closed.
                opened = await self._deadline.bound(asyncio.shield(opening))
                has_waited = opener.has_waited
                if isinstance(opened, RunQueued):
                    await loading.aclose()
                    # Its sender may leave: the reply is written nevertheless, as that of any other turn.
                    found = await self._wait_in_queue(opened.run.run_id, has_left=never_leaves)
                    if found is None or isinstance(found, Failed | Reconnect):
                        return found
                    opened, has_waited = found, True
                if isinstance(opened, RunClaim):
                    if load is None or has_waited:
                        await loading.aclose()
                        load = await loading.enter_async_context(self._load(opened.user_message.content))
                    return await self._produce(opened, load, self._beginning(opened))
        finally:
            if opened is None:
                await run_shielded(self._close_what_opens(opening))
        if isinstance(opened, AlreadyAnswered):
            retried = self._request.retried
            if retried is not None and retried.is_for_another_reply and another_try is None:
                raise NotTheLastExchange
            return await self._repeat(opened)
        with _of_unfinished_run():
            watcher = await self._open_for_reader(opened.run_id)
        return await self._join(watcher)

    async def _resolve(self) -> None:
        """Find out whether a message that was sent before is to be tried again."""
        retried = self._request.retried
        if retried is None or self._request.another_try is not None:
            return
        newest = self._dependencies.conversations.load_newest(self._key, limit=2)
        last = last_exchange(await self._deadline.bound(newest))
        found = retried.resolve(last, self._request.text)
        name, another_try = (found, None) if isinstance(found, str) else (found.client_message_id, found)
        self._request = msgspec.structs.replace(
            self._request, client_message_id=name, another_try=another_try
        )

    def _beginning(self, claim: RunClaim) -> Sequence[Event]:
        """The first events of a new run: one that continues a reply begins with its text."""
        if not claim.said:
            return self._attaching(claim.point)
        attached = self._attaching(LogPoint(claim.run_id, claim.last - 1))
        return (*attached, Chunk(claim.said, 0, claim.point))

    async def _join(self, watcher: RunWatcher) -> Ending | None:
        for event in self._attaching(watcher.point):
            await self._send(event)
        return await self._follow(watcher)

    async def _repeat(self, found: AlreadyAnswered) -> Ending | None:
        """Send the stored reply: from its run, as long as the log exists."""
        self._measured.user_message = found.user_message
        self._measured.is_first_attempt = False
        self._measured.was_answered = True
        self._measured.reply = found.reply
        self._measured.chunks = 1
        self._measured.first_chunk_ms = self._deadline.elapsed_ms()
        watcher: RunWatcher | None = None
        run_id = found.reply.metadata.run_id
        if run_id is not None:
            with suppress(RunNotFound):
                watcher = await self._open_for_reader(run_id)
        return await (self._repeat_without_log(found) if watcher is None else self._join(watcher))

    async def _open_for_reader(self, run_id: str) -> RunWatcher:
        """Open the run after the reader's position; from its beginning, if the reader has all of it."""
        after = self._request.after
        if after is not None and after.run_id == run_id:
            watcher = await self._open(run_id, after=after.number)
            if not watcher.is_at_the_end:
                return watcher
        return await self._open(run_id, after=FROM_THE_BEGINNING)

    async def _repeat_without_log(self, found: AlreadyAnswered) -> Ending:
        reply = found.reply
        if reply.content:
            await self._send(Chunk(reply.content))
        if reply.is_withheld:
            blocked = ContentFiltered()
            partial_reply = reply if reply.content else None
            return Failed(blocked.code, blocked.sentence, blocked.retryable, partial_reply)
        return Completed(
            user_message=found.user_message,
            reply=reply,
            conversation_id=self._key.conversation_id,
            semantic_context=SemanticContextUse(),
            stop_reason=reply.metadata.stop_reason or StopReason.END_TURN,
            usage=self._measured.usage,
            timings=Timings(context=0, first_chunk=None, total=self._deadline.elapsed_ms()),
        )

    async def _close_what_opens(
        self, opening: asyncio.Task[RunClaim | LogPoint | RunQueued | AlreadyAnswered]
    ) -> None:
        """Release the conversation from a run that will not be produced, if time permits."""
        await asyncio.wait((opening,), timeout=self._deadline.seconds_to_save())
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        if opening.cancelled() or opening.exception() is not None:
            return
        opened = opening.result()
        if isinstance(opened, RunClaim):
            try:
                async with asyncio.timeout(self._deadline.seconds_to_save()):
                    await run_closer(self._dependencies, self._settings).abandon(opened)
            except Exception as error:  # noqa: BLE001 (the turn is over; the lease expires)
                logger.error("A run could not be closed: %s", describe_exception(error))  # noqa: TRY400


class _ResumedTurn(_Turn):
    def __init__(
        self,
        request: ResumeRequest,
        watcher: RunWatcher | None,
        dependencies: TurnDependencies,
        settings: TurnSettings,
        send: Send,
        has_left: HasLeft,
    ) -> None:
        super().__init__(request, dependencies, settings, send, has_left)
        self._run_id = request.run_id
        self._watcher = watcher

    async def _run(self) -> Ending | None:
        watcher = self._watcher
        if watcher is None:
            found = await self._wait_in_queue(self._run_id, has_left=self._has_left)
            if isinstance(found, RunClaim):
                async with self._load(found.user_message.content) as load:
                    return await self._produce(found, load)
            if not isinstance(found, LogPoint):
                return found
            with _of_unfinished_run():
                watcher = await self._open(self._run_id, after=FROM_THE_BEGINNING)
            await self._send(Attached(watcher.point))
        return await self._follow(watcher)


async def _to_nobody(_event: Event) -> None:
    pass


class _UnattendedTurn(_Turn):
    """Produces the reply of a run whose reader, if it has one, follows it elsewhere."""

    def __init__(
        self, claim: RunClaim, deadline: float, dependencies: TurnDependencies, settings: TurnSettings
    ) -> None:
        request = ResumeRequest(claim.key, claim.run_id, deadline)
        super().__init__(request, dependencies, settings, _to_nobody, never_leaves)
        self._claim = claim

    async def _run(self) -> Ending | None:
        async with self._load(self._claim.user_message.content) as load:
            return await self._produce(self._claim, load)
