"""Where a reader resumes: every way to send a cursor, invalid cursors, and the end of a finished run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

import anyio
import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.events import LogPoint
from coachstream.conversation.model import StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.runs.settings import RunSettings
from coachstream.functions.stream_coach_conversation.handler import handler_for
from coachstream.services import Services
from coachstream.web.run_requests import cursor_of
from lambda_streaming import to_asgi
from lambda_streaming.function_url.event import FunctionUrlEvent
from support.doubles import ScriptedModel
from support.event_source import Reading
from support.http_server import serving
from support.patience import PATIENCE_S

STREAM = "users/sam/coaches/mara/conversations/conv1/stream"
MESSAGE = {"userResponse": "How was my week?", "clientMessageId": "m-1"}
DONE = ModelStop(StopReason.END_TURN)
RUN = "run_1795428000123_6v1or0she"

pytestmark = pytest.mark.usefixtures("conversation")


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """The stream function over HTTP, committing at once and polling quickly."""
    quick = RunSettings(commit_every_s=0.0, renew_every_s=0.05, first_poll_s=0.01, longest_poll_s=0.02)
    services.turn_settings = msgspec.structs.replace(services.turn_settings, runs=quick)
    app = to_asgi(handler_for(lambda: services), timeout_s=60, drain_timeout_s=5)
    async with (
        serving(app) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/", headers={"authorization": "Bearer sam"}, trust_env=False
        ) as client,
    ):
        yield client


def reading_of(response: httpx.Response) -> Reading:
    """The contents of a complete stream."""
    reading = Reading()
    reading.feed(response.content)
    return reading


async def finished_run(http: httpx.AsyncClient) -> Reading:
    """A reply that was read to its end."""
    return reading_of(await http.post(STREAM, json=MESSAGE))


async def first_events(response: httpx.Response, count: int) -> Reading:
    """The first events of a stream that is still running."""
    reading = Reading()
    async for data in response.aiter_bytes():
        reading.feed(data)
        if len(reading.events) >= count:
            return reading
    raise AssertionError(f"only {reading.events}")


def saying(dialect: str, cursor: str) -> tuple[dict[str, str], str]:
    """Headers and query of a request that sends the cursor in one of the clients' ways."""
    match dialect:
        case "header":
            return {"last-event-id": cursor}, ""
        case "encoded":
            return {}, f"?lastEventId={''.join(f'%{byte:02x}' for byte in cursor.encode())}"
        case _:
            return {}, f"?{dialect}={quote(cursor, safe='')}"


DIALECTS = ["header", "after", "lastEventId", "encoded", "last-event-id", "evs_last_event_id"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_finished_run_is_not_replayed_to_a_reader_that_has_it(
    http: httpx.AsyncClient, dialect: str
) -> None:
    """However the client sends its cursor, the response is 204."""
    reading = await finished_run(http)
    headers, query = saying(dialect, reading.last_event_id)
    assert (await http.get(f"{STREAM}/{reading.run_id}{query}", headers=headers)).status_code == 204


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_reader_resumes_at_its_cursor_however_it_sends_it(
    http: httpx.AsyncClient, model: ScriptedModel, dialect: str
) -> None:
    """It gets everything after its cursor, and nothing before."""
    gate = asyncio.Event()
    model.script = ("One ", gate, "two", DONE)
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", STREAM, json=MESSAGE) as response:
            await first_events(response, 2)
            async with http.stream("GET", STREAM) as joined:
                begun = await first_events(joined, 2)
            gate.set()
    assert begun.text == "One "
    headers, query = saying(dialect, begun.last_event_id)
    rest = (await http.get(f"{STREAM}/{begun.run_id}{query}", headers=headers)).content
    assert b'"offset":0' not in rest
    begun.feed(rest)
    assert begun.text == "One two"
    assert begun.last["aiMessage"]["content"] == "One two"


async def test_nothing_to_read_has_no_content_and_no_content_type(http: httpx.AsyncClient) -> None:
    """This holds for all four requests; `httpx-sse` raises on an unexpected content type."""
    idle = await http.get(STREAM)
    whole = await finished_run(http)
    headers = {"last-event-id": whole.last_event_id}
    read_all = await http.get(f"{STREAM}/{whole.run_id}", headers=headers)
    sent_again = await http.post(STREAM, json=MESSAGE, headers=headers)
    over = await http.get(STREAM)
    for response in (idle, read_all, sent_again, over):
        assert (response.status_code, response.content) == (204, b"")
        assert not {"content-type", "content-length"} & response.headers.keys()


UNKNOWN = [
    "nonsense",
    ":",
    f"{RUN}:3",
    "{run}",
    "{run}:",
    "{run}:-1",
    "{run}:1e3",
    "{run}:99",
    "{run}:999999999999999999",
    "{run}:" + "9" * 200,
    "{run}%3A2",
    "{run}:\u0662",
    "null",
    "undefined",
]


@pytest.mark.parametrize("dialect", ["header", "after", "lastEventId"])
@pytest.mark.parametrize("cursor", UNKNOWN)
async def test_an_unknown_cursor_does_not_replay_a_finished_run(
    http: httpx.AsyncClient, dialect: str, cursor: str
) -> None:
    """A client that keeps sending it would otherwise get the whole reply for ever."""
    reading = await finished_run(http)
    headers, query = saying(dialect, cursor.format(run=reading.run_id))
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    response = await http.get(f"{STREAM}/{reading.run_id}{query}", headers=raw)
    assert response.status_code == 204


@pytest.mark.parametrize("cursor", ["nonsense", f"{RUN}:3", "{run}:99"])
async def test_an_unknown_cursor_reads_an_unfinished_run_from_its_beginning(
    http: httpx.AsyncClient, model: ScriptedModel, cursor: str
) -> None:
    """No reader loses a live reply; offsets make repeated text harmless."""
    gate = asyncio.Event()
    model.script = ("One ", gate, "two", DONE)
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", STREAM, json=MESSAGE) as response:
            first = await first_events(response, 3)
            url = f"{STREAM}/{first.run_id}"
            headers = {"last-event-id": cursor.format(run=first.run_id)}
            async with http.stream("GET", url, headers=headers) as again:
                assert (await first_events(again, 2)).text == "One "
            gate.set()


@pytest.mark.parametrize("empty", [{"headers": {"last-event-id": ""}}, {"params": {"after": ""}}])
async def test_an_empty_cursor_is_none(http: httpx.AsyncClient, empty: dict[str, dict[str, str]]) -> None:
    """In the HTML standard the last event id is the empty string until there is one."""
    whole = await finished_run(http)
    again = reading_of(await http.get(f"{STREAM}/{whole.run_id}", **empty))  # type: ignore[arg-type] # one of two
    assert again.text == whole.text


async def test_the_conversations_stream_resumes_the_run_of_the_cursor(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """A client that reconnects to `…/stream` gets the rest of its reply, finished or not, then 204."""
    gate = asyncio.Event()
    model.script = ("One ", gate, "two", DONE)
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", STREAM, json=MESSAGE) as response:
            arriving = await first_events(response, 2)
            async with http.stream("GET", STREAM) as joined:
                begun = await first_events(joined, 2)
        gate.set()
        while (again := await http.get(STREAM, headers={"last-event-id": begun.last_event_id})).is_success:
            if b"complete" in again.content:
                break
    assert begun.run_id == arriving.run_id
    begun.feed(again.content)
    assert begun.text == "One two"
    assert (await http.get(STREAM, headers={"last-event-id": begun.last_event_id})).status_code == 204
    assert (await http.get(STREAM, headers={"last-event-id": f"{RUN}:2"})).status_code == 204
    assert (await http.get(STREAM, headers={"last-event-id": "nonsense"})).status_code == 204


async def test_a_message_repeated_with_a_cursor_resumes_after_it(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """`fetch-event-source` repeats its POST with `Last-Event-ID`: no text is repeated, and the end is 204."""
    gate = asyncio.Event()
    model.script = ("One ", gate, "two", DONE)
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", STREAM, json=MESSAGE) as response:
            await first_events(response, 2)
        async with http.stream("GET", STREAM) as joined:
            begun = await first_events(joined, 2)
        headers = {"last-event-id": begun.last_event_id}
        async with http.stream("POST", STREAM, json=MESSAGE, headers=headers) as again:
            gate.set()
            rest = (await again.aread()).decode()
    assert '"offset":0' not in rest
    begun.feed(rest.encode())
    assert begun.text == "One two"
    headers = {"last-event-id": begun.last_event_id}
    assert (await http.post(STREAM, json=MESSAGE, headers=headers)).status_code == 204
    assert model.calls == 1


async def test_another_message_is_answered_whatever_cursor_is_left_over(http: httpx.AsyncClient) -> None:
    """A cursor of an earlier reply must not skip any of the next one."""
    earlier = await finished_run(http)
    other = {"userResponse": "And next week?", "clientMessageId": "m-2"}
    reply = await http.post(STREAM, json=other, headers={"last-event-id": earlier.last_event_id})
    assert reading_of(reply).text == "Hello, you!"


async def test_a_reader_that_joins_knows_the_run_before_there_is_a_word(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """After a reload, in a second tab, and for a repeated message, `stop` works at once."""
    gate = asyncio.Event()
    model.script = (gate, "One", DONE)
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", STREAM, json=MESSAGE) as response:
            first = await first_events(response, 2)
            assert first.events[1] == {"type": "run", "runId": first.run_id}
            for method, url, events in (
                ("GET", STREAM, 1),
                ("GET", f"{STREAM}/{first.run_id}", 1),
                ("POST", STREAM, 2),
            ):
                body = MESSAGE if method == "POST" else None
                async with http.stream(method, url, json=body) as other:
                    joined = await first_events(other, events)
                assert joined.last["runId"] == first.run_id
                assert joined.run_id == first.run_id
            stopped = await http.delete(f"{STREAM}/{joined.run_id}")
            assert stopped.status_code == 202
        ended = reading_of(await http.get(f"{STREAM}/{joined.run_id}"))
    assert (ended.last["type"], ended.last["stopReason"]) == ("complete", "stopped")


async def test_no_block_of_a_stream_is_without_data(http: httpx.AsyncClient, services: Services) -> None:
    """`fetch-event-source`, `httpx-sse` and `r3labs/sse` would deliver it as a message with empty data."""
    services.settings = msgspec.structs.replace(services.settings, keep_alive_s=0.1)
    model = services.model
    assert isinstance(model, ScriptedModel)
    gate = asyncio.Event()
    model.script = ("One ", gate, "two", DONE)
    with anyio.fail_after(PATIENCE_S):
        async with http.stream("POST", STREAM, json=MESSAGE) as response:
            begun = b""
            async for data in response.aiter_bytes():
                begun += data
                if begun.count(b": keep-alive\n") == 2:
                    gate.set()
    run_id = reading_of_bytes(begun).run_id
    resumed = (await http.get(f"{STREAM}/{run_id}")).content
    for stream in (begun, resumed):
        assert stream.endswith(b"\n\n")
        assert all(b"data: " in block for block in stream.removesuffix(b"\n\n").split(b"\n\n"))


def reading_of_bytes(stream: bytes) -> Reading:
    """The contents of these bytes of a stream."""
    reading = Reading()
    reading.feed(stream)
    return reading


async def test_the_id_of_a_block_follows_its_data(http: httpx.AsyncClient) -> None:
    """Some clients apply an id as soon as they read its line; a truncated block must not move the cursor."""
    for block in (await http.post(STREAM, json=MESSAGE)).text.removesuffix("\n\n").split("\n\n"):
        names = [line.partition(":")[0] for line in block.split("\n")]
        assert names in (["data"], ["data", "id"])


def asked_with(headers: Mapping[str, str], query: str) -> FunctionUrlEvent:
    """A request as the function receives it."""
    payload = {
        "version": "2.0",
        "rawPath": "/",
        "rawQueryString": query,
        "headers": dict(headers),
        "requestContext": {"http": {"method": "GET"}},
    }
    return FunctionUrlEvent.from_payload(payload)


def test_of_several_cursors_the_furthest_counts() -> None:
    """A URL keeps its original cursor; a reconnecting client adds what it has received since."""
    event = asked_with(
        {"last-event-id": f"{RUN}:7"}, f"after={RUN}:3&lastEventId={RUN}:5&lastEventId={RUN}:6"
    )
    assert cursor_of(event).after(RUN) == 7
    event = asked_with({"last-event-id": f"{RUN}:7"}, f"after={RUN}:9")
    assert cursor_of(event).after(RUN) == 9
    event = asked_with({"last-event-id": "nonsense"}, f"after={RUN}:3")
    assert cursor_of(event).after(RUN) == 3
    event = asked_with({}, f"after={RUN}:8&lastEventId=run_1895428000123_000000000:2")
    assert cursor_of(event).newest == LogPoint("run_1895428000123_000000000", 2)
    assert cursor_of(asked_with({}, "ticket=abc&_=17")).after(RUN) == -1


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_as_a_cursor_is_none_or_unknown(header: str, value: str) -> None:
    """No text breaks the function, and only a point of this very run is a valid cursor."""
    after = cursor_of(asked_with({"last-event-id": header}, f"lastEventId={quote(value)}")).after(RUN)
    assert (after == -1) == (header == value == "")
