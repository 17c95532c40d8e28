"""Stream a coach's reply as Server-Sent Events, from its beginning or from a reader's position.

    POST   {url}/users/{userId}/coaches/{coachId}/conversations/{conversationId}/stream
    GET    …/stream               the conversation's unfinished run, from its beginning
    GET    …/stream/{runId}       a run, after `Last-Event-ID` or `?after=`
    DELETE …/stream/{runId}       stop it

The same turns and runs in the wire protocols of other projects:

    POST   …/ai-sdk                    AI SDK: what `DefaultChatTransport` sends
    GET    …/ai-sdk/{chatId}/stream    the conversation's unfinished run, from its beginning
    POST   …/ag-ui                     AG-UI: a `RunAgentInput`

A request that is rejected before the stream begins gets an HTTP error status and a body with one `error`
event. After that the status is 200, `start` is sent immediately, and the stream ends with `complete`, `error`
or `reconnect`. A `POST` that accepts only JSON opens the run and returns its URL, for an `EventSource`.

In the other protocols a request that is rejected gets JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from coachstream.conversation.errors import CoachStreamError
from coachstream.functions.acceptance import METHODS, Accepted, accept
from coachstream.functions.initialization import initialize
from coachstream.functions.json_response import Responder
from coachstream.functions.refusal import as_coachstream_error
from coachstream.functions.stream_coach_conversation.relay import refuse
from coachstream.functions.stream_coach_conversation.resume import replay, resume
from coachstream.functions.stream_coach_conversation.start import open_for_reader, start
from coachstream.functions.stream_coach_conversation.stop import stop
from coachstream.observability.invocation import Invocation
from coachstream.observability.observed import observed
from coachstream.services import Services, services_of_this_process
from coachstream.web.request_body import read_event
from coachstream.web.routes import Resource
from coachstream.web.run_requests import wants_json
from lambda_streaming import LambdaContext, ResponseStream, streamify_response
from lambda_streaming.streaming import LambdaHandler

RESOURCES = tuple(METHODS.keys() - {Resource.SEND_MESSAGE})
"""What this function serves."""

logger = logging.getLogger("coachstream.functions.stream_coach_conversation")


def handler_for(services: Callable[[], Services]) -> LambdaHandler:
    """Create the handler; `services` is called once per invocation."""

    async def handler(payload: object, response_stream: ResponseStream, context: LambdaContext) -> None:
        adapters: Services | None = None
        async with observed(context, payload) as invocation:
            accepted: Accepted | None = None
            try:
                adapters = services()
                invocation.logs = adapters.settings.logs
                accepted = accept(payload, context, *RESOURCES)
                respond = await _responder(accepted, adapters, invocation)
            except Exception as error:  # noqa: BLE001 (nothing may reach the client but a typed error)
                failure = as_coachstream_error(error, logger)
                invocation.error = failure.code
                await refuse(response_stream, failure, as_json=_takes_json(accepted, payload, context))
            else:
                await respond(response_stream)
        if adapters is not None:
            await adapters.finish_local_work()

    return streamify_response(handler)


def _takes_json(accepted: Accepted | None, payload: object, context: LambdaContext) -> bool:
    if accepted is None:
        return _is_for_others(payload, context)
    is_ours = accepted.route.resource in {Resource.STREAM, Resource.RUN}
    return not is_ours or accepted.event.method == "DELETE" or wants_json(accepted.event)


def _is_for_others(payload: object, context: LambdaContext) -> bool:
    """Whether a path that is no route was meant for the wire protocol of another project."""
    with suppress(CoachStreamError):
        return not {Resource.AI_SDK, Resource.AG_UI}.isdisjoint(read_event(payload, context).segments)
    return False


async def _responder(accepted: Accepted, services: Services, invocation: Invocation) -> Responder:
    """Make all checks that have their own status, and return what writes the response."""
    match (accepted.route.resource, accepted.event.method):
        case (Resource.STREAM, "POST") if wants_json(accepted.event):
            return await open_for_reader(accepted, services, invocation)
        case (_, "POST"):
            return await start(accepted, services, invocation)
        case (_, "DELETE"):
            return await stop(accepted, services, invocation)
        case (Resource.AI_SDK_STREAM, _):
            return await replay(accepted, services, invocation)
        case _:
            return await resume(accepted, services, invocation)


initialize()
handler = handler_for(services_of_this_process)
