from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from coachstream.conversation.errors import (
    CoachStreamError,
    ContentFiltered,
    ErrorCode,
    ModelNotUsable,
    ModelRejected,
    ModelStreamBroken,
    ModelThrottled,
    ModelUnavailable,
    NoCredentials,
    StorageUnavailable,
)
from coachstream.conversation.model import ConversationKey, Role, StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.prompt.prompt import SectionName
from coachstream.functions.stream_coach_conversation.handler import handler_for
from coachstream.services import Services
from coachstream.settings import Settings
from coachstream.web.sse import SseReader
from coachstream.web.status import HTTP_STATUS
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving
from support.patience import PATIENCE_S

PATH = "users/sam/coaches/mara/conversations/conv1/stream"
MESSAGE = {"userResponse": "How was my week?"}


@asynccontextmanager
async def client_of(services: Services, *, timeout_s: float = 60) -> AsyncIterator[httpx.AsyncClient]:
    app = to_asgi(handler_for(lambda: services), timeout_s=timeout_s, drain_timeout_s=5)
    async with (
        serving(app) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/", headers={"authorization": "Bearer sam"}, trust_env=False
        ) as client,
    ):
        yield client


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(services) as client:
        yield client


def events_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for data in SseReader().feed(body)]


def the_error(response: httpx.Response) -> dict[str, Any]:
    """The body of a refusal: a single frame with the error."""
    [event] = events_of(response.content)
    assert list(event) == ["type", "message", "code", "retryable"]
    assert event["type"] == "error"
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    return event


async def test_a_reply_streams_from_start_to_complete(
    http: httpx.AsyncClient, store: RememberedConversations, conversation: ConversationKey
) -> None:
    """The streamed text is the saved text, and `complete` carries both messages."""
    response = await http.post(PATH, json={**MESSAGE, "messageTimestamp": "2026-03-01T12:00:00.000Z"})
    assert response.status_code == 200
    start, run, *chunks, complete = events_of(response.content)
    assert start == {"type": "start", "status": "initialized"}
    assert run == {"type": "run", "runId": run["runId"]}
    assert chunks == [
        {"type": "chunk", "content": "Hello, ", "offset": 0},
        {"type": "chunk", "content": "you!", "offset": 7},
    ]
    user, reply = store.messages[conversation]
    assert (complete["type"], complete["status"], complete["messageId"]) == ("complete", "finished", reply.id)
    assert complete["userMessage"]["content"] == user.content == "How was my week?"
    assert complete["userMessage"]["timestamp"] == "2026-03-01T12:00:00.000Z"
    assert complete["aiMessage"]["content"] == reply.content == "Hello, you!"
    assert complete["aiMessage"]["metadata"]["model"] == "scripted"
    assert complete["conversationId"] == "conv1"
    assert complete["pineconeContext"] == {"used": False, "matches": 0, "contextLength": 0}


async def test_what_was_done_besides_the_reply_is_in_events_without_an_id(
    http: httpx.AsyncClient, store: RememberedConversations, conversation: ConversationKey
) -> None:
    """They move no cursor, end before the last event, and are in no stored text."""
    text = "I just did 5x5 squats at 100 kg. Please remember that I am allergic to peanuts."
    response = await http.post(PATH, json={"userResponse": text})
    contextual = [event for event in events_of(response.content) if event["type"] == "contextual"]
    assert contextual == [
        {
            "type": "contextual",
            "content": "Saved to memory: “I am allergic to peanuts”",
            "stage": "memory_saved",
        },
        {
            "type": "contextual",
            "content": "Workout sent to your training log.",
            "stage": "workout_handed_off",
        },
    ]
    blocks = response.text.split("\n\n")
    assert not [block for block in blocks if '"contextual"' in block and "id: " in block]
    assert events_of(response.content)[-1]["type"] == "complete"
    assert [message.content for message in store.messages[conversation]] == [text, "Hello, you!"]
    [workout] = await store.load_recent_workouts("sam", limit=5)
    assert workout.summary == text


@pytest.mark.usefixtures("conversation")
async def test_the_response_carries_the_headers_of_the_contract_and_no_cors(http: httpx.AsyncClient) -> None:
    """Proxies must not buffer or transform the stream; CORS is left to the Function URL."""
    headers = (await http.post(PATH, json=MESSAGE)).headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.usefixtures("conversation")
async def test_start_and_chunks_arrive_while_the_model_still_thinks(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """Nothing is buffered: each frame arrives before the next one exists."""
    gate = asyncio.Event()
    model.script = (gate, "One", gate, ModelStop(StopReason.END_TURN))
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", PATH, json=MESSAGE) as response:
            arriving = response.aiter_bytes()
            reader = SseReader()
            assert [json.loads(data)["type"] for data in reader.feed(await anext(arriving))] == ["start"]
            gate.set()
            rest = [json.loads(data)["type"] async for chunk in arriving for data in reader.feed(chunk)]
    assert rest == ["run", "chunk", "complete"]


@pytest.mark.usefixtures("conversation")
async def test_a_quiet_stream_carries_comments(services: Services, model: ScriptedModel) -> None:
    """A model that is silent for long must not look like a dead connection."""
    gate = asyncio.Event()
    model.script = (gate, "One", ModelStop(StopReason.END_TURN))
    services.settings = msgspec.structs.replace(services.settings, keep_alive_s=0.1)
    with anyio.fail_after(PATIENCE_S):
        async with client_of(services) as http, http.stream("POST", PATH, json=MESSAGE) as response:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if body.count(b": keep-alive\n") == 2:
                    gate.set()
    assert [event["type"] for event in events_of(body)] == ["start", "run", "chunk", "complete"]


async def test_a_reader_that_leaves_does_not_stop_the_turn(
    http: httpx.AsyncClient,
    store: RememberedConversations,
    model: ScriptedModel,
    conversation: ConversationKey,
) -> None:
    """The reply is saved even if no client reads it."""
    gate = asyncio.Event()
    model.script = ("One, ", gate, "two", ModelStop(StopReason.END_TURN))
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", PATH, json=MESSAGE) as response:
            await anext(response.aiter_bytes())
        gate.set()
        while len(store.messages[conversation]) < 2:
            await anyio.lowlevel.checkpoint()
    assert store.messages[conversation][1].content == "One, two"


async def test_a_message_that_ends_in_half_an_emoji_is_answered(
    http: httpx.AsyncClient, store: RememberedConversations, conversation: ConversationKey
) -> None:
    """A client that truncates by UTF-16 units can split an emoji; the lone half is stored as U+FFFD."""
    body = b'{"userResponse": "I ran 5 km today \\ud83d"}'
    response = await http.post(PATH, content=body, headers={"content-type": "application/json"})
    *_, complete = events_of(response.content)
    assert complete["userMessage"]["content"] == store.messages[conversation][0].content
    assert complete["userMessage"]["content"] == "I ran 5 km today \ufffd"


async def test_the_same_message_sent_again_gets_the_same_reply(
    http: httpx.AsyncClient,
    store: RememberedConversations,
    model: ScriptedModel,
    conversation: ConversationKey,
) -> None:
    """`clientMessageId`, the idempotency key, makes retries safe: one message, one model call."""
    body = {**MESSAGE, "clientMessageId": "try-1"}
    first = events_of((await http.post(PATH, json=body)).content)
    again = events_of((await http.post(PATH, json=body)).content)
    assert first[-1]["aiMessage"] == again[-1]["aiMessage"]
    assert "".join(event["content"] for event in again[2:-1]) == "Hello, you!"
    assert (model.calls, len(store.messages[conversation])) == (1, 2)


@pytest.mark.usefixtures("conversation")
@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, ErrorCode.MISSING_AUTH_HEADER),
        ("Bearer", ErrorCode.INVALID_TOKEN_FORMAT),
        ("Basic c2FtOg==", ErrorCode.INVALID_TOKEN_FORMAT),
        ("Bearer junk", ErrorCode.INVALID_TOKEN_FORMAT),
        ("Bearer forged", ErrorCode.INVALID_TOKEN),
        ("Bearer old", ErrorCode.TOKEN_EXPIRED),
        ("Bearer nobody", ErrorCode.MISSING_CUSTOM_USER_ID),
        ("Bearer kim", ErrorCode.USER_ID_MISMATCH),
    ],
)
async def test_a_refused_caller_reads_and_writes_nothing(
    http: httpx.AsyncClient,
    store: RememberedConversations,
    model: ScriptedModel,
    authorization: str | None,
    code: ErrorCode,
) -> None:
    """The response is the status and one error event; the store and the model are not used."""
    del http.headers["authorization"]
    headers = {} if authorization is None else {"AUTHORIZATION": authorization}
    response = await http.post(PATH, json=MESSAGE, headers=headers)
    assert (response.status_code, the_error(response)["code"]) == (HTTP_STATUS[code], code)
    assert (store.operations, model.calls) == (0, 0)


@pytest.mark.usefixtures("conversation")
@pytest.mark.parametrize(
    ("zone", "told"), [("Asia/Tokyo", "(Asia/Tokyo, UTC+09:00)"), ("Mars/Olympus", "(UTC)"), (None, "(UTC)")]
)
async def test_the_coach_is_told_the_time_in_the_zone_of_the_request(
    http: httpx.AsyncClient, model: ScriptedModel, zone: str | None, told: str
) -> None:
    """A zone that is not known here is no error: the browser's database may be newer."""
    response = await http.post(PATH, json={**MESSAGE, "userTimezone": zone})
    assert events_of(response.content)[-1]["type"] == "complete"
    [now] = [each.text for each in model.prompts[0].sections if each.name is SectionName.CURRENT_TIME]
    assert now.endswith(f"{told}.")


@pytest.mark.usefixtures("conversation")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", ErrorCode.MISSING_REQUEST_BODY),
        (b"{'userResponse': 'Hi'}", ErrorCode.INVALID_JSON),
        (b"[]", ErrorCode.INVALID_JSON),
        (b'{"messageTimestamp": "2026-03-01T12:00:00.000Z"}', ErrorCode.INVALID_USER_RESPONSE),
        (b'{"userResponse": "Hi", "messageTimestamp": "soon"}', ErrorCode.INVALID_TIMESTAMP),
        (b'{"userResponse": "Hi", "clientMessageId": "a b"}', ErrorCode.INVALID_CLIENT_MESSAGE_ID),
        (b'{"userResponse": "Hi", "userTimezone": "../UTC"}', ErrorCode.INVALID_TIME_ZONE),
        (b'{"userResponse": "Hi", "imageS3Keys": ["a.png"]}', ErrorCode.ATTACHMENT_REJECTED),
        (b'{"userResponse": "", "imageS3Keys": ["a.png"]}', ErrorCode.ATTACHMENT_REJECTED),
        (b'{"userResponse": "' + b"x" * 32_001 + b'"}', ErrorCode.MESSAGE_TOO_LONG),
    ],
)
async def test_a_bad_body_is_refused_before_anything_is_stored(
    http: httpx.AsyncClient,
    store: RememberedConversations,
    body: bytes,
    code: ErrorCode,
) -> None:
    """Each mistake has its own code."""
    response = await http.post(PATH, content=body, headers={"content-type": "application/json"})
    error = the_error(response)
    assert (response.status_code, error["code"], error["retryable"]) == (HTTP_STATUS[code], code, False)
    assert store.operations == 0


@pytest.mark.parametrize(
    "path",
    [
        "users/sam/invalid/path",
        "",
        "favicon.ico",
        PATH + "/run-1/more",
        PATH.replace("stream", "send"),
        PATH.removesuffix("/stream"),
    ],
)
@pytest.mark.parametrize("token", ["sam", None])
async def test_a_path_that_is_no_route_is_404_with_and_without_a_token(
    http: httpx.AsyncClient, path: str, token: str | None
) -> None:
    """Whether a route exists does not depend on the caller, so nothing is revealed."""
    if token is None:
        del http.headers["authorization"]
    response = await http.post(path, json=MESSAGE)
    assert (response.status_code, the_error(response)["code"]) == (404, "MISSING_PATH_PARAMS")


@pytest.mark.parametrize(
    ("path", "allow"), [(PATH, "GET, POST"), (f"{PATH}/run-1", "DELETE, GET")], ids=["stream", "run"]
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
async def test_another_method_is_405_with_the_allowed_methods(
    http: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    """The `Allow` header lists them."""
    response = await http.request(method, path)
    assert (response.status_code, the_error(response)["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == allow


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("PUT", "ai-sdk", "METHOD_NOT_ALLOWED"),
        ("GET", "ag-ui", "METHOD_NOT_ALLOWED"),
        ("GET", "ai-sdk/a%23chat/stream", "MISSING_PATH_PARAMS"),
        ("POST", "ag-ui/more", "MISSING_PATH_PARAMS"),
    ],
)
async def test_the_protocols_of_other_projects_get_json_for_a_wrong_request(
    http: httpx.AsyncClient, method: str, path: str, code: str
) -> None:
    """Their clients show the body of a refusal, and do not parse it as a stream."""
    response = await http.request(method, f"{PATH.removesuffix('stream')}{path}")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["code"] == code


@pytest.mark.usefixtures("conversation")
async def test_a_doubled_slash_and_escapes_name_the_same_conversation(http: httpx.AsyncClient) -> None:
    """The URLs of the existing test script contain both."""
    url = f"http://127.0.0.1:{http.base_url.port}//users/s%61m//coaches/mara/conversations/conv1/stream/"
    assert events_of((await http.post(url, json=MESSAGE)).content)[-1]["type"] == "complete"


async def failing_stream(
    http: httpx.AsyncClient, text: str = "How was my week?", **more: object
) -> dict[str, Any]:
    """A stream that starts and ends with an error; returns the error."""
    response = await http.post(PATH, json={"userResponse": text, **more})
    assert response.status_code == 200
    start, *chunks, error = events_of(response.content)
    assert start["type"] == "start"
    assert {chunk["type"] for chunk in chunks} <= {"run", "chunk", "reset"}
    assert error["type"] == "error"
    assert error["message"].endswith(".")
    return error


@pytest.mark.parametrize(
    ("failure", "code", "retryable"),
    [
        (ModelThrottled("secret"), ErrorCode.MODEL_THROTTLED, True),
        (ModelUnavailable("secret"), ErrorCode.MODEL_UNAVAILABLE, True),
        (ModelStreamBroken("secret"), ErrorCode.MODEL_STREAM_BROKEN, True),
        (ModelRejected("secret"), ErrorCode.MODEL_REJECTED, False),
        (ModelNotUsable("secret"), ErrorCode.MODEL_NOT_USABLE, False),
        (NoCredentials("secret"), ErrorCode.NO_CREDENTIALS, False),
        (ContentFiltered("secret"), ErrorCode.CONTENT_FILTERED, False),
        (ValueError("secret"), ErrorCode.PROCESSING_ERROR, True),
    ],
)
@pytest.mark.parametrize("said", [(), ("Some ", "words")])
async def test_a_model_that_fails_ends_the_stream_with_its_code(
    *,
    http: httpx.AsyncClient,
    store: RememberedConversations,
    model: ScriptedModel,
    conversation: ConversationKey,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    code: ErrorCode,
    retryable: bool,
    said: tuple[str, ...],
) -> None:
    """The message and the text so far are stored, and no exception's text is exposed."""
    model.script = (*said, failure)
    error = await failing_stream(http)
    assert (error["code"], error["retryable"]) == (code, retryable)
    assert "secret" not in str(error)
    assert "secret" not in caplog.text
    stored = store.messages[conversation]
    assert [message.content for message in stored] == ["How was my week?", *(["Some words"] if said else [])]
    assert ("partialMessage" in error) == bool(said)


@pytest.mark.usefixtures("conversation")
async def test_an_end_without_a_stop_is_a_broken_stream(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """A reply that merely stops arriving is not complete."""
    model.script = ("Some words",)
    assert (await failing_stream(http))["code"] == "MODEL_STREAM_BROKEN"


async def test_an_unknown_conversation_is_reported_in_the_stream(http: httpx.AsyncClient) -> None:
    """`start` is sent before the store is queried."""
    assert (await failing_stream(http))["code"] == "CONVERSATION_NOT_FOUND"


@pytest.mark.usefixtures("conversation")
async def test_a_missing_coach_is_reported_in_the_stream(
    http: httpx.AsyncClient, store: RememberedConversations
) -> None:
    """The conversation outlived its coach."""
    store.coaches.clear()
    assert (await failing_stream(http))["code"] == "COACH_CONFIG_NOT_FOUND"


async def test_a_second_message_during_a_reply_is_stored_and_refused(
    http: httpx.AsyncClient,
    model: ScriptedModel,
    store: RememberedConversations,
    conversation: ConversationKey,
) -> None:
    """By policy: one reply at a time; the first continues undisturbed."""
    gate = asyncio.Event()
    model.script = ("One", gate, ModelStop(StopReason.END_TURN))
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", PATH, json=MESSAGE) as first:
            arriving = first.aiter_bytes()
            body = await anext(arriving)
            while b"One" not in body:
                body += await anext(arriving)
            error = await failing_stream(http, "And something else", policy="reject")
            assert (error["code"], error["runId"]) == (
                "TURN_IN_PROGRESS",
                (await store.read_queue(conversation)).run_id,
            )
            gate.set()
            body += b"".join([chunk async for chunk in arriving])
    assert events_of(body)[-1]["type"] == "complete"
    *_, waiting = messages = store.messages[conversation]
    assert [message.role for message in messages] == [Role.USER, Role.ASSISTANT, Role.USER]
    assert (error["userMessage"]["id"], waiting.content) == (waiting.id, "And something else")


async def test_a_deadline_ends_the_stream_in_time_to_save(
    services: Services, store: RememberedConversations, model: ScriptedModel, conversation: ConversationKey
) -> None:
    """The model is stopped three seconds before the function's timeout, and the text so far is kept."""
    model.script = ("Some words", asyncio.Event())
    with anyio.fail_after(PATIENCE_S):
        async with client_of(services, timeout_s=3.3) as http:
            error = await failing_stream(http)
    assert error["code"] == "DEADLINE_EXCEEDED"
    assert error["partialMessage"]["content"] == store.messages[conversation][1].content == "Some words"


@pytest.mark.parametrize(
    ("failure", "code"),
    [(StorageUnavailable("secret"), "STORAGE_UNAVAILABLE"), (ValueError("secret"), "PROCESSING_ERROR")],
)
async def test_a_store_that_fails_is_a_sentence_and_no_stack_trace(
    http: httpx.AsyncClient,
    store: RememberedConversations,
    model: ScriptedModel,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    code: str,
) -> None:
    """The model is not called if the message could not be stored."""
    store.failure = failure
    error = await failing_stream(http)
    assert (error["code"], model.calls) == (code, 0)
    assert "secret" not in str(error)
    assert "secret" not in caplog.text


async def test_wrong_settings_are_refused_and_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The client learns nothing about the deployment; the operator finds every error in the log."""
    app = to_asgi(handler_for(lambda: Services(Settings.from_environment({}))), drain_timeout_s=5)
    async with serving(app) as port, httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"http://127.0.0.1:{port}/{PATH}")
    assert (response.status_code, the_error(response)["code"]) == (500, "PROCESSING_ERROR")
    assert "COACHSTREAM_STORE is not set" in caplog.text
    assert "COACHSTREAM" not in response.text


def test_every_error_that_a_turn_can_end_with_is_among_these_tests() -> None:
    """A new code needs a test here, in `test_quotas` or `test_queue`; the design's table lists them all."""
    before_the_stream = {"AuthenticationError", "RequestError", "ServerBusy"}
    told_in_the_stream = {
        kind.code
        for kind in CoachStreamError.__subclasses__()
        if kind.__name__ not in {*before_the_stream, "ModelError"}
    }
    assert told_in_the_stream == {
        ErrorCode.PROCESSING_ERROR,
        ErrorCode.CONVERSATION_NOT_FOUND,
        ErrorCode.COACH_CONFIG_NOT_FOUND,
        ErrorCode.TURN_IN_PROGRESS,
        ErrorCode.MESSAGE_WITHDRAWN,
        ErrorCode.QUOTA_EXCEEDED,
        ErrorCode.TURN_INTERRUPTED,
        ErrorCode.DEADLINE_EXCEEDED,
        ErrorCode.STORAGE_UNAVAILABLE,
        ErrorCode.NO_CREDENTIALS,
    }
