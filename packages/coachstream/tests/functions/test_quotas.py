"""Quotas over HTTP: the status and headers of a refusal, what a stream says instead, and what is left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import msgspec
import pytest

from coachstream.conversation.model import StopReason, Usage
from coachstream.conversation.ports import ModelStop
from coachstream.functions.send_coach_conversation_message import handler as send
from coachstream.functions.stream_coach_conversation import handler as stream
from coachstream.services import Services
from coachstream.settings.secret import Secret
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving
from support.patience import PATIENCE_S

CONVERSATION = "users/sam/coaches/mara/conversations/conv1"
DONE = ModelStop(StopReason.END_TURN, Usage(30, 12))

pytestmark = pytest.mark.usefixtures("conversation")


class Http(msgspec.Struct, frozen=True):
    """Clients of both functions, which share their services."""

    stream: httpx.AsyncClient
    send: httpx.AsyncClient

    async def streamed(self, text: str, **body: str) -> list[dict[str, Any]]:
        """The events of a stream."""
        response = await self.stream.post(f"{CONVERSATION}/stream", json={"userResponse": text, **body})
        assert response.status_code == 200
        lines = response.text.splitlines()
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]

    async def sent(self, text: str) -> httpx.Response:
        return await self.send.post(f"{CONVERSATION}/send-message", json={"userResponse": text})

    async def opened(self, text: str) -> httpx.Response:
        """Ask for the URL of a reply."""
        return await self.stream.post(
            f"{CONVERSATION}/stream", json={"userResponse": text}, headers={"accept": "application/json"}
        )


@pytest.fixture
async def http(services: Services, model: ScriptedModel) -> AsyncIterator[Http]:
    """The functions of a service in which a user has two turns a minute and 100 tokens a day."""
    services.settings = msgspec.structs.replace(
        services.settings,
        quota_turns_per_minute=2,
        quota_tokens_per_day=100,
        own_ticket_key=Secret("k" * 32),
    )
    model.script = ("Hello!", DONE)
    clients = []
    async with AsyncExitStack() as exits:
        for function in (stream, send):
            app = to_asgi(function.handler_for(lambda: services), timeout_s=PATIENCE_S, drain_timeout_s=5)
            port = await exits.enter_async_context(serving(app))
            client = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}/",
                headers={"authorization": "Bearer sam"},
                timeout=PATIENCE_S,
                trust_env=False,
            )
            clients.append(await exits.enter_async_context(client))
        yield Http(*clients)


@pytest.fixture
def half_past(services: Services) -> None:
    """A clock that stands still, so that a minute does not end during a test."""
    moment = services.clock.now().replace(second=30, microsecond=0)

    class StandingClock(type(services.clock)):  # type: ignore[misc]
        def now(self) -> object:
            return moment

    services.clock = StandingClock()


@pytest.mark.usefixtures("half_past")
async def test_a_refused_message_has_the_status_the_headers_and_the_code(
    http: Http, store: RememberedConversations
) -> None:
    """In one document, and where a client asks for the reply's URL; nothing of the message is stored."""
    for _ in range(2):
        assert (await http.sent("Hello")).status_code == 200
    stored = {key: list(messages) for key, messages in store.messages.items()}
    quota = {"quota": "turns-per-minute", "limit": 2, "remaining": 0, "resetsIn": 30}
    for refused in (await http.sent("And?"), await http.opened("And?")):
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "30"
        assert refused.headers["ratelimit-policy"] == '"turns-per-minute";q=2;w=60'
        assert refused.headers["ratelimit"] == '"turns-per-minute";r=0;t=30'
        body = refused.json()
        body = body.get("details", body)
        assert (body["code"], body["retryable"]) == ("QUOTA_EXCEEDED", True)
        assert (body["quota"], body["retryAfter"]) == (quota, 30)
    assert store.messages == stored


@pytest.mark.usefixtures("half_past")
async def test_a_stream_says_in_an_event_what_a_header_cannot(http: Http) -> None:
    """`start` is sent before the claim, so a refusal follows it."""
    for _ in range(2):
        events = await http.streamed("Hello")
        assert events[-1]["type"] == "complete"
    events = await http.streamed("And?")
    assert [event["type"] for event in events] == ["start", "error"]
    assert events[-1]["code"] == "QUOTA_EXCEEDED"
    assert events[-1]["quota"]["quota"] == "turns-per-minute"
    assert events[-1]["retryAfter"] == 30


@pytest.mark.usefixtures("half_past")
async def test_the_end_of_a_reply_says_what_is_left(http: Http) -> None:
    """In `complete`, in the metadata of other protocols, and in the headers of a document."""
    [*_, complete] = await http.streamed("Hello")
    seconds_left = complete["quotas"][1]["resetsIn"]
    assert complete["quotas"] == [
        {"quota": "turns-per-minute", "limit": 2, "remaining": 1, "resetsIn": 30},
        {"quota": "tokens-per-day", "limit": 100, "remaining": 58, "resetsIn": seconds_left},
    ]
    sent = await http.sent("Hello again")
    assert sent.headers["ratelimit"] == (
        f'"turns-per-minute";r=0;t=30, "tokens-per-day";r=16;t={seconds_left}'
    )
    policy = '"turns-per-minute";q=2;w=60, "tokens-per-day";q=100;qu="tokens";w=86400'
    assert sent.headers["ratelimit-policy"] == policy


@pytest.mark.usefixtures("half_past")
async def test_a_retry_costs_nothing(http: Http, model: ScriptedModel) -> None:
    """It gets the stored reply, however often it is sent, and with nothing left."""
    for name in ("c-1", "c-2"):
        await http.streamed("Hello", clientMessageId=name)
    calls = model.calls
    for name in ("c-1", "c-2", "c-1"):
        [*_, complete] = await http.streamed("Hello", clientMessageId=name)
        assert complete["type"] == "complete"
    assert model.calls == calls


async def test_without_quotas_there_is_nothing_about_them(http: Http, services: Services) -> None:
    """No header, and no field."""
    services.settings = msgspec.structs.replace(
        services.settings, quota_turns_per_minute=0, quota_tokens_per_day=0
    )
    [*_, complete] = await http.streamed("Hello")
    assert "quotas" not in complete
    sent = await http.sent("Hello again")
    assert not {"ratelimit", "ratelimit-policy"} & sent.headers.keys()


@pytest.mark.parametrize("route", ["stream", "send-message"])
async def test_another_text_under_a_known_key_is_refused(
    http: Http, route: str, store: RememberedConversations
) -> None:
    """Whatever the route; the reply to the first text would not fit."""
    await http.streamed("Hello", clientMessageId="c-1")
    stored = {key: list(messages) for key, messages in store.messages.items()}
    body = {"userResponse": "Goodbye", "clientMessageId": "c-1"}
    client = http.stream if route == "stream" else http.send
    refused = await client.post(f"{CONVERSATION}/{route}", json=body)
    assert refused.status_code == (200 if route == "stream" else 409)
    assert '"IDEMPOTENCY_MISMATCH"' in refused.text
    assert store.messages == stored
