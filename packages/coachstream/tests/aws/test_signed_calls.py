"""Calls without the SDK's client: the same requests, results and errors as with it, and nothing less safe."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zlib import crc32

import h11
import msgspec
import pytest
from blockbuster import BlockBuster
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    ChecksumError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import get_cert_path
from botocore.session import Session
from cryptography.hazmat.primitives.asymmetric import rsa

from coachstream.aws import http_client
from coachstream.aws.bedrock_runtime import BedrockRequests
from coachstream.aws.clients import AwsClient, AwsSession, Connection
from coachstream.aws.dynamodb import DynamoDbRequests
from coachstream.aws.plain_environment import Keys, plain_endpoint, plain_keys
from coachstream.aws.signed_calls import encoded
from coachstream.aws.tls import make_tls_context, sdk_authorities
from coachstream.storage.dynamodb.attribute_values import from_item, to_item
from support.aws_session import SESSION
from support.dynamodb import Table, an_emptied_table
from support.key_server import certificate, tls_of
from support.patience import PATIENCE_S

pytestmark = pytest.mark.usefixtures("aws_credentials")

KEY = to_item({"pk": "user#1", "sk": "a"})
VALUES = {
    "text": "Grüße, 👟 \N{ZERO WIDTH JOINER}",
    "bytes": b"\x00\xff",
    "number": 12345678901234567890,
    "fraction": -0.125,
    "nothing": None,
    "yes": True,
    "list": [1, "two", b"3", {"four": [5]}],
    "object": {"deep": {"deeper": {"empty": {}, "none": []}}},
    "texts": {"b", "a"},
    "numbers": {1, 2.5},
    "blobs": {b"x", b"y"},
}
ARN = "arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture
async def tables(dynamodb_local_url: str) -> AsyncIterator[tuple[Table, Table]]:
    """Two empty tables."""
    async with an_emptied_table(dynamodb_local_url) as one, an_emptied_table(dynamodb_local_url) as other:
        yield one, other


def put(table: str, sk: str, **more: object) -> dict[str, Any]:
    return {"TableName": table, "Item": to_item({"pk": "user#1", "sk": sk, **VALUES}), **more}


def calls(table: str) -> list[tuple[str, dict[str, Any]]]:
    """Every operation, with every kind of result and refusal that the store meets."""
    once = {"ConditionExpression": "attribute_not_exists(pk)"}
    shows = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    of_user = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": to_item({":pk": "user#1"}),
    }
    change = {
        "TableName": table,
        "Key": KEY,
        "UpdateExpression": "SET #n = if_not_exists(#n, :zero) + :one",
        "ExpressionAttributeNames": {"#n": "count"},
        "ExpressionAttributeValues": to_item({":zero": 0, ":one": 1}),
    }
    return [
        ("get_item", {"TableName": table, "Key": KEY}),
        ("query", of_user),
        ("put_item", put(table, "a", **once)),
        ("put_item", put(table, "a", **once)),
        ("put_item", put(table, "a", **once, **shows)),
        ("put_item", put(table, "b")),
        ("put_item", {"TableName": table, "Item": to_item({"pk": "user#1"})}),
        ("put_item", {"TableName": "no-such-table", "Item": KEY}),
        ("get_item", {"TableName": table, "Key": KEY, "ConsistentRead": True}),
        ("get_item", {"TableName": table, "Key": KEY, "ReturnConsumedCapacity": "TOTAL"}),
        ("query", of_user),
        ("query", {**of_user, "Limit": 1, "ScanIndexForward": False}),
        ("query", {**of_user, "Limit": 1, "ExclusiveStartKey": KEY}),
        ("query", {**of_user, "KeyConditionExpression": "nonsense"}),
        ("update_item", {**change, "ReturnValues": "ALL_NEW"}),
        ("update_item", change),
        ("update_item", {**change, "ConditionExpression": "attribute_exists(nobody)", **shows}),
        (
            "transact_write_items",
            {
                "TransactItems": [{"Put": put(table, "c")}, {"Update": change}],
                "ClientRequestToken": table[-32:],
            },
        ),
        (
            "transact_write_items",
            {"TransactItems": [{"Put": put(table, "a", **once, **shows)}, {"Put": put(table, "d")}]},
        ),
        ("transact_write_items", {"TransactItems": [{"Put": put(table, "a")}, {"Put": put(table, "a")}]}),
        ("delete_item", {"TableName": table, "Key": KEY, "ConditionExpression": "attribute_exists(nobody)"}),
        ("delete_item", {"TableName": table, "Key": KEY}),
        ("batch_write_item", {"RequestItems": {table: [{"DeleteRequest": {"Key": KEY}}]}}),
        ("batch_write_item", {"RequestItems": {table: []}}),
    ]


async def outcomes(client: Any, table: str) -> list[object]:  # noqa: ANN401 (one of two clients)
    """What each call gives, without what differs between two responses or two tables."""
    found: list[object] = []
    for operation, parameters in calls(table):
        try:
            response: Mapping[str, Any] = await getattr(client, operation)(**parameters)
            failed = None
        except ClientError as error:
            response, failed = error.response, error.operation_name
        metadata = response["ResponseMetadata"]
        assert metadata["HTTPHeaders"]["x-amzn-requestid"] == metadata["RequestId"]
        assert metadata["RetryAttempts"] == 0
        content = {key: value for key, value in response.items() if key != "ResponseMetadata"}
        if "Item" in content:
            content["Item"] = from_item(content["Item"])
        for reason in content.get("CancellationReasons", ()):
            if "Item" in reason:
                reason["Item"] = from_item(reason["Item"])
        for name in ("Items", "Attributes"):
            if name in content:
                items = content[name] if name == "Items" else [content[name]]
                content[name] = [from_item(item) for item in items]
        # The SDK adds a failure's message under its member name, which nothing here reads.
        content = {key: value for key, value in content.items() if key not in _OF_FAILURES}
        text = json.dumps(content, default=repr, sort_keys=True).replace(table, "T")
        found.append((operation, metadata["HTTPStatusCode"], failed, text))
    return found


async def test_every_call_gives_what_the_sdks_client_gives(tables: tuple[Table, Table]) -> None:
    """Results, refusals, reasons of cancellation, existing items and pages, on DynamoDB Local."""
    ours, sdks = tables
    async with (
        aclosing(SESSION.dynamodb_requests(ours.connection)) as client,
        aclosing(SESSION.dynamodb(msgspec.structs.replace(sdks.connection, validates=False))) as sdk_client,
    ):
        assert isinstance(await client(), DynamoDbRequests)
        found, expected = (
            await outcomes(await client(), ours.name),
            await outcomes(await sdk_client(), sdks.name),
        )
    for ours_gives, sdk_gives in zip(found, expected, strict=True):
        assert ours_gives == sdk_gives


_OF_FAILURES = {"message", "Message", "__type"}


class Received(msgspec.Struct):
    """A request as it was received."""

    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


Answer = Callable[[asyncio.StreamWriter, h11.Connection], Awaitable[bool]]
"""Responds; returns whether the connection stays."""


def answer(body: bytes = b"{}", *, status: int = 200, **headers: str) -> Answer:
    """A whole response, with `x_amz_crc32=...` as a header for example."""

    async def respond(writer: asyncio.StreamWriter, http: h11.Connection) -> bool:
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        named += [("content-length", str(len(body))), ("x-amzn-requestid", "R")]
        writer.write(http.send(h11.Response(status_code=status, headers=named)) or b"")
        writer.write(http.send(h11.Data(data=body)) or b"")
        http.send(h11.EndOfMessage())
        return True

    return respond


async def silence(_: asyncio.StreamWriter, __: h11.Connection) -> bool:
    """No response."""
    await asyncio.get_running_loop().create_future()
    return False


class Served(msgspec.Struct):
    """What a server has received; `arrived` is notified of each request."""

    requests: list[Received] = []
    connections: int = 0
    arrived: asyncio.Condition = msgspec.field(default_factory=asyncio.Condition)


@asynccontextmanager
async def answering(respond: Answer, **how: Any) -> AsyncIterator[tuple[str, list[Received]]]:  # noqa: ANN401
    """A server that gives one answer to every request; yields its authority and the requests."""
    async with serving(respond, **how) as (authority, served):
        yield authority, served.requests


@asynccontextmanager
async def serving(respond: Answer, **how: Any) -> AsyncIterator[tuple[str, Served]]:  # noqa: ANN401
    served = Served()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        number, served.connections = served.connections, served.connections + 1
        http = h11.Connection(h11.SERVER)
        with suppress(asyncio.CancelledError, ConnectionError, h11.RemoteProtocolError):
            while (received := await _request(reader, http, number)) is not None:
                async with served.arrived:
                    served.requests.append(received)
                    served.arrived.notify_all()
                if not await respond(writer, http):
                    break
                http.start_next_cycle()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **how)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", served
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _request(reader: asyncio.StreamReader, http: h11.Connection, number: int) -> Received | None:
    head: h11.Request | None = None
    body = b""
    while True:
        match http.next_event():
            case h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            case h11.Request() as head:
                pass
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage() if head is not None:
                headers = {name.decode(): value.decode() for name, value in head.headers}
                return Received(head.target.decode(), headers, body, number)
            case _:
                return None


def connection(authority: str, *, scheme: str = "http", **more: Any) -> Connection:  # noqa: ANN401
    return Connection(region="eu-central-1", endpoint_url=f"{scheme}://{authority}", **more)


async def make_calls(client: AwsClient[Any], bedrock: AwsClient[Any]) -> None:
    """One request to each service."""
    await (await client()).put_item(**put("T", "a"))
    with suppress(ClientError):
        await (await bedrock()).converse(modelId=ARN, messages=[], inferenceConfig={"maxTokens": 1})


async def test_requests_are_those_of_the_sdks_client() -> None:
    """Path, body and the headers that have a meaning for the service."""
    async with answering(answer()) as (authority, received), AsyncExitStack() as stack:
        for by_sdk in (True, False):
            how = connection(authority, by_sdk=by_sdk, validates=False)
            client = await stack.enter_async_context(aclosing(SESSION.dynamodb_requests(how)))
            bedrock = await stack.enter_async_context(aclosing(SESSION.bedrock_requests(how)))
            await make_calls(client, bedrock)
    names = {"content-type", "x-amz-target", "host", "content-length", "accept-encoding"}
    seen = [
        (
            each.target,
            json.loads(each.body),
            {name: each.headers.get(name) for name in names - {"content-length"}},
        )
        for each in received
    ]
    assert seen[:2] == seen[2:]
    assert "%3A" in received[3].target
    assert "%2F" in received[3].target


async def test_what_is_sent_is_what_was_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature covers host, date, target, session token and body, for the right service and region."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    async with (
        answering(answer()) as (authority, received),
        aclosing(AwsSession().dynamodb_requests(connection(authority))) as client,
        aclosing(AwsSession().bedrock_requests(connection(authority))) as bedrock,
    ):
        await make_calls(client, bedrock)
    for each, service in zip(received, ("dynamodb", "bedrock"), strict=True):
        scope, signed, _ = each.headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", ")
        assert scope.endswith(f"/eu-central-1/{service}/aws4_request")
        covered = signed.removeprefix("SignedHeaders=").split(";")
        assert {"host", "x-amz-date", "x-amz-security-token", "content-type"} <= set(covered)
        again = AWSRequest(
            method="POST",
            url=f"http://{authority}{each.target}",
            data=each.body,
            headers={name: each.headers[name] for name in covered},
        )
        at = datetime.strptime(each.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        with patch("botocore.auth.get_current_datetime", lambda at=at: at):
            SigV4Auth(Keys("test", "test", "token"), service, "eu-central-1").add_auth(again)  # type: ignore[arg-type]
        assert again.headers["Authorization"] == each.headers["authorization"]


async def test_a_response_that_was_changed_on_its_way_is_an_error() -> None:
    """Its checksum shows it; the right one is accepted."""
    body = b'{"Item": {}}'
    for checksum, is_right in ((str(crc32(body)), True), ("1", False)):
        async with (
            answering(answer(body, x_amz_crc32=checksum)) as (authority, _),
            aclosing(SESSION.dynamodb_requests(connection(authority))) as client,
        ):
            if is_right:
                assert (await (await client()).get_item(TableName="T", Key=KEY))["Item"] == {}
                continue
            with pytest.raises(ChecksumError):
                await (await client()).get_item(TableName="T", Key=KEY)


async def test_connections_are_kept_and_shared_in_turn() -> None:
    """As many as calls at the same time, and no more than allowed."""
    async with (
        answering(answer()) as (authority, received),
        aclosing(SESSION.dynamodb_requests(connection(authority, connections=2))) as client,
    ):
        requests = await client()
        for _ in range(3):
            await requests.get_item(TableName="T", Key=KEY)
        await asyncio.gather(*(requests.get_item(TableName="T", Key=KEY) for _ in range(8)))
    assert [each.connection for each in received[:3]] == [0, 0, 0]
    assert {each.connection for each in received} == {0, 1}


async def test_connections_that_are_no_longer_needed_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a burst of requests does not keep as many connections as it needed."""
    async with (
        answering(answer()) as (authority, received),
        aclosing(SESSION.dynamodb_requests(connection(authority))) as client,
    ):
        requests = await client()
        await asyncio.gather(*(requests.get_item(TableName="T", Key=KEY) for _ in range(4)))
        monkeypatch.setattr(http_client, "KEPT_FOR_S", -1.0)
        await requests.get_item(TableName="T", Key=KEY)
    assert [each.connection for each in received].count(4) == 1


async def test_a_connection_that_the_service_closed_meanwhile_is_not_used_again() -> None:
    """No request is lost to it, even if the event loop was stopped, like a function between invocations."""
    closed = asyncio.Event()

    async def respond(writer: asyncio.StreamWriter, http: h11.Connection) -> bool:
        await answer()(writer, http)
        closed.set()
        return False

    async with (
        answering(respond) as (authority, received),
        aclosing(SESSION.dynamodb_requests(connection(authority))) as client,
    ):
        for _ in range(5):
            closed.clear()
            await (await client()).get_item(TableName="T", Key=KEY)
            await asyncio.wait_for(closed.wait(), PATIENCE_S)
            await asyncio.sleep(0)
    assert [each.connection for each in received] == [0, 1, 2, 3, 4]


async def test_bytes_that_no_request_asked_for_are_not_read_as_the_next_response() -> None:
    """They may be another call's item. A connection on which they arrive is not used again."""
    surplus = asyncio.Event()

    async def twice(writer: asyncio.StreamWriter, http: h11.Connection) -> bool:
        await answer(b'{"Item": {"pk": {"S": "mine"}}}')(writer, http)
        await writer.drain()
        await surplus.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 31\r\n\r\n" + b'{"Item": {"pk": {"S": "else"}}}')
        return True

    async with (
        serving(twice) as (authority, served),
        aclosing(SESSION.dynamodb_requests(connection(authority))) as client,
    ):
        requests = await client()
        assert isinstance(requests, DynamoDbRequests)
        await requests.get_item(TableName="T", Key=KEY)
        (idle,) = requests._calls._client._idle
        surplus.set()
        async with asyncio.timeout(PATIENCE_S):
            while not idle.reader._buffer:  # type: ignore[attr-defined]  # noqa: ASYNC110 (nothing announces it)
                await asyncio.sleep(0.01)
        found = await requests.get_item(TableName="T", Key=KEY)
    assert found["Item"] == {"pk": {"S": "mine"}}
    assert [each.connection for each in served.requests] == [0, 1]


async def test_a_response_that_is_closed_while_it_is_read_is_not_taken_for_a_whole_one() -> None:
    """Even if only the end of the connection would have ended it."""

    async def begun(writer: asyncio.StreamWriter, _: h11.Connection) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        await writer.drain()
        return await silence(writer, _)

    async with (
        serving(begun) as (authority, _),
        aclosing(SESSION.bedrock_requests(connection(authority))) as client,
    ):
        requests = await client()
        assert isinstance(requests, BedrockRequests)
        response = await requests.open_converse_stream(modelId=ARN, messages=[])
        reading = asyncio.create_task(response.readany())
        await asyncio.sleep(0)
        response.close()
        with pytest.raises(ConnectionClosedError):
            await reading


async def test_an_error_with_half_a_surrogate_pair_keeps_its_code() -> None:
    """DynamoDB may return the item that fails a condition."""
    body = b'{"__type": "com.amazonaws#ConditionalCheckFailedException", "Item": {"t": {"S": "\\ud83d"}}}'
    async with (
        answering(answer(body, status=400)) as (authority, _),
        aclosing(SESSION.dynamodb_requests(connection(authority))) as client,
    ):
        with pytest.raises(ClientError) as failed:
            await (await client()).put_item(**put("T", "a"))
    assert failed.value.response["Error"]["Code"] == "ConditionalCheckFailedException"


def test_half_a_surrogate_pair_is_sent_next_to_binary_values() -> None:
    """The service decides about it."""
    assert json.loads(encoded({"a": "\ud83d", "b": b"\x00"})) == {"a": "\ud83d", "b": "AA=="}


def test_the_authorities_are_those_that_the_sdk_trusts() -> None:
    """Those of certifi, where it is installed."""
    expected = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    expected.load_verify_locations(get_cert_path(True))
    assert sdk_authorities() == get_cert_path(True)
    assert make_tls_context(None).get_ca_certs() == expected.get_ca_certs()


async def test_a_request_that_is_cancelled_leaves_its_connection_to_no_one() -> None:
    """Its response would otherwise be taken for that of the next request."""
    async with (
        serving(silence) as (authority, served),
        aclosing(SESSION.dynamodb_requests(connection(authority, connections=1))) as client,
    ):
        requests = await client()
        for number in range(2):
            calling = asyncio.create_task(requests.get_item(TableName="T", Key=KEY))
            async with asyncio.timeout(PATIENCE_S), served.arrived:
                while len(served.requests) <= number:
                    await served.arrived.wait()
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
    assert [each.connection for each in served.requests] == [0, 1]


async def test_a_request_that_is_cancelled_while_it_connects_leaks_no_socket() -> None:
    """However far it has come: an unclosed socket is a warning, and here warnings are errors."""
    async with serving(silence) as (authority, _):
        for steps in range(40):
            async with aclosing(SESSION.dynamodb_requests(connection(authority))) as client:
                requests = await client()
                calling = asyncio.create_task(requests.get_item(TableName="T", Key=KEY))
                for _step in range(steps):
                    await asyncio.sleep(0)
                calling.cancel()
                await asyncio.gather(calling, return_exceptions=True)
    gc.collect()


async def test_failures_of_the_network_are_those_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not connected, too late, and closed; a header that cannot be sent counts as well."""

    async def hang_up(_: asyncio.StreamWriter, __: h11.Connection) -> bool:
        return False

    async def half(writer: asyncio.StreamWriter, http: h11.Connection) -> bool:
        writer.write(http.send(h11.Response(status_code=200, headers=[("content-length", "9")])) or b"")
        return False

    monkeypatch.setenv("AWS_SESSION_TOKEN", "two\nlines")
    with pytest.raises(HTTPClientError):
        async with aclosing(AwsSession().dynamodb_requests(connection("127.0.0.1:1"))) as client:
            await (await client()).get_item(TableName="T", Key=KEY)
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    unreachable = connection("127.0.0.1:1")
    with pytest.raises(EndpointConnectionError):
        async with aclosing(SESSION.dynamodb_requests(unreachable)) as client:
            await (await client()).get_item(TableName="T", Key=KEY)
    # A network for documentation, where nothing answers (RFC 5737); some networks refuse it at once.
    nowhere = connection("192.0.2.1:80", connect_timeout_s=0.05)
    with pytest.raises((ConnectTimeoutError, EndpointConnectionError)):
        async with aclosing(SESSION.dynamodb_requests(nowhere)) as client:
            await (await client()).get_item(TableName="T", Key=KEY)
    cases = ((silence, ReadTimeoutError), (hang_up, ConnectionClosedError), (half, ConnectionClosedError))
    for respond, raised in cases:
        async with answering(respond) as (authority, _):
            how = connection(authority, read_timeout_s=0.05 if respond is silence else PATIENCE_S)
            with pytest.raises(raised):
                async with aclosing(SESSION.dynamodb_requests(how)) as client:
                    await (await client()).get_item(TableName="T", Key=KEY)


async def test_only_a_server_with_a_trusted_certificate_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an authority in `AWS_CA_BUNDLE`, or by default one of the SDK's, and for the right host."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    here, elsewhere = certificate(tmp_path, key), certificate(tmp_path, key, address="127.0.0.2")
    missing = tmp_path / "missing.pem"
    cases = (
        (here, here, None),
        (here, None, SSLError),
        (elsewhere, elsewhere, SSLError),
        (here, missing, HTTPClientError),
    )
    for served, bundle, raised in cases:
        if bundle is None:
            monkeypatch.delenv("AWS_CA_BUNDLE")
        else:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
        async with (
            answering(answer(), ssl=tls_of(served)) as (authority, received),
            aclosing(AwsSession().dynamodb_requests(connection(authority, scheme="https"))) as client,
        ):
            with nullcontext() if raised is None else pytest.raises(raised):
                await (await client()).get_item(TableName="T", Key=KEY)
        assert bool(received) is (raised is None)


async def test_credentials_that_expire_are_refreshed(
    monkeypatch: pytest.MonkeyPatch, no_blocking_calls: BlockBuster
) -> None:
    """A container's, which the SDK finds; each request is signed with the current ones."""
    no_blocking_calls.functions["os.stat"].can_block_in("botocore/configloader.py", "raw_config_parse")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    numbers = iter(range(100))

    async def give(writer: asyncio.StreamWriter, http: h11.Connection) -> bool:
        soon = datetime.now(UTC) + timedelta(seconds=60)
        body = {
            "AccessKeyId": f"KEY{next(numbers)}",
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": soon.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        return await answer(json.dumps(body).encode())(writer, http)

    async with answering(give) as (credentials, _), answering(answer()) as (authority, received):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://{credentials}/")
        async with aclosing(AwsSession().dynamodb_requests(connection(authority))) as client:
            assert isinstance(await client(), DynamoDbRequests)
            for _ in range(2):
                await (await client()).get_item(TableName="T", Key=KEY)
    keys = [each.headers["authorization"].partition("Credential=")[2].partition("/")[0] for each in received]
    assert len(set(keys)) == 2
    assert all(each.headers["x-amz-security-token"] == "token" for each in received)


async def test_without_credentials_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, no_blocking_calls: BlockBuster
) -> None:
    """The exception is the SDK's."""
    no_blocking_calls.functions["os.stat"].can_block_in("botocore/configloader.py", "raw_config_parse")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    async with (
        answering(answer()) as (authority, received),
        aclosing(AwsSession().dynamodb_requests(connection(authority))) as client,
    ):
        with pytest.raises(NoCredentialsError):
            await (await client()).get_item(TableName="T", Key=KEY)
    assert received == []


def regions() -> list[str]:
    """Every region of the partition `aws` that the SDK knows."""
    session = Session()
    return sorted(
        {*session.get_available_regions("dynamodb"), *session.get_available_regions("bedrock-runtime")}
    )


@pytest.mark.parametrize("service", ["dynamodb", "bedrock-runtime"])
def test_endpoints_are_those_of_the_sdk(service: str) -> None:
    """In every region of the partition."""
    session = Session()
    found = regions()
    assert len(found) > 25
    for region in found:
        endpoint = plain_endpoint(service, PLAIN, region=region, url=None)
        assert endpoint is not None, region
        client = session.create_client(service, region, aws_access_key_id="a", aws_secret_access_key="b")
        assert (endpoint.url, endpoint.region) == (client.meta.endpoint_url, region)
        client.close()


PLAIN = {
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1", "us-iso-east-1", "local", "nowhere"])
def test_other_partitions_are_left_to_the_sdk(region: str) -> None:
    """Their endpoints have other names."""
    assert plain_endpoint("dynamodb", PLAIN, region=region, url=None) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
        ("AWS_PROFILE", "coach"),
        ("AWS_BEARER_TOKEN_BEDROCK", "token"),
        ("AWS_ACCOUNT_ID_ENDPOINT_MODE", "required"),
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
        ("https_proxy", "http://127.0.0.1:9"),
        ("AWS_CONFIG_FILE", __file__),
        ("AWS_SHARED_CREDENTIALS_FILE", __file__),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:8000/path"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "ftp://127.0.0.1"),
    ],
)
def test_an_environment_that_is_not_plain_is_left_to_the_sdk(name: str, value: str) -> None:
    """It understands what such variables mean."""
    assert plain_endpoint("dynamodb", PLAIN, region="us-west-2", url=None) is not None
    assert plain_endpoint("dynamodb", {**PLAIN, name: value}, region="us-west-2", url=None) is None


async def test_special_endpoints_are_called_by_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIPS, for example; so is everything if an operator wants it."""
    plain = Connection(region="us-west-2")
    for by_sdk, fips in ((True, None), (False, "true")):
        if fips is not None:
            monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
        how = msgspec.structs.replace(plain, by_sdk=by_sdk)
        async with aclosing(AwsSession().dynamodb_requests(how)) as client:
            opened: Any = await client()
            assert not isinstance(opened, DynamoDbRequests)
            assert ("fips" in opened.meta.endpoint_url) is (fips is not None)
    monkeypatch.delenv("AWS_USE_FIPS_ENDPOINT")
    async with aclosing(AwsSession().bedrock_requests(plain)) as bedrock:
        assert isinstance(await bedrock(), BedrockRequests)


@pytest.mark.parametrize(
    ("environment", "keys"),
    [
        ({}, Keys("a", "b")),
        ({"AWS_SESSION_TOKEN": "t"}, Keys("a", "b", "t")),
        ({"AWS_SECURITY_TOKEN": "t"}, Keys("a", "b", "t")),
        ({"AWS_CREDENTIAL_EXPIRATION": "2026-11-28T00:00:00Z"}, None),
        ({"AWS_ACCESS_KEY_ID": ""}, None),
    ],
)
def test_credentials_of_the_environment_are_those_that_the_sdk_finds(
    environment: dict[str, str], keys: Keys | None
) -> None:
    """It is asked for all others; a secret is not printed."""
    found = plain_keys({**PLAIN, **environment})
    assert found == keys
    assert "'b'" not in repr(found)


def test_what_calls_need_is_loaded_without_the_sdks_client() -> None:
    """Nor with aiohttp; in a process of its own."""
    script = """
import sys
from coachstream.aws.clients import prepare_calls
print(prepare_calls(["dynamodb", "bedrock-runtime"], region="us-west-2"), prepare_calls(["lambda"]))
print(*({"aiobotocore", "aiohttp", "botocore.session", "botocore.auth", "urllib3"} & set(sys.modules)))
"""
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ | PLAIN
    )
    assert printed.stdout.split() == ["True", "False"]
