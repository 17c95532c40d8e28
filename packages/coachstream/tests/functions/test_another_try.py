"""Another try over HTTP: regenerated, edited, continued, listed and chosen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from coachstream.conversation.model import Conversation, StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.functions.coach_conversations.handler import handler_for as conversations_of
from coachstream.functions.send_coach_conversation_message.handler import handler_for as sender_of
from coachstream.functions.stream_coach_conversation.handler import handler_for as streamer_of
from coachstream.identity.ticket_keys import fixed_key
from coachstream.identity.tickets import Tickets
from coachstream.services import Services
from coachstream.storage.sqlite import SqliteStore
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving
from support.patience import PATIENCE_S

CONVERSATION = "users/sam/coaches/mara/conversations/conv1"
STREAM = f"{CONVERSATION}/stream"
DONE = ModelStop(StopReason.END_TURN)
CUT_OFF = ModelStop(StopReason.MAX_TOKENS)


class Clients:
    """A client of each function."""

    def __init__(self, stream: httpx.AsyncClient, send: httpx.AsyncClient, talks: httpx.AsyncClient) -> None:
        self.stream, self.send, self.talks = stream, send, talks

    async def post(self, **body: object) -> list[dict[str, Any]]:
        """Send a message, or try again, and return the events."""
        response = await self.stream.post(STREAM, json=body)
        return events_of(response.text)

    async def complete(self, **body: object) -> dict[str, Any]:
        """Likewise, and return the last event, which must be `complete`."""
        last = (await self.post(**body))[-1]
        assert last["type"] == "complete", last
        return last

    async def messages(self) -> list[dict[str, Any]]:
        """The messages of the conversation."""
        response = await self.talks.get(CONVERSATION)
        found: list[dict[str, Any]] = response.json()["conversation"]["messages"]
        return found

    async def versions(self, message_id: str) -> list[tuple[str, str | None, bool]]:
        """The texts of the versions of an exchange, and which one is chosen."""
        response = await self.talks.get(f"{CONVERSATION}/messages/{message_id}/versions")
        assert response.status_code == 200
        return _texts(response)


def _texts(response: httpx.Response) -> list[tuple[str, str | None, bool]]:
    return [
        (each["userMessage"]["content"], each.get("aiMessage", {}).get("content"), each["isChosen"])
        for each in response.json()["versions"]
    ]


def events_of(text: str) -> list[dict[str, Any]]:
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]


@pytest.fixture(params=["doubles", "sqlite"])
async def services(
    request: pytest.FixtureRequest,
    services: Services,
    conversation: object,  # noqa: ARG001
    tmp_path: Path,
) -> AsyncIterator[Services]:
    """Services on both stores, with a key for tickets."""
    services.tickets = Tickets(fixed_key(b"k" * 32))
    if request.param == "doubles":
        yield services
        return
    remembered = services.store
    assert isinstance(remembered, RememberedConversations)
    store = SqliteStore(tmp_path / "data.db")
    await store.put_coach("sam", "mara", {"coach_name": "Mara"})
    [talk] = remembered.conversations.values()
    assert isinstance(talk, Conversation)
    await store.create_conversation(talk)
    services.store = store
    yield services
    await store.aclose()


@asynccontextmanager
async def _client(handler: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 (any handler)
    async with (
        serving(to_asgi(handler, timeout_s=60, drain_timeout_s=5)) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/", headers={"authorization": "Bearer sam"}, trust_env=False
        ) as client,
    ):
        yield client


@pytest.fixture
async def http(services: Services) -> AsyncIterator[Clients]:
    async with (
        _client(streamer_of(lambda: services)) as stream,
        _client(sender_of(lambda: services)) as send,
        _client(conversations_of(lambda: services)) as talks,
    ):
        yield Clients(stream, send, talks)


async def test_the_last_reply_is_regenerated_and_the_older_version_can_be_shown_and_chosen(
    http: Clients, model: ScriptedModel
) -> None:
    """The conversation has the chosen version only."""
    first = await http.complete(userResponse="Hi", clientMessageId="m-1")
    assert "versions" not in first["aiMessage"]["metadata"]
    model.script = ("Better.", DONE)
    second = await http.complete(regenerate=first["messageId"], clientMessageId="m-2")
    assert second["userMessage"] == first["userMessage"]
    assert second["replaced"] == [first["messageId"]]
    assert "replaced" not in first
    assert second["aiMessage"]["content"] == "Better."
    assert second["aiMessage"]["metadata"]["versions"] == 2
    assert await http.messages() == [second["userMessage"], second["aiMessage"]]
    listed = [("Hi", "Hello, you!", False), ("Hi", "Better.", True)]
    for name in (second["messageId"], second["userMessage"]["id"]):
        assert await http.versions(name) == listed

    path = f"{CONVERSATION}/messages/{second['messageId']}/versions/{first['messageId']}"
    chosen = await http.talks.put(path)
    assert chosen.status_code == 200
    assert _texts(chosen) == [("Hi", "Hello, you!", True), ("Hi", "Better.", False)]
    assert [each["content"] for each in await http.messages()] == ["Hi", "Hello, you!"]
    again = await http.talks.put(path)
    assert (again.status_code, again.json()["code"]) == (409, "NOT_THE_LAST_EXCHANGE")


async def test_the_last_message_is_edited_and_answered_anew(http: Clients, model: ScriptedModel) -> None:
    """Both messages have new ids."""
    first = await http.complete(userResponse="Hi", clientMessageId="m-1")
    model.script = ("Better.", DONE)
    second = await http.complete(
        replaces=first["userMessage"]["id"], userResponse="Hello", clientMessageId="m-2"
    )
    assert second["userMessage"]["content"] == "Hello"
    assert second["replaced"] == [first["userMessage"]["id"], first["messageId"]]
    assert second["userMessage"]["metadata"]["clientMessageId"] == "m-2"
    assert await http.messages() == [second["userMessage"], second["aiMessage"]]
    assert await http.versions(second["messageId"]) == [
        ("Hi", "Hello, you!", False),
        ("Hello", "Better.", True),
    ]


async def test_a_reply_that_was_cut_off_is_continued(http: Clients, model: ScriptedModel) -> None:
    """It keeps its id; the stream begins with what it has."""
    model.can_continue = True
    model.script = ("One two", CUT_OFF)
    first = await http.complete(userResponse="Count", clientMessageId="m-1")
    model.script = (" three", DONE)
    events = await http.post(**{"continue": first["messageId"], "clientMessageId": "m-2"})
    assert [each["type"] for each in events] == ["start", "run", "chunk", "chunk", "complete"]
    assert [(each["content"], each["offset"]) for each in events[2:4]] == [("One two", 0), (" three", 7)]
    assert events[-1]["messageId"] == first["messageId"]
    assert events[-1]["aiMessage"]["content"] == "One two three"
    assert await http.messages() == [events[-1]["userMessage"], events[-1]["aiMessage"]]
    refused = (await http.post(**{"continue": first["messageId"], "clientMessageId": "m-3"}))[-1]
    assert (refused["code"], refused["retryable"]) == ("CANNOT_CONTINUE", False)


async def test_a_try_waits_for_a_reader_at_another_url(http: Clients, model: ScriptedModel) -> None:
    """Also one that continues a reply: its first reader gets all of the text."""
    model.can_continue = True
    model.script = ("One two", CUT_OFF)
    first = await http.complete(userResponse="Count", clientMessageId="m-1")
    model.script = (" three", DONE)
    for number, (field, text) in enumerate((("continue", "One two three"), ("regenerate", " three"))):
        body = {field: first["messageId"], "clientMessageId": f"try-{number}"}
        opened = await http.stream.post(STREAM, json=body, headers={"accept": "application/json"})
        assert opened.status_code == 202
        repeated = await http.stream.post(STREAM, json=body, headers={"accept": "application/json"})
        assert repeated.json()["runId"] == opened.json()["runId"]
        url = urljoin(STREAM, opened.json()["eventsUrl"])
        read = events_of((await http.stream.get(url)).text)
        assert "".join(each["content"] for each in read if each["type"] == "chunk") == text
        assert read[-1]["aiMessage"]["content"] == text
        finished = await http.stream.post(STREAM, json=body, headers={"accept": "application/json"})
        assert finished.json()["runId"] == opened.json()["runId"]
    assert [each["content"] for each in await http.messages()] == ["Count", " three"]


async def test_a_reader_that_was_cut_off_resumes_a_try(http: Clients, model: ScriptedModel) -> None:
    """By its run's URL, or by the same request with a cursor, which ends with 204 when it has all."""
    first = await http.complete(userResponse="Hi", clientMessageId="m-1")
    model.script = ("Better.", DONE)
    body = {"regenerate": first["messageId"], "clientMessageId": "m-2"}
    response = await http.stream.post(STREAM, json=body)
    ids = [line.removeprefix("id: ") for line in response.text.splitlines() if line.startswith("id: ")]
    resumed = events_of((await http.stream.get(f"{STREAM}/{ids[0].partition(':')[0]}?after={ids[0]}")).text)
    assert "".join(each["content"] for each in resumed if each["type"] == "chunk") == "Better."
    at_end = await http.stream.post(STREAM, json=body, headers={"last-event-id": ids[-1]})
    assert at_end.status_code == 204
    repeated = events_of((await http.stream.post(STREAM, json=body)).text)
    assert repeated[-1] == events_of(response.text)[-1]
    assert model.calls == 2


async def test_a_try_in_one_piece_returns_the_new_version(http: Clients, model: ScriptedModel) -> None:
    """`send-message` takes the same fields."""
    first = await http.complete(userResponse="Hi", clientMessageId="m-1")
    model.script = ("Better.", DONE)
    path = f"{CONVERSATION}/send-message"
    sent = await http.send.post(path, json={"regenerate": first["messageId"], "clientMessageId": "m-2"})
    assert (sent.status_code, sent.json()["aiResponse"]["content"]) == (200, "Better.")
    refused = await http.send.post(path, json={"regenerate": first["messageId"], "clientMessageId": "m-3"})
    assert refused.status_code == 409
    assert refused.json()["details"]["code"] == "NOT_THE_LAST_EXCHANGE"


async def test_another_device_that_went_on_is_left_alone(http: Clients, model: ScriptedModel) -> None:
    """Nothing is written, and the model is not called."""
    first = await http.complete(userResponse="Hi", clientMessageId="m-1")
    await http.complete(userResponse="And?", clientMessageId="m-2")
    before = await http.messages()
    for field in ({"regenerate": first["messageId"]}, {"continue": first["messageId"]}):
        model.can_continue = True
        refused = (await http.post(**field, clientMessageId="m-9"))[-1]
        assert (refused["type"], refused["code"]) == ("error", "NOT_THE_LAST_EXCHANGE")
    edit = {"replaces": first["userMessage"]["id"], "userResponse": "Hello", "clientMessageId": "m-9"}
    assert (await http.post(**edit))[-1]["code"] == "NOT_THE_LAST_EXCHANGE"
    opened = await http.stream.post(STREAM, json=edit, headers={"accept": "application/json"})
    assert (opened.status_code, opened.json()["code"]) == (409, "NOT_THE_LAST_EXCHANGE")
    assert await http.messages() == before
    assert model.calls == 2


async def test_a_try_during_a_reply_is_refused_with_its_run(http: Clients, model: ScriptedModel) -> None:
    """The same one joins it instead."""
    first = await http.complete(userResponse="Hi", clientMessageId="m-1")
    gate = asyncio.Event()
    model.script = ("Bet", gate, "ter.", DONE)
    body = {"regenerate": first["messageId"], "clientMessageId": "m-2"}
    trying, joining = (asyncio.create_task(http.post(**body)) for _ in range(2))
    async with asyncio.timeout(PATIENCE_S):
        while model.calls < 2:  # noqa: ASYNC110 (the double has no event for it)
            await asyncio.sleep(0.01)
        refused = (await http.post(regenerate=first["messageId"], clientMessageId="m-3"))[-1]
        gate.set()
        endings = [(await each)[-1] for each in (trying, joining)]
    assert refused["code"] == "TURN_IN_PROGRESS"
    assert "userMessage" not in refused
    assert refused["runId"]
    assert endings[0]["aiMessage"] == endings[1]["aiMessage"]
    assert endings[0]["aiMessage"]["content"] == "Better."
    assert model.calls == 2


@pytest.mark.parametrize(
    "body",
    [
        {"regenerate": "a", "replaces": "b", "userResponse": "Hi", "clientMessageId": "m"},
        {"regenerate": "a", "continue": "a", "clientMessageId": "m"},
        {"regenerate": "a", "userResponse": "Hi", "clientMessageId": "m"},
        {"continue": "a", "userResponse": "Hi", "clientMessageId": "m"},
        {"regenerate": "a"},
        {"regenerate": "a", "clientMessageId": "m", "policy": "interrupt"},
        {"replaces": "a", "userResponse": "Hi"},
        {"regenerate": "", "clientMessageId": "m"},
        {"regenerate": 7, "clientMessageId": "m"},
        {"regenerate": "a#b", "clientMessageId": "m"},
        {"continue": ["a"], "clientMessageId": "m"},
    ],
)
async def test_a_try_that_is_not_understood_is_refused(http: Clients, body: dict[str, object]) -> None:
    """Before the stream begins."""
    response = await http.stream.post(STREAM, json=body)
    assert response.status_code == 400
    assert events_of(response.text)[0]["code"] == "INVALID_REQUEST"


async def test_an_edit_needs_a_text(http: Clients) -> None:
    """Like any message."""
    for text in (None, "", " "):
        body = {"replaces": "a", "userResponse": text, "clientMessageId": "m"}
        response = await http.stream.post(STREAM, json=body)
        assert events_of(response.text)[0]["code"] == "INVALID_USER_RESPONSE"


async def test_versions_of_what_is_not_there(http: Clients) -> None:
    """An unknown message has none, an unknown conversation is not found, and another user's is refused."""
    assert await http.versions("unknown") == []
    for method in ("GET", "PUT"):
        tail = "/b" if method == "PUT" else ""
        unknown = await http.talks.request(method, f"{CONVERSATION}2/messages/a/versions{tail}")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "CONVERSATION_NOT_FOUND")
        strange = await http.talks.request(
            method,
            f"{CONVERSATION}/messages/a/versions{tail}",
            headers={"authorization": "Bearer kim"},
        )
        assert strange.status_code == 403
        wrong = await http.talks.post(f"{CONVERSATION}/messages/a/versions{tail}")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, method)
