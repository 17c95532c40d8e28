"""The claim of a lease holder on a run."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from coachstream.conversation.another_try import AnotherTry
from coachstream.conversation.events import LogPoint
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.model import ConversationKey, Message


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


def lease_end(now: datetime, lease_s: float) -> int:
    """`LogEntry.leased_until` of an entry written at `now`."""
    return milliseconds_of(now + timedelta(seconds=lease_s))
