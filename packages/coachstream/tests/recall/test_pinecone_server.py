"""The test server itself: it must reject what Pinecone rejects, or passing it would mean nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from coachstream.recall.pinecone import PineconeOptions, PineconeRecall
from support.pinecone_api.filters import InvalidFilter, matches
from support.pinecone_api.shapes import API_VERSION, JsonObject
from support.pinecone_server import API_KEY, PineconeServer, pinecone_server, pinecone_server_process

SEARCH = "/records/namespaces/n/search"
UPSERT = "/records/namespaces/n/upsert"
QUERY: JsonObject = {"top_k": 1, "inputs": {"text": "squat"}}
RANKING: JsonObject = {"model": "bge-reranker-v2-m3", "query": "squat", "documents": [{"text": "squat"}]}


@pytest.fixture
async def strict() -> AsyncIterator[PineconeServer]:
    """A server that may reject requests."""
    async with pinecone_server() as server:
        yield server


@pytest.fixture
async def http(strict: PineconeServer) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Api-Key": API_KEY, "X-Pinecone-Api-Version": API_VERSION}
    async with httpx.AsyncClient(base_url=strict.url, headers=headers) as client:
        yield client


async def test_what_is_right_is_answered(strict: PineconeServer, http: httpx.AsyncClient) -> None:
    """Requests and responses have the documented shapes."""
    ndjson = {"content-type": "application/x-ndjson"}
    lines = b'{"_id": "a", "text": "squat", "n": 1}\n{"_id": "b", "text": "row", "tags": ["t"]}\n'
    upserted = await http.post(UPSERT, content=lines, headers=ndjson)
    assert (upserted.status_code, upserted.content) == (201, b"")
    found = (await http.post(SEARCH, json={"query": {**QUERY, "filter": {"n": 1}}, "fields": ["n"]})).json()
    assert found == {
        "result": {"hits": [{"_id": "a", "_score": 1.0, "fields": {"n": 1}}]},
        "usage": {"read_units": 1, "embed_total_tokens": 1},
    }
    ranked = (await http.post("/rerank", json=RANKING)).json()
    assert [each["document"] for each in ranked["data"]] == [{"text": "squat"}]
    assert strict.refused == []


@pytest.mark.parametrize(
    "body",
    [
        {"query": QUERY, "filter": {}},
        {"query": {**QUERY, "filter": {"a": {"$like": "b"}}}},
        {"query": {**QUERY, "filter": {"$or": {"a": 1}}}},
        {"query": {**QUERY, "filter": {"a": {"$in": "b"}}}},
        {"query": {**QUERY, "top_k": 0}},
        {"query": {**QUERY, "top_k": 10_001}},
        {"query": {**QUERY, "topK": 3}},
        {"query": {**QUERY, "inputs": {"text": ""}}},
        {"query": {"top_k": 3}},
        {"query": QUERY, "fields": "text"},
        {},
        [],
    ],
    ids=str,
)
async def test_another_search_is_refused(
    strict: PineconeServer, http: httpx.AsyncClient, body: object
) -> None:
    """Above all a filter outside the query: that is how the existing system lost its own."""
    refused = await http.post(SEARCH, json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert len(strict.refused) == 1


@pytest.mark.parametrize(
    "record",
    [
        {"text": "a"},
        {"_id": 7, "text": "a"},
        {"_id": "é", "text": "a"},
        {"_id": "a"},
        {"_id": "a", "text": " "},
        {"_id": "a", "text": "a", "coach_id": None},
        {"_id": "a", "text": "a", "nested": {"a": 1}},
        {"_id": "a", "text": "a", "list": [1]},
        {"_id": "a", "text": "a" * 41_000},
    ],
    ids=lambda record: str(record)[:50],
)
async def test_another_record_is_refused(
    strict: PineconeServer, http: httpx.AsyncClient, record: JsonObject
) -> None:
    """Above all one with nulls."""
    sent = await http.post(
        UPSERT, content=json.dumps(record), headers={"content-type": "application/x-ndjson"}
    )
    assert sent.status_code == 400
    assert (len(strict.refused), strict.records) == (1, {})


@pytest.mark.parametrize(
    ("path", "changes", "status"),
    [
        (SEARCH, {"api-key": "other"}, 401),
        (SEARCH, {"x-pinecone-api-version": "2025-04"}, 400),
        (SEARCH, {"content-type": "text/plain"}, 415),
        ("/records/namespaces/%C3%A9/search", {}, 400),
        ("/records/namespaces//search", {}, 404),
        ("/query", {}, 404),
    ],
)
async def test_another_request_is_refused(
    strict: PineconeServer, http: httpx.AsyncClient, path: str, changes: dict[str, str], status: int
) -> None:
    """A wrong key, version, content type or path."""
    refused = await http.post(path, json={"query": QUERY}, headers=changes)
    assert refused.status_code == status
    assert len(strict.refused) == 1


def test_filters_mean_what_the_guide_says() -> None:
    """Each operator, on present fields, lists and missing fields."""
    fields = {"type": "a", "tags": ["x", "y"], "n": 3}
    yes = [
        {},
        {"type": "a"},
        {"tags": "x"},
        {"type": {"$in": ["a", "b"]}, "n": {"$gt": 2, "$lte": 3}},
        {"tags": {"$in": ["z", "y"]}},
        {"missing": {"$ne": 1}},
        {"missing": {"$exists": False}},
        {"$or": [{"type": "b"}, {"n": {"$gte": 3, "$lt": 4}}]},
    ]
    no = [{"type": "b"}, {"missing": "a"}, {"type": {"$nin": ["a"]}}, {"$and": [{"n": 3}, {"type": "b"}]}]
    assert [each for each in yes if not matches(each, fields)] == []
    assert [each for each in no if matches(each, fields)] == []
    with pytest.raises(InvalidFilter):
        matches({"type": "b", "n": {"$like": 1}}, fields)


@pytest.fixture
def url() -> Iterator[str]:
    with pinecone_server_process("k") as url:
        yield url


async def test_it_runs_as_a_command(url: str) -> None:
    """For tests in other processes; it prints its URL."""
    recall = PineconeRecall(PineconeOptions(api_key="k", index_host=url, timeout_s=20))
    assert list(await recall.search("user-1", "squat", limit=6)) == []
    await recall.aclose()
