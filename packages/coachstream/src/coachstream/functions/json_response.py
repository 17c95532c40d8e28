"""Handlers that respond with one JSON document."""

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
    """A complete response; the body is encoded as JSON."""

    status: int
    body: msgspec.Struct
    headers: Mapping[str, str] = {}


def json_handler(
    respond: Callable[[object, LambdaContext, Invocation], Awaitable[JsonResponse]],
    *,
    error_body: Callable[[CoachStreamError], msgspec.Struct],
    logger: logging.Logger,
) -> LambdaHandler:
    """Create a handler from a coroutine function; its exceptions become typed error responses."""

    async def handler(payload: object, response_stream: ResponseStream, context: LambdaContext) -> None:
        async with observed(context, payload) as invocation:
            try:
                response = await respond(payload, context, invocation)
            except Exception as error:  # noqa: BLE001 (nothing may reach the client but a typed error)
                failure = as_coachstream_error(error, logger)
                invocation.error = failure.code
                response = JsonResponse(
                    HTTP_STATUS[failure.code], error_body(failure), error_headers(failure)
                )
            await send_json(response_stream, response)

    return streamify_response(handler)


async def send_json(stream: ResponseStream, response: JsonResponse) -> None:
    """Send a response and end the stream."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **response.headers}
    http = HttpResponseStream.from_(stream, {"statusCode": response.status, "headers": headers})
    await http.end(msgspec.json.encode(response.body))
