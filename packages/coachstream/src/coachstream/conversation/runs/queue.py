"""Waits in the queue of a conversation until a run's turn has come, then begins the run.

Nothing moves the queue but the processes that wait in it, so each of them watches over all that is before
its run. It closes an unfinished run whose lease holder died, and it begins the first run of the queue if no
process does so for a while, as its own monotonic clock measures it. Which process begins a run does not
matter: the store lets only one, and the others follow that run.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from coachstream.conversation.errors import ConversationNotFound, MessageWithdrawn, QuotaExceeded
from coachstream.conversation.events import Failed, LogPoint, Queued, Reconnect, Send, failed_by
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.ports import Clock
from coachstream.conversation.run_log import Broken, LogEntry, RunState, ending_of
from coachstream.conversation.run_queue import QueuedRun, RunQueue
from coachstream.conversation.run_store import RunStore
from coachstream.conversation.runs.claim import RunClaim, claim_of, opening_entry
from coachstream.conversation.runs.closer import RunCloser, failed
from coachstream.conversation.runs.lease import LeaseWatch
from coachstream.conversation.runs.settings import RunSettings
from coachstream.conversation.runs.watcher import HasLeft

logger = logging.getLogger("coachstream.runs")

TakeOver = Callable[[RunClaim], None]
"""Starts producing the reply of a run that no other process attends, and does not wait for it."""


async def withdraw(store: RunStore, key: ConversationKey, run_id: str) -> bool:
    """Withdraw a queued run and its message; return whether it was in the queue.

    Raises:
        ConversationNotFound, StorageUnavailable: as the store does.
    """
    return await store.leave_queue(key, run_id, _never_begun(MessageWithdrawn()), is_withdrawn=True)


class QueueWaiter:
    """The place of one reader, or sender, in the queue.

    Args:
        key: the conversation.
        run_id: the queued run.
        deadline: when the reader must reconnect, in the clock's monotonic seconds.
    """

    def __init__(
        self,
        key: ConversationKey,
        run_id: str,
        *,
        store: RunStore,
        clock: Clock,
        closer: RunCloser,
        settings: RunSettings,
        deadline: float,
    ) -> None:
        self._key = key
        self._run_id = run_id
        self._store = store
        self._clock = clock
        self._closer = closer
        self._settings = settings
        self._deadline = deadline
        #: The unfinished run, and what is known of its lease.
        self._before: tuple[str, LeaseWatch] | None = None
        #: The first run of the queue that could begin, and when that was first seen.
        self._ready: tuple[str, float] | None = None

    async def wait(
        self, send: Send, take_over: TakeOver, *, has_left: HasLeft
    ) -> RunClaim | LogPoint | Failed | Reconnect | None:
        """Send the position whenever it changes, until the run's turn has come.

        Returns:
            The claim on the run, which this process has begun; or its beginning, if another process has; or
            the last event of the stream, which is not sent; None if the reader has disconnected.

        Raises:
            QuotaExceeded: the run's turn has come, but nothing is left of a quota; it has left the queue.
            ConversationNotFound, StorageUnavailable: as the store does.
        """
        position: int | None = None
        pause_s = self._settings.first_poll_s
        while True:
            asked_at = self._clock.monotonic()
            queue = await self._store.read_queue(self._key)
            now_at = queue.position_of(self._run_id)
            if now_at is None:
                return await self._outside()
            if now_at != position:
                position, pause_s = now_at, self._settings.first_poll_s
                await send(Queued(position, LogPoint(self._run_id, 0)))
            if queue.run_id is not None:
                self._ready = None
                await self._watch(queue.run_id)
            elif position == 1:
                claim = await self._begin(queue.queued[0])
                if claim is not None:
                    return claim
            elif self._is_unattended(queue, asked_at):
                await self._begin_for_another(queue.queued[0], take_over)
            if has_left():
                return None
            if self._clock.monotonic() + pause_s > self._deadline:
                return Reconnect(LogPoint(self._run_id, 0))
            await asyncio.sleep(pause_s)
            # Only the first must not miss its turn.
            longest_s = self._settings.longest_poll_s * (1 if position == 1 else 2)
            pause_s = min(2 * pause_s, longest_s)

    async def _outside(self) -> LogPoint | Failed:
        """The run has begun, or has left the queue without.

        Raises:
            ConversationNotFound: there is no trace of it.
        """
        entries = await self._store.read_log(self._key, self._run_id)
        if not entries:
            raise ConversationNotFound
        only = entries[0].content
        if isinstance(only, Broken):
            return failed(only, None, LogPoint(self._run_id, entries[0].number))
        return LogPoint(self._run_id, 0)

    async def _watch(self, run_id: str) -> None:
        """Close the unfinished run if its lease holder has died."""
        if self._before is None or self._before[0] != run_id:
            self._before = (run_id, LeaseWatch(self._clock, self._settings))
        lease = self._before[1]
        asked_at = self._clock.monotonic()
        last = await self._store.read_last(self._key, run_id)
        if last is not None:
            lease.note([last], asked_at=asked_at)
            if ending_of(last) is not None or not lease.is_over:
                return
        state = RunState.of(await self._store.read_log(self._key, run_id))
        await self._closer.close(self._key, run_id, state)

    def _is_unattended(self, queue: RunQueue, asked_at: float) -> bool:
        """Whether the first run could have begun for longer than a process of its own needs."""
        first = queue.queued[0].run_id
        if self._ready is None or self._ready[0] != first:
            self._ready = (first, self._clock.monotonic())
        return asked_at - self._ready[1] >= self._settings.attended_within_s

    async def _begin_for_another(self, run: QueuedRun, take_over: TakeOver) -> None:
        try:
            claim = await self._begin(run)
        except QuotaExceeded:
            return  # it has left the queue, and its readers find out
        if claim is not None:
            logger.warning("No process attends the first run of the queue; this one writes its reply")
            take_over(claim)

    async def _begin(self, run: QueuedRun) -> RunClaim | None:
        """Begin the first run of the queue; None if another process was faster, or its message is gone.

        Raises:
            QuotaExceeded: nothing is left of a quota. It left the queue, so that it blocks no other message;
                its own stays stored.
        """
        writer = secrets.token_hex(8)
        opened = opening_entry(
            self._settings,
            run.user_message_id,
            writer,
            at=milliseconds_of(self._clock.now()),
            time_zone=run.time_zone,
        )
        try:
            begun = await self._store.begin_queued(self._key, run.run_id, opened, self._settings.quotas)
        except (QuotaExceeded, MessageWithdrawn) as error:
            is_withdrawn = isinstance(error, MessageWithdrawn)
            ended = _never_begun(error)
            has_left = await self._store.leave_queue(self._key, run.run_id, ended, is_withdrawn=is_withdrawn)
            if is_withdrawn or not has_left:  # another process may have begun it in the meantime
                return None
            raise
        return None if begun is None else claim_of(self._key, run.run_id, begun, opened)


def _never_begun(error: QuotaExceeded | MessageWithdrawn) -> LogEntry:
    """The only entry of a run that leaves the queue. Its number is not that of a run's beginning, 0.

    So a reader that was told to resume after 0, when the run was in the queue, still gets the end.
    """
    ending = Broken(failed_by(error).code, error.retryable)
    return LogEntry(1, 0, 0, secrets.token_hex(8), ending)
