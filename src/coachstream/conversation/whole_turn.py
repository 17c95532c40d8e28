"""A turn for a client that takes the whole reply at once, and may have asked for it before as a stream.

A client whose stream failed, as it seems to it, sends the same text here. The turn behind that stream may be
over, still be running, or have broken off; in each case the message must not be answered twice.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec

from coachstream.conversation.errors import CoachStreamError, ErrorCode, ProcessingError
from coachstream.conversation.events import Completed, Failed
from coachstream.conversation.model import Message
from coachstream.conversation.parts import TurnParts
from coachstream.conversation.producer import TurnProducer
from coachstream.conversation.turn_request import TurnRequest

REPEATED_WITHIN = timedelta(seconds=60)
"""How long after a streamed message the same text is taken for the same message."""

LOOK_AGAIN_AFTER_S = 0.5
"""Between two looks at whether the live turn has stored its reply."""

BEGIN_AGAIN_AFTER_S = 5.0
"""A live turn that dies stores nothing; so now and then the turn is simply begun again."""

_NEWEST = 20


async def run_whole_turn(
    request: TurnRequest, parts: TurnParts, start: Callable[[TurnRequest], TurnProducer]
) -> Completed | Failed:
    """Run a turn to its end and return its last event.

    A message that is known already, by its `client_message_id` or as the same text within a minute after it
    was sent for a stream, gets the reply it has; while its turn is live, that is waited for.

    Args:
        request: what the user sent; `repeats` is found out here.
        parts: the adapters.
        start: makes a turn of a request.
    """
    try:
        while True:
            request = msgspec.structs.replace(request, repeats=await _streamed_before(request, parts))
            ending = await _ending(start(request))
            if not isinstance(ending, Failed) or ending.code is not ErrorCode.TURN_IN_PROGRESS:
                return ending
            live = await _stored(request, parts)
            if live is None or not await _wait_for_reply(live, request, parts):
                return ending
    except CoachStreamError as error:
        return Failed(error.code, error.sentence, error.retryable)


async def _ending(turn: TurnProducer) -> Completed | Failed:
    async with turn:
        async for event in turn:
            if isinstance(event, Completed | Failed):
                return event
    return Failed(ProcessingError.code, ProcessingError.sentence, ProcessingError.retryable)


async def _streamed_before(request: TurnRequest, parts: TurnParts) -> Message | None:
    if request.client_message_id is not None:
        return None
    since = parts.clock.now() - REPEATED_WITHIN
    return await parts.turns.find_streamed_message(request.key, request.text, since=since)


async def _stored(request: TurnRequest, parts: TurnParts) -> Message | None:
    """The message as the store knows it, if it does."""
    if request.client_message_id is None:
        return request.repeats or await _streamed_before(request, parts)
    for message in await _newest(request, parts):
        if message.metadata.client_message_id == request.client_message_id:
            return message
    return None


async def _wait_for_reply(message: Message, request: TurnRequest, parts: TurnParts) -> bool:
    """Wait until the message has a reply, or its turn may have died; false when time is running out."""
    now = parts.clock.monotonic
    begin_again_at = min(now() + BEGIN_AGAIN_AFTER_S, request.deadline - 1)
    while now() < begin_again_at:
        newest = await _newest(request, parts)
        if any(reply.metadata.reply_to == message.id for reply in newest):
            return True
        await asyncio.sleep(LOOK_AGAIN_AFTER_S)
    return now() + LOOK_AGAIN_AFTER_S < request.deadline - 1


async def _newest(request: TurnRequest, parts: TurnParts) -> Sequence[Message]:
    return await parts.context.load_history(request.key, limit=_NEWEST, budget_chars=sys.maxsize)
