"""The claim of a lease holder on a run."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from coachstream.conversation.another_try import AnotherTry
from coachstream.conversation.events import LogPoint
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.run_log import LogEntry, Opened
from coachstream.conversation.run_store import RunBegun
from coachstream.conversation.runs.settings import RunSettings


class RunClaim(msgspec.Struct, frozen=True):
    """The right to produce a run's reply, valid until the log has an entry of a higher epoch.

    Attributes:
        key: the conversation.
        run_id: the run.
        user_message: the stored message to reply to.
        is_first_attempt: whether the message is new with this run, and the run had no lease holder before.
        epoch: the fencing token of this lease holder.
        last: the number of the log's last entry.
        said: the reply so far.
        writer: the id of this lease holder in the log.
        opened_at: `Opened.at`: the time in the reply's id must be later.
        time_zone: `Opened.time_zone`.
        another_try: `Opened.another_try`.
    """

    key: ConversationKey
    run_id: str
    user_message: Message
    is_first_attempt: bool
    epoch: int
    last: int
    said: str
    writer: str
    opened_at: int
    time_zone: str | None = None
    another_try: AnotherTry | None = None

    @property
    def point(self) -> LogPoint:
        """The log position at which the lease holder begins."""
        return LogPoint(self.run_id, self.last)


def opening_entry(
    settings: RunSettings,
    user_message_id: str,
    writer: str,
    *,
    at: int,
    has_producer: bool = True,
    time_zone: str | None = None,
) -> LogEntry:
    """The first entry of a run that is opened at a time, in milliseconds since 1970."""
    lease_s = settings.lease_s if has_producer else settings.reader_awaited_s
    return LogEntry(
        number=0,
        epoch=1 if has_producer else 0,
        leased_until=at + round(1000 * lease_s),
        writer=writer,
        content=Opened(user_message_id, has_producer=has_producer, at=at, time_zone=time_zone),
        lease_ms=round(1000 * lease_s),
    )


def claim_of(key: ConversationKey, run_id: str, begun: RunBegun, opened: LogEntry) -> RunClaim:
    """The claim of the process whose first entry a run has begun with."""
    time_zone = opened.content.time_zone if isinstance(opened.content, Opened) else None
    return RunClaim(
        key=key,
        run_id=run_id,
        user_message=begun.user_message,
        is_first_attempt=begun.is_first_attempt,
        epoch=opened.epoch,
        last=opened.number + 1 if begun.said else opened.number,
        said=begun.said,
        writer=opened.writer,
        opened_at=begun.at,
        time_zone=time_zone,
        another_try=begun.another_try,
    )


def lease_end(now: datetime, lease_s: float) -> int:
    """`LogEntry.leased_until` of an entry written at `now`."""
    return milliseconds_of(now + timedelta(seconds=lease_s))
