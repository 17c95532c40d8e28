"""Requests that start a turn or resume its run. Imported before the first byte, so it has only values."""

from __future__ import annotations

from datetime import datetime

import msgspec

from coachstream.conversation.events import LogPoint
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.run_log import FROM_THE_BEGINNING
from coachstream.conversation.runs.settings import TurnPolicy


class TurnRequest(msgspec.Struct, frozen=True):
    """A message from the user.

    Attributes:
        key: the conversation.
        text: the message; not blank.
        deadline: when the turn must be over, in seconds of the clock's monotonic time.
        sent_at: when the user sent it, by their clock; now, if unknown.
        client_message_id: the client's idempotency key for the message.
        streamed: whether the client requested a stream. Such a reader can reconnect.
        after: the position that the reader reached in an earlier attempt, if it sent one.
        time_zone: the name of the user's time zone, if the client sent one; it may be unknown here.
        policy: what to do if another reply is being written; the setting, if it is None.
    """

    key: ConversationKey
    text: str
    deadline: float
    sent_at: datetime | None = None
    client_message_id: str | None = None
    streamed: bool = False
    after: LogPoint | None = None
    time_zone: str | None = None
    policy: TurnPolicy | None = None


class ResumeRequest(msgspec.Struct, frozen=True):
    """A reader that resumes a run.

    Attributes:
        key: the conversation.
        run_id: the run.
        deadline: when the reader must have the reply or reconnect, in seconds of the monotonic clock.
        after: the number of the last log entry that the reader has, or `FROM_THE_BEGINNING`. With a number
            that the log does not have, an unfinished run is read from its beginning, so that the reader
            misses nothing, and a finished one ends immediately, so that the reader does not loop.
    """

    key: ConversationKey
    run_id: str
    deadline: float
    after: int = FROM_THE_BEGINNING

    @property
    def streamed(self) -> bool:
        """Whether the reader can reconnect."""
        return True
