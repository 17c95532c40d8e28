"""Stream a coach's reply as Server-Sent Events.

    POST {url}/users/{userId}/coaches/{coachId}/conversations/{conversationId}/stream

What is refused before the turn begins has its HTTP status and a body with the one `error` event. Once the
turn has begun the status is 200, `start` goes out at once, and the stream ends with `complete` or `error`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from coachstream.conversation.errors import CoachStreamError, ProcessingError
from coachstream.conversation.events import Completed, Failed, Started
from coachstream.conversation.turn_request import TurnRequest
from coachstream.functions.acceptance import accept_message
from coachstream.functions.refusal import as_coachstream_error
from coachstream.observability.invocation import Invocation, observed
from coachstream.services import Services, refuse_to_start_misconfigured, services_of_this_process
from coachstream.web.event_stream import EventStream
from coachstream.web.frames import error_frame, frame_of
from coachstream.web.routes import Resource
from coachstream.web.sse import RESPONSE_HEADERS, encode_frame
from coachstream.web.status import HTTP_STATUS, error_headers
from lambda_streaming import HttpResponseStream, LambdaContext, ResponseStream, streamify_response
from lambda_streaming.streaming import LambdaHandler

logger = logging.getLogger("coachstream.functions.stream_coach_conversation")


def handler_for(services: Callable[[], Services]) -> LambdaHandler:
    """Make the handler; `services` is asked once an invocation."""

    async def handler(payload: object, response_stream: ResponseStream, context: LambdaContext) -> None:
        async with observed(context, payload) as invocation:
            try:
                parts = services()
                invocation.logs = parts.settings.logs
                request = await accept_message(payload, context, parts, resource=Resource.STREAM)
                invocation.key = request.key
            except Exception as error:  # noqa: BLE001 (nothing may reach the client but a typed error)
                failure = as_coachstream_error(error, logger)
                invocation.error = failure.code
                await _refuse(response_stream, failure)
            else:
                await _stream(response_stream, request, parts, invocation)

    return streamify_response(handler)


async def _refuse(response: ResponseStream, error: CoachStreamError) -> None:
    headers = {**RESPONSE_HEADERS, **error_headers(error)}
    http = HttpResponseStream.from_(response, {"statusCode": HTTP_STATUS[error.code], "headers": headers})
    await http.end(encode_frame(error_frame(error)))


async def _stream(
    response: ResponseStream, request: TurnRequest, services: Services, invocation: Invocation
) -> None:
    http = HttpResponseStream.from_(response, {"statusCode": 200, "headers": RESPONSE_HEADERS})
    async with EventStream(http, keep_alive_after_s=services.settings.keep_alive_s) as events:
        # Ahead of the turn, whose adapters may be imported and set up only now.
        await events.send(frame_of(Started()))
        invocation.started()
        is_over = False
        try:
            async with services.start_turn(request, report=invocation.turn_ended) as turn:
                async for event in turn:
                    if not isinstance(event, Started):
                        is_over = isinstance(event, Completed | Failed)
                        await events.send(frame_of(event))
        except Exception as error:  # noqa: BLE001 (nothing may reach the client but a typed error)
            if is_over:
                # The client has its answer; the runtime would print the exception's text, which may quote it.
                invocation.broke(error)
                raise ProcessingError from None
            failure = as_coachstream_error(error, logger)
            invocation.error = failure.code
            await events.send(error_frame(failure))
    if not events.is_broken_off:
        await http.end()


refuse_to_start_misconfigured()
handler = handler_for(services_of_this_process)
