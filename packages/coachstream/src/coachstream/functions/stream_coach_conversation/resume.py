"""Resume reading a run from any position."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from coachstream.conversation.errors import ConversationNotFound
from coachstream.conversation.run_log import FROM_THE_BEGINNING, Reset, RunState
from coachstream.conversation.run_queue import RunQueue
from coachstream.conversation.turn.request import ResumeRequest
from coachstream.functions.acceptance import Accepted, accept_reader, accept_user
from coachstream.functions.json_response import Responder
from coachstream.functions.stream_coach_conversation.relay import no_content, relay
from coachstream.observability.invocation import Invocation
from coachstream.services import Services
from coachstream.turns import Turns
from coachstream.web.frame_encoder import FrameEncoder
from coachstream.web.routes import Resource
from coachstream.web.run_requests import Cursor, cursor_of
from coachstream.web.sse import RETRY_MS
from coachstream.web.wire_protocol import Encoder

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

    encoder = FrameEncoder(turn.point, retry_ms=RETRY_MS)
    return _relay_of(turn, encoder, services, invocation)


async def replay(accepted: Accepted, services: Services, invocation: Invocation) -> Responder:
    """Stream the conversation's unfinished reply from its beginning, for a reader that has no cursor.

    It reads the run behind its last reset, because not every such reader can withdraw text. If no reply is
    being written, the first in the queue begins; responds 204 if there is none.

    Raises:
        CoachStreamError: access is denied, or the store failed.
    """
    await accept_user(accepted, services)
    invocation.key = key = accepted.route.key
    queue = await _queue_of(key, services)
    run_id = queue.first_run_id
    if run_id is None:
        return no_content
    entries = await services.store.read_log(key, run_id)
    state = RunState.of(entries)
    if state is not None:
        user_message_id = state.opened.user_message_id
    elif queue.run_id is None:
        user_message_id = queue.queued[0].user_message_id
    else:
        return no_content
    user_message = await services.store.load_message(key, user_message_id)
    if user_message is None:
        return no_content
    resets = (entry.number for entry in entries if isinstance(entry.content, Reset))
    request = ResumeRequest(
        key=key,
        run_id=run_id,
        deadline=Turns(services).deadline(accepted.event.deadline),
        after=max(resets, default=FROM_THE_BEGINNING),
    )
    turn = await Turns(services).resume(request, report=invocation.turn_ended)
    if turn is None:
        return no_content
    from coachstream.web.ai_sdk import encoder_of_run

    return _relay_of(turn, encoder_of_run(run_id, user_message), services, invocation)


def _relay_of(turn: TurnReader, encoder: Encoder, services: Services, invocation: Invocation) -> Responder:
    async def begin() -> TurnReader:
        return turn

    return partial(relay, begin=begin, encoder=encoder, services=services, invocation=invocation)


async def _queue_of(key: ConversationKey, services: Services) -> RunQueue:
    """What the conversation works on; nothing, if it is being deleted."""
    try:
        return await services.store.read_queue(key)
    except ConversationNotFound:
        return RunQueue()


async def _run_of(cursor: Cursor, key: ConversationKey, services: Services) -> str | None:
    """The run that the reader has started, finished or not; else the conversation's unfinished one.

    If none is unfinished, the first in the queue; it then begins.
    """
    begun = cursor.newest
    if begun is not None and await services.store.read_last(key, begun.run_id) is not None:
        return begun.run_id
    queue = await _queue_of(key, services)
    if begun is not None and queue.position_of(begun.run_id) is not None:
        return begun.run_id
    return queue.first_run_id
