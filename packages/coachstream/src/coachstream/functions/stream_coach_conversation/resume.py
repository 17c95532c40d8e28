"""Resume reading a run from any position."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from coachstream.functions.acceptance import Accepted, accept_reader
from coachstream.functions.stream_coach_conversation.relay import Responder, no_content, relay
from coachstream.observability.invocation import Invocation
from coachstream.services import Services
from coachstream.turns import Turns
from coachstream.web.routes import Resource
from coachstream.web.run_requests import Cursor, cursor_of
from coachstream.web.sse import RETRY_MS

if TYPE_CHECKING:
    from coachstream.conversation.model import ConversationKey
    from coachstream.conversation.turn.reader_queue import TurnReader


async def resume(accepted: Accepted, services: Services, invocation: Invocation) -> Responder:
    """Stream the part of a run that the reader does not have, or respond 204 if it has all of it.

    Raises:
        CoachStreamError: access is denied, there is no such run, or the store failed.
    """
    request = await accept_reader(accepted, services)
    invocation.key = request.key
    if accepted.route.resource is Resource.STREAM:
        cursor = cursor_of(accepted.event)
        run_id = await _run_of(cursor, request.key, services)
        if run_id is None:
            return no_content
        request = msgspec.structs.replace(request, run_id=run_id, after=cursor.after(run_id))
    turn = await Turns(services).resume(request, report=invocation.turn_ended)
    if turn is None:
        return no_content

    async def begin() -> TurnReader:
        return turn

    return partial(
        relay, begin=begin, services=services, invocation=invocation, retry_ms=RETRY_MS, point=turn.point
    )


async def _run_of(cursor: Cursor, key: ConversationKey, services: Services) -> str | None:
    """The run that the reader has started, finished or not; else the conversation's unfinished one."""
    begun = cursor.newest
    if begun is not None and await services.store.read_last(key, begun.run_id) is not None:
        return begun.run_id
    return await services.store.unfinished_run(key)
