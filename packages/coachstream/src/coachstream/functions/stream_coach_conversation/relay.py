"""Relays the events of a turn as the frames of a response."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from coachstream.conversation.errors import CoachStreamError, ProcessingError
from coachstream.conversation.events import Attached, Completed, Event, Failed, LogPoint, Reconnect, Started
from coachstream.functions.json_response import JsonResponse, send_json
from coachstream.functions.refusal import as_coachstream_error
from coachstream.observability.invocation import Invocation
from coachstream.services import Services
from coachstream.web.event_stream import EventStream
from coachstream.web.frames import StartFrame, error_frame, frame_of, point_of
from coachstream.web.sse import RESPONSE_HEADERS, encode_frame
from coachstream.web.status import HTTP_STATUS, error_headers
from lambda_streaming import HttpResponseStream, ResponseStream

if TYPE_CHECKING:
    from coachstream.conversation.turn.reader_queue import TurnReader

Responder = Callable[[ResponseStream], Awaitable[None]]
"""Writes a complete response."""

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
    services: Services,
    invocation: Invocation,
    *,
    retry_ms: int | None = None,
    point: LogPoint | None = None,
) -> None:
    """Send `start` immediately, then all events of the turn.

    Args:
        response: the response stream of the invocation.
        begin: starts the turn, importing and creating its adapters if needed, or rejects it.
        services: the services of the process.
        invocation: records how the turn ended.
        retry_ms: the reconnection time sent to an `EventSource`.
        point: the reader's position, if the run is already known; `start` then names the run.
    """
    http = HttpResponseStream.from_(response, {"statusCode": 200, "headers": RESPONSE_HEADERS})
    async with EventStream(http, keep_alive_after_s=services.settings.keep_alive_s) as events:
        start = StartFrame() if point is None else StartFrame(run_id=point.run_id)
        await events.send(start, retry_ms=retry_ms, event_id=_id_of(point))
        invocation.started()
        is_over = False
        try:
            async with await begin() as turn:
                async for event in turn:
                    if _is_known(event, point):
                        continue
                    if isinstance(event, Attached):
                        point = event.point
                    is_over = isinstance(event, Completed | Failed | Reconnect)
                    await events.send(frame_of(event), event_id=_id_of(point_of(event)))
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
            await events.send(error_frame(failure))
    if not events.is_broken_off:
        await http.end()


def _is_known(event: Event, point: LogPoint | None) -> bool:
    """Whether the reader already knows it: that the request was accepted, or which run it reads."""
    if isinstance(event, Attached):
        return point is not None and event.point.run_id == point.run_id
    return isinstance(event, Started)


def _id_of(point: LogPoint | None) -> str | None:
    return None if point is None else str(point)
