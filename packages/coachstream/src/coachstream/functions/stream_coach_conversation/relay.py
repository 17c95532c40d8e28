"""Relays the events of a turn as a response, in the encoding of a wire protocol."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from coachstream.conversation.errors import CoachStreamError, ProcessingError
from coachstream.conversation.events import Completed, Failed, Reconnect, failed_by
from coachstream.functions.json_response import JsonResponse, Responder, send_json
from coachstream.functions.refusal import as_coachstream_error
from coachstream.observability.invocation import Invocation
from coachstream.services import Services
from coachstream.web.event_stream import EventStream
from coachstream.web.frames import error_frame
from coachstream.web.sse import RESPONSE_HEADERS, encode_frame
from coachstream.web.status import HTTP_STATUS, error_headers
from coachstream.web.wire_protocol import Encoder
from lambda_streaming import HttpResponseStream, ResponseStream

if TYPE_CHECKING:
    from coachstream.conversation.turn.reader_queue import TurnReader

logger = logging.getLogger("coachstream.functions.stream_coach_conversation")


async def refuse(response: ResponseStream, error: CoachStreamError, *, as_json: bool) -> None:
    """Respond with an error's status and its one event: in a stream, or as a JSON document."""
    status, headers = HTTP_STATUS[error.code], error_headers(error)
    if as_json:
        await send_json(response, JsonResponse(status, error_frame(error), headers))
        return
    http = HttpResponseStream.from_(
        response, {"statusCode": status, "headers": {**RESPONSE_HEADERS, **headers}}
    )
    await http.end(encode_frame(error_frame(error)))


def respond_with(response: JsonResponse) -> Responder:
    """Respond with a JSON document."""
    return partial(send_json, response=response)


async def no_content(response: ResponseStream) -> None:
    """Respond that there is nothing to read, which ends an `EventSource` (HTML standard, section 9.2.3)."""
    http = HttpResponseStream.from_(response, {"statusCode": 204, "headers": {"Cache-Control": "no-store"}})
    await http.end()


async def relay(
    response: ResponseStream,
    begin: Callable[[], Awaitable[TurnReader]],
    encoder: Encoder,
    services: Services,
    invocation: Invocation,
) -> None:
    """Send the beginning immediately, then all events of the turn.

    Args:
        response: the response stream of the invocation.
        begin: starts the turn, importing and creating its adapters if needed, or rejects it.
        encoder: encodes the response.
        services: the services of the process.
        invocation: records how the turn ended.
    """
    http = HttpResponseStream.from_(response, {"statusCode": 200, "headers": encoder.headers})
    async with EventStream(http, keep_alive_after_s=services.settings.keep_alive_s) as events:
        await events.send(encoder.begin())
        invocation.started()
        is_over = False
        try:
            async with await begin() as turn:
                async for event in turn:
                    is_over = isinstance(event, Completed | Failed | Reconnect)
                    await events.send(encoder.encode(event))
                    if isinstance(event, Failed):
                        invocation.error = event.code
                    if events.is_broken_off:
                        break
        except Exception as error:  # noqa: BLE001 (nothing may reach the client but a typed error)
            if is_over:
                # The client has the reply; the runtime would print the exception's text, which may quote it.
                invocation.broke(error)
                raise ProcessingError from None
            failure = as_coachstream_error(error, logger)
            invocation.error = failure.code
            await events.send(encoder.encode(failed_by(failure)))
    if not events.is_broken_off:
        await http.end()
