"""What must hold before a turn begins: everything that can be checked without the store."""

from __future__ import annotations

from coachstream.conversation.errors import MissingPathParams
from coachstream.conversation.turn_request import TurnRequest
from coachstream.services import Services
from coachstream.web.authentication import authenticate
from coachstream.web.request import parse_new_message, read_event
from coachstream.web.routes import Resource, match_path, require_method
from lambda_streaming import LambdaContext

METHODS = ("POST",)


async def accept_message(
    payload: object, context: LambdaContext, services: Services, *, resource: Resource
) -> TurnRequest:
    """Check route and method, token, user, body, in this order, and return what the turn is to answer.

    Raises:
        CoachStreamError: the first thing that does not hold.
    """
    event = read_event(payload, context)
    route = match_path(event.segments)
    if route.resource is not resource:
        raise MissingPathParams
    require_method(event.method, METHODS)
    await authenticate(event.header("authorization"), services.verifier, user_id=route.user_id)
    message = parse_new_message(event.body, received_at=services.clock.now())
    return TurnRequest(
        key=route.key,
        text=message.text,
        deadline=services.deadline(event.deadline),
        sent_at=message.sent_at,
        client_message_id=message.client_message_id,
        streamed=resource is Resource.STREAM,
    )
