"""Request checks that need no store, made before anything else is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from coachstream.conversation.errors import MissingPathParams
from coachstream.conversation.model import Identity
from coachstream.conversation.turn.request import ResumeRequest, TurnRequest
from coachstream.functions.internal_invocation import read_internal
from coachstream.services import Services
from coachstream.settings import TurnPolicy
from coachstream.turns import Turns
from coachstream.web.authentication import authenticate
from coachstream.web.request_body import NewMessage, parse_new_message, read_event
from coachstream.web.routes import Resource, Route, match_path, require_method
from coachstream.web.run_requests import TICKET, cursor_of
from lambda_streaming import LambdaContext
from lambda_streaming.function_url.event import FunctionUrlEvent

METHODS = {
    Resource.SEND_MESSAGE: ("POST",),
    Resource.STREAM: ("GET", "POST"),
    Resource.RUN: ("DELETE", "GET"),
    Resource.AI_SDK: ("POST",),
    Resource.AI_SDK_STREAM: ("GET",),
    Resource.AG_UI: ("POST",),
}


class Accepted(msgspec.Struct, frozen=True):
    """A request whose route exists and allows its method.

    Attributes:
        is_internal: whether another function of the account sent it, which is trusted with the user's id.
    """

    event: FunctionUrlEvent
    route: Route
    is_internal: bool = False


def accept(payload: object, context: LambdaContext, *resources: Resource) -> Accepted:
    """Check route and method.

    Raises:
        MissingPathParams, MethodNotAllowed, InvalidJson: as named.
    """
    event = read_event(payload, context)
    route = match_path(event.segments)
    if route.resource not in resources:
        raise MissingPathParams
    require_method(event.method, METHODS[route.resource])
    return Accepted(event, route)


def accept_internal(payload: object, context: LambdaContext) -> Accepted:
    """Read an invocation for which `is_internal` is true.

    Raises:
        MissingPathParams, InvalidJson: as named.
    """
    return Accepted(*read_internal(payload, context), is_internal=True)


async def accept_message(accepted: Accepted, services: Services) -> TurnRequest:
    """Check token, user and body, in this order, and return the turn's request.

    Raises:
        CoachStreamError: the first check that fails.
    """
    await accept_user(accepted, services)
    message = parse_new_message(accepted.event.body, received_at=services.clock.now())
    return turn_request(accepted, message, services)


async def accept_user_provisionally(accepted: Accepted, services: Services) -> None:
    """Like `accept_user`, with provisional authentication: no network if possible; enough for `start`.

    `accept_user` must follow before anything is read or written: see `authenticate_provisionally`.

    Raises:
        AuthenticationError: the caller is someone else, or could not be verified.
    """
    await _authenticate(accepted, services.verifier.authenticate_provisionally)


def turn_request(accepted: Accepted, message: NewMessage, services: Services) -> TurnRequest:
    """The request of the turn that answers a message."""
    event, route = accepted.event, accepted.route
    return TurnRequest(
        key=route.key,
        text=message.text,
        deadline=Turns(services).deadline(event.deadline),
        sent_at=message.sent_at,
        client_message_id=message.client_message_id,
        streamed=route.resource is not Resource.SEND_MESSAGE,
        # The wire protocols of others have no cursor: their readers begin with nothing.
        after=cursor_of(event).newest if route.resource is Resource.STREAM else None,
        time_zone=message.time_zone,
        policy=message.policy or _default_policy(route.resource, services),
        another_try=message.another_try,
        retried=message.retried,
    )


def _default_policy(resource: Resource, services: Services) -> TurnPolicy | None:
    """What happens to a message during another reply, if its request does not tell; None for the setting.

    A client of `send-message` waits for a reply in one piece, and does not know of a queue.
    """
    is_queueing = services.settings.turn_policy is TurnPolicy.ENQUEUE
    return TurnPolicy.REJECT if resource is Resource.SEND_MESSAGE and is_queueing else None


async def accept_reader(accepted: Accepted, services: Services) -> ResumeRequest:
    """Check token and user, or the ticket in the URL, and return the request to resume a run.

    Raises:
        CoachStreamError: the first check that fails.
    """
    event, route = accepted.event, accepted.route
    ticket = event.query.get(TICKET)
    if ticket is None or event.header("authorization") is not None:
        await accept_user(accepted, services)
    else:
        await services.tickets.verify(ticket, route.key, route.run_id)
    return ResumeRequest(
        key=route.key,
        run_id=route.run_id,
        deadline=Turns(services).deadline(event.deadline),
        after=cursor_of(event).after(route.run_id),
    )


async def accept_user(accepted: Accepted, services: Services) -> None:
    """Check that the caller is the user in the path, or another function of the account.

    Raises:
        AuthenticationError: the caller is someone else, or could not be verified.
    """
    if not accepted.is_internal:
        await _authenticate(accepted, services.verifier.verify)


async def _authenticate(accepted: Accepted, verify: Callable[[str], Awaitable[Identity]]) -> None:
    authorization = accepted.event.header("authorization")
    await authenticate(authorization, verify, user_id=accepted.route.user_id)
