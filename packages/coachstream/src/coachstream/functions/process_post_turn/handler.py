"""Write the summary or the title that a turn has requested, in an asynchronous invocation.

    {"work": "summary", "userId", "coachId", "conversationId", "triggerReason", "messageCount"}
    {"work": "title", "userId", "coachId", "conversationId"}

The response to a direct invocation is `{"outcome": …}`. A failure is raised: Lambda invokes the function
twice more, and then sends the event to the queue of those that failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from coachstream.conversation.errors import CoachStreamError
from coachstream.functions.initialization import initialize
from coachstream.functions.refusal import as_coachstream_error
from coachstream.hand_off.post_turn import request_in
from coachstream.observability.observed import observed
from coachstream.services import Services, services_of_this_process
from lambda_streaming import LambdaContext, ResponseStream, streamify_response
from lambda_streaming.streaming import LambdaHandler

logger = logging.getLogger("coachstream.functions.process_post_turn")


def handler_for(services: Callable[[], Services]) -> LambdaHandler:
    """Create the handler; `services` is called once per invocation."""

    async def handler(event: object, response_stream: ResponseStream, context: LambdaContext) -> None:
        failure: CoachStreamError | None = None
        outcome = ""
        async with observed(context, event) as invocation:
            try:
                adapters = services()
                invocation.logs = adapters.settings.logs
                request = request_in(event)
                invocation.key = request.key
                outcome = await adapters.post_turn.process(request)
                logger.info("%s: %s", type(request).__name__, outcome)
            except Exception as error:  # noqa: BLE001 (its text might quote the user, and the runtime prints it)
                failure = as_coachstream_error(error, logger)
                invocation.error = failure.code
        if failure is not None:
            raise failure
        response_stream.set_content_type("application/json")
        await response_stream.end(msgspec.json.encode({"outcome": outcome}))

    return streamify_response(handler)


initialize()
handler = handler_for(services_of_this_process)
