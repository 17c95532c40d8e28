"""Functions that answer with one JSON document."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from coachstream.conversation.errors import CoachStreamError
from coachstream.functions.refusal import as_coachstream_error
from coachstream.observability.invocation import Invocation
from coachstream.observability.observed import observed
from coachstream.web.status import HTTP_STATUS, error_headers
from lambda_streaming import HttpResponseStream, LambdaContext, ResponseStream, streamify_response
from lambda_streaming.streaming import LambdaHandler


class JsonResponse(msgspec.Struct, frozen=True):
    """A whole response; the body is encoded as JSON."""

    status: int
    body: msgspec.Struct
    headers: Mapping[str, str] = {}


def json_handler(
    respond: Callable[[object, LambdaContext, Invocation], Awaitable[JsonResponse]],
    *,
    error_body: Callable[[CoachStreamError], msgspec.Struct],
    logger: logging.Logger,
) -> LambdaHandler:
    """Make a handler of what answers an event; whatever it raises is answered as a typed error."""

    async def handler(payload: object, response_stream: ResponseStream, context: LambdaContext) -> None:
        async with observed(context, payload) as invocation:
            try:
                answer = await respond(payload, context, invocation)
            except Exception as error:  # noqa: BLE001 (nothing may reach the client but a typed error)
                failure = as_coachstream_error(error, logger)
                invocation.error = failure.code
                answer = JsonResponse(HTTP_STATUS[failure.code], error_body(failure), error_headers(failure))
            await send_json(response_stream, answer)

    return streamify_response(handler)


async def send_json(response: ResponseStream, answer: JsonResponse) -> None:
    """Answer, and end the response."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **answer.headers}
    http = HttpResponseStream.from_(response, {"statusCode": answer.status, "headers": headers})
    await http.end(msgspec.json.encode(answer.body))
