"""The requests that begin a turn, or resume reading its run. Imported before the first byte: values only."""

from __future__ import annotations

from datetime import datetime

import msgspec

from coachstream.conversation.events import LogPoint
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.run_log import FROM_THE_BEGINNING


class TurnRequest(msgspec.Struct, frozen=True):
    """What the user sent.

    Attributes:
        key: the conversation.
        text: the message; not blank.
        deadline: when the turn must be over, in seconds of the clock's monotonic time.
        sent_at: when the user sent it, by their clock; now, if unknown.
        client_message_id: the client's idempotency key for it.
        streamed: whether the reply is asked for as a stream. Such a reader can be sent away and come again.
        after: what the reader has of an earlier attempt to read the reply, if it says so.
    """

    key: ConversationKey
    text: str
    deadline: float
    sent_at: datetime | None = None
    client_message_id: str | None = None
    streamed: bool = False
    after: LogPoint | None = None


class ResumeRequest(msgspec.Struct, frozen=True):
    """A reader of a run.

    Attributes:
        key: the conversation.
        run_id: the run.
        deadline: when the reader must be served or sent away, in seconds of the clock's monotonic time.
        after: the number of the log entry that the reader has everything up to, or `FROM_THE_BEGINNING`. A
            number that the log does not have means nothing: an unfinished run is read from its beginning,
            lest the reader miss it; of a finished one nothing is left, lest it be read for ever.
    """

    key: ConversationKey
    run_id: str
    deadline: float
    after: int = FROM_THE_BEGINNING

    @property
    def streamed(self) -> bool:
        """Whether the reader can be sent away and come again."""
        return True
