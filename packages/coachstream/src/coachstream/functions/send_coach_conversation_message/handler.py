"""Respond to a message with the coach's complete reply, in one JSON document (existing system, section 2.1).

    POST {url}/users/{userId}/coaches/{coachId}/conversations/{conversationId}/send-message

The turn is the same as for a stream, but collected. A client that falls back to it from a stream gets the
reply to the message it already sent, not a second one. Another function of the account may invoke this one
directly (see `internal_invocation`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from coachstream.conversation.events import Failed
from coachstream.functions.acceptance import accept, accept_internal, accept_message
from coachstream.functions.initialization import initialize
from coachstream.functions.internal_invocation import is_internal
from coachstream.functions.json_response import JsonResponse, json_handler
from coachstream.observability.invocation import Invocation
from coachstream.services import Services, services_of_this_process
from coachstream.turns import Turns
from coachstream.web.quotas import rate_limit_fields
from coachstream.web.routes import Resource
from coachstream.web.send_message import failed_body, refused_body, sent_body
from coachstream.web.status import HTTP_STATUS, failed_headers
from lambda_streaming import LambdaContext
from lambda_streaming.streaming import LambdaHandler

logger = logging.getLogger("coachstream.functions.send_coach_conversation_message")


def handler_for(services: Callable[[], Services]) -> LambdaHandler:
    """Create the handler; `services` is called once per invocation."""

    async def respond(payload: object, context: LambdaContext, invocation: Invocation) -> JsonResponse:
        adapters = services()
        invocation.logs = adapters.settings.logs
        if is_internal(payload):
            accepted = accept_internal(payload, context)
        else:
            accepted = accept(payload, context, Resource.SEND_MESSAGE)
        request = await accept_message(accepted, adapters)
        invocation.key = request.key
        ending = await Turns(adapters).run_whole(request, report=invocation.turn_ended)
        if isinstance(ending, Failed):
            invocation.error = ending.code
            return JsonResponse(HTTP_STATUS[ending.code], failed_body(ending), failed_headers(ending))
        return JsonResponse(HTTPStatus.OK, sent_body(ending), rate_limit_fields(ending.quotas))

    return json_handler(
        respond,
        error_body=refused_body,
        logger=logger,
        is_invoked_directly=is_internal,
        afterwards=lambda: services().finish_local_work(),
    )


initialize()
handler = handler_for(services_of_this_process)
