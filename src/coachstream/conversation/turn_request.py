"""What begins a turn."""

from __future__ import annotations

from datetime import datetime

import msgspec

from coachstream.conversation.model import ConversationKey, Message


class TurnRequest(msgspec.Struct, frozen=True):
    """What the user sent.

    Attributes:
        key: the conversation.
        text: the message; not blank.
        deadline: when the turn must be over, in seconds of the clock's monotonic time.
        sent_at: when the user sent it, by their clock; now, if unknown.
        client_message_id: the client's name for it; the same name is the same message.
        streamed: whether the reply is asked for as a stream.
        repeats: the stored message that this one is another attempt at, if that is known.
    """

    key: ConversationKey
    text: str
    deadline: float
    sent_at: datetime | None = None
    client_message_id: str | None = None
    streamed: bool = False
    repeats: Message | None = None
