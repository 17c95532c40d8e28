"""A turn for a client that takes the whole reply at once, and may have asked for it before as a stream."""

from __future__ import annotations

from coachstream.conversation.errors import DeadlineExceeded, ProcessingError
from coachstream.conversation.events import Completed, Failed, Reconnect
from coachstream.conversation.producer import TurnProducer


async def run_whole_turn(turn: TurnProducer) -> Completed | Failed:
    """Run a turn to its end and return its last event; this reader cannot come again."""
    async with turn:
        async for event in turn:
            if isinstance(event, Completed | Failed):
                return event
            if isinstance(event, Reconnect):
                late = DeadlineExceeded()
                return Failed(late.code, late.sentence, late.retryable)
    broken = ProcessingError()
    return Failed(broken.code, broken.sentence, broken.retryable)
