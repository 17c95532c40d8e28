"""Stop a run."""

from __future__ import annotations

from http import HTTPStatus

from coachstream.conversation.run_queue import StopResult
from coachstream.functions.acceptance import Accepted, accept_user
from coachstream.functions.json_response import JsonResponse, Responder
from coachstream.functions.stream_coach_conversation.relay import respond_with
from coachstream.observability.invocation import Invocation
from coachstream.services import Services
from coachstream.turns import Turns
from coachstream.web.run_requests import RunStoppedBody


async def stop(accepted: Accepted, services: Services, invocation: Invocation) -> Responder:
    """Stop a run, whose text so far becomes the reply; or withdraw a queued one, whose message is deleted.

    Raises:
        CoachStreamError: the caller is not its user, there is no such run, or the store failed.
    """
    await accept_user(accepted, services)
    route = accepted.route
    invocation.key = route.key
    result = await Turns(services).stop(route.key, route.run_id)
    status = HTTPStatus.ACCEPTED if result is StopResult.STOPPING else HTTPStatus.OK
    return respond_with(JsonResponse(status, RunStoppedBody(route.run_id, result.value)))
