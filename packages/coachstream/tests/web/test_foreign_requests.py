"""What the clients of other wire protocols send: which message it is, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.another_try import RetriedMessage
from coachstream.conversation.errors import (
    AttachmentRejected,
    InvalidClientMessageId,
    InvalidJson,
    InvalidRequest,
    InvalidTimeZone,
    InvalidUserResponse,
    MessageTooLong,
    MissingRequestBody,
    RequestError,
)
from coachstream.conversation.events import Chunk
from coachstream.web import ag_ui, ai_sdk
from coachstream.web.request_body import CLIENT_MESSAGE_ID, MAX_MESSAGE_CHARS
from coachstream.web.wire_protocol import Posted, idempotency_key

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXT = {"type": "text", "text": "How was my week?"}
FILE = {"type": "file", "mediaType": "image/png", "url": "data:,"}

Body = dict[str, object]


def asked(*parts: object, **more: object) -> Body:
    """A message of the AI SDK."""
    return {"id": "m-1", "role": "user", "parts": list(parts), **more}


def ui_body(*messages: object, **more: object) -> Body:
    """What `DefaultChatTransport` sends."""
    return {"id": "chat-1", "messages": list(messages), "trigger": "submit-message", **more}


def run_input(*messages: object, **more: object) -> Body:
    """A `RunAgentInput`."""
    fields = {"threadId": "thread-1", "runId": "run-1", "state": {}, "tools": [], "context": []}
    return {**fields, "messages": list(messages), "forwardedProps": {}, **more}


def said(content: object, **more: object) -> Body:
    """A message of AG-UI."""
    return {"id": "m-1", "role": "user", "content": content, **more}


def read(module: Callable[..., Posted], body: Body | bytes | None) -> Posted:
    encoded = json.dumps(body).encode() if isinstance(body, dict) else body
    return module(encoded, received_at=NOW)


def test_the_last_message_of_the_ai_sdk_is_the_message() -> None:
    """Earlier ones are in the store, and may be anything."""
    earlier = ({"role": "assistant"}, {"id": 1, "role": "user", "parts": [FILE]})
    parts = (TEXT, {"type": "text", "text": "And my month?"})
    posted = read(ai_sdk.read_post, ui_body(*earlier, asked(*parts), userTimezone="Europe/Berlin"))
    assert posted.message.text == "How was my week?\n\nAnd my month?"
    assert posted.message.client_message_id == "m-1"
    assert posted.message.sent_at == NOW
    assert posted.message.time_zone == "Europe/Berlin"


def test_what_other_transports_add_is_accepted() -> None:
    """By assistant-ui's `AssistantChatTransport`, which extends the AI SDK's, and by CopilotKit."""
    added: Body = {
        "callSettings": {},
        "system": "Be brief.",
        "config": {},
        "tools": {"a": {}},
        "metadata": None,
    }
    assert read(ai_sdk.read_post, ui_body(asked(TEXT), **added)).message.text == TEXT["text"]
    tools = [{"name": "navigate", "description": "Opens a page", "parameters": {"type": "object"}}]
    shared: Body = {"tools": tools, "state": {"page": 1}, "parentRunId": "run-0", "protocolVersion": "1.0"}
    assert read(ag_ui.read_post, run_input(said("Hello"), **shared)).message.text == "Hello"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (None, MissingRequestBody),
        (b"{", InvalidJson),
        (b"[]", InvalidJson),
        ({"messages": "Hello"}, InvalidJson),
        ({"id": "chat-1"}, InvalidJson),
        (ui_body(), InvalidUserResponse),
        (ui_body("Hello"), InvalidJson),
        (ui_body({"id": "m-1", "role": "assistant", "parts": [TEXT]}), InvalidUserResponse),
        (ui_body({"role": "user", "parts": [TEXT]}), InvalidJson),
        (ui_body(asked(TEXT, id="")), InvalidClientMessageId),
        (ui_body(asked()), InvalidUserResponse),
        (ui_body(asked({"type": "text", "text": " "})), InvalidUserResponse),
        (ui_body(asked({"type": "text"})), InvalidUserResponse),
        (ui_body(asked(FILE, {"type": "text", "text": ""})), AttachmentRejected),
        (ui_body(asked(TEXT, {"type": "data-location", "data": {}})), AttachmentRejected),
        (ui_body(asked(TEXT), attachments=["a"]), AttachmentRejected),
        (ui_body(asked(*[{"type": "text", "text": "x" * MAX_MESSAGE_CHARS}] * 2)), MessageTooLong),
        (ui_body(asked(TEXT), trigger="resume-stream"), InvalidRequest),
        (ui_body(asked(TEXT), userTimezone="Mars, Olympus"), InvalidTimeZone),
    ],
)
def test_what_the_ai_sdk_may_not_send(body: Body | bytes | None, error: type[RequestError]) -> None:
    """Nothing that the coach would not see is ignored."""
    with pytest.raises(RequestError) as refused:
        read(ai_sdk.read_post, body)
    assert type(refused.value) is error


def test_what_the_ai_sdk_sends_again() -> None:
    """`regenerate()`, and `sendMessage` with the id of the last message, which may be edited."""
    message = asked(TEXT)
    name = str(message["id"])
    for more, is_for_another_reply in (
        ({"trigger": "regenerate-message"}, True),
        ({"messageId": name}, False),
    ):
        posted = read(ai_sdk.read_post, ui_body(message, **more))
        assert posted.message.retried == RetriedMessage(idempotency_key(name), is_for_another_reply)
        assert posted.message.text == TEXT["text"]
    assert read(ai_sdk.read_post, ui_body(message, messageId="another")).message.retried is None
    assert read(ai_sdk.read_post, ui_body(message)).message.retried is None


def test_the_last_message_of_the_user_is_the_message_of_ag_ui() -> None:
    """What is behind it is an earlier attempt to read the reply."""
    messages = (said("Hello"), said([TEXT], id="m-2"), {"id": "re-m-2", "role": "assistant", "content": "Ha"})
    posted = read(ag_ui.read_post, run_input(*messages, forwardedProps={"userTimezone": "Europe/Berlin"}))
    assert posted.message.text == "How was my week?"
    assert posted.message.client_message_id == "m-2"
    assert posted.message.time_zone == "Europe/Berlin"
    events = posted.encoder.begin().decode().split("\n\n")
    assert [json.loads(event.removeprefix("data: "))["type"] for event in events if event] == [
        "RUN_STARTED",
        "MESSAGES_SNAPSHOT",
    ]


def test_each_run_of_ag_ui_has_an_id_of_its_own_for_the_reply() -> None:
    """It may keep the earlier attempt. The id is short, however long the run's is."""

    def id_in(run_id: str) -> str:
        posted = read(ag_ui.read_post, {**run_input(said("Hello")), "runId": run_id})
        start, *_ = posted.encoder.encode(Chunk("Hi", 0)).decode().split("\n\n")
        message_id: str = json.loads(start.removeprefix("data: "))["messageId"]
        return message_id

    ids = [id_in(run_id) for run_id in ("run-1", "run-2", "x" * 100_000, "")]
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) < 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (None, MissingRequestBody),
        ({"messages": []}, InvalidJson),
        (run_input(), InvalidUserResponse),
        (run_input({"id": "m-1", "role": "assistant", "content": "Hello"}), InvalidUserResponse),
        (run_input(said("")), InvalidUserResponse),
        (run_input(said([])), InvalidUserResponse),
        (run_input(said(None)), InvalidJson),
        (run_input(said([TEXT, {"type": "image", "source": {}}])), AttachmentRejected),
        (run_input(said("Hello"), context=[{"description": "d", "value": "v"}]), AttachmentRejected),
        (run_input(said("Hello"), resume=[{"interruptId": "1", "status": "resolved"}]), AttachmentRejected),
        (run_input(said("Hello", id="")), InvalidClientMessageId),
        (run_input(said("x" * (MAX_MESSAGE_CHARS + 1))), MessageTooLong),
        (run_input(said("Hello"), forwardedProps={"userTimezone": 1}), InvalidTimeZone),
        (run_input(said("Hello"), protocolVersion=1), InvalidJson),
    ],
)
def test_what_ag_ui_may_not_send(body: Body | bytes | None, error: type[RequestError]) -> None:
    """Nothing that the coach would not see is ignored."""
    with pytest.raises(RequestError) as refused:
        read(ag_ui.read_post, body)
    assert type(refused.value) is error


def test_a_history_that_cannot_be_sent_back_is_refused() -> None:
    """Not only when the stream has begun: AG-UI's client may get its messages back from it."""
    earlier = b'{"id": "0", "role": "assistant", "content": "?", "x": 1e999}, '
    body = json.dumps(run_input(said("Hello"))).encode().replace(b'"messages": [', b'"messages": [' + earlier)
    assert earlier in body
    with pytest.raises(InvalidJson):
        read(ag_ui.read_post, body)


@given(st.text(min_size=1), st.text(min_size=1))
def test_every_id_becomes_an_idempotency_key(one: str, other: str) -> None:
    """The same id the same key, and another id another one."""
    assert CLIENT_MESSAGE_ID.fullmatch(idempotency_key(one))
    assert (idempotency_key(one) == idempotency_key(other)) == (one == other)


def test_half_an_emoji_is_no_failure() -> None:
    """A client that truncates by UTF-16 units can split one; the lone half becomes U+FFFD."""
    body = json.dumps(ui_body(asked({"type": "text", "text": "5 km \ud83d"}))).encode()
    assert read(ai_sdk.read_post, body).message.text == "5 km \ufffd"
    assert (
        read(ag_ui.read_post, json.dumps(run_input(said("5 km \ud83d"))).encode()).message.text
        == "5 km \ufffd"
    )
