"""Exports a user's data as a stream of JSON lines, and deletes it."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from http import HTTPStatus

from coachstream.conversation.errors import DeadlineExceeded, StorageUnavailable
from coachstream.conversation.user_data import RecordPage, VectorStore, delete_user_data
from coachstream.functions.json_response import JsonResponse, Responder
from coachstream.functions.refusal import as_coachstream_error
from coachstream.observability.invocation import Invocation
from coachstream.services import Services
from coachstream.settings import RecallOff
from coachstream.turns import Turns
from coachstream.web.routes import Route
from coachstream.web.user_data import (
    RESPONSE_HEADERS,
    ExportPosition,
    ExportSource,
    ReconnectLine,
    encode_cursor,
    encode_line,
    encode_page,
    error_line,
    position_of,
    user_data_deleted,
)
from lambda_streaming import HttpResponseStream, ResponseStream
from lambda_streaming.function_url.event import FunctionUrlEvent
from lambda_streaming.response_stream import ResponseBroken

RESERVE_S = 5.0
"""How long before its timeout an invocation stops, to report what is done; at most half of its time."""

MOST_RESPONSE_BYTES = 150_000_000
"""After this, an export goes on in another response: Lambda cuts one off at 200 MB (Lambda quotas, "Maximum
response size for streamed responses", seen 2026-11-28)."""

logger = logging.getLogger("coachstream.functions.coach_conversations")


async def export(
    event: FunctionUrlEvent, route: Route, services: Services, invocation: Invocation
) -> Responder:
    """Read the first page, and return what streams it and all others, one at a time.

    Raises:
        InvalidCursor: the request does not name a position in this export.
        DeadlineExceeded: there is no time even for one page.
        StorageUnavailable: the store failed.
    """
    source = ExportSource(route.user_id, services.settings.store_place)
    position = position_of(event, source)
    stop_at = _stop_at(event, services)
    page = await _read(source, position, services, stop_at)
    if page is None:
        raise DeadlineExceeded("no page could be read in time")
    return partial(_stream, source, position, page, stop_at, services, invocation)


async def delete(event: FunctionUrlEvent, route: Route, services: Services) -> JsonResponse:
    """Delete as much as there is time for, and report it.

    Raises:
        StorageUnavailable: the store failed.
    """
    report = await delete_user_data(
        route.user_id,
        store=services.store,
        recall=_vectors(services),
        within_s=_stop_at(event, services) - services.clock.monotonic(),
    )
    return JsonResponse(HTTPStatus.OK, user_data_deleted(report))


class _Unreachable:
    """An index whose key is missing, so that its vectors stay."""

    async def forget_user(self, user_id: str) -> None:  # noqa: ARG002 (the same for all users)
        raise StorageUnavailable("PINECONE_API_KEY is not set")


def _vectors(services: Services) -> VectorStore | None:
    recall = services.settings.recall
    is_unreachable = isinstance(recall, RecallOff) and recall.is_key_missing
    return _Unreachable() if is_unreachable else services.recall


async def _stream(
    source: ExportSource,
    position: ExportPosition,
    page: RecordPage,
    stop_at: float,
    services: Services,
    invocation: Invocation,
    response: ResponseStream,
) -> None:
    """Write the pages, each read after the one before was accepted (backpressure)."""
    http = HttpResponseStream.from_(response, {"statusCode": HTTPStatus.OK, "headers": RESPONSE_HEADERS})
    sent = 0
    try:
        while True:
            lines, position_after = encode_page(source, page, position)
            if position_after is None:
                await http.end(lines)
                return
            await http.write(lines)
            position, sent = position_after, sent + len(lines)
            next_page = None
            if sent < MOST_RESPONSE_BYTES:
                try:
                    next_page = await _read(source, position, services, stop_at)
                except Exception as error:  # noqa: BLE001 (nothing may reach the client but a typed error)
                    failure = as_coachstream_error(error, logger)
                    invocation.error = failure.code
                    await http.end(encode_line(error_line(failure)))
                    return
            if next_page is None:
                await http.end(encode_line(ReconnectLine(encode_cursor(source, position))))
                return
            page = next_page
    except ResponseBroken:
        return  # the reader has left, and can resume


async def _read(
    source: ExportSource, position: ExportPosition, services: Services, stop_at: float
) -> RecordPage | None:
    """The page behind a position; None if it cannot be read in time."""
    try:
        async with asyncio.timeout(stop_at - services.clock.monotonic()) as limit:
            return await services.store.read_records(source.user_id, after=position.after)
    except TimeoutError:
        if not limit.expired():
            raise
        return None


def _stop_at(event: FunctionUrlEvent, services: Services) -> float:
    deadline, now = Turns(services).deadline(event.deadline), services.clock.monotonic()
    return max(deadline - RESERVE_S, now + (deadline - now) / 2)
