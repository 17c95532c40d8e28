"""The export and the deletion of a user's data over HTTP, on a real store."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode, StorageUnavailable
from coachstream.conversation.model import ConversationKey, StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.user_data import RecordPage, delete_user_data
from coachstream.functions.coach_conversations import user_data
from coachstream.functions.coach_conversations.handler import handler_for
from coachstream.functions.stream_coach_conversation import handler as stream_coach_conversation
from coachstream.services import Services
from coachstream.settings import RecallOff
from coachstream.storage.sqlite import SqliteStore
from coachstream.web.status import HTTP_STATUS
from coachstream.web.user_data import ExportPosition, ExportSource, encode_cursor
from contracts.store_records import (
    COACH,
    conversation,
    memory,
    reply_to,
    store_reply,
    user_message,
    workout,
)
from lambda_streaming import to_asgi
from lambda_streaming.function_url.in_process import InProcessContext
from lambda_streaming.function_url.invoker import InvocationRequest
from lambda_streaming.streaming import streaming_of
from support.doubles import ScriptedModel
from support.http_server import serving
from support.turns import RecallDouble
from support.url_event import url_event

EXPORT = "users/sam/export"
DATA = "users/sam/data"
SAMS = tuple(ConversationKey("sam", coach_id, f"conv-{coach_id}") for coach_id in ("mara", "ben"))
KIMS = ConversationKey("kim", "mara", "conv-kim")
PAGE = 3

Lines = list[dict[str, Any]]


class ShiftedClock:
    """The machine's clock, which a test can set forward."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


class PagedStore(SqliteStore):
    """A store with small pages, which counts them, takes time for each, and fails on demand."""

    reads = 0
    takes_s = 0.0
    fails_at: int | None = None
    clock = ShiftedClock()
    blocked_at: ConversationKey | None = None

    async def read_records(self, user_id: str, *, after: str | None = None, limit: int = PAGE) -> RecordPage:
        self.reads += 1
        if self.reads == self.fails_at:
            raise StorageUnavailable("secret")
        page = await super().read_records(user_id, after=after, limit=min(limit, PAGE))
        self.clock.ahead_s += self.takes_s
        return page

    async def delete_conversation(self, key: ConversationKey) -> None:
        if key == self.blocked_at:
            await asyncio.Event().wait()
        await super().delete_conversation(key)


@pytest.fixture
async def paged(services: Services, tmp_path: Path) -> AsyncIterator[PagedStore]:
    """Sam's conversations with two coaches, a memory, a workout; and one of Kim's."""
    store = PagedStore(tmp_path / "coachstream.db")
    store.clock = services.clock = ShiftedClock()
    services.store = store
    for key in (*SAMS, KIMS):
        await store.put_coach(key.user_id, key.coach_id, COACH)
        await store.create_conversation(conversation(key))
        for number in (1, 3):
            said = user_message(number)
            await store_reply(store, said, reply_to(said, number + 1, f"To {key.user_id}"), key=key)
    await store.put_memory("sam", "m-1", memory("m-1"))
    await store.put_workout("sam", "w-1", workout("w-1", "2026-01-01T10:00:00.000Z"))
    yield store
    await store.aclose()


@pytest.fixture
async def http(services: Services, paged: PagedStore) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ARG001
    async with (
        serving(to_asgi(handler_for(lambda: services), drain_timeout_s=5)) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/", headers={"authorization": "Bearer sam"}, trust_env=False
        ) as client,
    ):
        yield client


def lines_of(text: str) -> Lines:
    """The lines, each of which must be whole."""
    assert text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def records_in(lines: Lines) -> Lines:
    return [line for line in lines if line["type"] == "record"]


async def exported(http: httpx.AsyncClient, after: str | None = None) -> Lines:
    """The lines of one response."""
    response = await http.get(EXPORT, params={} if after is None else {"after": after})
    assert response.status_code == 200
    return lines_of(response.text)


async def test_an_export_has_all_records_and_says_that_it_is_complete(http: httpx.AsyncClient) -> None:
    """JSON lines; each page but the last ends with a cursor, and the last line counts the records."""
    response = await http.get(EXPORT)
    assert response.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    lines = lines_of(response.text)
    records = records_in(lines)
    assert lines[-1] == {"type": "complete", "records": len(records)}
    pages = [number for number, line in enumerate(lines) if line["type"] == "page"]
    assert pages == list(range(PAGE, len(lines) - 1, PAGE + 1))
    kinds = [record["kind"] for record in records]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "coach": 2,
        "coachConversation": 2,
        "coachMessage": 8,
        "coachRun": 8,
        "userMemory": 1,
        "workout": 1,
    }
    assert "kim" not in response.text
    assert any(record["data"].get("content") == "To sam" for record in records)


@pytest.mark.parametrize("page", range(1, 8))
async def test_an_export_cut_after_any_page_is_resumed(http: httpx.AsyncClient, page: int) -> None:
    """Every record comes once, and the count at the end is that of the whole export."""
    whole = await exported(http)
    read: Lines = []
    async with http.stream("GET", EXPORT) as response:
        async for line in response.aiter_lines():
            read.append(json.loads(line))
            if [each["type"] for each in read].count("page") == page:
                break
    rest = await exported(http, read[-1]["next"])
    assert records_in(read) + records_in(rest) == records_in(whole)
    assert rest[-1] == whole[-1]


async def test_an_export_near_the_timeout_of_its_invocation_goes_on_in_the_next(
    http: httpx.AsyncClient, paged: PagedStore
) -> None:
    """It ends with `reconnect`, which is never mistaken for the end; each response has at least a page."""
    whole = await exported(http)
    paged.takes_s = 400.0
    lines: Lines = []
    after: str | None = None
    responses = 0
    while not lines or lines[-1]["type"] != "complete":
        paged.clock.ahead_s = 0.0
        lines += await exported(http, after)
        responses += 1
        assert lines[-1]["type"] in {"reconnect", "complete"}
        after = lines[-1].get("after")
    assert responses > 2
    assert records_in(lines) == records_in(whole)
    assert lines[-1] == whole[-1]


async def test_an_export_of_many_bytes_goes_on_in_another_response(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda would cut off a response that is too large."""
    whole = await exported(http)
    monkeypatch.setattr(user_data, "MOST_RESPONSE_BYTES", 1_000)
    first = await exported(http)
    assert [line["type"] for line in first[-2:]] == ["page", "reconnect"]
    assert first[-1]["after"] == first[-2]["next"]
    assert records_in(first) == records_in(whole)[: len(records_in(first))]


async def test_a_store_that_fails_in_mid_stream_ends_it_with_an_error(
    http: httpx.AsyncClient, paged: PagedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the text of the exception; the export can be resumed from the last page."""
    whole = await exported(http)
    paged.fails_at = paged.reads + 3
    broken = await exported(http)
    assert broken[-1] == {
        "type": "error",
        "message": StorageUnavailable.sentence,
        "code": "STORAGE_UNAVAILABLE",
        "retryable": True,
    }
    assert "secret" in caplog.text
    rest = await exported(http, broken[-2]["next"])
    assert records_in(broken) + records_in(rest) == records_in(whole)


async def test_a_store_that_fails_at_once_is_a_refused_request(
    http: httpx.AsyncClient, paged: PagedStore
) -> None:
    """No stream begins."""
    paged.fails_at = 1
    response = await http.get(EXPORT)
    assert (response.status_code, response.json()["code"]) == (503, ErrorCode.STORAGE_UNAVAILABLE)
    assert response.headers["content-type"] == "application/json"


async def test_damaged_rows_are_exported_and_stop_nothing(http: httpx.AsyncClient, paged: PagedStore) -> None:
    """As they are: bytes as base64, a document that is not JSON as text."""
    with closing(sqlite3.connect(paged._database.path)) as connection:
        connection.execute("UPDATE memories SET attributes = '{not JSON'")
        connection.execute("UPDATE messages SET content = x'00ff'")
        connection.commit()
    records = records_in(await exported(http))
    [damaged] = [record["data"] for record in records if record["kind"] == "userMemory"]
    assert damaged == {"attributes": "{not JSON"}
    assert {record["data"]["content"] for record in records if record["kind"] == "coachMessage"} == {"AP8="}


def cursor(after: str, *, user_id: str = "sam", place: str = "the database nowhere/conversations.db") -> str:
    return encode_cursor(ExportSource(user_id, place), ExportPosition(after, 0))


@pytest.mark.parametrize(
    "query",
    [
        "after=",
        "after=x",
        "after=%00",
        "after=a&after=a",
        f"after={'A' * 5000}",
        "after=run_1795428000123_6v1or0she:4",
        f"after={cursor('sqlite:coach:', user_id='kim')}",
        f"after={cursor('sqlite:coach:')[:-1]}",
        f"after={cursor('sqlite:coach:')}A",
        f"after={cursor('dynamodb:coach#')}",
        f"after={cursor('sqlite:coach:')}&after=",
        f"after={cursor('sqlite:coach:', place='the database elsewhere/conversations.db')}",
    ],
)
async def test_a_cursor_that_is_not_understood_is_refused(http: httpx.AsyncClient, query: str) -> None:
    """Cut off, altered, of another user, of another store, given twice: never read as the beginning."""
    response = await http.get(f"{EXPORT}?{query}")
    assert (response.status_code, response.json()["code"]) == (400, ErrorCode.INVALID_REQUEST)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, ErrorCode.MISSING_AUTH_HEADER),
        ("Bearer forged", ErrorCode.INVALID_TOKEN),
        ("Bearer old", ErrorCode.TOKEN_EXPIRED),
        ("Bearer kim", ErrorCode.USER_ID_MISMATCH),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", EXPORT), ("DELETE", DATA)])
async def test_a_refused_caller_neither_reads_nor_deletes(
    http: httpx.AsyncClient,
    paged: PagedStore,
    authorization: str | None,
    code: ErrorCode,
    method: str,
    path: str,
) -> None:
    """The store is not touched."""
    del http.headers["authorization"]
    headers = {} if authorization is None else {"Authorization": authorization}
    response = await http.request(method, path, headers=headers)
    assert (response.status_code, response.json()["code"]) == (HTTP_STATUS[code], code)
    assert paged.reads == 0
    assert len(await paged.list_all_conversations("sam")) == 2


@pytest.mark.parametrize(("method", "path"), [("DELETE", EXPORT), ("GET", DATA), ("POST", DATA)])
async def test_each_path_has_one_method(http: httpx.AsyncClient, method: str, path: str) -> None:
    """A mistyped request deletes nothing."""
    response = await http.request(method, path)
    assert (response.status_code, response.json()["code"]) == (405, ErrorCode.METHOD_NOT_ALLOWED)


async def test_a_page_is_read_when_the_one_before_is_taken(services: Services, paged: PagedStore) -> None:
    """A slow reader holds one page in memory, not the export."""
    reads: list[int] = []

    class SlowReader:
        async def open(self, content_type: str) -> None:
            pass

        async def send(self, data: bytes) -> None:
            await asyncio.sleep(0)
            if b'"type":"record"' in data:
                reads.append(paged.reads)

        async def close(self, last: bytes = b"") -> None:
            await self.send(last)

    streaming = streaming_of(handler_for(lambda: services))
    assert streaming is not None
    event = url_event(f"/{EXPORT}", authorization="Bearer sam")
    request = InvocationRequest(payload=b"", request_id="request-1", trace_id="")
    await streaming.respond(event, InProcessContext(request, "coach-conversations", 900.0), SlowReader())
    assert reads == list(range(1, paged.reads + 1))
    assert paged.reads > 5


async def test_a_deletion_reports_what_is_gone_and_what_is_left(
    http: httpx.AsyncClient, services: Services, paged: PagedStore
) -> None:
    """Conversations with all coaches, memories, vectors; what other functions own is left and counted."""
    recall = services.recall = RecallDouble()
    kims = [record.data for record in (await paged.read_records("kim")).records]
    report = {
        "success": True,
        "isComplete": True,
        "deleted": {"conversations": 2, "memories": 1, "remnants": 0},
        "semanticMemory": True,
        "left": {"coach": 2, "workout": 1},
    }
    response = await http.delete(DATA)
    assert (response.status_code, response.json()) == (200, report)
    assert recall.forgotten_users == ["sam"]
    nothing = {"conversations": 0, "memories": 0, "remnants": 0}
    assert (await http.delete(DATA)).json() == {**report, "deleted": nothing}
    assert [record["kind"] for record in records_in(await exported(http))] == ["coach", "coach", "workout"]
    assert [record.data for record in (await paged.read_records("kim")).records] == kims


async def test_a_deletion_whose_vectors_stay_is_incomplete_and_repeated(
    http: httpx.AsyncClient, services: Services
) -> None:
    """The rest is deleted; the status is 200, because the report says more than an error could."""
    recall = services.recall = RecallDouble()
    recall.failure = StorageUnavailable()
    report = (await http.delete(DATA)).json()
    assert (report["isComplete"], report["semanticMemory"]) == (False, False)
    assert report["deleted"]["conversations"] == 2
    recall.failure = None
    report = (await http.delete(DATA)).json()
    assert (report["isComplete"], report["semanticMemory"]) == (True, True)


async def test_a_deletion_without_the_key_of_the_index_is_incomplete(
    http: httpx.AsyncClient, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    """The vectors are still there; the log says what is missing."""
    services.settings = msgspec.structs.replace(services.settings, recall=RecallOff(is_key_missing=True))
    report = (await http.delete(DATA)).json()
    assert (report["isComplete"], report["semanticMemory"]) == (False, False)
    assert report["deleted"]["conversations"] == 2
    assert "PINECONE_API_KEY is not set" in caplog.text


async def test_a_deletion_that_runs_out_of_time_reports_it_and_is_repeated(
    http: httpx.AsyncClient, paged: PagedStore
) -> None:
    """The second conversation takes too long; the first may be gone."""
    paged.clock.ahead_s = 900 - 1.0
    paged.blocked_at = SAMS[1]
    cut = (await http.delete(DATA)).json()
    assert (cut["success"], cut["isComplete"], cut["left"], cut["semanticMemory"]) == (
        True,
        False,
        None,
        None,
    )
    assert SAMS[1] in await paged.list_all_conversations("sam")
    paged.clock.ahead_s, paged.blocked_at = 0.0, None
    rest = (await http.delete(DATA)).json()
    assert rest["isComplete"]
    assert cut["deleted"]["conversations"] + rest["deleted"]["conversations"] == 2


async def test_a_deletion_without_time_to_count_is_complete() -> None:
    """Otherwise that of a user with very many workouts would be repeated for ever."""

    class Emptied(SqliteStore):
        """A store whose counting takes too long; nothing else takes time."""

        async def list_all_conversations(self, _user_id: str) -> Sequence[ConversationKey]:
            return ()

        async def delete_loose_records(self, _user_id: str) -> Mapping[str, int]:
            return {}

        async def count_records(self, _user_id: str) -> Mapping[str, int]:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    recall = RecallDouble()
    report = await delete_user_data("sam", store=Emptied(Path("nowhere")), recall=recall, within_s=0.01)
    assert (report.is_complete, report.is_forgotten, report.left) == (True, True, None)


async def test_a_deletion_ends_a_reply_that_is_being_written(
    http: httpx.AsyncClient, services: Services, paged: PagedStore, model: ScriptedModel
) -> None:
    """Its stream says that the conversation is gone, and nothing of it is stored afterwards."""
    gate = asyncio.Event()
    model.script = ("Secret ", gate, "reply", ModelStop(StopReason.END_TURN))
    stream = to_asgi(stream_coach_conversation.handler_for(lambda: services), drain_timeout_s=5)
    url = f"users/sam/coaches/mara/conversations/{SAMS[0].conversation_id}/stream"
    async with (
        serving(stream) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/", trust_env=False) as streaming,
        streaming.stream(
            "POST", url, headers=http.headers, content=msgspec.json.encode({"userResponse": "Secret"})
        ) as response,
    ):
        events: Lines = []
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
                if events[-1]["type"] == "chunk":
                    report = (await http.delete(DATA)).json()
                    assert report["isComplete"]
                    gate.set()
    assert (events[-1]["type"], events[-1]["code"]) == ("error", ErrorCode.CONVERSATION_NOT_FOUND)
    left: Mapping[str, int] = await paged.count_records("sam")
    assert left == {"coach": 2, "workout": 1}
    assert "Secret" not in (await http.get(EXPORT)).text
