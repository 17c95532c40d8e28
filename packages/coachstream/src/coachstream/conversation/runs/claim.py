"""What a producer holds."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from coachstream.conversation.events import LogPoint
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.model import ConversationKey, Message


class RunClaim(msgspec.Struct, frozen=True):
    """The right to produce a run, for as long as the log agrees.

    Attributes:
        key: the conversation.
        run_id: the run.
        user_message: what is answered, as it is stored.
        is_first_attempt: whether the message is new with this run, and nobody has produced it before.
        epoch: of this producer.
        last: the number of the log's last entry.
        said: the reply so far.
        writer: this producer's name in the log.
        opened_at: `Opened.at`: the time in the reply's id must be later.
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

    @property
    def point(self) -> LogPoint:
        """Where the producer begins."""
        return LogPoint(self.run_id, self.last)


def lease_end(now: datetime, lease_s: float) -> int:
    """`LogEntry.leased_until` of an entry that is written now."""
    return milliseconds_of(now + timedelta(seconds=lease_s))
