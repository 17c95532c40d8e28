"""Runs over HTTP: resumed anywhere, joined, stopped, and read with a ticket."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urljoin

import anyio
import httpx
import msgspec
import pytest

from coachstream.conversation.model import ConversationKey, Role, StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.runs.settings import RunSettings
from coachstream.functions.stream_coach_conversation.handler import handler_for
from coachstream.identity.ticket_keys import fixed_key
from coachstream.identity.tickets import Tickets
from coachstream.services import Services
from coachstream.storage.sqlite import SqliteStore
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.event_source import Reading
from support.http_server import serving
from support.patience import PATIENCE_S

STREAM = "users/sam/coaches/mara/conversations/conv1/stream"
MESSAGE = {"userResponse": "How was my week?", "clientMessageId": "m-1"}
DONE = ModelStop(StopReason.END_TURN)
KEY_FOR_TICKETS = b"k" * 32


@pytest.fixture
def services(services: Services) -> Services:
    """Services that commit at once and poll quickly."""
    settings = services.turn_settings
    quick = RunSettings(commit_every_s=0.0, renew_every_s=0.05, first_poll_s=0.01, longest_poll_s=0.02)
    services.turn_settings = msgspec.structs.replace(settings, runs=quick)
    services.tickets = Tickets(fixed_key(KEY_FOR_TICKETS))
    return services


@asynccontextmanager
async def client_of(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    app = to_asgi(handler_for(lambda: services), timeout_s=60, drain_timeout_s=5)
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


pytestmark = pytest.mark.usefixtures("conversation")


async def read(response: httpx.Response, reading: Reading, *, bytes_at_most: int | None = None) -> None:
    """Read a stream to its end, or at most this many bytes of it."""
    reading.connect()
    left = bytes_at_most
    async for data in response.aiter_bytes():
        reading.feed(data if left is None else data[:left])
        if left is not None:
            left -= len(data)
            if left <= 0:
                return


async def asked(http: httpx.AsyncClient, *, bytes_at_most: int | None = None) -> Reading:
    """Send the message and read the stream."""
    reading = Reading()
    async with http.stream("POST", STREAM, json=MESSAGE) as response:
        assert response.status_code == 200
        await read(response, reading, bytes_at_most=bytes_at_most)
    return reading


async def go_on(http: httpx.AsyncClient, reading: Reading) -> int:
    """Reconnect as an `EventSource` does; return the status."""
    headers = {"last-event-id": reading.last_event_id}
    async with http.stream("GET", f"{STREAM}/{reading.run_id}", headers=headers) as response:
        if response.status_code == 200:
            await read(response, reading)
        return response.status_code


async def test_events_carry_ids_once_something_is_stored(http: httpx.AsyncClient) -> None:
    """The first id identifies the run; the last one ends an `EventSource`."""
    reading = await asked(http)
    assert reading.ids[0] == ""
    assert all(of_event.startswith(f"{reading.run_id}:") for of_event in reading.ids[1:])
    assert reading.run_id.startswith("run_")
    assert await go_on(http, reading) == 204


async def test_a_connection_cut_after_any_byte_loses_and_doubles_nothing(
    http: httpx.AsyncClient,
    model: ScriptedModel,
    store: RememberedConversations,
    conversation: ConversationKey,
) -> None:
    """At every byte position of a short run, the text is identical and the model is called once.

    The server has sent everything by then and sees a cut only as the id of the reconnecting reader, so one
    pair of connections serves every cut between two ids.
    """
    model.script = ("Zwölf ", "💪", " done", DONE)
    whole = await asked(http)
    body = await _body_of(http)
    came_with: str | None = None
    rest = b""
    for cut in range(1, len(body)):
        reading = Reading()
        reading.feed(body[:cut])
        if not reading.is_over:
            if reading.last_event_id != came_with:
                came_with = reading.last_event_id
                reading = await asked(http, bytes_at_most=cut)
                assert reading.last_event_id == came_with
                rest = await _rest_of(http, reading)
            reading.connect()
            reading.feed(rest)
        assert reading.is_over
        assert reading.text == whole.text == "Zwölf 💪 done"
        assert reading.last["aiMessage"] == whole.last["aiMessage"]
    assert model.calls == 1
    assert [message.role for message in store.messages[conversation]] == [Role.USER, Role.ASSISTANT]


async def _body_of(http: httpx.AsyncClient) -> bytes:
    return (await http.post(STREAM, json=MESSAGE)).content


async def _rest_of(http: httpx.AsyncClient, reading: Reading) -> bytes:
    """What a reconnecting reader gets; without an id it starts from the beginning."""
    if not reading.last_event_id:
        return await _body_of(http)
    url = f"{STREAM}/{reading.run_id}"
    response = await http.get(url, headers={"last-event-id": reading.last_event_id})
    assert response.status_code == 200
    return response.content


async def test_a_live_run_of_two_hundred_chunks_survives_a_hundred_cuts(
    services: Services, model: ScriptedModel
) -> None:
    """Cut at random places during the run, every reconnecting reader ends up with the same text."""
    words = [f"wörd{number} 🏋 " for number in range(200)]
    gates = [asyncio.Event() for _ in range(20)]
    script: list[str | asyncio.Event | ModelStop] = []
    for number, word in enumerate(words):
        script += [gates[number // 10], word] if number % 10 == 0 else [word]
    model.script = (*script, DONE)
    chance = random.Random(7)  # noqa: S311 (the same cuts each time)

    async def reader(client: httpx.AsyncClient) -> Reading:
        reading = Reading()
        async with client.stream("POST", STREAM, json=MESSAGE) as response:
            await read(response, reading, bytes_at_most=chance.randrange(1, 3000))
        while not reading.is_over:
            method, url = ("GET", f"{STREAM}/{reading.run_id}") if reading.last_event_id else ("POST", STREAM)
            headers = {"last-event-id": reading.last_event_id}
            body = None if method == "GET" else MESSAGE
            async with client.stream(method, url, headers=headers, json=body) as response:
                assert response.status_code == 200
                await read(response, reading, bytes_at_most=chance.randrange(1, 6000))
        return reading

    async def open_gates() -> None:
        for gate in gates:
            await asyncio.sleep(0.02)
            gate.set()

    async with client_of(services) as http, asyncio.TaskGroup() as tasks:
        tasks.create_task(open_gates())
        readers = [tasks.create_task(reader(http)) for _ in range(25)]
    assert {task.result().text for task in readers} == {"".join(words)}
    assert len({json.dumps(task.result().last) for task in readers}) == 1
    assert model.calls == 1


async def test_the_conversations_live_run_can_be_joined_without_its_name(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """A reloaded page continues to read; without a live run there is nothing to read."""
    assert (await http.get(STREAM)).status_code == 204
    gate = asyncio.Event()
    model.script = ("One ", gate, "two", DONE)
    async with http.stream("POST", STREAM, json=MESSAGE) as first:
        arriving = first.aiter_bytes()
        while b"One" not in await anext(arriving):
            pass
        joined = Reading()
        async with http.stream("GET", STREAM) as second:
            assert second.status_code == 200
            gate.set()
            await read(second, joined)
        async for _ in arriving:
            pass
    assert joined.text == "One two"
    assert joined.retry_ms == 1000
    assert joined.last["type"] == "complete"
    assert (await http.get(STREAM)).status_code == 204


async def test_an_event_source_reads_the_run_at_its_own_url(
    http: httpx.AsyncClient, model: ScriptedModel, store: RememberedConversations
) -> None:
    """The message is stored; the first reader of the URL starts the reply, and others join it."""
    started = await http.post(STREAM, json=MESSAGE, headers={"accept": "application/json"})
    assert started.status_code == 202
    body = started.json()
    assert started.headers["location"] == body["eventsUrl"]
    assert model.calls == 0
    assert len(next(iter(store.messages.values()))) == 1
    url = urljoin(str(started.url), body["eventsUrl"])
    async with httpx.AsyncClient(trust_env=False) as anonymous:
        readings = [Reading() for _ in range(3)]

        async def listen(reading: Reading) -> None:
            async with anonymous.stream("GET", url) as response:
                assert response.status_code == 200
                await read(response, reading)

        await asyncio.gather(*map(listen, readings))
        assert {reading.text for reading in readings} == {"Hello, you!"}
        assert {reading.run_id for reading in readings} == {body["runId"]}
        again = await anonymous.get(url, headers={"last-event-id": readings[0].last_event_id})
        assert again.status_code == 204
    assert model.calls == 1
    repeated = await http.post(STREAM, json=MESSAGE, headers={"accept": "application/json"})
    assert repeated.status_code == 202
    late = Reading()
    async with http.stream("GET", urljoin(str(repeated.url), repeated.json()["eventsUrl"])) as response:
        await read(response, late)
    assert late.text == "Hello, you!"
    assert model.calls == 1


async def test_a_refused_start_for_an_event_source_is_reported_as_json(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """The error includes the id of the run in progress."""
    gate = asyncio.Event()
    model.script = ("One", gate, DONE)
    async with http.stream("POST", STREAM, json=MESSAGE) as first:
        arriving = first.aiter_bytes()
        while b"One" not in await anext(arriving):
            pass
        other = {"userResponse": "And now?", "policy": "reject"}
        refused = await http.post(STREAM, json=other, headers={"accept": "application/json"})
        gate.set()
        async for _ in arriving:
            pass
    assert (refused.status_code, refused.json()["code"]) == (409, "TURN_IN_PROGRESS")
    assert refused.json()["runId"].startswith("run_")


async def test_without_a_key_there_are_no_tickets_and_nothing_is_stored(
    services: Services, store: RememberedConversations, conversation: ConversationKey
) -> None:
    """Without a ticket, no client could read the reply."""
    services.tickets = Tickets(None)
    async with client_of(services) as http:
        refused = await http.post(STREAM, json=MESSAGE, headers={"accept": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (501, "TICKETS_UNAVAILABLE")
    assert store.messages[conversation] == []


async def test_a_ticket_is_good_for_reading_one_run_and_nothing_else(http: httpx.AsyncClient) -> None:
    """Refused for another run, conversation or method, and if another user's, forged or altered."""
    reading = await asked(http)
    run_id, key = reading.run_id, ConversationKey("sam", "mara", "conv1")
    tickets = Tickets(fixed_key(KEY_FOR_TICKETS))
    good, other_run = await tickets.issue(key, run_id), await tickets.issue(key, "run_other")
    other_user = await tickets.issue(ConversationKey("kim", "mara", "conv1"), run_id)
    forged = await Tickets(fixed_key(b"x" * 32)).issue(key, run_id)
    async with httpx.AsyncClient(base_url=http.base_url, trust_env=False) as anonymous:
        assert (await anonymous.get(f"{STREAM}/{run_id}?ticket={good}")).status_code == 200
        for ticket in (other_run, other_user, forged, f"{good}x", ""):
            refused = await anonymous.get(f"{STREAM}/{run_id}?ticket={ticket}")
            assert refused.status_code == 401
        assert (await anonymous.delete(f"{STREAM}/{run_id}?ticket={good}")).status_code == 401
        assert (await anonymous.post(f"{STREAM}?ticket={good}", json=MESSAGE)).status_code == 401
        assert (await anonymous.get(f"{STREAM}?ticket={good}")).status_code == 401
        assert (await anonymous.get(f"{STREAM}/{run_id}")).status_code == 401


async def test_a_run_is_stopped_by_its_user_alone(http: httpx.AsyncClient, model: ScriptedModel) -> None:
    """The stream ends with the text so far even if the model is silent; another user's stop has no effect."""
    model.script = ("So far", asyncio.Event(), DONE)
    reading = Reading()
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", STREAM, json=MESSAGE) as response:
            arriving = response.aiter_bytes()
            while not reading.text:
                reading.feed(await anext(arriving))
            run = f"{STREAM}/{reading.run_id}"
            stranger = await http.delete(run, headers={"authorization": "Bearer kim"})
            assert (stranger.status_code, stranger.json()["code"]) == (403, "USER_ID_MISMATCH")
            unknown = await http.delete(f"{STREAM}/run_unknown")
            assert (unknown.status_code, unknown.json()["code"]) == (404, "RUN_NOT_FOUND")
            stopped = await http.delete(run)
            assert (stopped.status_code, stopped.json()["status"]) == (202, "stopping")
            async for data in arriving:
                reading.feed(data)
    assert (reading.last["type"], reading.last["stopReason"]) == ("complete", "stopped")
    assert reading.last["aiMessage"]["content"] == "So far"
    again = await http.delete(run)
    assert (again.status_code, again.json()["status"]) == (200, "finished")


async def test_an_unknown_run_is_404(http: httpx.AsyncClient) -> None:
    """A 404 also ends an `EventSource`."""
    response = await http.get(f"{STREAM}/run_unknown")
    assert response.status_code == 404
    assert "RUN_NOT_FOUND" in response.text


async def test_equal_messages_become_one_run_on_a_real_store(
    services: Services, tmp_path: Path, model: ScriptedModel
) -> None:
    """Fifty equal messages at once over SQLite: one run, one model call, fifty equal streams."""
    store = SqliteStore(tmp_path / "data.db")
    remembered = services.store
    assert isinstance(remembered, RememberedConversations)
    [conversation] = remembered.conversations.values()
    await store.put_coach("sam", "mara", {"coach_name": "Mara"})
    await store.create_conversation(conversation)
    services.store = store
    words = [f"word{number} " for number in range(100)]
    model.script = (*words, DONE)
    async with client_of(services) as http:
        readings = await asyncio.gather(*(asked(http) for _ in range(50)))
        assert {reading.text for reading in readings} == {"".join(words)}
        assert len({json.dumps(reading.last) for reading in readings}) == 1
        assert model.calls == 1
        assert len(await store.load_messages(conversation.key)) == 2
    await store.aclose()
