"""Stop a run."""

from __future__ import annotations

from http import HTTPStatus

from coachstream.functions.acceptance import Accepted, accept_user
from coachstream.functions.json_response import JsonResponse, Responder
from coachstream.functions.stream_coach_conversation.relay import respond_with
from coachstream.observability.invocation import Invocation
from coachstream.services import Services
from coachstream.turns import Turns
from coachstream.web.run_requests import RunStoppedBody


async def stop(accepted: Accepted, services: Services, invocation: Invocation) -> Responder:
    """Stop a run; its text so far becomes the reply.

    Raises:
        CoachStreamError: the caller is not its user, there is no such run, or the store failed.
    """
    await accept_user(accepted, services)
    route = accepted.route
    invocation.key = route.key
    if await Turns(services).stop(route.key, route.run_id):
        return respond_with(JsonResponse(HTTPStatus.ACCEPTED, RunStoppedBody(route.run_id, "stopping")))
    return respond_with(JsonResponse(HTTPStatus.OK, RunStoppedBody(route.run_id, "finished")))
