"""The function that responds with the whole reply, over HTTP: the existing system's contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from coachstream.conversation.errors import CoachStreamError, ErrorCode, ModelThrottled, StorageUnavailable
from coachstream.conversation.model import ConversationKey, StopReason, Usage
from coachstream.conversation.ports import ModelStop
from coachstream.functions.send_coach_conversation_message.handler import handler_for
from coachstream.functions.stream_coach_conversation.handler import handler_for as stream_handler_for
from coachstream.services import Services
from coachstream.web.status import HTTP_STATUS
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving
from support.patience import PATIENCE_S

BASE = "users/sam/coaches/mara/conversations/conv1"
PATH = f"{BASE}/send-message"
BODY = {"userResponse": "How was my week?", "messageTimestamp": "2026-03-01T12:00:00.000Z"}


@pytest.fixture
async def http(services: Services, conversation: ConversationKey) -> AsyncIterator[httpx.AsyncClient]:
    assert conversation.conversation_id == "conv1"
    async with (
        serving(to_asgi(handler_for(lambda: services), drain_timeout_s=5)) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/", headers={"authorization": "Bearer sam"}, trust_env=False
        ) as client,
    ):
        yield client


@pytest.fixture
async def stream(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(to_asgi(stream_handler_for(lambda: services), drain_timeout_s=5)) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/", headers={"authorization": "Bearer sam"}, trust_env=False
        ) as client,
    ):
        yield client


async def test_a_message_is_answered_with_both_messages_as_they_are_stored(
    http: httpx.AsyncClient, store: RememberedConversations, conversation: ConversationKey
) -> None:
    """200 and exactly the existing body."""
    answer = await http.post(PATH, json=BODY)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    question, reply = store.messages[conversation]
    assert answer.json() == {
        "success": True,
        "message": "Conversation updated successfully",
        "userResponse": {
            "id": question.id,
            "role": "user",
            "content": "How was my week?",
            "timestamp": "2026-03-01T12:00:00.000Z",
        },
        "aiResponse": {
            "id": reply.id,
            "role": "assistant",
            "content": "Hello, you!",
            "timestamp": answer.json()["aiResponse"]["timestamp"],
            "metadata": {"model": "scripted", "stopReason": "end_turn", "replyTo": question.id},
        },
        "conversationId": "conv1",
        "pineconeContext": {"used": False, "matches": 0, "contextLength": 0},
    }


@pytest.mark.parametrize(
    ("token", "body", "status", "error", "code"),
    [
        (None, BODY, 401, "Authentication required", ErrorCode.MISSING_AUTH_HEADER),
        ("forged", BODY, 401, "Your sign-in could not be verified. Please sign in again.", "INVALID_TOKEN"),
        ("nobody", BODY, 403, "Custom userId not found. Please contact support.", "MISSING_CUSTOM_USER_ID"),
        ("kim", BODY, 403, "Access denied: can only access your own data", "USER_ID_MISMATCH"),
        ("sam", None, 400, "Request body is required", "MISSING_REQUEST_BODY"),
        ("sam", {"userResponse": ""}, 400, "User response is required", "INVALID_USER_RESPONSE"),
        ("sam", {"userResponse": 7}, 400, "User response is required", "INVALID_USER_RESPONSE"),
    ],
)
async def test_a_refused_message_has_the_existing_error(
    http: httpx.AsyncClient,
    store: RememberedConversations,
    token: str | None,
    body: object,
    status: int,
    error: str,
    code: str,
) -> None:
    """`error` is what clients expect, `details` has our code and sentence, and nothing is stored."""
    if token is None:
        del http.headers["authorization"]
    else:
        http.headers["authorization"] = f"Bearer {token}"
    answer = await (http.post(PATH) if body is None else http.post(PATH, json=body))
    assert answer.status_code == status
    assert answer.json()["error"] == error
    assert answer.json()["details"]["code"] == code
    assert answer.json()["details"]["retryable"] is False
    assert store.operations == 0


async def test_an_unknown_conversation_is_404(http: httpx.AsyncClient) -> None:
    """The error text is that of the existing function."""
    answer = await http.post(PATH.replace("conv1", "conv2"), json=BODY)
    assert (answer.status_code, answer.json()["error"]) == (404, "Conversation not found")


async def test_an_unknown_coach_is_404(http: httpx.AsyncClient, store: RememberedConversations) -> None:
    """The error text is that of the existing function."""
    store.coaches.clear()
    answer = await http.post(PATH, json=BODY)
    assert (answer.status_code, answer.json()["error"]) == (404, "Coach configuration not found")


@pytest.mark.parametrize(
    "failure", [ModelThrottled("detail"), StorageUnavailable("detail"), ValueError("detail")]
)
async def test_a_failed_turn_is_an_error_with_its_partial_reply(
    http: httpx.AsyncClient, model: ScriptedModel, failure: Exception
) -> None:
    """It has the code's status, a sentence for the user and the partial reply, but no internal detail."""
    model.script = ("Well, ", failure)
    answer = await http.post(PATH, json=BODY)
    code = failure.code if isinstance(failure, CoachStreamError) else ErrorCode.PROCESSING_ERROR
    assert answer.status_code == HTTP_STATUS[code]
    details = answer.json()["details"]
    assert details["code"] == code
    assert details["message"] == answer.json()["error"]
    assert details["partialResponse"]["content"] == "Well, "
    assert "detail" not in details["message"]


async def test_other_methods_and_paths_are_refused(http: httpx.AsyncClient) -> None:
    """405 with `Allow`; the stream's path belongs to another function."""
    answer = await http.get(PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await http.post(f"{BASE}/stream", json=BODY)).status_code == 404


async def test_a_client_that_falls_back_from_the_stream_gets_the_stored_reply(
    http: httpx.AsyncClient, stream: httpx.AsyncClient, model: ScriptedModel, store: RememberedConversations
) -> None:
    """It reads one chunk, gives up, and sends the same text here while the turn is still live."""
    gate = asyncio.Event()
    model.script = ("Hello, ", gate, "you!", ModelStop(StopReason.END_TURN, Usage(5, 3)))
    async with stream.stream("POST", f"{BASE}/stream", json=BODY) as streaming:
        async for line in streaming.aiter_lines():
            if "Hello" in line:
                break
    asking = asyncio.create_task(http.post(PATH, json=BODY))
    operations = store.operations
    async with asyncio.timeout(PATIENCE_S):
        while store.operations == operations:  # noqa: ASYNC110 (until the second request reaches the store)
            await asyncio.sleep(0.01)
    gate.set()
    answer = await asking
    assert answer.status_code == 200
    assert answer.json()["aiResponse"]["content"] == "Hello, you!"
    assert model.calls == 1


async def test_the_same_client_message_is_answered_once_in_both_functions(
    http: httpx.AsyncClient, stream: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """The order makes no difference; here this function comes first, then the stream."""
    body = {**BODY, "clientMessageId": "c-1"}
    first = await http.post(PATH, json=body)
    async with stream.stream("POST", f"{BASE}/stream", json=body) as streaming:
        text = (await streaming.aread()).decode()
    assert first.json()["aiResponse"]["id"] in text
    assert first.json()["userResponse"]["metadata"] == {"clientMessageId": "c-1"}
    assert model.calls == 1
