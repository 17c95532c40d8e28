"""Handlers that respond with one JSON document, or decide to stream."""

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


Responder = Callable[[ResponseStream], Awaitable[None]]
"""Writes a complete response."""


def json_handler(
    respond: Callable[[object, LambdaContext, Invocation], Awaitable[JsonResponse | Responder]],
    *,
    error_body: Callable[[CoachStreamError], msgspec.Struct],
    logger: logging.Logger,
    is_invoked_directly: Callable[[object], bool] = lambda _: False,
    afterwards: Callable[[], Awaitable[None]] | None = None,
) -> LambdaHandler:
    """Create a handler from a coroutine function; its exceptions become typed error responses.

    Args:
        respond: responds to an invocation, or returns what will write the response.
        error_body: the document for an error.
        logger: logs what the client is not told.
        is_invoked_directly: whether the payload is from a program that reads the response as one document,
            and not from a service that reads status and headers from the prelude.
        afterwards: what to do when the response is complete, unless it is an error.
    """

    async def handler(payload: object, response_stream: ResponseStream, context: LambdaContext) -> None:
        async with observed(context, payload) as invocation:
            has_failed = False
            response: JsonResponse | Responder
            try:
                response = await respond(payload, context, invocation)
            except Exception as error:  # noqa: BLE001 (nothing may reach the client but a typed error)
                has_failed = True
                failure = as_coachstream_error(error, logger)
                invocation.error = failure.code
                response = JsonResponse(
                    HTTP_STATUS[failure.code], error_body(failure), error_headers(failure)
                )
            if isinstance(response, JsonResponse):
                send = send_proxy_result if is_invoked_directly(payload) else send_json
                await send(response_stream, response)
            else:
                await response(response_stream)
        if afterwards is not None and not has_failed:
            await afterwards()

    return streamify_response(handler)


class _ProxyResult(msgspec.Struct, frozen=True, rename="camel"):
    """What a function returns to API Gateway, and the existing function to its callers."""

    status_code: int
    headers: Mapping[str, str]
    body: str


async def send_json(stream: ResponseStream, response: JsonResponse) -> None:
    """Send a response and end the stream."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **response.headers}
    http = HttpResponseStream.from_(stream, {"statusCode": response.status, "headers": headers})
    await http.end(msgspec.json.encode(response.body))


async def send_proxy_result(stream: ResponseStream, response: JsonResponse) -> None:
    """Return a response to a direct invocation, as a JSON document with `statusCode` and `body`."""
    headers = {"Content-Type": "application/json", **response.headers}
    stream.set_content_type("application/json")
    result = _ProxyResult(response.status, headers, msgspec.json.encode(response.body).decode())
    await stream.end(msgspec.json.encode(result))
