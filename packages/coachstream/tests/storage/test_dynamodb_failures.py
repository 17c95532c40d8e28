"""Faults of DynamoDB, the network or the configuration reach the domain as its own typed errors."""

from __future__ import annotations

import asyncio
import json
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import ClientConnectorError, ClientOSError
from aiohttp.client_reqrep import ConnectionKey
from blockbuster import BlockBuster
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from coachstream.aws.clients import AwsClient, AwsSession, Connection
from coachstream.conversation.errors import CoachConfigNotFound, ErrorCode, StorageUnavailable
from coachstream.conversation.model import ConversationChange, ConversationKey, Importance, Memory
from coachstream.storage.dynamodb import DynamoDbStore, UnusableTable, create_table
from coachstream.storage.dynamodb.attribute_values import to_item
from coachstream.storage.dynamodb.errors import (
    Contended,
    NotSent,
    OutcomeUnknown,
    RequestRefused,
    storage_errors,
)
from coachstream.storage.dynamodb.log_items import log_entry_item
from contracts.store_records import KEY, RUN, conversation, ended, opened, reply_to, said, user_message
from support.dynamodb import REGION
from support.patience import PATIENCE_S

pytestmark = pytest.mark.usefixtures("aws_credentials")

SECRET = "my knee hurts since Tuesday"
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def error_answer(code: str, *, status: int = 400, **more: object) -> bytes:
    """A DynamoDB error response; its message quotes the request."""
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": f"Refused: {SECRET}", **more}
    return answer(json.dumps(body).encode(), status=status)


def answer(body: bytes, *, status: int = 200, length: int | None = None, is_dynamodb: bool = True) -> bytes:
    """One HTTP response."""
    head = (
        f"HTTP/1.1 {status} -\r\nContent-Type: application/x-amz-json-1.0\r\nConnection: close\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n"
    )
    if is_dynamodb:
        head += "x-amzn-RequestId: 4KBNVRGD25RG1KEO9UT4V3FQDJVV4KQNSO5AEMVJF66Q9ASUAAJG\r\n"
    return head.encode() + b"\r\n" + body


@asynccontextmanager
async def answering(
    *answers: bytes | None, sock: socket.socket | None = None
) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that plays these responses in turn and repeats the last; `None` never responds.

    Yields its URL and the operations that were requested.
    """
    left = list(answers)
    asked: list[str] = []
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            await answer_one(reader, writer)
        writer.close()

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        headers = {name.lower(): value for name, value in lines}
        await reader.readexactly(int(headers["content-length"]))
        asked.append(headers["x-amz-target"].rpartition(".")[2])
        reply = left.pop(0) if len(left) > 1 else left[0]
        if reply is None:
            await reader.read()
        else:
            writer.write(reply)
            await writer.drain()

    if sock is None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
    else:
        server = await asyncio.start_server(connected, sock=sock)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=[False, True], ids=["our client", "the SDK's client"], autouse=True)
def client_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs with both clients."""
    monkeypatch.setitem(CONNECTION, "by_sdk", request.param)


CONNECTION: dict[str, Any] = {"region": REGION, "connect_timeout_s": 1.0}


@asynccontextmanager
async def a_client(url: str, *, read_timeout_s: float = 5.0) -> AsyncIterator[AwsClient[Any]]:
    connection = Connection(**CONNECTION, endpoint_url=url, read_timeout_s=read_timeout_s)
    client = AwsSession().dynamodb_requests(connection)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def a_store(url: str, *, read_timeout_s: float = 5.0) -> AsyncIterator[DynamoDbStore]:
    async with a_client(url, read_timeout_s=read_timeout_s) as client:
        yield DynamoDbStore(client, "the-table", mirror_messages=True)


Operation = Callable[[DynamoDbStore], Awaitable[object]]

ASKED = user_message(1, SECRET, client_id="c-1")
REPLY = reply_to(ASKED, 2, SECRET)

OPERATIONS: dict[str, Operation] = {
    "begin a run": lambda store: store.begin_run(KEY, ASKED, RUN, opened()),
    "append": lambda store: store.append(KEY, RUN, said(1, SECRET)),
    "finish a run": lambda store: store.finish_run(KEY, RUN, ended(1, REPLY), REPLY),
    "finish a run without a reply": lambda store: store.finish_run(KEY, RUN, ended(1), None),
    "read a log": lambda store: store.read_log(KEY, RUN),
    "read the end of a log": lambda store: store.read_last(KEY, RUN),
    "read the queue": lambda store: store.read_queue(KEY),
    "load a message": lambda store: store.load_message(KEY, ASKED.id),
    "find a message": lambda store: store.find_recent_message(KEY, SECRET, since=NOW),
    "load a coach": lambda store: store.load_coach(KEY.user_id, KEY.coach_id),
    "load history": lambda store: store.load_history(KEY, limit=5, budget_chars=100),
    "load memories": lambda store: store.load_memories(KEY.user_id, KEY.coach_id, limit=5),
    "load workouts": lambda store: store.load_recent_workouts(KEY.user_id, limit=5),
    "load a profile": lambda store: store.load_profile(KEY.user_id),
    "load a summary": lambda store: store.load_summary(KEY),
    "save a memory": lambda store: store.save_memory(
        KEY.user_id, Memory("m", SECRET, "goal", Importance.LOW, NOW)
    ),
    "count memories": lambda store: store.note_memories_used(KEY.user_id, ["m"], at=NOW),
    "create": lambda store: store.create_conversation(conversation(title=SECRET)),
    "list": lambda store: store.list_conversations(KEY.user_id, KEY.coach_id),
    "get": lambda store: store.get_conversation(KEY),
    "load messages": lambda store: store.load_messages(KEY),
    "rename": lambda store: store.change_conversation(KEY, ConversationChange(title=SECRET)),
    "delete": lambda store: store.delete_conversation(KEY),
}

FAULTS: dict[str, bytes | None] = {
    "throttled": error_answer("ProvisionedThroughputExceededException"),
    "throttled by rate": error_answer("ThrottlingException"),
    "limit": error_answer("RequestLimitExceeded"),
    "cancelled for no reason": error_answer("TransactionCanceledException"),
    "under way": error_answer("TransactionInProgressException"),
    "no such table": error_answer("ResourceNotFoundException"),
    "not allowed": error_answer("AccessDeniedException"),
    "bad credentials": error_answer("UnrecognizedClientException"),
    "expired credentials": error_answer("ExpiredTokenException"),
    "not valid": error_answer("ValidationException"),
    "broken": error_answer("InternalServerError", status=500),
    "overloaded": answer(b"<html>Service Unavailable</html>", status=503, is_dynamodb=False),
    "garbage": answer(b"\x00\xff<not json at all", is_dynamodb=False),
    "garbage in DynamoDB's name": answer(b"\x00\xff<not json at all"),
    "a page of somebody else": answer(b"<html>Welcome!</html>", is_dynamodb=False),
    "an empty page of somebody else": answer(b"", is_dynamodb=False),
    "no object": answer(b"[1, 2]"),
    "cut off": answer(b'{"Item": {', length=1000),
    "closed without a word": b"",
    "no HTTP": b"220 mail.example.org ESMTP\r\n\r\n",
    "hangs": None,
}


def told(error: BaseException) -> str:
    """Everything that a log could show of an exception, including its causes."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_is_a_failure_of_the_storage_in_every_operation(fault: str) -> None:
    """There is never a wrong result, another exception, or a word of the data in the error."""
    async with answering(FAULTS[fault]) as (url, asked), a_store(url, read_timeout_s=0.2) as store:
        for name, operation in OPERATIONS.items():
            with pytest.raises(StorageUnavailable) as caught:
                async with asyncio.timeout(PATIENCE_S):
                    await operation(store)
            assert SECRET not in told(caught.value), name
            assert "the-table" in str(caught.value), name
        assert len(asked) >= len(OPERATIONS)


async def test_a_refused_connection_is_a_failure_of_the_storage() -> None:
    """No server listens on the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening, so no other process can listen on it
        async with a_store(f"http://127.0.0.1:{taken.getsockname()[1]}") as store:
            outcomes = await asyncio.gather(
                *(operation(store) for operation in OPERATIONS.values()), return_exceptions=True
            )
    assert {type(outcome) for outcome in outcomes} == {NotSent}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_refused_call_is_retried_until_it_can_connect(operation: str) -> None:
    """Nothing was sent, so a retry is safe for every operation: a burst of turns does not fail."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with a_client(url) as client, AsyncExitStack() as serving:
            attempts = 0
            asked: list[str] = []

            async def attempt() -> object:
                nonlocal attempts, asked
                attempts += 1
                if attempts == 3:
                    answers = answering(error_answer("AccessDeniedException"), sock=listener)
                    asked = (await serving.enter_async_context(answers))[1]
                return await client()

            with pytest.raises(UnusableTable):
                await OPERATIONS[operation](DynamoDbStore(attempt, "the-table"))
            assert attempts >= 3
            assert asked


@pytest.mark.parametrize(
    ("operation", "expected"), [("begin a run", 3), ("append", 3), ("get", 3), ("count memories", 1)]
)
async def test_a_call_whose_response_is_lost_is_retried_if_it_is_idempotent(
    operation: str, expected: int
) -> None:
    """A transaction has a request token; a counter update has none and would be counted twice."""
    async with (
        answering(error_answer("InternalServerError", status=500)) as (url, asked),
        a_store(url) as store,
    ):
        with pytest.raises(OutcomeUnknown):
            await OPERATIONS[operation](store)
    assert len(asked) == expected


def test_only_a_failed_connect_counts_as_nothing_sent() -> None:
    """The SDK raises one exception type for both refused and reset connections."""
    connector = ClientConnectorError(ConnectionKey("h", 1, False, True, None, None, None), OSError("refused"))
    for error, kind in (
        (ConnectTimeoutError(endpoint_url="u"), NotSent),
        (EndpointConnectionError(endpoint_url="u", error=connector), NotSent),
        (EndpointConnectionError(endpoint_url="u", error=socket.gaierror("no such host")), NotSent),
        (EndpointConnectionError(endpoint_url="u", error=ClientOSError("reset")), OutcomeUnknown),
        (ReadTimeoutError(endpoint_url="u"), OutcomeUnknown),
        (ConnectionClosedError(endpoint_url="u"), OutcomeUnknown),
    ):
        with pytest.raises(kind), storage_errors("GetItem", "the-table"):
            raise error


async def test_a_missing_region_is_a_failure_of_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's configuration errors are mapped to domain errors."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    client = AwsSession().dynamodb(Connection())
    with pytest.raises(StorageUnavailable, match="NoRegionError"):
        await DynamoDbStore(client, "the-table").get_conversation(KEY)
    with pytest.raises(StorageUnavailable, match="NoRegionError"):
        await create_table(client, "the-table")


@pytest.mark.parametrize(
    ("code", "problem", "remedy", "public"),
    [
        (
            "ResourceNotFoundException",
            "the table does not exist",
            "Create it with `coachstream table create`",
            "STORAGE_UNAVAILABLE",
        ),
        ("AccessDeniedException", "do not allow the action", "policy", "STORAGE_UNAVAILABLE"),
        ("ExpiredTokenException", "credentials have expired", "aws sso login", "NO_CREDENTIALS"),
        ("UnrecognizedClientException", "credentials are not valid", "AWS_PROFILE", "NO_CREDENTIALS"),
        ("InvalidSignatureException", "credentials are not valid", "AWS_PROFILE", "NO_CREDENTIALS"),
    ],
)
async def test_a_permanent_failure_names_its_remedy(
    code: str, problem: str, remedy: str, public: str
) -> None:
    """The operator reads the remedy in the log, and the client does not retry."""
    async with answering(error_answer(code)) as (url, _), a_store(url) as store:
        with pytest.raises(UnusableTable, match=problem) as caught:
            await store.load_coach(KEY.user_id, KEY.coach_id)
    assert not caught.value.retryable
    assert remedy in caught.value.remedy
    assert caught.value.code.value == public


async def test_without_credentials_the_table_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, no_blocking_calls: BlockBuster
) -> None:
    """Every operation fails at once with its own code and a reason for the log."""
    no_blocking_calls.functions["os.stat"].can_block_in("botocore/configloader.py", "raw_config_parse")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with answering(b"") as (url, asked), a_store(url) as store:
        for operation in OPERATIONS.values():
            with pytest.raises(UnusableTable, match="there are no AWS credentials") as caught:
                await operation(store)
            assert caught.value.code is ErrorCode.NO_CREDENTIALS
            assert "AWS_PROFILE" in caught.value.remedy
    assert asked == []


def cancelled(*codes: str) -> bytes:
    """A cancelled transaction, with a reason for each write."""
    reasons = [{"Code": code, "Message": SECRET} if code != "None" else {"Code": code} for code in codes]
    return error_answer("TransactionCanceledException", CancellationReasons=reasons)


async def test_a_transaction_that_meets_another_is_tried_again() -> None:
    """A conflict lasts a moment; the retry then reports the real reason."""
    conflict = cancelled("TransactionConflict", "None")
    async with (
        answering(conflict, conflict, cancelled("ConditionalCheckFailed", "None")) as (url, asked),
        a_store(url) as store,
    ):
        with pytest.raises(CoachConfigNotFound):
            await store.create_conversation(conversation())
    assert asked == ["TransactWriteItems"] * 3


async def test_a_conflict_without_end_is_given_up() -> None:
    """It fails within three seconds and is retryable."""
    async with answering(cancelled("TransactionConflict", "None")) as (url, _), a_store(url) as store:
        with pytest.raises(Contended) as caught:
            await store.create_conversation(conversation())
    assert caught.value.retryable
    assert SECRET not in told(caught.value)


async def test_a_write_that_meets_a_transaction_is_tried_again() -> None:
    """A rename at the moment a run ends must not fail."""
    conflict = error_answer("TransactionConflictException")
    renamed = answer(b'{"Attributes": {"pk": {"S": "p"}, "sk": {"S": "s"}}}')
    async with answering(conflict, conflict, renamed) as (url, asked), a_store(url) as store:
        await store.change_conversation(KEY, ConversationChange(title="New"))
    assert asked == ["UpdateItem"] * 3


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded", "SomethingNew"])
async def test_a_transaction_that_is_throttled_is_a_failure_of_the_storage(code: str) -> None:
    """It must not be reported as a missing or busy conversation."""
    async with answering(cancelled(code, "None", "None")) as (url, _), a_store(url) as store:
        with pytest.raises(StorageUnavailable, match=code):
            await store.begin_run(KEY, ASKED, RUN, opened())


async def test_a_rejected_reply_is_not_retried() -> None:
    """A retry does not make an oversized item smaller."""
    async with answering(error_answer("ValidationException")) as (url, _), a_store(url) as store:
        with pytest.raises(RequestRefused):
            await store.finish_run(KEY, RUN, ended(1, REPLY), REPLY)


async def test_unprocessed_items_of_a_batch_are_sent_again() -> None:
    """DynamoDB may process only a part of a batch."""
    unprocessed = {
        "UnprocessedItems": {
            "the-table": [{"DeleteRequest": {"Key": {"pk": {"S": "p"}, "sk": {"S": "coachMessage#c#1"}}}}]
        }
    }
    empty = answer(b'{"Items": [], "Count": 0}')
    found = answer(b'{"Items": [{"sk": {"S": "coachMessage#c#1"}}, {"sk": {"S": "coachMessage#c#2"}}]}')
    script = (
        answer(b"{}"),  # no unfinished run
        answer(b"{}"),  # no run can start from now on
        empty,  # no claims
        empty,  # no reply index
        found,
        empty,  # no older versions
        empty,  # no logs
        answer(json.dumps(unprocessed).encode()),
        answer(b"{}"),
        answer(b"{}"),  # the conversation is deleted
        empty,
    )
    async with answering(*script) as (url, asked), a_store(url) as store:
        await store.delete_conversation(ConversationKey("u", "a", "c"))
    assert asked == [
        "GetItem",
        "TransactWriteItems",
        *["Query"] * 5,
        *["BatchWriteItem"] * 2,
        "TransactWriteItems",
        *["Query"] * 5,
        "BatchWriteItem",  # a summary that was written in the meantime
    ]


THERE = to_item(log_entry_item(KEY, RUN, said(1), ttl=0))


async def test_a_retried_append_recognises_its_own_entry() -> None:
    """The first attempt succeeded but its response was lost, so the conflicting entry is the caller's own."""
    lost = error_answer("InternalServerError", status=500)
    refused = error_answer("ConditionalCheckFailedException", Item=THERE)
    async with answering(lost, refused) as (url, asked), a_store(url) as store:
        assert await store.append(KEY, RUN, said(1)) is None
    assert asked == ["PutItem"] * 2


async def test_a_refusal_without_the_existing_item_is_followed_by_a_read() -> None:
    """Not every compatible server returns the item with the refusal."""
    refused = error_answer("ConditionalCheckFailedException")
    found = answer(json.dumps({"Item": THERE}).encode())
    async with answering(refused, found) as (url, asked), a_store(url) as store:
        assert await store.append(KEY, RUN, said(1, "Other")) == said(1)
    assert asked == ["PutItem", "GetItem"]


async def test_an_append_is_retried_if_the_conflicting_entry_is_gone() -> None:
    """The log may be deleted between the refusal and the read."""
    refused = error_answer("ConditionalCheckFailedException")
    async with answering(refused, answer(b"{}")) as (url, asked), a_store(url) as store:
        assert await store.append(KEY, RUN, said(1)) is None
    assert asked == ["PutItem", "GetItem", "PutItem"]


async def test_a_cancelled_end_without_items_is_followed_by_reads() -> None:
    """The entry and the earlier reply index item are read if the refusal does not include them."""
    refused = "ConditionalCheckFailed"
    by_answer = cancelled("None", "None", "None", refused, "None")
    by_entry = cancelled(refused, *["None"] * 5)
    earlier = answer(b'{"Item": {"replyId": {"S": "r"}, "isComplete": {"BOOL": false}}}')
    found = answer(json.dumps({"Item": THERE}).encode())
    async with answering(by_answer, earlier, by_entry, found) as (url, asked), a_store(url) as store:
        assert await store.finish_run(KEY, RUN, ended(1, REPLY), REPLY) == said(1)
    assert asked == ["TransactWriteItems", "GetItem"] * 2


async def test_an_entry_that_meets_a_transaction_is_tried_again() -> None:
    """A stop at the moment a run ends must not fail."""
    conflict = error_answer("TransactionConflictException")
    async with answering(conflict, answer(b"{}")) as (url, asked), a_store(url) as store:
        assert await store.append(KEY, RUN, said(1)) is None
    assert asked == ["PutItem"] * 2
