"""Another function of the account invokes the send function directly; nothing over HTTP can pass for that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.model import ConversationKey
from coachstream.functions.coach_conversations.handler import handler_for as conversations_handler_for
from coachstream.functions.internal_invocation import is_internal
from coachstream.functions.send_coach_conversation_message.handler import handler_for
from coachstream.functions.stream_coach_conversation.handler import handler_for as stream_handler_for
from coachstream.services import Services
from lambda_streaming import to_asgi
from lambda_streaming.response_stream import Invocation
from lambda_streaming.streaming import LambdaHandler, install_driver
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving

IDS = {"userId": "sam", "coachId": "mara", "conversationId": "conv1"}
BODY = {"userResponse": "How was my week?", "messageTimestamp": "2026-03-01T12:00:00.000Z"}
PAYLOAD = {"pathParameters": IDS, "body": json.dumps(BODY)}
PATH = "users/sam/coaches/mara/conversations/conv1"


class Context:
    """What a handler reads of Lambda's context."""

    aws_request_id = "7f2c"
    function_name = "send"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class Received:
    """The response of a direct invocation, as its caller gets it."""

    def __init__(self) -> None:
        self.data = b""
        self.content_type = ""

    async def open(self, content_type: str) -> None:
        self.content_type = content_type

    async def send(self, data: bytes) -> None:
        self.data += data

    async def close(self, last: bytes = b"") -> None:
        self.data += last


@pytest.fixture
def _with_invocations() -> Iterator[None]:
    """A handler that is called gives its invocation, to be run on the test's loop."""
    install_driver(lambda invocation: invocation)
    yield
    install_driver(None)


async def invoked(handler: LambdaHandler, payload: object) -> Received:
    """The response to a payload that was passed to Lambda's Invoke API."""
    received = Received()
    await cast("Invocation", handler(payload, Context()))(received)
    return received


async def result_of(services: Services, payload: object) -> Any:  # noqa: ANN401 (JSON)
    received = await invoked(handler_for(lambda: services), payload)
    assert received.content_type == "application/json"
    return json.loads(received.data)


@pytest.mark.usefixtures("_with_invocations")
async def test_another_function_sends_the_first_message_without_a_token(
    services: Services, store: RememberedConversations, conversation: ConversationKey
) -> None:
    """As create-conversation does; the result is the existing function's."""
    result = await result_of(services, PAYLOAD)
    assert (result["statusCode"], result["headers"]["Content-Type"]) == (200, "application/json")
    assert json.loads(result["body"])["aiResponse"]["content"] == "Hello, you!"
    assert [message.content for message in store.messages[conversation]] == [
        "How was my week?",
        "Hello, you!",
    ]


@pytest.mark.usefixtures("_with_invocations", "conversation")
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"body": None}, 400, "MISSING_REQUEST_BODY"),
        ({"body": "{"}, 400, "INVALID_JSON"),
        ({"body": {"userResponse": "Hi"}}, 400, "INVALID_JSON"),
        ({"body": '{"userResponse": "\ud800"}'}, 200, None),
        ({"body": '{"userResponse": ""}'}, 400, "INVALID_USER_RESPONSE"),
        ({"pathParameters": {**IDS, "conversationId": "conv2"}}, 404, "CONVERSATION_NOT_FOUND"),
        ({"pathParameters": {**IDS, "userId": "sam#x"}}, 404, "MISSING_PATH_PARAMS"),
        ({"pathParameters": {**IDS, "userId": ""}}, 404, "MISSING_PATH_PARAMS"),
        ({"pathParameters": {"userId": "sam"}}, 404, "MISSING_PATH_PARAMS"),
        ({"pathParameters": None}, 404, "MISSING_PATH_PARAMS"),
        ({"pathParameters": ["sam"]}, 404, "MISSING_PATH_PARAMS"),
    ],
)
async def test_a_payload_is_checked_like_a_request(
    services: Services, change: dict[str, object], status: int, code: str | None
) -> None:
    """Everything but the token; a mistake is a result, not an exception, which Lambda would retry."""
    result = await result_of(services, {**PAYLOAD, **change})
    assert result["statusCode"] == status
    assert json.loads(result["body"]).get("details", {}).get("code") == code


@pytest.mark.usefixtures("_with_invocations", "conversation")
@pytest.mark.parametrize("of", [stream_handler_for, conversations_handler_for], ids=["stream", "list"])
async def test_no_other_function_takes_such_a_payload(
    of: Any,  # noqa: ANN401 (a factory of handlers)
    services: Services,
    store: RememberedConversations,
    model: ScriptedModel,
) -> None:
    """Only the one that the existing system invokes in this way."""
    received = await invoked(of(lambda: services), PAYLOAD)
    assert b"MISSING_PATH_PARAMS" in received.data
    assert (store.operations, model.calls) == (0, 0)


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """The send function behind HTTP, and a client without a token."""
    async with (
        serving(to_asgi(handler_for(lambda: services), drain_timeout_s=5)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/", trust_env=False) as client,
    ):
        yield client


@pytest.mark.usefixtures("conversation")
@pytest.mark.parametrize(
    "request_of",
    [
        {"json": PAYLOAD},
        {"json": {**PAYLOAD, "requestContext": None}},
        {"json": PAYLOAD, "headers": {"x-amz-invocation-type": "Event", "requestContext": ""}},
        {"json": {**PAYLOAD, **BODY}, "params": {"pathParameters[userId]": "sam", "requestContext": ""}},
        {"content": b"", "params": PAYLOAD},
    ],
)
@pytest.mark.parametrize(
    "path", [f"{PATH}/send-message", "", "pathParameters", "2015-03-31/functions/f/invocations"]
)
async def test_nothing_over_http_is_taken_for_an_internal_invocation(
    http: httpx.AsyncClient,
    store: RememberedConversations,
    model: ScriptedModel,
    request_of: dict[str, Any],
    path: str,
) -> None:
    """Whatever a body, a header or a query says, AWS adds `requestContext`, and a token is asked for."""
    response = await http.post(path, **request_of)
    code = "MISSING_AUTH_HEADER" if path.startswith(PATH) else "MISSING_PATH_PARAMS"
    assert response.json()["details"]["code"] == code
    assert (store.operations, model.calls) == (0, 0)


CONTEXTS: st.SearchStrategy[object] = st.one_of(
    st.none(), st.just({}), st.dictionaries(st.text(), st.text()), st.text()
)


@given(st.dictionaries(st.text(), st.text()), CONTEXTS)
def test_an_event_with_a_request_context_is_never_internal(more: dict[str, str], context: object) -> None:
    """Whatever else it has, and whatever the context is: what AWS sets suffices."""
    assert not is_internal({**PAYLOAD, **more, "requestContext": context})


@pytest.mark.parametrize("more", ["requestContext", "rawPath", "headers", "version", "httpMethod", "Records"])
def test_a_payload_with_anything_else_is_not_internal(more: str) -> None:
    """Events of other sources have other fields; what is not known is not trusted."""
    assert is_internal(PAYLOAD)
    assert not is_internal({**PAYLOAD, more: {}})
    assert not is_internal({more: {}})
    assert not is_internal([PAYLOAD])
    assert not is_internal({"body": "{}"})
