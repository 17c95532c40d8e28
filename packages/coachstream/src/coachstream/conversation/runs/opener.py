"""How a message gets its run: a new one, the one that answers it already, or none, because it is answered.

A message is known again by the client's own name for it; without one, by its text, if that came within a
minute and the run that answers it is not finished, or was streamed while this request is not: then the stream
failed, as it seems to its client.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import msgspec

from coachstream.conversation.errors import ContentFiltered, RunNotFound, TurnInProgress
from coachstream.conversation.events import LogPoint
from coachstream.conversation.ids import milliseconds_of, time_in
from coachstream.conversation.model import (
    ConversationKey,
    Message,
    SemanticContextUse,
    StopReason,
    Timings,
    Usage,
)
from coachstream.conversation.ports import (
    AlreadyAnswered,
    Clock,
    ConversationBusy,
    RunBegun,
    RunStore,
)
from coachstream.conversation.run_log import (
    Broken,
    Ending,
    Finished,
    LogEntry,
    Opened,
    RunState,
    StopAsked,
    awaits_producer,
    ending_of,
)
from coachstream.conversation.runs.claim import RunClaim
from coachstream.conversation.runs.closer import RunCloser
from coachstream.conversation.runs.lease import LeaseWatch
from coachstream.conversation.runs.settings import RunSettings, TurnPolicy

REPEATED_WITHIN = timedelta(seconds=60)
"""How long after a message the same text is taken for the same message."""


MessageNow = Callable[[], Message]
"""Makes a message that is sent at this moment."""


class RunOpener:
    """Opens, joins and stops runs.

    Attributes:
        has_waited: whether another run ended before this one was opened, so that what was read of the
            conversation at first is out of date.
    """

    def __init__(self, store: RunStore, clock: Clock, closer: RunCloser, settings: RunSettings) -> None:
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
    ) -> RunClaim | LogPoint | AlreadyAnswered:
        """Store the message, if it is not stored, and open a run for it, if it has none.

        Args:
            key: the conversation.
            message_now: makes the message as it is to be stored. Its id sorts by time, so it is made again
                after another run was waited for.
            run_id: of the run that is opened.
            deadline: until when it may wait for another run to end, or to be known as dead, in the clock's
                monotonic seconds.
            has_producer: whether it is produced at once; else by its first reader.

        Returns:
            The claim on the new run; or the beginning of the one that answers this message already; or the
            reply.

        Raises:
            TurnInProgress: another message is being answered, or may be.
            ConversationNotFound, StorageUnavailable: as the store does.
        """
        message = message_now()
        earlier = await self._sent_before(key, message)
        writer = secrets.token_hex(8)
        while True:
            now = milliseconds_of(self._clock.now())
            opened = self._opened(message, writer, at=now, has_producer=has_producer)
            result = await self._store.begin_run(key, earlier or message, run_id, opened)
            match result:
                case RunBegun():
                    return RunClaim(
                        key=key,
                        run_id=run_id,
                        user_message=result.user_message,
                        is_first_attempt=result.is_first_attempt,
                        epoch=1 if has_producer else 0,
                        last=0,
                        said="",
                        writer=writer,
                        opened_at=result.at,
                    )
                case AlreadyAnswered() if earlier is not None and not _has_failed_to_arrive(earlier, message):
                    earlier = None  # said once more, and meant so
                case AlreadyAnswered():
                    return result
                case ConversationBusy():
                    joined = await self._with_busy(key, earlier or message, result, deadline)
                    if joined is not None:
                        return joined
                    self.has_waited = True
                    message = message_now()

    async def open_for_reader(
        self, key: ConversationKey, message_now: MessageNow, run_id: str, *, deadline: float
    ) -> str:
        """The same, for a message whose first reader will produce the run; the id of its run.

        A message that is answered already gets a run that says so.
        """
        opened = await self.open(key, message_now, run_id, deadline=deadline, has_producer=False)
        if isinstance(opened, RunClaim):
            return run_id
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

    async def is_finished_at(self, key: ConversationKey, point: LogPoint, message: Message) -> bool:
        """Whether a reader that has everything up to a point has the whole reply to its message."""
        state = RunState.of(await self._store.read_log(key, point.run_id))
        if state is None or not isinstance(state.ending, Finished) or point.number < state.last.number:
            return False
        answered = await self._store.load_message(key, state.opened.user_message_id)
        if answered is None:
            return False
        name = message.metadata.client_message_id
        if name is None:
            return answered.content == message.content
        return answered.metadata.client_message_id == name

    async def stop(self, key: ConversationKey, run_id: str) -> bool:
        """Have a run stopped: its producer learns of it, and where there is none, it is closed.

        A producer that may have died is left to the run's readers, who will know.

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

    async def _with_busy(
        self, key: ConversationKey, message: Message, busy: ConversationBusy, deadline: float
    ) -> LogPoint | None:
        """Join the run, wait for its end, or close it; None where the conversation may be free now.

        Raises:
            TurnInProgress: it is alive, or there is no time left to find out.
        """
        lease = LeaseWatch(self._clock, self._settings)
        entries: list[LogEntry] = []
        pause_s = self._settings.first_poll_s
        while True:
            asked_at = self._clock.monotonic()
            # The last entry is read again: it is gone when the conversation is deleted.
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
            if await self._answers(state, key, message, busy):
                return LogPoint(busy.run_id, 0)
            if self._settings.policy is TurnPolicy.INTERRUPT:
                if not state.is_stop_asked:
                    with suppress(RunNotFound):  # the next look says so
                        await self.stop(key, busy.run_id)
            elif lease.is_alive:
                raise TurnInProgress(busy.run_id)
            if self._clock.monotonic() + pause_s > deadline:
                raise TurnInProgress(busy.run_id)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._settings.longest_poll_s)

    async def _answers(
        self, state: RunState, key: ConversationKey, message: Message, busy: ConversationBusy
    ) -> bool:
        answered_id = state.opened.user_message_id
        if busy.user_message is not None:
            return busy.user_message.id == answered_id
        if message.metadata.client_message_id is not None:
            return False
        answered = await self._store.load_message(key, answered_id)
        return answered is not None and answered.content == message.content and self._is_recent(answered)

    async def _sent_before(self, key: ConversationKey, message: Message) -> Message | None:
        if message.metadata.client_message_id is not None:
            return None
        since = self._clock.now() - REPEATED_WITHIN
        found = await self._store.find_recent_message(key, message.content, since=since)
        return found if found is not None and self._is_recent(found) else None

    async def _close(self, key: ConversationKey, run_id: str) -> None:
        await self._closer.close(key, run_id, RunState.of(await self._store.read_log(key, run_id)))

    def _opened(self, message: Message, writer: str, *, at: int, has_producer: bool) -> LogEntry:
        lease_s = self._settings.lease_s if has_producer else self._settings.reader_awaited_s
        return LogEntry(
            number=0,
            epoch=1 if has_producer else 0,
            leased_until=at + round(1000 * lease_s),
            writer=writer,
            content=Opened(message.id, has_producer=has_producer, at=at),
            lease_ms=round(1000 * lease_s),
        )

    def _is_recent(self, message: Message) -> bool:
        """By the time in its id, which may be ahead of a clock that was set back, or by its own time."""
        now = milliseconds_of(self._clock.now())
        within = REPEATED_WITHIN // timedelta(milliseconds=1)
        times = (time_in(message.id), milliseconds_of(message.timestamp))
        return any(time is not None and abs(now - time) <= within for time in times)


def _ending_of(reply: Message) -> Ending:
    """The end of a run that has this reply."""
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


def _has_failed_to_arrive(earlier: Message, again: Message) -> bool:
    """Whether a message that was answered was sent again because its stream failed."""
    return earlier.metadata.streamed and not again.metadata.streamed
