"""Opens runs for messages. A message may already have a run, or a reply: `deduplication` recognizes it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress

import msgspec

from coachstream.conversation.another_try import TryKind, TryRequest
from coachstream.conversation.errors import (
    CannotContinue,
    ContentFiltered,
    RunNotFound,
    TryInProgress,
    TurnInProgress,
)
from coachstream.conversation.events import LogPoint
from coachstream.conversation.ids import id_after, milliseconds_of
from coachstream.conversation.model import (
    ConversationKey,
    Message,
    SemanticContextUse,
    StopReason,
    Timings,
    Usage,
)
from coachstream.conversation.ports import Clock
from coachstream.conversation.run_log import (
    Broken,
    Ending,
    Finished,
    LogEntry,
    RunState,
    StopAsked,
    awaits_producer,
    ending_of,
    first_waiting_id,
)
from coachstream.conversation.run_queue import RunQueue, StopResult
from coachstream.conversation.run_store import (
    AlreadyAnswered,
    ConversationBusy,
    QueueIsFull,
    RunBegun,
    RunQueued,
    RunStore,
)
from coachstream.conversation.runs.claim import RunClaim, claim_of, opening_entry
from coachstream.conversation.runs.closer import RunCloser
from coachstream.conversation.runs.deduplication import find_earlier, has_failed_to_arrive, is_recent
from coachstream.conversation.runs.lease import LeaseWatch
from coachstream.conversation.runs.queue import withdraw
from coachstream.conversation.runs.settings import RunSettings, TurnPolicy

MessageNow = Callable[[], Message]
"""Creates the message with the current time."""


class QueuePlace(msgspec.Struct, frozen=True):
    """What a request wants for its message if that must wait."""

    run_id: str
    time_zone: str | None
    policy: TurnPolicy


class RunOpener:
    """Opens, joins and stops runs.

    Args:
        can_continue: whether this process's model can continue a partial reply.

    Attributes:
        has_waited: whether another run ended before this one was opened, so that anything read from the
            conversation before is out of date.
    """

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        closer: RunCloser,
        settings: RunSettings,
        *,
        can_continue: bool = False,
    ) -> None:
        self._can_continue = can_continue
        self._store = store
        self._clock = clock
        self._closer = closer
        self._settings = settings
        self.has_waited = False

    async def open(
        self,
        key: ConversationKey,
        message_now: MessageNow,
        run_id: str,
        *,
        deadline: float,
        has_producer: bool = True,
        time_zone: str | None = None,
        policy: TurnPolicy | None = None,
        another_try: TryRequest | None = None,
    ) -> RunClaim | LogPoint | RunQueued | AlreadyAnswered:
        """Store the message unless it is stored, and open or queue a run for it unless it has one.

        With `another_try`, try the last exchange again instead; the message is used if it replaces another.

        Args:
            key: the conversation.
            message_now: creates the message to store. Its id sorts by time, so it is created again
                after waiting for another run.
            run_id: the id of the new run.
            deadline: until when it may wait for another run to end or to be found dead, in the clock's
                monotonic seconds.
            has_producer: whether the caller holds the run's lease; if not, its first reader will.
            time_zone: `Opened.time_zone`.
            policy: what to do if a reply is being written; the setting, if it is None.
            another_try: what is to be tried again; None for a message that is sent.

        Returns:
            The claim on the new run; or the beginning of the run that this message already has; or its place
            in the queue; or its stored reply.

        Raises:
            TurnInProgress: by policy, because a run for another message is alive, or may be; or because the
                queue is full. This message is stored.
            TryInProgress: another try must wait for a run, or for the queue; nothing of it is stored.
            MessageWithdrawn: it was queued and withdrawn.
            IdempotencyMismatch, QuotaExceeded: as `RunStore.begin_run`.
            NotTheLastExchange, CannotContinue: as `RunStore.begin_try`.
            ConversationNotFound, StorageUnavailable: as the store does.
        """
        message = message_now()
        if another_try is not None and another_try.kind is TryKind.CONTINUE and not self._can_continue:
            raise CannotContinue("the model cannot continue a reply")
        earlier = None
        if another_try is None:
            earlier = await find_earlier(self._store, self._clock, key, message)
        writer = secrets.token_hex(8)
        while True:
            now = milliseconds_of(self._clock.now())
            opened = self._opened(message, writer, at=now, has_producer=has_producer, time_zone=time_zone)
            match result := await self._begin(key, earlier or message, run_id, opened, another_try):
                case RunBegun():
                    return claim_of(key, run_id, result, opened)
                case AlreadyAnswered() if earlier is not None and not has_failed_to_arrive(earlier, message):
                    earlier = None  # deliberately sent again
                case AlreadyAnswered():
                    return result
                case ConversationBusy():
                    place = QueuePlace(run_id, time_zone, policy or self._settings.policy)
                    joined = await self._behind(
                        *(key, earlier or message, result, place, deadline),
                        is_another_try=another_try is not None,
                    )
                    if joined is not None:
                        return joined
                    self.has_waited = True
                    message = message_now()

    async def open_for_reader(
        self,
        key: ConversationKey,
        message_now: MessageNow,
        run_id: str,
        *,
        deadline: float,
        time_zone: str | None = None,
        policy: TurnPolicy | None = None,
        another_try: TryRequest | None = None,
    ) -> str:
        """Like `open`, for a message whose first reader will produce the reply; returns the run's id.

        A message that already has a reply gets a finished run that points to it.
        """
        opened = await self.open(
            key,
            message_now,
            run_id,
            deadline=deadline,
            has_producer=False,
            time_zone=time_zone,
            policy=policy,
            another_try=another_try,
        )
        if isinstance(opened, RunClaim):
            return run_id
        if isinstance(opened, RunQueued):
            return opened.run.run_id
        if isinstance(opened, LogPoint):
            return opened.run_id
        of_run = opened.reply.metadata.run_id
        if of_run is not None and await self._store.read_last(key, of_run) is not None:
            return of_run
        now = milliseconds_of(self._clock.now())
        beginning = self._opened(opened.user_message, secrets.token_hex(8), at=now, has_producer=True)
        ending = _ending_of(opened.reply)
        await self._store.append(key, run_id, beginning)
        await self._store.append(key, run_id, msgspec.structs.replace(beginning, number=1, content=ending))
        return run_id

    async def is_finished_at(
        self, key: ConversationKey, point: LogPoint, message: Message, another_try: TryRequest | None = None
    ) -> bool:
        """Whether a reader that has everything up to `point` has the complete reply to its message."""
        state = RunState.of(await self._store.read_log(key, point.run_id))
        if state is None or not isinstance(state.ending, Finished) or point.number < state.last.number:
            return False
        if another_try is not None:
            begun = state.opened.another_try
            return begun is not None and begun.client_message_id == another_try.client_message_id
        user_message = await self._store.load_message(key, state.opened.user_message_id)
        if user_message is None:
            return False
        idempotency_key = message.metadata.client_message_id
        is_its_key = idempotency_key in {None, user_message.metadata.client_message_id}
        return is_its_key and user_message.content == message.content

    async def stop(self, key: ConversationKey, run_id: str) -> bool:
        """Request that a run stop: its lease holder is notified through the log; without one, it is closed.

        If the lease holder may have died, the run is left to its readers, which observe the lease.

        Returns:
            Whether there was something to stop.

        Raises:
            RunNotFound: the conversation has no such run.
        """
        last = await self._store.read_last(key, run_id)
        if last is None:
            raise RunNotFound
        while ending_of(last) is None:
            entry = msgspec.structs.replace(
                last, number=last.number + 1, writer=secrets.token_hex(8), content=StopAsked()
            )
            there = await self._store.append(key, run_id, entry)
            if there is None:
                if awaits_producer(last):
                    await self._close(key, run_id)
                else:
                    await self._closer.close_if_long_dead(key, run_id)
                return True
            last = there
        return False

    async def stop_or_withdraw(self, key: ConversationKey, run_id: str) -> StopResult:
        """Stop a run that has begun, or withdraw a queued one together with its message.

        Raises:
            RunNotFound: the conversation has no such run.
        """
        try:
            return await self._stop_begun(key, run_id)
        except RunNotFound:
            if await withdraw(self._store, key, run_id):
                return StopResult.WITHDRAWN
        return await self._stop_begun(key, run_id)  # it may have begun in the meantime

    async def _stop_begun(self, key: ConversationKey, run_id: str) -> StopResult:
        return StopResult.STOPPING if await self.stop(key, run_id) else StopResult.FINISHED

    async def _begin(
        self,
        key: ConversationKey,
        message: Message,
        run_id: str,
        opened: LogEntry,
        another_try: TryRequest | None,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        quotas = self._settings.quotas
        if another_try is None:
            return await self._store.begin_run(key, message, run_id, opened, quotas)
        replacing = message if another_try.kind is TryKind.REPLACE else None
        return await self._store.begin_try(key, another_try, replacing, run_id, opened, quotas)

    async def _behind(
        self,
        key: ConversationKey,
        message: Message,
        busy: ConversationBusy,
        place: QueuePlace,
        deadline: float,
        *,
        is_another_try: bool,
    ) -> LogPoint | RunQueued | None:
        """Join the message's own run, queue it, or wait for another run's end; None to begin again.

        Raises:
            TurnInProgress, TryInProgress, MessageWithdrawn: as `open`.
        """
        if is_another_try and busy.is_idle:
            raise TryInProgress(busy.run_id)
        if is_another_try or (place.policy is TurnPolicy.REJECT and not busy.is_idle):
            return await self._with_busy(key, message, busy, deadline, is_another_try=is_another_try)
        return await self._queue(key, message, busy, place)

    async def _queue(
        self, key: ConversationKey, message: Message, busy: ConversationBusy, place: QueuePlace
    ) -> LogPoint | RunQueued | None:
        """Join the message's run or its place in the queue, or queue it; None to begin again.

        Raises:
            TurnInProgress: the queue is full, or the message is being replaced; it is stored.
        """
        stored = busy.user_message
        found = None if stored is None else RunQueue(None, busy.queued).run_of(stored.id)
        if stored is not None and found is not None:
            return RunQueued(stored, found)
        is_stop_due = False
        if not busy.is_idle:
            state = RunState.of(await self._store.read_log(key, busy.run_id))
            if state is None:
                await self._closer.close(key, busy.run_id, None)
            if state is None or state.ending is not None:
                return None
            if await self._is_run_of(message, state, key, busy):
                return LogPoint(busy.run_id, 0)
            another_try = state.opened.another_try
            if stored is not None and another_try is not None and stored.id == another_try.user_message_id:
                raise TurnInProgress(busy.run_id, stored)  # it may be about to be replaced
            in_order = id_after(message.id, first_waiting_id(state.opened.at))
            message = msgspec.structs.replace(message, id=in_order)
            is_stop_due = place.policy is TurnPolicy.INTERRUPT and not state.is_stop_asked
        queued = await self._store.enqueue_run(
            key,
            stored or message,
            place.run_id,
            behind=busy.run_id,
            most=self._settings.max_queued,
            time_zone=place.time_zone,
        )
        if isinstance(queued, QueueIsFull):
            stored = stored or await self._store.save_waiting_message(key, message, busy.run_id)
            if stored is None:
                return None
            raise TurnInProgress(busy.run_id, stored)
        if is_stop_due and queued is not None and queued.run.run_id == place.run_id:
            with suppress(RunNotFound):  # it has ended
                await self.stop(key, busy.run_id)
        return queued

    async def _with_busy(
        self,
        key: ConversationKey,
        message: Message,
        busy: ConversationBusy,
        deadline: float,
        *,
        is_another_try: bool,
    ) -> LogPoint | None:
        """Join the run, wait for its end, or close it; None if the conversation may be free now.

        Raises:
            TurnInProgress: the run is alive, or there is no time left to find out; the message is stored,
                unless it is another try.
        """
        lease = LeaseWatch(self._clock, self._settings)
        entries: list[LogEntry] = []
        pause_s = self._settings.first_poll_s
        while True:
            asked_at = self._clock.monotonic()
            # The last entry is read again: it disappears when the conversation is deleted.
            known = entries[-1:]
            after = known[0].number - 1 if known else -1
            found = await self._store.read_log(key, busy.run_id, after=after)
            if list(found[: len(known)]) != known:
                return None
            news = found[len(known) :]
            entries += news
            lease.note(news, asked_at=asked_at)
            state = RunState.of(entries)
            if state is None or lease.is_over:
                await self._closer.close(key, busy.run_id, state)
                return None
            if state.ending is not None:
                return None
            if await self._is_run_of(message, state, key, busy):
                return LogPoint(busy.run_id, 0)
            if lease.is_alive or self._clock.monotonic() + pause_s > deadline:
                if is_another_try:
                    raise TryInProgress(busy.run_id)
                await self._store_waiting(key, message, state, busy)
                return None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._settings.longest_poll_s)

    async def _store_waiting(
        self, key: ConversationKey, message: Message, state: RunState, busy: ConversationBusy
    ) -> None:
        """Store a message that must wait for a run, unless that run has just ended.

        Raises:
            TurnInProgress: the message is stored.
        """
        stored = busy.user_message
        if stored is None:
            in_order = id_after(message.id, first_waiting_id(state.opened.at))
            waiting = msgspec.structs.replace(message, id=in_order)
            stored = await self._store.save_waiting_message(key, waiting, busy.run_id)
        if stored is not None:
            raise TurnInProgress(busy.run_id, stored)

    async def _is_run_of(
        self, message: Message, state: RunState, key: ConversationKey, busy: ConversationBusy
    ) -> bool:
        user_message_id = state.opened.user_message_id
        if busy.user_message is not None:
            return busy.user_message.id == user_message_id
        if message.metadata.client_message_id is not None or state.opened.another_try is not None:
            return False
        earlier = await self._store.load_message(key, user_message_id)
        return earlier is not None and earlier.content == message.content and is_recent(earlier, self._clock)

    async def _close(self, key: ConversationKey, run_id: str) -> None:
        await self._closer.close(key, run_id, RunState.of(await self._store.read_log(key, run_id)))

    def _opened(
        self, message: Message, writer: str, *, at: int, has_producer: bool, time_zone: str | None = None
    ) -> LogEntry:
        return opening_entry(
            self._settings, message.id, writer, at=at, has_producer=has_producer, time_zone=time_zone
        )


def _ending_of(reply: Message) -> Ending:
    """The last entry of a run that has this reply."""
    if reply.is_withheld:
        blocked = ContentFiltered()
        return Broken(blocked.code, blocked.retryable, reply.id if reply.content else None)
    return Finished(
        reply_id=reply.id,
        stop_reason=reply.metadata.stop_reason or StopReason.END_TURN,
        semantic_context=SemanticContextUse(),
        usage=Usage(),
        timings=Timings(context=0, first_chunk=None, total=0),
    )
