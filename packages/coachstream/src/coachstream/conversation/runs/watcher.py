"""Follows a run: reads its log from any position, then new entries, until the run ends.

A reader may take over the lease: of a run that has no lease holder yet, or whose lease holder released it. A
reader that finds the lease holder dead closes the run.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

from coachstream.conversation.errors import ConversationNotFound, ProcessingError
from coachstream.conversation.events import Chunk, Ending, Failed, LogPoint, Reconnect, Reset, Send
from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.ports import Clock
from coachstream.conversation.run_log import (
    FROM_THE_BEGINNING,
    Broken,
    Claimed,
    Finished,
    LogEntry,
    Opened,
    RunState,
    Said,
    awaits_producer,
    ending_of,
    is_tombstone,
)
from coachstream.conversation.run_log import Ending as RunEnding
from coachstream.conversation.run_log import Reset as ResetEntry
from coachstream.conversation.run_store import RunStore
from coachstream.conversation.runs.claim import RunClaim, lease_end
from coachstream.conversation.runs.closer import RunCloser, completed, failed
from coachstream.conversation.runs.lease import LeaseWatch
from coachstream.conversation.runs.settings import RunSettings
from coachstream.conversation.text import utf16_length

HasLeft = Callable[[], bool]
"""Whether the reader has disconnected."""


def never_leaves() -> bool:
    """The reader never disconnects."""
    return False


class RunWatcher:
    """One reader of one run.

    Args:
        key: the conversation.
        run_id: the run.
        after: the number of the last entry that the reader has (see `ResumeRequest.after`).
        deadline: when the reader must reconnect, in the clock's monotonic seconds.
        can_continue: whether this process's model can continue a partial reply.
    """

    def __init__(
        self,
        key: ConversationKey,
        run_id: str,
        *,
        after: int,
        store: RunStore,
        clock: Clock,
        closer: RunCloser,
        settings: RunSettings,
        deadline: float,
        can_continue: bool,
    ) -> None:
        self._key = key
        self._run_id = run_id
        self._after = after
        self._store = store
        self._clock = clock
        self._closer = closer
        self._settings = settings
        self._deadline = deadline
        self._can_continue = can_continue
        self._lease = LeaseWatch(clock, settings)
        self._entries: list[LogEntry] = []
        self._offset = 0
        self._is_after_unknown = False

    async def open(self) -> RunState | None:
        """Read the log so far and return the run's state; None if there is no such run."""
        self._entries = list(await self._read(after=FROM_THE_BEGINNING))
        if self._after != FROM_THE_BEGINNING and all(e.number != self._after for e in self._entries):
            self._is_after_unknown = True
            self._after = FROM_THE_BEGINNING
        known = RunState.of(entry for entry in self._entries if entry.number <= self._after)
        self._offset = 0 if known is None else known.offset
        return RunState.of(self._entries)

    @property
    def point(self) -> LogPoint:
        """The position the reader has reached: the beginning of the log, if it has nothing."""
        return LogPoint(self._run_id, max(self._after, 0))

    @property
    def offset(self) -> int:
        """The offset of the first text that the reader does not have."""
        return self._offset

    @property
    def is_at_the_end(self) -> bool:
        """Whether the run is over and the reader has all of it; call `open` first."""
        last = self._entries[-1]
        return ending_of(last) is not None and (self._after == last.number or self._is_after_unknown)

    async def follow(self, send: Send, *, has_left: HasLeft = never_leaves) -> RunClaim | Ending | None:
        """Send what the reader does not have yet, then new entries, until the run ends; call `open` first.

        Returns:
            The last event, which is not sent; a claim, if this process took the lease; None, if the reader
            has disconnected.
        """
        news: Sequence[LogEntry] = [entry for entry in self._entries if entry.number > self._after]
        pause_s = self._settings.first_poll_s
        while True:
            for entry in news:
                ending = await self._send_entry(entry, send)
                if ending is not None:
                    return ending
            last = self._entries[-1]
            if awaits_producer(last) and (claim := await self._try_to_claim(last)) is not None:
                return claim
            if has_left():
                return None
            if self._clock.monotonic() + pause_s > self._deadline:
                return Reconnect(LogPoint(self._run_id, last.number))
            if self._lease.is_over:
                await self._closer.close(self._key, self._run_id, RunState.of(self._entries))
            elif news:
                pause_s = self._settings.first_poll_s
                await asyncio.sleep(pause_s)
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self._settings.longest_poll_s)
            news = await self._news(is_quiet=not news)
            self._entries.extend(news)

    async def _news(self, *, is_quiet: bool) -> Sequence[LogEntry]:
        """The new entries. If there were none before, the last entry is read again: it may be deleted.

        Raises:
            ConversationNotFound: the log is deleted, with its conversation.
        """
        last = self._entries[-1]
        if not is_quiet:
            return await self._read(after=last.number)
        entries = await self._read(after=last.number - 1)
        if entries and entries[0].number == last.number:
            return entries[1:]
        if entries and is_tombstone(entries[0]):
            return entries
        raise ConversationNotFound

    async def _read(self, *, after: int) -> Sequence[LogEntry]:
        asked_at = self._clock.monotonic()
        entries = await self._store.read_log(self._key, self._run_id, after=after)
        self._lease.note(entries, asked_at=asked_at)
        return entries

    async def _send_entry(self, entry: LogEntry, send: Send) -> Ending | None:
        """Send an entry's content; return the last event if the entry ends the run."""
        point = LogPoint(self._run_id, entry.number)
        match entry.content:
            case Said(text, offset) if text:
                self._offset = offset + utf16_length(text)
                await send(Chunk(text, offset, point))
            case ResetEntry():
                self._offset = 0
                await send(Reset(0, point))
            case Finished() | Broken():
                return await self._end(entry.content, point, send)
            case _:
                pass
        return None

    async def _end(self, ending: RunEnding, point: LogPoint, send: Send) -> Ending:
        """Send the rest of the text, which is stored only with the reply, and return the last event."""
        reply_id = ending.reply_id if isinstance(ending, Finished) else ending.partial_reply_id
        reply = None if reply_id is None else await self._store.load_message(self._key, reply_id)
        if reply is not None:
            rest = _from(reply.content, self._offset)
            if rest:
                await send(Chunk(rest, self._offset))
        if isinstance(ending, Broken):
            return failed(ending, reply, point)
        state = RunState.of(self._entries)
        user_message = await self._user_message()
        if reply is None or user_message is None or state is None:
            gone = ConversationNotFound()
            return Failed(gone.code, gone.sentence, gone.retryable, point=point)
        return completed(self._key, user_message, reply, ending, point, state.opened.another_try)

    async def _try_to_claim(self, last: LogEntry) -> RunClaim | None:
        """Claim a run that has no lease holder, unless another process was faster."""
        state = RunState.of(self._entries)
        if state is None:
            raise ProcessingError("the log of a run has no beginning")
        if last.epoch >= self._settings.epochs or (state.text and not self._can_continue):
            await self._closer.close(self._key, self._run_id, state)
            return None
        user_message = await self._user_message()
        if user_message is None:
            raise ConversationNotFound
        entry = LogEntry(
            number=last.number + 1,
            epoch=last.epoch + 1,
            leased_until=lease_end(self._clock.now(), self._settings.lease_s),
            writer=secrets.token_hex(8),
            content=Claimed(),
            lease_ms=round(1000 * self._settings.lease_s),
        )
        if await self._store.append(self._key, self._run_id, entry) is not None:
            return None
        return RunClaim(
            key=self._key,
            run_id=self._run_id,
            user_message=user_message,
            is_first_attempt=state.opened.is_first_attempt and isinstance(last.content, Opened),
            epoch=entry.epoch,
            last=entry.number,
            said=state.text,
            writer=entry.writer,
            opened_at=state.opened.at,
            time_zone=state.opened.time_zone,
            another_try=state.opened.another_try,
        )

    async def _user_message(self) -> Message | None:
        state = RunState.of(self._entries)
        if state is None:
            return None
        return await self._store.load_message(self._key, state.opened.user_message_id)


def _from(text: str, offset: int) -> str:
    """The text from an offset in UTF-16 code units."""
    if text.isascii():
        return text[offset:]
    return text.encode("utf-16-le")[2 * offset :].decode("utf-16-le")
