"""Queued messages over HTTP: streamed, listed, withdrawn, and read at an address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import httpx
import msgspec
import pytest

from coachstream.conversation.model import ConversationKey, StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.runs.settings import RunSettings
from coachstream.functions.coach_conversations.handler import handler_for as conversations_handler_for
from coachstream.functions.send_coach_conversation_message.handler import handler_for as send_handler_for
from coachstream.functions.stream_coach_conversation.handler import handler_for
from coachstream.identity.ticket_keys import fixed_key
from coachstream.identity.tickets import Tickets
from coachstream.services import Services
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving
from support.patience import PATIENCE_S

CONVERSATION = "users/sam/coaches/mara/conversations/conv1"
STREAM = f"{CONVERSATION}/stream"
DONE = ModelStop(StopReason.END_TURN)

pytestmark = pytest.mark.usefixtures("conversation")


@pytest.fixture
def services(services: Services) -> Services:
    """Services that commit at once and poll quickly."""
    quick = RunSettings(
        commit_every_s=0.0,
        renew_every_s=0.05,
        first_poll_s=0.01,
        longest_poll_s=0.02,
        attended_within_s=0.2,
        max_queued=2,
    )
    services.turn_settings = msgspec.structs.replace(services.turn_settings, runs=quick)
    services.tickets = Tickets(fixed_key(b"k" * 32))
    return services


@asynccontextmanager
async def client_of(handler: object) -> AsyncIterator[httpx.AsyncClient]:
    app = to_asgi(handler, timeout_s=60, drain_timeout_s=5)  # type: ignore[arg-type]
    async with (
        serving(app) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/",
            headers={"authorization": "Bearer sam"},
            trust_env=False,
            timeout=PATIENCE_S,
        ) as client,
    ):
        yield client


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(handler_for(lambda: services)) as client:
        yield client


class Stream:
    """A request whose events are noted while they arrive."""

    def __init__(self, http: httpx.AsyncClient, method: str, url: str, body: object = None) -> None:
        self.events: list[dict[str, object]] = []
        self.ids: list[str] = []
        self.status = 0
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._read(http, method, url, body))

    async def _read(self, http: httpx.AsyncClient, method: str, url: str, body: object) -> None:
        async with http.stream(method, url, json=body) as response:
            self.status = response.status_code
            async for line in response.aiter_lines():
                if line.startswith("id:"):
                    self.ids.append(line[3:].strip())
                if line.startswith("data:"):
                    self.events.append(json.loads(line[5:]))
                    self._news.set()

    async def has(self, kind: str, **fields: object) -> dict[str, object]:
        """Wait for an event of a type, and with these fields."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for event in self.events:
                    if event.get("type") == kind and fields.items() <= event.items():
                        return event
                self._news.clear()
                await self._news.wait()

    async def ending(self) -> dict[str, object]:
        await asyncio.wait_for(self.task, PATIENCE_S)
        return self.events[-1]

    @property
    def kinds(self) -> list[object]:
        return [event.get("type") for event in self.events]


def body(text: str, **more: object) -> dict[str, object]:
    return {"userResponse": text, "clientMessageId": f"c-{text}", **more}


async def a_queue(
    http: httpx.AsyncClient, model: ScriptedModel, gate: asyncio.Event, *texts: str
) -> list[Stream]:
    """A reply that is being written, and messages that wait for it."""
    model.script = ("Hello", gate, DONE)
    streams = [Stream(http, "POST", STREAM, body(texts[0]))]
    await streams[0].has("chunk")
    model.script = ("Hello", DONE)
    for number, text in enumerate(texts[1:], 1):
        streams.append(Stream(http, "POST", STREAM, body(text)))
        await streams[-1].has("queued", position=number)
    return streams


async def listed(services: Services) -> httpx.Response:
    """The conversation, as its page reads it."""
    async with client_of(conversations_handler_for(lambda: services)) as http:
        return await http.get(CONVERSATION)


async def test_a_queued_message_has_its_events_and_is_listed(
    http: httpx.AsyncClient, model: ScriptedModel, services: Services
) -> None:
    """`start`, `queued` as often as the position changes, then `run` and the reply; each can be resumed."""
    gate = asyncio.Event()
    one, two, three = await a_queue(http, model, gate, "one", "two", "three")
    page = (await listed(services)).json()
    stored = {message["content"]: message["id"] for message in page["conversation"]["messages"]}
    run_ids = [(await stream.has("queued"))["runId"] for stream in (two, three)]
    assert page["queued"] == [
        {"runId": run_ids[0], "messageId": stored["two"], "position": 1},
        {"runId": run_ids[1], "messageId": stored["three"], "position": 2},
    ]
    gate.set()
    for stream in (one, two, three):
        assert (await stream.ending())["type"] == "complete"
    assert three.kinds == ["start", "queued", "queued", "run", "chunk", "complete"]
    assert three.ids[0] == f"{run_ids[1]}:0"
    assert three.events[3]["runId"] == run_ids[1]
    page = (await listed(services)).json()
    assert "queued" not in page
    assert [each["content"] for each in page["conversation"]["messages"] if each["role"] == "user"] == [
        "one",
        "two",
        "three",
    ]


async def test_a_queued_message_can_be_withdrawn(
    http: httpx.AsyncClient, model: ScriptedModel, services: Services
) -> None:
    """Its stream ends with an error that is not retryable; later requests for it get the same."""
    gate = asyncio.Event()
    one, two, three = await a_queue(http, model, gate, "one", "two", "three")
    run_id = (await two.has("queued"))["runId"]
    withdrawn = await http.delete(f"{STREAM}/{run_id}")
    assert (withdrawn.status_code, withdrawn.json()) == (200, {"runId": run_id, "status": "withdrawn"})
    ending = await two.ending()
    assert (ending["type"], ending["code"], ending["retryable"]) == ("error", "MESSAGE_WITHDRAWN", False)
    again = await http.delete(f"{STREAM}/{run_id}")
    assert (again.status_code, again.json()["status"]) == (200, "finished")
    late = Stream(http, "GET", f"{STREAM}/{run_id}")
    assert (await late.ending())["code"] == "MESSAGE_WITHDRAWN"
    assert (await http.get(f"{STREAM}/{run_id}?after={late.ids[-1]}")).status_code == 204
    retried = Stream(http, "POST", STREAM, body("two"))
    assert (await retried.ending())["code"] == "MESSAGE_WITHDRAWN"
    as_json = await http.post(STREAM, json=body("two"), headers={"accept": "application/json"})
    assert (as_json.status_code, as_json.json()["code"]) == (410, "MESSAGE_WITHDRAWN")
    await three.has("queued", position=1)
    gate.set()
    assert (await three.ending())["type"] == "complete"
    assert (await one.ending())["type"] == "complete"
    messages = (await listed(services)).json()["conversation"]["messages"]
    assert [each["content"] for each in messages] == ["one", "Hello", "three", "Hello"]
    stopped = await http.delete(f"{STREAM}/{(await three.has('queued'))['runId']}")
    assert stopped.json()["status"] == "finished"
    assert (await http.delete(f"{STREAM}/run_unknown")).status_code == 404


async def test_a_queued_message_has_an_address_at_once(
    http: httpx.AsyncClient, model: ScriptedModel, store: RememberedConversations
) -> None:
    """No function waits; the first reader does, with a ticket and without a token."""
    gate = asyncio.Event()
    [one] = await a_queue(http, model, gate, "one")
    started = await http.post(STREAM, json=body("two"), headers={"accept": "application/json"})
    assert started.status_code == 202
    url = urljoin(str(started.url), started.json()["eventsUrl"])
    assert len(next(iter(store.messages.values()))) == 2
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as anonymous:
        readers = [Stream(anonymous, "GET", url) for _ in range(2)]
        for reader in readers:
            await reader.has("queued", runId=started.json()["runId"], position=1)
        gate.set()
        for reader in readers:
            assert (await reader.ending())["type"] == "complete"
            assert reader.kinds[:3] == ["start", "queued", "run"]
        assert (await anonymous.get(f"{url}&after={readers[0].ids[-1]}")).status_code == 204
    assert (await one.ending())["type"] == "complete"
    assert model.calls == 2


async def test_a_reader_without_a_run_reads_the_first_of_the_queue(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """If no reply is being written: a page that is opened again gets what is left unanswered."""
    gate = asyncio.Event()
    one = (await a_queue(http, model, gate, "one"))[0]
    started = await http.post(STREAM, json=body("two"), headers={"accept": "application/json"})
    gate.set()
    await one.ending()
    reader = Stream(http, "GET", STREAM)
    assert (await reader.ending())["type"] == "complete"
    assert reader.events[0]["runId"] == started.json()["runId"]
    assert (await http.get(STREAM)).status_code == 204


async def test_a_request_names_its_policy(http: httpx.AsyncClient, model: ScriptedModel) -> None:
    """One that is not known is refused; a full queue refuses whatever it says."""
    gate = asyncio.Event()
    streams = await a_queue(http, model, gate, "one", "two")
    refused = Stream(http, "POST", STREAM, body("three", policy="reject"))
    assert (await refused.ending())["code"] == "TURN_IN_PROGRESS"
    unknown: tuple[object, ...] = ("queue", "ENQUEUE", 1, [], {}, "")
    for wrong in unknown:
        answer = await http.post(STREAM, json=body("four", policy=wrong))
        assert answer.status_code == 400
        assert "INVALID_REQUEST" in answer.text
    streams.append(Stream(http, "POST", STREAM, body("five", policy=None)))
    await streams[-1].has("queued", position=2)
    full = Stream(http, "POST", STREAM, body("six", policy="enqueue"))
    assert (await full.ending())["code"] == "TURN_IN_PROGRESS"
    gate.set()
    for stream in streams:
        assert (await stream.ending())["type"] == "complete"


async def test_a_request_for_a_reply_in_one_piece_is_not_queued_unless_it_asks(
    http: httpx.AsyncClient, model: ScriptedModel, services: Services
) -> None:
    """Its client, which may know of no queue, learns at once that another reply is being written."""
    gate = asyncio.Event()
    one = (await a_queue(http, model, gate, "one"))[0]
    async with client_of(send_handler_for(lambda: services)) as sending:
        refused = await sending.post(f"{CONVERSATION}/send-message", json=body("two"))
        assert (refused.status_code, refused.json()["details"]["code"]) == (409, "TURN_IN_PROGRESS")
        waiting = asyncio.create_task(
            sending.post(f"{CONVERSATION}/send-message", json=body("two", policy="enqueue"))
        )
        async with asyncio.timeout(PATIENCE_S):
            while not (await services.store.read_queue(KEY)).queued:  # noqa: ASYNC110 (a store's content)
                await asyncio.sleep(0.001)
        gate.set()
        answered = await waiting
    assert answered.status_code == 200
    assert answered.json()["aiResponse"]["content"] == "Hello"
    await one.ending()


KEY = ConversationKey("sam", "mara", "conv1")


@pytest.mark.parametrize(
    ("path", "request_body", "told", "ended"),
    [
        (
            "ai-sdk",
            {
                "trigger": "submit-message",
                "messages": [{"id": "m2", "role": "user", "parts": [{"type": "text", "text": "two"}]}],
            },
            {"type": "data-queued", "transient": True},
            "finish",
        ),
        (
            "ag-ui",
            {"threadId": "t", "runId": "r", "messages": [{"id": "m2", "role": "user", "content": "two"}]},
            {"type": "CUSTOM", "name": "coachstream.queued"},
            "RUN_FINISHED",
        ),
    ],
    ids=["AI SDK", "AG-UI"],
)
async def test_clients_of_other_protocols_wait_in_the_queue(
    http: httpx.AsyncClient,
    model: ScriptedModel,
    path: str,
    request_body: dict[str, object],
    told: dict[str, object],
    ended: str,
) -> None:
    """They get our event as one of their own kinds that is not part of the message."""
    gate = asyncio.Event()
    one = (await a_queue(http, model, gate, "one"))[0]
    other = AnyStream(http, "POST", f"{CONVERSATION}/{path}", request_body)
    event = await other.has(str(told.pop("type")), **told)
    assert event.get("data", event.get("value")) == {
        "type": "queued",
        "runId": (event.get("data") or event.get("value"))["runId"],  # type: ignore[index]
        "position": 1,
    }
    gate.set()
    await other.has(ended)
    await other.task
    await one.ending()


class AnyStream(Stream):
    """A stream in another wire protocol, whose last line may be no JSON."""

    async def _read(self, http: httpx.AsyncClient, method: str, url: str, body: object) -> None:
        async with http.stream(method, url, json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data:") and "[DONE]" not in line:
                    self.events.append(json.loads(line[5:]))
                    self._news.set()


async def test_a_client_of_the_ai_sdk_that_comes_back_gets_the_first_of_the_queue(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """If no reply is being written; otherwise that one, as ever."""
    gate = asyncio.Event()
    one = (await a_queue(http, model, gate, "one"))[0]
    started = await http.post(STREAM, json=body("two"), headers={"accept": "application/json"})
    assert started.status_code == 202
    gate.set()
    await one.ending()
    other = AnyStream(http, "GET", f"{CONVERSATION}/ai-sdk/chat/stream")
    await other.has("finish")
    await other.task
    assert other.kinds[0] == "start"
    assert (await http.get(f"{CONVERSATION}/ai-sdk/chat/stream")).status_code == 204
