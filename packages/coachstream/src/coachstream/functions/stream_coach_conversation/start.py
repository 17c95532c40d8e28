"""Start a turn: as a stream, or for a reader that reads it at another URL."""

from __future__ import annotations

from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING

from coachstream.functions.acceptance import (
    Accepted,
    accept_message,
    accept_user,
    accept_user_provisionally,
    turn_request,
)
from coachstream.functions.initialization import loading
from coachstream.functions.json_response import JsonResponse, Responder
from coachstream.functions.stream_coach_conversation.relay import no_content, relay, respond_with
from coachstream.observability.invocation import Invocation
from coachstream.services import Services
from coachstream.turns import Turns
from coachstream.web.routes import Resource
from coachstream.web.run_requests import RunStartedBody, events_url
from lambda_streaming import ResponseStream

if TYPE_CHECKING:
    from datetime import datetime

    from coachstream.conversation.turn.reader_queue import TurnReader
    from coachstream.web.wire_protocol import Posted


async def start(accepted: Accepted, services: Services, invocation: Invocation) -> Responder:
    """Stream the reply to a message; slow work in a cold environment is done after `start` is sent."""
    await accept_user_provisionally(accepted, services)
    posted = _read_post(accepted, received_at=services.clock.now())
    request = turn_request(accepted, posted.message, services)
    invocation.key = request.key
    if request.after is not None:
        # A reader that reconnects: the status depends on what is left for it, so the store is read first.
        await accept_user(accepted, services)
        if await Turns(services).has_reply(request):
            return no_content

    async def begin() -> TurnReader:
        async with loading(services.settings):
            # Now with the pool's current keys. Nothing has been read or written before.
            await accept_user(accepted, services)
        return Turns(services).start(request, report=invocation.turn_ended)

    # Its response follows at once; only then is there something to release.
    place = ExitStack()
    place.enter_context(Turns(services).admitted())

    async def respond(response: ResponseStream) -> None:
        with place:
            await relay(response, begin, posted.encoder, services, invocation)

    return respond


def _read_post(accepted: Accepted, *, received_at: datetime) -> Posted:
    """Read the request as its wire protocol says, and import that one only."""
    match accepted.route.resource:
        case Resource.AI_SDK:
            from coachstream.web.ai_sdk import read_post
        case Resource.AG_UI:
            from coachstream.web.ag_ui import read_post
        case _:
            from coachstream.web.frame_encoder import read_post
    return read_post(accepted.event.body, received_at=received_at)


async def open_for_reader(accepted: Accepted, services: Services, invocation: Invocation) -> Responder:
    """Store a message and return the URL of its reply; the first reader starts its production."""
    request = await accept_message(accepted, services)
    invocation.key = request.key
    # Before anything is stored: without a key no client could read the reply.
    services.tickets.require_key()
    run_id = await Turns(services).open_for_reader(request)
    ticket = await services.tickets.issue(request.key, run_id)
    location = events_url(accepted.event, run_id, ticket)
    return respond_with(
        JsonResponse(HTTPStatus.ACCEPTED, RunStartedBody(run_id, location), {"Location": location})
    )
