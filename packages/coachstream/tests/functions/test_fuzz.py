"""Any request gets a prompt response without a 5xx or a stack trace; unauthorized ones store nothing."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from coachstream.conversation.model import Conversation, ConversationKey
from coachstream.functions.coach_conversations import handler as coach_conversations
from coachstream.functions.send_coach_conversation_message import (
    handler as send_coach_conversation_message,
)
from coachstream.functions.stream_coach_conversation import handler as stream_coach_conversation
from coachstream.identity.local_issuer import LocalIssuer, local_verifier
from coachstream.local.app import LocalApp
from coachstream.local.session import Session
from coachstream.services import Services
from coachstream.settings import Settings
from coachstream.web.sse import SseReader
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.patience import PATIENCE_S
from support.uvicorn_server import served

PATHS = (
    "/users/sam/coaches/mara/conversations/conv1/stream",
    "/users/sam/coaches/mara/conversations",
    "/users/sam/coaches/mara/conversations/conv1/send-message",
    "/users/sam/coaches/mara/conversations/count",
    "/users/sam/coaches/mara/conversations/conv1",
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])


class Target(msgspec.Struct):
    """The service under test."""

    port: int
    token: str
    store: RememberedConversations


class Reply(msgspec.Struct):
    """Everything received until the connection closed."""

    status: int
    body: bytes


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    issuer = LocalIssuer(folder)
    token = issuer.issue("sam", lifetime=timedelta(hours=1)).token
    store = RememberedConversations(("sam", "mara"))
    key = ConversationKey("sam", "mara", "conv1")
    began = datetime(2026, 3, 1, tzinfo=UTC)
    store.conversations[key] = Conversation(key, "Legs", began, began)
    store.messages[key] = []
    services = Services(Settings.embedded(folder))
    services.store = store
    services.model = ScriptedModel()
    services.recall = None
    services.verifier = local_verifier(folder)
    app = LocalApp(
        page=Response(status_code=404),
        stream=to_asgi(stream_coach_conversation.handler_for(lambda: services)),
        send_message=to_asgi(send_coach_conversation_message.handler_for(lambda: services)),
        conversations=to_asgi(coach_conversations.handler_for(lambda: services)),
        open_session=_no_session,
        may_sign_in=None,
    )
    with served(app) as url:
        yield Target(urlsplit(url).port or 0, token, store)


async def _no_session(_origin: str, _authorization: str | None) -> Session:
    raise AssertionError("nobody asks for one")


def send(target: Target, method: str, path: bytes, headers: list[bytes], body: bytes = b"") -> Reply:
    """Send one request, byte for byte, and return everything received."""
    lines = [
        method.encode() + b" " + path + b" HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Connection: close",
        b"Content-Length: " + str(len(body)).encode(),
        *headers,
    ]
    with socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, rest = received.partition(b"\r\n\r\n")
    return Reply(int(head.split(b" ", 2)[1]), rest)


def check(reply: Reply) -> None:
    """No 5xx, and nothing that reveals internals."""
    assert 200 <= reply.status < 500, reply
    assert b"Traceback" not in reply.body
    assert b".py" not in reply.body


def authorized(target: Target) -> list[bytes]:
    return [b"Authorization: Bearer " + target.token.encode(), b"Content-Type: application/json"]


path_bytes = st.binary(max_size=60).map(
    lambda raw: b"/" + bytes(byte for byte in raw if 0x21 <= byte <= 0x7E and byte not in b"#?")
)
escaped_ids = st.lists(st.binary(min_size=1, max_size=6), min_size=3, max_size=3).map(
    lambda ids: (
        b"/users/"
        + b"/coaches/".join(b"".join(b"%%%02X" % byte for byte in name) for name in ids[:2])
        + b"/conversations/"
        + b"".join(b"%%%02X" % byte for byte in ids[2])
    )
)


@settings(max_examples=150)
@given(METHODS, path_bytes | escaped_ids | escaped_ids.map(lambda path: path + b"/stream"))
@example("POST", b"/users/%00/coaches/%FF/conversations/%2F%2e/stream")
@example("POST", b"//users//%C0%AF//coaches/%ED%A0%80/conversations/%23/stream")
def test_any_path(target: Target, method: str, path: bytes) -> None:
    """Any bytes, escaped or not, either match a route or do not."""
    check(send(target, method, path, authorized(target), b"{}"))


header_values = st.binary(max_size=60).map(
    lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F).strip()
)


@settings(max_examples=150)
@given(
    METHODS,
    st.sampled_from(PATHS),
    st.dictionaries(
        st.sampled_from(
            [b"Authorization", b"Content-Type", b"Accept", b"Cookie", b"Origin", b"X-Forwarded-For", b"Range"]
        ),
        header_values,
    ),
)
def test_any_headers(target: Target, method: str, path: str, headers: dict[bytes, bytes]) -> None:
    """No request passes authentication without a valid token."""
    before = target.store.operations
    lines = [name + b": " + value for name, value in headers.items()]
    reply = send(target, method, path.encode(), lines, b'{"userResponse":"Hi"}')
    check(reply)
    assert reply.status in {401, 403, 405}
    assert target.store.operations == before


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
header_segments = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "jku", "jwk", "crit", "b64"]), json_values
)
claims = st.dictionaries(
    st.sampled_from(["sub", "iss", "aud", "exp", "token_use", "custom:user_id"]), json_values
)
made_up_tokens = st.one_of(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60),
    st.tuples(header_segments, claims, st.text("abcXYZ-_09", max_size=20)).map(
        lambda parts: f"{segment(parts[0])}.{segment(parts[1])}.{parts[2]}"
    ),
    st.tuples(json_values, json_values).map(lambda parts: f"{segment(parts[0])}.{segment(parts[1])}.AAAA"),
)


@settings(max_examples=200)
@given(made_up_tokens, st.sampled_from(PATHS))
def test_any_token(target: Target, token: str, path: str) -> None:
    """A token that the issuer did not sign is refused, and nothing is read or written."""
    before = target.store.operations
    reply = send(target, "POST", path.encode(), [b"Authorization: Bearer " + token.encode()], b"{}")
    check(reply)
    assert reply.status in {401, 405}
    assert target.store.operations == before


@settings(max_examples=150)
@given(st.data())
def test_a_real_token_with_one_character_changed(target: Target, data: st.DataObject) -> None:
    """Changing any single character of a token invalidates it."""
    at = data.draw(st.integers(0, len(target.token) - 2))  # the last one carries padding bits
    new = data.draw(st.sampled_from("abcdXYZ019-_.=").filter(lambda c: c != target.token[at]))
    changed = target.token[:at] + new + target.token[at + 1 :]
    before = target.store.operations
    reply = send(target, "GET", PATHS[1].encode(), [b"Authorization: Bearer " + changed.encode()])
    check(reply)
    assert reply.status == 401
    assert target.store.operations == before


bodies = st.one_of(
    st.binary(max_size=100),
    st.fixed_dictionaries(
        {},
        optional={
            "userResponse": json_values | st.text(min_size=1),
            "messageTimestamp": json_values | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
            "clientMessageId": json_values | st.text("abc-_", max_size=70),
            "title": json_values,
            "initialMessage": json_values,
            "tags": json_values,
            "isActive": json_values,
        },
    ).map(lambda fields: json.dumps(fields).encode()),
)


@settings(max_examples=200)
@given(st.sampled_from(["POST", "PUT"]), st.sampled_from(PATHS), bodies)
def test_any_body(target: Target, method: str, path: str, body: bytes) -> None:
    """A body is refused, or the turn runs to its terminal event."""
    reply = send(target, method, path.encode(), authorized(target), body)
    check(reply)
    if reply.status == 200 and path.endswith("/stream"):
        last = [json.loads(data) for data in SseReader().feed(_unchunked(reply.body))][-1]
        assert last["type"] in {"complete", "error"}


def _unchunked(body: bytes) -> bytes:
    """RFC 9112, section 7.1, as far as our own server uses it."""
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        content += body[:length]
        body = body[length + 2 :]
        if length == 0:
            break
    return content
