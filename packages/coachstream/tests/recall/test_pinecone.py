"""Semantic search in Pinecone: the contract, the requests, and how responses are used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coachstream.conversation.errors import StorageUnavailable
from coachstream.conversation.model import Importance, Match, Memory, MemorySource
from coachstream.recall.pinecone import PineconeOptions, PineconeRecall
from coachstream.recall.pinecone.recall import MAX_QUERY_CHARS
from coachstream.recall.pinecone.records import MAX_TEXT_BYTES, own_namespace
from coachstream.recall.records import METHODOLOGY, user_namespace
from contracts.semantic_memory import MemoryFactory, SemanticMemoryContract, StoredRecord
from support.pinecone_api.shapes import API_VERSION, JsonObject
from support.pinecone_server import API_KEY, Operation, PineconeServer

USER = "user-1"
OWN = "user_user-1"
TYPES = ["workout_summary", "coach_creator_summary", "conversation_summary"]

MEMORY = Memory(
    id="user_memory_user-1_1",
    content="I train on Mondays.",
    memory_type="preference",
    importance=Importance.HIGH,
    created_at=datetime(2025, 3, 1, 12, 30, 15, 123_000, tzinfo=UTC),
    tags=("schedule", "helpful"),
    source=MemorySource.EXPLICIT_REQUEST,
)


def stored(record: StoredRecord) -> tuple[str, str, JsonObject]:
    """Namespace, id and fields of a record, as the existing functions store it."""
    namespace = METHODOLOGY if record.owner is None else user_namespace(record.owner)
    fields: JsonObject = {"text": record.text, "title": record.title}
    if record.owner is not None:
        fields["record_type"] = record.record_type
    return namespace, record.id, fields


class TestPineconeRecall(SemanticMemoryContract):
    @pytest.fixture
    def memory_of(self, server: PineconeServer, recall: PineconeRecall) -> MemoryFactory:
        async def memory_of(records: list[StoredRecord]) -> PineconeRecall:
            server.records.clear()
            for namespace, record_id, fields in map(stored, records):
                server.put(namespace, record_id, **fields)
            return recall

        return memory_of


class TestPineconeRecallWithReranking(TestPineconeRecall):
    @pytest.fixture
    def options(self, server: PineconeServer) -> PineconeOptions:
        return PineconeOptions(
            api_key=API_KEY,
            index_host=server.url,
            api_host=server.url,
            timeout_s=20,
            rerank_model="bge-reranker-v2-m3",
        )


# Requests.


async def test_both_namespaces_are_asked_for_the_text_itself(
    server: PineconeServer, recall: PineconeRecall
) -> None:
    """The index computes the embedding; only the fields in use are requested."""
    await recall.search(USER, "  How deep should I squat?\n", limit=6)
    searches = server.searches()
    assert searches.keys() == {OWN, METHODOLOGY}
    for body in searches.values():
        assert body["query"]["inputs"] == {"text": "How deep should I squat?"}
        assert body["query"]["top_k"] == 12
        assert body["fields"] == ["text", "content", "title", "record_type", "recordType", "type"]


async def test_the_filter_is_a_part_of_the_query(server: PineconeServer, recall: PineconeRecall) -> None:
    """It covers both spellings and the field of old summaries; outside the query it would be ignored."""
    await recall.search(USER, "squat", limit=6)
    searches = server.searches()
    assert searches[OWN].keys() == {"query", "fields"}
    assert searches[OWN]["query"]["filter"] == {
        "$or": [
            {"record_type": {"$in": TYPES}},
            {"recordType": {"$in": TYPES}},
            {"type": {"$eq": "conversation_summary"}},
        ]
    }
    assert "filter" not in searches[METHODOLOGY]["query"]


async def test_the_version_the_key_and_nothing_secret_else_is_sent(
    server: PineconeServer, recall: PineconeRecall
) -> None:
    """These are the headers that the API requires; the key appears nowhere else."""
    await recall.search(USER, "squat", limit=6)
    await recall.remember(USER, MEMORY)
    for request in server.requests:
        assert request.headers["x-pinecone-api-version"] == API_VERSION == "2026-07"
        assert request.headers["api-key"] == API_KEY
        rest = {name: value for name, value in request.headers.items() if name != "api-key"}
        assert API_KEY not in repr((rest, request.body))


async def test_a_forgotten_conversation_s_summaries_are_gone_and_nothing_else(
    server: PineconeServer, recall: PineconeRecall
) -> None:
    """Of either generation; its workouts, other conversations and other users keep theirs."""
    summaries = {
        "old": {"type": "conversation_summary", "conversationId": "conv-1"},
        "older": {"record_type": "conversation_summary", "conversation_id": "conv-1"},
        "new": {"recordType": "conversation_summary", "conversationId": "conv-1"},
    }
    others = {
        "other": {"recordType": "conversation_summary", "conversationId": "conv-2"},
        "workout": {"record_type": "workout_summary", "conversation_id": "conv-1"},
        "memory": {"record_type": "user_memory"},
    }
    for name, fields in (summaries | others).items():
        server.put(OWN, name, **fields)
    server.put("user_other", "old", **summaries["old"])
    await recall.forget_conversation(USER, "conv-1")
    await recall.forget_conversation(USER, "conv-1")
    assert set(server.records[OWN]) >= set(others)
    assert not set(server.records[OWN]) & set(summaries)
    assert set(server.records["user_other"]) == {"old"}
    assert server.refused == []


async def test_a_forgotten_user_s_memories_and_summaries_are_gone_and_nothing_else(
    server: PineconeServer, recall: PineconeRecall
) -> None:
    """Of either generation, in one request; workouts and other users' records stay."""
    types = ("record_type", "recordType", "type")
    written = ("user_memory", "conversation_summary")
    for name in types:
        for value in written:
            server.put(OWN, f"{name}-{value}", **{name: value})
        server.put(OWN, f"{name}-workout", **{name: "workout_summary"})
    server.put(OWN, "untyped", text="squat")
    server.put("user_user-10", "m", record_type="user_memory")
    await recall.forget_user(USER)
    assert len(server.requests) == 1
    assert set(server.records[OWN]) == {*(f"{name}-workout" for name in types), "untyped"}
    assert set(server.records["user_user-10"]) == {"m"}


async def test_a_long_message_is_searched_by_its_beginning(
    server: PineconeServer, recall: PineconeRecall
) -> None:
    """No embedding model reads more than that."""
    await recall.search(USER, "x" * (MAX_QUERY_CHARS + 1), limit=6)
    assert {len(body["query"]["inputs"]["text"]) for body in server.searches().values()} == {MAX_QUERY_CHARS}


@pytest.mark.parametrize(("text", "limit"), [("", 6), (" \n\t", 6), ("squat", 0), ("squat", -1)])
async def test_an_empty_search_sends_no_request(
    server: PineconeServer, recall: PineconeRecall, text: str, limit: int
) -> None:
    """An empty text cannot be embedded."""
    assert list(await recall.search(USER, text, limit=limit)) == []
    assert server.requests == []


# Namespaces.


@pytest.mark.parametrize(
    "user_id",
    [
        "x/../user_user-1",
        "../user_user-1",
        "x\\..\\user_user-1",
        "x%2F..%2Fuser_user-1",
        "user-1 ",
        " user-1",
        "user-1\t",
        "user-1\0",
        "user-1?a=b",
        "user-1#a",
        "user-1;a",
        "üser-1",
        "user-1\u200b",
        "u" * 508,
        "\ud800",
    ],
)
async def test_an_id_that_cannot_safely_name_a_namespace_has_no_records(
    server: PineconeServer, recall: PineconeRecall, user_id: str
) -> None:
    """No proxy can mistake it for another user's; the methodology is still searched."""
    server.put(OWN, "own", text="squat", record_type="workout_summary")
    server.put(METHODOLOGY, "shared", text="squat")
    assert [match.id for match in await recall.search(user_id, "squat", limit=6)] == ["shared"]
    assert server.searches().keys() == {METHODOLOGY}
    with pytest.raises(StorageUnavailable, match="cannot name a namespace"):
        await recall.remember(user_id, MEMORY)
    assert len(server.requests) == 1


@settings(max_examples=60)
@given(user_id=st.text("user-1_.:@+~*|%/\\ é\0", max_size=12) | st.emails())
async def test_whatever_the_id_only_its_own_namespace_is_asked(
    server: PineconeServer, recall: PineconeRecall, user_id: str
) -> None:
    """After decoding the path, the server sees this user's namespace or none."""
    server.requests.clear()
    await recall.search(user_id, "squat", limit=1)
    assert {request.namespace for request in server.requests} <= {METHODOLOGY, f"user_{user_id}"}
    assert own_namespace(user_id) in {None, f"user_{user_id}"}


# Results.


async def test_records_of_every_generation_are_found(server: PineconeServer, recall: PineconeRecall) -> None:
    """Fields in snake_case and camelCase, and types in three fields; other types are excluded."""
    server.put(OWN, "old", text="squat one", record_type="workout_summary")
    server.put(OWN, "new", text="squat two", recordType="coach_creator_summary")
    server.put(OWN, "summary", text="squat three", type="conversation_summary", conversationId="c")
    server.put(OWN, "memory", text="squat four", record_type="user_memory")
    server.put(OWN, "program", text="squat five", recordType="program_summary", type="hypertrophy")
    server.put(OWN, "untyped", text="squat six")
    server.put(METHODOLOGY, "shared", text="squat seven", title="Squatting", topics=["squat"])
    found = {match.id: match for match in await recall.search(USER, "squat", limit=10)}
    assert {match.id: match.record_type for match in found.values()} == {
        "old": "workout_summary",
        "new": "coach_creator_summary",
        "summary": "conversation_summary",
        "shared": "methodology",
    }
    assert found["shared"] == Match(
        "shared", "squat seven", found["shared"].score, METHODOLOGY, METHODOLOGY, "Squatting"
    )
    assert found["old"].namespace == OWN


async def test_content_stands_in_for_a_missing_text(server: PineconeServer, recall: PineconeRecall) -> None:
    """The first non-empty field is used; a record with neither is left out."""
    server.put(METHODOLOGY, "both", text=" \n", content="from content")
    server.put(METHODOLOGY, "neither", title="only a title")
    server.put(METHODOLOGY, "odd", content=["a", "list"], title=7, record_type="guide")
    found = await recall.search(USER, "squat", limit=10)
    assert {(match.id, match.content, match.title, match.record_type) for match in found} == {
        ("both", "from content", "", "methodology"),
        ("odd", "a, list", "7", "guide"),
    }


async def test_the_best_of_both_namespaces_come_first(server: PineconeServer, recall: PineconeRecall) -> None:
    """Results are merged by score across namespaces."""
    server.put(METHODOLOGY, "2nd", text="squat deep now")
    server.put(OWN, "1st", text="squat deep", record_type="workout_summary")
    server.put(METHODOLOGY, "4th", text="squat once and never more again")
    server.put(OWN, "3rd", text="squat and rest on Sunday", record_type="workout_summary")
    assert [match.id for match in await recall.search(USER, "squat deep", limit=6)] == [
        "1st",
        "2nd",
        "3rd",
        "4th",
    ]


async def test_the_same_text_is_given_once(server: PineconeServer, recall: PineconeRecall) -> None:
    """The existing functions stored some records repeatedly; duplicates must not crowd out others."""
    for number in range(5):
        server.put(OWN, f"again{number}", text="squat deep", record_type="conversation_summary")
    server.put(OWN, "other", text="squat shallow", record_type="workout_summary")
    found = await recall.search(USER, "squat deep", limit=3)
    assert [match.content for match in found] == ["squat deep", "squat shallow"]


# Reranking.


@pytest.fixture
async def reranking(options: PineconeOptions) -> AsyncIterator[PineconeRecall]:
    recall = PineconeRecall(msgspec.structs.replace(options, rerank_model="pinecone-rerank-v0"))
    yield recall
    await recall.aclose()


def fill(server: PineconeServer) -> None:
    for number in range(40):
        server.put(METHODOLOGY, f"m{number}", text="squat " + "filler " * number + str(number))
        text = "deep " * number + f"squat {number}"
        server.put(OWN, f"o{number}", text=text, recordType="workout_summary")


async def test_the_thirty_best_of_both_namespaces_are_ranked_in_one_call(
    server: PineconeServer, reranking: PineconeRecall
) -> None:
    """Passages are sent as plain text and are not returned; no score is too low."""
    fill(server)
    found = await reranking.search(USER, "squat deep", limit=6)
    [request] = [request for request in server.requests if request.operation is Operation.RERANK]
    body = request.json
    assert {search["query"]["top_k"] for search in server.searches().values()} == {30}
    assert (body["model"], body["query"], body["top_n"]) == ("pinecone-rerank-v0", "squat deep", 6)
    assert (body["rank_fields"], body["return_documents"]) == (["text"], False)
    assert len(body["documents"]) == 30
    assert {len(document) for document in body["documents"]} == {1}
    assert {match.namespace for match in found} == {OWN}
    scores = [match.score for match in found]
    assert scores == sorted(scores, reverse=True)
    assert max(scores) < 0.05


async def test_a_single_match_needs_no_ranking(server: PineconeServer, reranking: PineconeRecall) -> None:
    """Neither does an empty result."""
    assert list(await reranking.search(USER, "squat", limit=6)) == []
    server.put(METHODOLOGY, "m", text="squat")
    assert len(await reranking.search(USER, "squat", limit=6)) == 1
    assert Operation.RERANK not in {request.operation for request in server.requests}


async def test_long_texts_are_ranked_by_their_beginnings(
    server: PineconeServer, reranking: PineconeRecall
) -> None:
    """No model reads more than that; the results keep their full text."""
    server.put(METHODOLOGY, "a", text="squat " * 5000)
    server.put(METHODOLOGY, "b", text="row " * 5000)
    found = await reranking.search(USER, "squat " * 1000, limit=6)
    [request] = [request for request in server.requests if request.operation is Operation.RERANK]
    assert len(request.json["query"]) == 1000
    assert {len(document["text"]) for document in request.json["documents"]} == {4000}
    assert [len(match.content) for match in found] == [29_999, 19_999]


# Remembering.


async def test_a_memory_is_stored_for_readers_of_both_generations(
    server: PineconeServer, recall: PineconeRecall
) -> None:
    """Stored under its own id, with each field in both spellings, tags in the text, and no nulls."""
    await recall.remember(USER, MEMORY)
    assert server.records == {
        OWN: {
            "user_memory_user-1_1": {
                "text": "I train on Mondays.\ntag: schedule\ntag: helpful",
                "record_type": "user_memory",
                "recordType": "user_memory",
                "user_id": USER,
                "userId": USER,
                "memory_id": "user_memory_user-1_1",
                "memoryId": "user_memory_user-1_1",
                "memory_type": "preference",
                "memoryType": "preference",
                "importance": "high",
                "source": "explicit_request",
                "tags": ["schedule", "helpful"],
                "is_global": True,
                "isGlobal": True,
                "usage_count": 0,
                "usageCount": 0,
                "created_at": "2025-03-01T12:30:15.123Z",
                "createdAt": "2025-03-01T12:30:15.123Z",
                "logged_at": "2025-03-01T12:30:15.123Z",
                "loggedAt": "2025-03-01T12:30:15.123Z",
            }
        }
    }


async def test_the_same_memory_again_takes_the_place_of_the_first(
    server: PineconeServer, recall: PineconeRecall
) -> None:
    """Storing is idempotent; a memory for one coach names the coach."""
    await recall.remember(USER, MEMORY)
    await recall.remember(USER, msgspec.structs.replace(MEMORY, content="I rest.", tags=(), coach_id="c"))
    [record] = server.records[OWN].values()
    assert record["text"] == "I rest."
    assert (record["coach_id"], record["coachId"], record["is_global"]) == ("c", "c", False)
    assert "tags" not in record


@settings(max_examples=60)
@given(
    content=st.text(min_size=1).filter(str.strip)
    | st.sampled_from(["💪🏽" * 32_000, "x" * 60_000, "a\ud800b"]),
    tags=st.lists(st.text(max_size=20), max_size=5),
)
async def test_any_memory_can_be_stored(
    server: PineconeServer, recall: PineconeRecall, content: str, tags: list[str]
) -> None:
    """Whatever its content and length; the server rejects records of more than 40 KB."""
    await recall.remember(USER, msgspec.structs.replace(MEMORY, content=content, tags=tuple(tags)))
    assert len(server.records[OWN][MEMORY.id]["text"].encode()) <= MAX_TEXT_BYTES
    assert server.refused == []


# The SDK.


async def test_it_can_be_closed_and_used_again(server: PineconeServer, recall: PineconeRecall) -> None:
    """Closing a client that is not open does no harm."""
    await recall.aclose()
    for _ in range(2):
        await recall.search(USER, "squat", limit=1)
        await recall.aclose()
        await recall.aclose()
    assert len(server.requests) == 4


def test_importing_it_does_not_import_the_sdk() -> None:
    """The SDK is imported in a thread with the first search."""
    program = (
        "import sys, coachstream.recall.pinecone;"
        "print([name for name in ('pinecone', 'httpx', 'anyio', 'orjson') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_first_search_imports_nothing_on_the_event_loop() -> None:
    """Not even what the SDK and its libraries import lazily."""
    program = """
import asyncio, sys, threading
from coachstream.recall.pinecone import PineconeOptions, PineconeRecall
late = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is threading.main_thread():
            late.append(name)
async def search():
    await asyncio.to_thread(int)  # asyncio imports threads late, too
    sys.meta_path.insert(0, Watch())
    recall = PineconeRecall(PineconeOptions(api_key="k", index_host="http://127.0.0.1:9", timeout_s=60))
    try:
        await recall.search("u", "squat", limit=3)
    except Exception as error:
        assert "no connection" in str(error), error
    await recall.aclose()
asyncio.run(search())
print([name for name in late if name != "sniffio"])  # optional, looked for at each call
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"api_key": ""}, "API key"),
        ({"api_key": "secret key"}, "API key"),
        ({"api_key": "secret\n"}, "API key"),
        ({"index_host": ""}, "host of an index"),
        ({"index_host": "index"}, "no dot"),
        ({"index_host": "http://index.example"}, "https"),
        ({"index_host": "https://user@index.example"}, "must not have a user"),
        ({"index_host": "index.example/path"}, "path"),
        ({"api_host": "http://api.example"}, "https"),
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused_at_once(changes: dict[str, Any], complaint: str) -> None:
    """The error does not contain the key."""
    good: dict[str, Any] = {"api_key": "secret", "index_host": "index-1.svc.pinecone.io", "timeout_s": 1}
    with pytest.raises(ValueError, match=complaint) as refused:
        PineconeOptions(**(good | changes))
    assert "secret" not in str(refused.value)


def test_the_key_is_never_shown() -> None:
    """Neither by `repr` nor by rich."""
    options = PineconeOptions(api_key="pcsk-1", index_host="index-1.svc.pinecone.io", timeout_s=1)
    assert repr(options).startswith("PineconeOptions(api_key='***', index_host='index-1.svc.pinecone.io', ")
    assert "pcsk" not in f"{options} {options!r} {list(options.__rich_repr__())}"
    assert "pcsk" not in repr(PineconeRecall(options))


class KeptKey:
    """A key stored elsewhere, which is read again only when a caller rejects the cached value."""

    def __init__(self, kept: str) -> None:
        self.kept = self._remembered = kept
        self.calls = 0

    async def __call__(self, *, instead_of: str | None = None) -> str:
        self.calls += 1
        if self._remembered == instead_of:
            self._remembered = self.kept
        return self._remembered

    def refresh(self) -> None:
        """Do what the schedule does in a warm environment."""
        self._remembered = self.kept


@pytest.fixture
def key() -> KeptKey:
    return KeptKey(API_KEY)


@pytest.fixture
async def keyed(options: PineconeOptions, key: KeptKey) -> AsyncIterator[PineconeRecall]:
    """The adapter, with a key that is stored elsewhere."""
    recall = PineconeRecall(msgspec.structs.replace(options, api_key=key))
    yield recall
    await recall.aclose()


async def test_a_key_that_is_kept_elsewhere_is_read_at_the_first_use(
    server: PineconeServer, key: KeptKey, keyed: PineconeRecall
) -> None:
    """Creating the adapter reads nothing; the client is kept as long as the key."""
    assert key.calls == 0
    server.put(METHODOLOGY, "m", text="Squat deep.", title="Squats")
    [found] = await keyed.search(USER, "squat", limit=1)
    assert found.content == "Squat deep."
    index = await keyed._client.index()
    await keyed.search(USER, "squat", limit=1)
    assert await keyed._client.index() is index


async def test_a_rotated_key_is_searched_with_from_then_on(
    server: PineconeServer, key: KeptKey, keyed: PineconeRecall
) -> None:
    """Even in an environment that has searched with the old key."""
    await keyed.search(USER, "squat", limit=1)
    server.api_key = key.kept = "pcsk-rotated"
    key.refresh()
    await keyed.search(USER, "squat", limit=1)
    assert {request.headers["api-key"] for request in server.requests[-2:]} == {"pcsk-rotated"}


async def test_a_key_that_pinecone_refuses_is_read_again(
    server: PineconeServer, key: KeptKey, keyed: PineconeRecall
) -> None:
    """One search fails; the next one uses the new key."""
    await keyed.search(USER, "squat", limit=1)
    server.api_key = key.kept = "pcsk-rotated"
    with pytest.raises(StorageUnavailable, match="401"):
        await keyed.search(USER, "squat", limit=1)
    server.put(METHODOLOGY, "m", text="Squat deep.", title="Squats")
    [found] = await keyed.search(USER, "squat", limit=1)
    assert found.content == "Squat deep."
    server.refused.clear()


async def test_a_key_that_cannot_be_read_or_is_none_fails_the_search(options: PineconeOptions) -> None:
    """The error has the reason, but never what was read."""

    async def fail(*, instead_of: str | None = None) -> str:  # noqa: ARG001 (the port's)
        raise StorageUnavailable("the secret k cannot be read")

    async def odd(*, instead_of: str | None = None) -> str:  # noqa: ARG001 (the port's)
        return "open sesame"

    for read, reason in ((fail, "the secret k cannot be read"), (odd, "holds blanks")):
        recall = PineconeRecall(msgspec.structs.replace(options, api_key=read))
        with pytest.raises(StorageUnavailable, match=reason) as failed:
            await recall.search(USER, "squat", limit=1)
        assert "sesame" not in str(failed.value)
        await recall.aclose()
