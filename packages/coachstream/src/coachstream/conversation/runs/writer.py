"""The lease holder's side of the log: text is committed in the background and is never delayed by it.

Each write also renews the lease and reveals what other processes have written: a stop request, or a takeover.
`on_notice` notifies the caller, which then checks `is_stop_asked` and `is_lost`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from coachstream.conversation.errors import (
    CoachStreamError,
    ConversationNotFound,
    RunNotFound,
    describe_exception,
)
from coachstream.conversation.events import LogPoint
from coachstream.conversation.model import Message
from coachstream.conversation.ports import Clock
from coachstream.conversation.quotas import Spent
from coachstream.conversation.run_log import (
    Content,
    Ending,
    LogEntry,
    Released,
    Reset,
    Said,
    StopAsked,
)
from coachstream.conversation.run_store import RunStore
from coachstream.conversation.runs.claim import RunClaim, lease_end
from coachstream.conversation.runs.settings import RunSettings
from coachstream.conversation.text import beginning_of, utf16_length

logger = logging.getLogger("coachstream.runs")


class RunLost(Exception):
    """Another process took over the run, ended it, or deleted its conversation."""


class RunWriter:
    """Writes one run. Use as `async with`: leaving it ends the background task without committing.

    Attributes:
        committed: the number of the newest entry that is in the log.
        is_stop_asked: whether the user requested a stop.
        is_lost: whether another process has taken over the run, ended it, or deleted its conversation.
    """

    def __init__(
        self,
        claim: RunClaim,
        store: RunStore,
        clock: Clock,
        settings: RunSettings,
        on_notice: Callable[[], None],
    ) -> None:
        self.committed = claim.last
        self.is_stop_asked = False
        self.is_lost = False
        self._claim = claim
        self._store = store
        self._clock = clock
        self._settings = settings
        self._on_notice = on_notice
        self._pending = ""
        #: How many characters at the start of the pending text were discarded by a reset.
        self._void = 0
        self._is_reset_pending = False
        self._offset = utf16_length(claim.said)
        self._may_commit_at = self._began_at = clock.monotonic()
        self._renew_at = self._may_commit_at + settings.renewed_every_s
        self._woken = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._commit_under_way: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_committing(), name="run-log")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_committing()
        if self._commit_under_way is not None:
            self._commit_under_way.cancel()
            await asyncio.gather(self._commit_under_way, return_exceptions=True)

    @property
    def point(self) -> LogPoint:
        """The newest entry in the log."""
        return LogPoint(self._claim.run_id, self.committed)

    def say(self, text: str) -> None:
        """Add text, to be committed soon."""
        is_first = not self._pending
        self._pending += text
        # More text between the first and a full segment does not change when it is due.
        if is_first or len(self._pending) >= self._settings.segment_bytes:
            self._woken.set()

    def reset(self) -> None:
        """Discard all text so far."""
        self._void = len(self._pending)
        self._is_reset_pending = True
        self._woken.set()

    async def release(self) -> LogPoint:
        """Commit everything and release the lease to the next reader.

        Raises:
            RunLost: the run is no longer this process's.
            CoachStreamError: the store failed.
        """
        await self._stop_committing()
        async with self._writing:
            while self._pending or self._is_reset_pending:
                await self._commit_next()
            await self._append(Released(), leased_for_s=self._settings.reader_awaited_s)
        return self.point

    async def finish(self, ending: Ending, reply: Message | None, spent: Spent | None = None) -> None:
        """End the run and save its reply, which includes the text that is not committed yet.

        What the run has spent, if that is given, is counted.

        Raises:
            RunLost: the run is no longer this process's; nothing was saved.
            CoachStreamError: the store failed; the call can be retried.
        """
        await self._stop_committing()
        async with self._writing:
            if self.is_lost:
                raise RunLost
            while self._is_reset_pending:  # or readers would append the reply to discarded text
                await self._commit_next()
            while True:
                entry = self._entry(ending, leased_for_s=0.0)
                try:
                    there = await self._store.finish_run(
                        self._claim.key, self._claim.run_id, entry, reply, spent, self._claim.another_try
                    )
                except RunNotFound:
                    raise self._lost() from None
                if there is None:
                    self.committed = entry.number
                    return
                self._take_notice(there)

    async def _keep_committing(self) -> None:
        while not self.is_lost:
            self._woken.clear()
            wait_s = self._due_at() - self._clock.monotonic()
            if wait_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._woken.wait()
                continue
            # Not cancelled with this loop, so that the outcome of a write is known when the run is finished.
            self._commit_under_way = asyncio.create_task(self._commit(), name="run-log-commit")
            await asyncio.shield(self._commit_under_way)

    async def _stop_committing(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _due_at(self) -> float:
        if self._is_reset_pending or len(self._pending) >= self._settings.segment_bytes:
            return 0.0
        return self._may_commit_at if self._pending else self._renew_at

    async def _commit(self) -> None:
        async with self._writing:
            try:
                await self._commit_next()
            except RunLost:
                return
            except CoachStreamError as error:
                logger.warning("The log of a run could not be written: %s", error.code.value)
            except Exception as error:  # noqa: BLE001 (the text is kept and retried)
                logger.error("The log of a run could not be written: %s", describe_exception(error))  # noqa: TRY400
            now = self._clock.monotonic()
            self._may_commit_at = now + self._settings.commit_interval_s(now - self._began_at)
            self._renew_at = now + self._settings.renewed_every_s

    async def _commit_next(self) -> None:
        if self._is_reset_pending:
            await self._append(Reset())
        else:
            segment = first_segment(self._pending, most_bytes=self._settings.entry_bytes)
            await self._append(Said(segment, self._offset))

    async def _append(self, content: Content, *, leased_for_s: float | None = None) -> None:
        if self.is_lost:
            raise RunLost
        while True:
            entry = self._entry(content, leased_for_s=leased_for_s)
            try:
                there = await self._store.append(self._claim.key, self._claim.run_id, entry)
            except (ConversationNotFound, RunNotFound):
                raise self._lost() from None
            if there is None:
                self._take_as_committed(entry)
                return
            if self._take_notice(there):
                return

    def _entry(self, content: Content, *, leased_for_s: float | None) -> LogEntry:
        lease_s = self._settings.lease_s if leased_for_s is None else leased_for_s
        until = lease_end(self._clock.now(), lease_s)
        return LogEntry(
            number=self.committed + 1,
            epoch=self._claim.epoch,
            leased_until=until,
            writer=self._claim.writer,
            content=content,
            lease_ms=round(1000 * lease_s),
        )

    def _lost(self) -> RunLost:
        self.is_lost = True
        self._on_notice()
        return RunLost()

    def _take_notice(self, there: LogEntry) -> bool:
        """Process a conflicting entry; true if it is our own, from a write whose response was lost."""
        if there.writer == self._claim.writer:
            self._take_as_committed(there)
            return True
        if not isinstance(there.content, StopAsked):
            raise self._lost()
        self.committed = there.number
        self.is_stop_asked = True
        self._on_notice()
        return False

    def _take_as_committed(self, entry: LogEntry) -> None:
        self.committed = entry.number
        match entry.content:
            case Said(text):
                self._pending = self._pending[len(text) :]
                self._void = max(0, self._void - len(text))
                self._offset += utf16_length(text)
            case Reset():
                self._pending = self._pending[self._void :]
                self._void = self._offset = 0
                self._is_reset_pending = False
            case _:
                pass


def first_segment(text: str, *, most_bytes: int) -> str:
    """The longest prefix within a limit of UTF-8 bytes, in whole code points; at least one code point."""
    return beginning_of(text, most_bytes=most_bytes) or text[:1]
