"""Create, list, count, get, rename and delete conversations (existing system, section 2.2).

    {url}/users/{userId}/coaches/{coachId}/conversations                     GET, POST
    {url}/users/{userId}/coaches/{coachId}/conversations/count               GET
    {url}/users/{userId}/coaches/{coachId}/conversations/{conversationId}    GET, PUT, DELETE
    …/conversations/{conversationId}/messages/{messageId}/versions           GET
    …/conversations/{conversationId}/messages/{messageId}/versions/{replyId} PUT
    {url}/users/{userId}/export                                              GET
    {url}/users/{userId}/data                                                DELETE

Responses are JSON: `{"success": true, ...}`, or `{"error": sentence, "code": CODE}` with the code's status.
An export is a stream of JSON lines. The last four paths are ours.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from http import HTTPStatus

from coachstream.conversation.errors import CoachStreamError, MissingPathParams, log_failure
from coachstream.conversation.ids import conversation_id
from coachstream.conversation.model import Conversation, ConversationKey, to_milliseconds
from coachstream.conversation.turn.request import TurnRequest
from coachstream.functions.initialization import initialize
from coachstream.functions.json_response import JsonResponse, Responder, json_handler
from coachstream.functions.refusal import as_coachstream_error
from coachstream.observability.invocation import Invocation
from coachstream.services import Services, services_of_this_process
from coachstream.turns import Turns
from coachstream.web.authentication import authenticate
from coachstream.web.conversations import (
    OneConversationBody,
    Page,
    conversation_count,
    conversation_deleted,
    conversation_list,
    error_body,
    one_conversation,
    one_page,
    parse_page,
    version_list,
    with_queue,
)
from coachstream.web.request_body import (
    parse_conversation_change,
    parse_new_conversation,
    read_event,
)
from coachstream.web.routes import Resource, Route, match_path, require_method
from lambda_streaming import LambdaContext
from lambda_streaming.function_url.event import FunctionUrlEvent
from lambda_streaming.streaming import LambdaHandler

METHODS = {
    Resource.CONVERSATIONS: ("GET", "POST"),
    Resource.COUNT: ("GET",),
    Resource.CONVERSATION: ("GET", "PUT", "DELETE"),
    Resource.VERSIONS: ("GET",),
    Resource.VERSION: ("PUT",),
    Resource.EXPORT: ("GET",),
    Resource.USER_DATA: ("DELETE",),
}

_ALL_DATA = frozenset({Resource.EXPORT, Resource.USER_DATA})
"""The resources that concern more than conversations."""

logger = logging.getLogger("coachstream.functions.coach_conversations")


def handler_for(services: Callable[[], Services]) -> LambdaHandler:
    """Create the handler; `services` is called once per invocation."""

    async def respond(
        payload: object, context: LambdaContext, invocation: Invocation
    ) -> JsonResponse | Responder:
        event = read_event(payload, context)
        route = match_path(event.segments)
        if route.resource not in METHODS:
            raise MissingPathParams
        require_method(event.method, METHODS[route.resource])
        adapters = services()
        invocation.logs = adapters.settings.logs
        await authenticate(event.header("authorization"), adapters.verifier.verify, user_id=route.user_id)
        invocation.key = route.key
        if route.resource in {Resource.VERSIONS, Resource.VERSION}:
            return await _on_versions(route, adapters)
        perform = _on_all_data if route.resource in _ALL_DATA else _on_conversations
        return await perform(event, route, adapters, invocation)

    return json_handler(
        respond,
        error_body=error_body,
        logger=logger,
        afterwards=lambda: services().finish_local_work(),
    )


async def _on_conversations(
    event: FunctionUrlEvent, route: Route, services: Services, invocation: Invocation
) -> JsonResponse:
    store = services.store
    match (route.resource, event.method):
        case (Resource.CONVERSATIONS, "POST"):
            return await _create(event, route, services, invocation)
        case (Resource.CONVERSATIONS, _):
            conversations = await store.list_conversations(route.user_id, route.coach_id)
            return JsonResponse(HTTPStatus.OK, conversation_list(conversations))
        case (Resource.COUNT, _):
            conversations = await store.list_conversations(route.user_id, route.coach_id)
            return JsonResponse(HTTPStatus.OK, conversation_count(conversations))
        case (_, "PUT"):
            change = parse_conversation_change(event.body)
            changed = await store.change_conversation(route.key, change)
            return JsonResponse(HTTPStatus.OK, one_conversation(changed))
        case (_, "DELETE"):
            await store.delete_conversation(route.key)
            is_forgotten = await _forget(route.key, services)
            return JsonResponse(HTTPStatus.OK, conversation_deleted(route.key, is_forgotten=is_forgotten))
        case _:
            return JsonResponse(HTTPStatus.OK, await _read(route.key, parse_page(event), services))


async def _on_versions(route: Route, services: Services) -> JsonResponse:
    key, message_id = route.key, route.message_id
    if route.resource is Resource.VERSION:
        await Turns(services).close_dead(key)
        await services.store.choose_version(key, message_id, route.version_id)
        message_id = route.version_id
    versions = await services.store.load_versions(key, message_id)
    if not versions:
        await services.store.get_conversation(key)  # raises if there is none
    return JsonResponse(HTTPStatus.OK, version_list(versions))


async def _read(key: ConversationKey, page: Page | None, services: Services) -> OneConversationBody:
    queued = await Turns(services).close_dead(key)
    conversation = await services.store.get_conversation(key)
    if page is None:
        body = one_conversation(conversation, await services.store.load_messages(key))
    else:
        newest = await services.store.load_newest(key, limit=page.limit + 1, before=page.before)
        body = one_page(conversation, newest, page)
    return with_queue(body, queued)


async def _on_all_data(
    event: FunctionUrlEvent, route: Route, services: Services, invocation: Invocation
) -> JsonResponse | Responder:
    # Seldom used, so other requests do not wait for its import.
    from coachstream.functions.coach_conversations.user_data import delete, export

    if route.resource is Resource.EXPORT:
        return await export(event, route, services, invocation)
    return await delete(event, route, services)


async def _create(
    event: FunctionUrlEvent, route: Route, services: Services, invocation: Invocation
) -> JsonResponse:
    request = parse_new_conversation(event.body)
    now = to_milliseconds(services.clock.now())
    name = conversation_id(now, secrets.randbelow)
    key = ConversationKey(route.user_id, route.coach_id, name)
    conversation = Conversation(key, request.title, started_at=now, last_activity=now)
    await services.store.create_conversation(conversation)
    if request.initial_message is not None:
        deadline = Turns(services).deadline(event.deadline)
        first_turn = TurnRequest(key, request.initial_message, deadline, time_zone=request.time_zone)
        await _run(first_turn, services, invocation)
    # Like the existing function's response: the conversation as it was created, without messages.
    return JsonResponse(HTTPStatus.CREATED, one_conversation(conversation, messages=()))


async def _forget(key: ConversationKey, services: Services) -> bool:
    """Remove a deleted conversation from the search index; a failure is logged, and undoes nothing."""
    if services.recall is None:
        return False
    try:
        await services.recall.forget_conversation(key.user_id, key.conversation_id)
    except CoachStreamError as error:
        log_failure(logger, "A deleted conversation is still searchable", error, level=logging.WARNING)
        return False
    return True


async def _run(request: TurnRequest, services: Services, invocation: Invocation) -> None:
    """Run the first turn to its end; a failure shows in the conversation and the log, not in the response."""
    try:
        async with Turns(services).start(request, report=invocation.turn_ended) as turn:
            async for _ in turn:
                pass
    except Exception as error:  # noqa: BLE001 (the conversation exists, as requested)
        invocation.error = as_coachstream_error(error, logger).code


initialize()
handler = handler_for(services_of_this_process)
