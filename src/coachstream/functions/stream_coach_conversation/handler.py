"""Stream a coach's reply as Server-Sent Events.

    POST {url}/users/{userId}/coaches/{coachId}/conversations/{conversationId}/stream

What is refused before the turn begins has its HTTP status and a body with the one `error` event. Once the
turn has begun the status is 200, `start` goes out at once, and the stream ends with `complete` or `error`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from coachstream.conversation.errors import CoachStreamError, MissingPathParams
from coachstream.conversation.events import Completed, Failed, Started
from coachstream.conversation.model import ConversationKey
from coachstream.functions.refusal import as_coachstream_error
from coachstream.services import Services, services_of_this_process
from coachstream.web.authentication import authenticate
from coachstream.web.event_stream import EventStream
from coachstream.web.frames import error_frame, frame_of
from coachstream.web.request import NewMessage, parse_new_message, read_event
from coachstream.web.routes import Resource, match_path, require_method
from coachstream.web.sse import RESPONSE_HEADERS, encode_frame
from coachstream.web.status import HTTP_STATUS, error_headers
from lambda_streaming import HttpResponseStream, LambdaContext, ResponseStream, streamify_response
from lambda_streaming.streaming import LambdaHandler

METHODS = ("POST",)

logger = logging.getLogger("coachstream.functions.stream_coach_conversation")


class Accepted(msgspec.Struct, frozen=True):
    """A request that may begin a turn; `deadline` is on the clock's monotonic scale."""

    key: ConversationKey
    message: NewMessage
    deadline: float


def handler_for(services: Callable[[], Services]) -> LambdaHandler:
    """Make the handler; `services` is asked once an invocation."""

    async def handler(payload: object, response_stream: ResponseStream, context: LambdaContext) -> None:
        try:
            parts = services()
            request = await _accept(payload, context, parts)
        except Exception as error:  # noqa: BLE001 (nothing may reach the client but a typed error)
            failure = as_coachstream_error(error, logger, context.aws_request_id)
            await _refuse(response_stream, failure)
        else:
            await _stream(response_stream, request, parts, context)

    return streamify_response(handler)


async def _accept(payload: object, context: LambdaContext, services: Services) -> Accepted:
    """Check everything that can be checked without the store: route and method, token, user, body."""
    event = read_event(payload, context)
    route = match_path(event.segments)
    if route.resource is not Resource.STREAM:
        raise MissingPathParams
    require_method(event.method, METHODS)
    await authenticate(event.header("authorization"), services.verifier, user_id=route.user_id)
    message = parse_new_message(event.body, received_at=services.clock.now())
    return Accepted(route.key, message, services.deadline(event.deadline))


async def _refuse(response: ResponseStream, error: CoachStreamError) -> None:
    headers = {**RESPONSE_HEADERS, **error_headers(error)}
    http = HttpResponseStream.from_(response, {"statusCode": HTTP_STATUS[error.code], "headers": headers})
    await http.end(encode_frame(error_frame(error)))


async def _stream(
    response: ResponseStream, request: Accepted, services: Services, context: LambdaContext
) -> None:
    http = HttpResponseStream.from_(response, {"statusCode": 200, "headers": RESPONSE_HEADERS})
    async with EventStream(http, keep_alive_after_s=services.settings.keep_alive_s) as events:
        # Ahead of the turn, whose adapters may be imported and set up only now.
        await events.send(frame_of(Started()))
        is_over = False
        try:
            async with services.start_turn(
                request.key,
                request.message.text,
                deadline=request.deadline,
                sent_at=request.message.sent_at,
                client_message_id=request.message.client_message_id,
            ) as turn:
                async for event in turn:
                    if not isinstance(event, Started):
                        is_over = isinstance(event, Completed | Failed)
                        await events.send(frame_of(event))
        except Exception as error:
            if is_over:
                raise
            failure = as_coachstream_error(error, logger, context.aws_request_id)
            await events.send(error_frame(failure))
    if not events.is_broken_off:
        await http.end()


handler = handler_for(services_of_this_process)
