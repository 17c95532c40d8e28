"""The Invoke API, seen by boto3: payloads, streams, errors, limits, and who may call."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from contracts.invoker import gate
from lambda_streaming.emulator.invoke_api import event_stream
from lambda_streaming.emulator.invoke_api.app import InvokeApi
from lambda_streaming.emulator.peer import Ends, PeerCheck
from lambda_streaming.function_url.app import FunctionUrlApp
from support.environments import scripted, until
from support.http_server import serving
from support.one_environment import one_environment
from support.patience import PATIENCE_S
from support.raw_runtime import RawRuntime, raw_runtime

T = TypeVar("T")

MIB = 1024 * 1024


class Lambda:
    """boto3's client of an emulator, off the event loop."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._client = boto3.session.Session().client(
            "lambda",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE_S),
        )

    async def invoke(self, payload: object = None, **options: Any) -> tuple[dict[str, Any], bytes]:  # noqa: ANN401
        """Call `Invoke`; return boto3's response and the payload."""

        def call() -> tuple[dict[str, Any], bytes]:
            response = self._client.invoke(FunctionName="fn", **_payload(payload), **options)
            return response, response["Payload"].read()

        return await _in_thread(call)

    async def stream(
        self,
        payload: object = None,
        arrived: asyncio.Queue[dict[str, Any]] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> list[dict[str, Any]]:
        """Call `InvokeWithResponseStream`; return its events, which are also put into the queue at once."""
        loop = asyncio.get_running_loop()

        def call() -> list[dict[str, Any]]:
            response = self._client.invoke_with_response_stream(
                FunctionName="fn", **_payload(payload), **options
            )
            events = []
            for event in response["EventStream"]:
                events.append(event)
                if arrived is not None:
                    loop.call_soon_threadsafe(arrived.put_nowait, event)
            return events

        return await _in_thread(call)


def _payload(payload: object) -> dict[str, bytes]:
    if payload is None:
        return {}
    return {"Payload": payload if isinstance(payload, bytes) else json.dumps(payload).encode()}


async def _in_thread(call: Callable[[], T]) -> T:
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.to_thread(call)


@asynccontextmanager
async def emulated(
    *arguments: str,
    is_allowed: PeerCheck | None = None,
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[Lambda]:
    """The Invoke API in front of environments with the scripted runtime."""
    async with scripted(*arguments, **options) as pool:
        api = InvokeApi(FunctionUrlApp(pool), pool, is_allowed=is_allowed)
        async with serving(api) as port:
            yield Lambda(port)
            await api.aclose()


@asynccontextmanager
async def played() -> AsyncIterator[tuple[Lambda, RawRuntime]]:
    """The Invoke API in front of a runtime that the test plays."""
    async with one_environment() as environment, raw_runtime(environment.api.address) as runtime:
        api = InvokeApi(FunctionUrlApp(environment), environment, is_allowed=None)
        async with serving(api) as port:
            yield Lambda(port), runtime
            await api.aclose()


async def test_invoke_returns_the_payload_of_the_function() -> None:
    """The event is any JSON value, not an HTTP request; the result is what the runtime sent."""
    async with emulated() as client:
        response, payload = await client.invoke([["write", '{"a": 1}']])
    assert (response["StatusCode"], payload) == (200, b'{"a": 1}')
    assert response["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in response
    assert response["ResponseMetadata"]["RequestId"]


async def test_the_runtime_receives_event_id_and_client_context() -> None:
    """The client context is decoded from base64; the request id is the one that the caller gets."""
    context = base64.b64encode('{"custom": {"name": "Torrejón"}}'.encode()).decode()
    async with played() as (client, runtime):
        pending = asyncio.create_task(client.invoke({"key": "grüß"}, ClientContext=context))
        event = await runtime.next()
        assert json.loads(event.body) == {"key": "grüß"}
        assert json.loads(event.headers["Lambda-Runtime-Client-Context"]) == {"custom": {"name": "Torrejón"}}
        request_id = event.headers["Lambda-Runtime-Aws-Request-Id"]
        await runtime.post(f"invocation/{request_id}/response", b"null")
        response, payload = await pending
    assert payload == b"null"
    assert response["ResponseMetadata"]["RequestId"] == request_id


async def test_a_call_without_a_payload_sends_an_empty_object() -> None:
    """Lambda does the same, so a handler always gets a value."""
    async with played() as (client, runtime):
        pending = asyncio.create_task(client.invoke())
        event = await runtime.next()
        assert event.body == b"{}"
        await runtime.post(f"invocation/{event.headers['Lambda-Runtime-Aws-Request-Id']}/response", b"1")
        assert (await pending)[1] == b"1"


async def test_a_streamed_response_is_one_payload_with_its_prelude() -> None:
    """`Invoke` reads a streaming function to its end and interprets nothing."""
    whole = b'{"statusCode":201}' + b"\0" * 8 + b"body"
    async with played() as (client, runtime):
        pending = asyncio.create_task(client.invoke({}))
        request_id = (await runtime.next()).headers["Lambda-Runtime-Aws-Request-Id"]
        await runtime.begin_response(
            request_id, "Content-Type: application/vnd.awslambda.http-integration-response"
        )
        for chunk in (whole[:10], whole[10:]):
            await runtime.chunk(chunk)
        await runtime.end_response()
        _, payload = await pending
    assert payload == whole


async def test_an_error_of_the_function_is_its_own_report() -> None:
    """boto3 sees `FunctionError`, and a payload with everything that the runtime reported."""
    report = {"errorType": "ValueError", "errorMessage": "no", "stackTrace": ["line 1"]}
    async with played() as (client, runtime):
        pending = asyncio.create_task(client.invoke({}))
        request_id = (await runtime.next()).headers["Lambda-Runtime-Aws-Request-Id"]
        await runtime.post(f"invocation/{request_id}/error", json.dumps(report).encode())
        response, payload = await pending
    assert (response["StatusCode"], response["FunctionError"]) == (200, "Unhandled")
    assert json.loads(payload) == report


@pytest.mark.parametrize("before", [[], [["write", "partial"]]], ids=["before-a-byte", "in-mid-response"])
async def test_a_timeout_is_an_error_of_the_function(before: list[list[object]]) -> None:
    """The caller gets the error and no part of the response."""
    async with emulated(timeout_s=2.0) as client:
        response, payload = await client.invoke([*before, ["hang"]])
    assert (response["StatusCode"], response["FunctionError"]) == (200, "Unhandled")
    error = json.loads(payload)
    assert error["errorType"] == "Sandbox.Timedout"
    request_id = response["ResponseMetadata"]["RequestId"]
    assert error["errorMessage"] == f"RequestId: {request_id} Error: Task timed out after 2.00 seconds"


async def test_an_exit_is_an_error_of_the_function() -> None:
    """The next call starts another environment."""
    async with emulated() as client:
        response, payload = await client.invoke([["exit", 3]])
        assert response["FunctionError"] == "Unhandled"
        assert json.loads(payload)["errorType"] == "Runtime.ExitError"
        assert (await client.invoke([["write", "again"]]))[1] == b"again"


async def test_a_stream_arrives_chunk_by_chunk() -> None:
    """Each chunk is a message of its own, before the function goes on; the last message has no error."""
    arrived = asyncio.Queue[dict[str, Any]]()
    async with emulated() as client, gate() as gate_:
        taken = [["write", "one"], ["gate", gate_.port], ["write", "two"]]
        pending = asyncio.create_task(client.stream(taken, arrived))
        async with asyncio.timeout(PATIENCE_S):
            assert await arrived.get() == {"PayloadChunk": {"Payload": b"one"}}
        await gate_.open()
        assert await pending == [
            {"PayloadChunk": {"Payload": b"one"}},
            {"PayloadChunk": {"Payload": b"two"}},
            {"InvokeComplete": {}},
        ]


async def test_a_long_stream_is_intact() -> None:
    """The client, botocore, checks both checksums of each message."""
    text = "0123456789abcdef" * (MIB // 4)
    async with emulated() as client:
        events = await client.stream([["write", text]])
    assert b"".join(event["PayloadChunk"]["Payload"] for event in events[:-1]).decode() == text
    assert events[-1] == {"InvokeComplete": {}}


async def test_an_empty_stream_has_only_its_end() -> None:
    """A function that writes nothing has no chunk."""
    async with emulated() as client:
        assert await client.stream([]) == [{"InvokeComplete": {}}]


@pytest.mark.parametrize(
    ("taken", "chunks", "code", "message"),
    [
        ([["error", "ValueError", "no"]], [], "ValueError", "no"),
        ([["write", "some"], ["exit", 3]], [b"some"], "Runtime.TruncatedResponse", "truncated"),
        ([["write", "some"], ["hang"]], [b"some"], "Sandbox.Timedout", "timed out after 2.00 seconds"),
        ([["hang"]], [], "Sandbox.Timedout", "timed out after 2.00 seconds"),
    ],
    ids=["error-before", "exit-after", "timeout-after", "timeout-before"],
)
async def test_a_stream_that_fails_ends_with_the_error(
    taken: list[list[object]], chunks: list[bytes], code: str, message: str
) -> None:
    """The response's status is 200 already, so the last message has the error's type and details."""
    async with emulated(timeout_s=2.0) as client:
        *parts, last = await client.stream(taken)
    assert [event["PayloadChunk"]["Payload"] for event in parts] == chunks
    assert last["InvokeComplete"]["ErrorCode"] == code
    details = json.loads(last["InvokeComplete"]["ErrorDetails"])
    assert details["errorType"] == code
    assert message in details["errorMessage"]


async def test_an_event_invocation_is_accepted_and_runs_in_the_background() -> None:
    """The caller has its 202 while the function still waits; there is no payload."""
    async with emulated() as client, gate() as gate_:
        response, payload = await client.invoke(
            [["gate", gate_.port], ["write", "unread"]], InvocationType="Event"
        )
        assert (response["StatusCode"], payload) == (202, b"")
        await gate_.open()


async def test_an_event_waits_for_a_free_environment() -> None:
    """It is not lost while all environments are busy, unlike a synchronous call, which gets a 429."""
    async with emulated(max_concurrency=1) as client, gate() as gate_, gate() as later:
        first = asyncio.create_task(client.invoke([["gate", gate_.port], ["write", "first"]]))
        await until(lambda: gate_._arrived.qsize() == 1, "the first invocation runs")
        response, _ = await client.invoke([["gate", later.port]], InvocationType="Event")
        assert response["StatusCode"] == 202
        for call in (client.invoke, client.stream):
            with pytest.raises(ClientError) as throttled:
                await call([])
            assert throttled.value.response["Error"]["Code"] == "TooManyRequestsException"
            assert throttled.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        await gate_.open()
        assert (await first)[1] == b"first"
        await later.open()


def log_of(response: dict[str, Any]) -> str:
    return base64.b64decode(response["LogResult"]).decode()


async def test_a_caller_gets_the_end_of_the_log_of_its_own_invocation() -> None:
    """The last 4 KB, whatever the function printed and however the invocation ends."""
    async with emulated(max_concurrency=1) as client:
        await client.invoke([["print", "of another invocation"], ["write", "x"]])
        response, payload = await client.invoke([["print", "grüß"], ["write", "y"]], LogType="Tail")
        assert (payload, log_of(response)) == (b"y", "grüß\n")
        response, _ = await client.invoke(
            [["print", "first"], ["print", "x" * 5000], ["print", "last"]], LogType="Tail"
        )
        assert log_of(response) == ("x" * 5000 + "\nlast\n")[-4096:]
        response, _ = await client.invoke([["print", "why"], ["exit", 3]], LogType="Tail")
        assert (response["FunctionError"], log_of(response)) == ("Unhandled", "why\n")
        response, _ = await client.invoke([["write", "y"]], LogType="Tail")
        assert log_of(response) == ""
        response, _ = await client.invoke([["write", "y"]])
        assert "LogResult" not in response


async def test_the_end_of_the_log_is_in_the_last_message_of_a_stream() -> None:
    """It is sent when the invocation is over, with an error too."""
    async with emulated() as client:
        steps = [["write", "y"], ["print", "after the first byte"]]
        *_, last = await client.stream(steps, LogType="Tail")
        assert log_of(last["InvokeComplete"]) == "after the first byte\n"
        *_, last = await client.stream([*steps, ["exit", 3]], LogType="Tail")
        assert last["InvokeComplete"]["ErrorCode"] == "Runtime.TruncatedResponse"
        assert log_of(last["InvokeComplete"]) == "after the first byte\n"


async def test_a_function_that_does_not_start_shows_what_it_printed() -> None:
    """The log of the INIT phase is that of the invocation that needed it."""
    async with emulated("print,no configuration", "exit,1") as client:
        response, _ = await client.invoke([], LogType="Tail")
    assert response["FunctionError"] == "Unhandled"
    assert log_of(response) == "no configuration\n"


async def test_an_event_that_waits_is_dropped_at_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    """The log says so; nothing is left running."""
    async with scripted(max_concurrency=1) as pool, gate() as gate_:
        api = InvokeApi(FunctionUrlApp(pool), pool, is_allowed=None)
        async with serving(api) as port:
            client = Lambda(port)
            first = asyncio.create_task(client.invoke([["gate", gate_.port]]))
            await until(lambda: gate_._arrived.qsize() == 1, "the first invocation runs")
            await client.invoke([], InvocationType="Event")
            await until(lambda: "Throttled" in caplog.text, "the event waits")
            await api.aclose()
            assert "The event was dropped" in caplog.text
            await gate_.open()
            await first


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
async def test_a_dry_run_starts_nothing(*, streaming: bool) -> None:
    """It is a 204 without an environment."""
    async with scripted() as pool:
        api = InvokeApi(FunctionUrlApp(pool), pool, is_allowed=None)
        async with serving(api) as port, httpx.AsyncClient() as client:
            path = "2021-11-15/functions/f/response-streaming-invocations"
            if not streaming:
                path = "2015-03-31/functions/f/invocations"
            response = await client.post(
                f"http://127.0.0.1:{port}/{path}", headers={"x-amz-invocation-type": "DryRun"}
            )
            assert (response.status_code, response.content) == (204, b"")
        assert pool.environments == ()


@pytest.mark.parametrize(
    ("size", "invocation_type", "status"),
    [
        (6 * MIB, "RequestResponse", 200),
        (6 * MIB + 1, "RequestResponse", 413),
        (MIB, "Event", 202),
        (MIB + 1, "Event", 413),
    ],
)
async def test_a_payload_past_the_limit_is_refused(size: int, invocation_type: str, status: int) -> None:
    """Synchronous calls take 6 MB, asynchronous ones 1 MB."""
    payload = b'[["print","' + b"x" * (size - 14) + b'"]]'
    assert len(payload) == size
    async with emulated() as client:
        if status == 413:
            with pytest.raises(ClientError) as refused:
                await client.invoke(payload, InvocationType=invocation_type)
            assert refused.value.response["Error"]["Code"] == "RequestTooLargeException"
        else:
            response, _ = await client.invoke(payload, InvocationType=invocation_type)
            assert response["StatusCode"] == status


async def test_a_result_past_the_limit_is_an_error_of_the_function() -> None:
    """A streamed call of the same function has no such limit."""
    async with played() as (client, runtime):
        pending = asyncio.create_task(client.invoke({}))
        request_id = (await runtime.next()).headers["Lambda-Runtime-Aws-Request-Id"]
        assert (await runtime.post(f"invocation/{request_id}/response", b"x" * (7 * MIB))).status == 413
        response, payload = await pending
        assert response["FunctionError"] == "Unhandled"
        assert json.loads(payload)["errorType"] == "Function.ResponseSizeTooLarge"
        streamed = asyncio.create_task(client.stream({}))
        request_id = (await runtime.next()).headers["Lambda-Runtime-Aws-Request-Id"]
        assert (await runtime.post(f"invocation/{request_id}/response", b"x" * (7 * MIB))).status == 202
        events = await streamed
    assert sum(len(event["PayloadChunk"]["Payload"]) for event in events[:-1]) == 7 * MIB


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"Payload": b"{"}, "InvalidRequestContentException"),
        ({"Payload": b'"\xff"'}, "InvalidRequestContentException"),
        ({"Payload": b"[" * 100_000}, "InvalidRequestContentException"),
        ({"InvocationType": "Sometimes"}, "InvalidParameterValueException"),
        ({"LogType": "Head"}, "InvalidParameterValueException"),
        ({"ClientContext": "e30"}, "InvalidParameterValueException"),
        ({"ClientContext": base64.b64encode(b"[]").decode()}, "InvalidParameterValueException"),
        ({"ClientContext": base64.b64encode(b"x" * 2700).decode()}, "InvalidParameterValueException"),
        ({"TenantId": "t"}, "InvalidParameterValueException"),
    ],
)
async def test_what_cannot_be_understood_is_refused(options: dict[str, Any], code: str) -> None:
    """Nothing is started; the error has a name that boto3 knows."""
    async with scripted() as pool:
        api = InvokeApi(FunctionUrlApp(pool), pool, is_allowed=None)
        async with serving(api) as port:
            with pytest.raises(ClientError) as refused:
                await Lambda(port).invoke(**{"payload": options.pop("Payload", None), **options})
        assert refused.value.response["Error"]["Code"] == code
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert pool.environments == ()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/2015-03-31/functions/fn"),
        ("GET", "/2015-03-31/functions/fn/invocations"),
        ("POST", "/2014-11-13/functions/fn/invoke-async/"),
        ("POST", "/2021-11-15/functions/fn/other"),
    ],
)
async def test_other_operations_of_lambda_are_not_requests_for_the_function(method: str, path: str) -> None:
    """They are a 404 in the format of the API; every other path is the function's."""
    async with emulated() as client, httpx.AsyncClient(base_url=client.url, timeout=PATIENCE_S) as http:
        response = await http.request(method, path)
        assert (response.status_code, response.headers["x-amzn-errortype"]) == (
            404,
            "UnknownOperationException",
        )
        own = await http.post("/2015-03-31/functions", json=[["write", "mine"]])
        assert own.text == "mine"


@pytest.mark.parametrize("name", ["function", "arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af", "a:b"])
async def test_the_path_of_the_official_emulator_works_with_any_name(name: str) -> None:
    """Scripts with curl that were written for it go on working."""
    async with emulated() as client, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        url = f"{client.url}/2015-03-31/functions/{name}/invocations"
        response = await http.post(url, content='[["write", "result"]]')
    assert (response.status_code, response.text) == (200, "result")


@pytest.mark.parametrize(
    "header", [("origin", "http://127.0.0.1"), ("origin", "null"), ("sec-fetch-site", "same-origin")]
)
async def test_a_web_page_may_not_call(header: tuple[str, str]) -> None:
    """A page could send a simple request with an event that forges a signed-in user."""
    async with emulated() as client, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        response = await http.post(
            f"{client.url}/2015-03-31/functions/f/invocations", content="[]", headers=dict([header])
        )
    assert response.status_code == 403
    assert response.headers["x-amzn-errortype"] == "AccessDeniedException"


async def test_only_allowed_processes_may_call(caplog: pytest.LogCaptureFixture) -> None:
    """The Function URL is still open to all, as on AWS."""
    asked: list[Ends] = []

    async def nobody(ends: Ends) -> bool:
        asked.append(ends)
        return False

    async with emulated(is_allowed=nobody) as client:
        with pytest.raises(ClientError) as refused:
            await client.invoke([])
        assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            assert (await http.post(client.url, json=[["write", "open"]])).text == "open"
    assert len(asked) == 1
    assert "Refused an invocation" in caplog.text


async def test_a_client_that_sends_all_before_it_reads_sees_the_413() -> None:
    """The client, urllib, asks for the connection to be closed; a reset would hide the status."""

    def post(url: str) -> int:
        request = urllib.request.Request(url, data=bytes(7 * MIB), method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    async with emulated() as client:
        for path in ("/", "/2015-03-31/functions/f/invocations"):
            assert {await _in_thread(lambda: post(client.url + path)) for _ in range(3)} == {413}  # noqa: B023


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_botocore_reads_the_messages_however_they_are_split(chunks: list[bytes], size: int) -> None:
    """The decoder of the SDK yields the same payloads, byte by byte and in one piece."""
    from botocore.eventstream import EventStreamBuffer

    wire = b"".join(map(event_stream.payload_chunk, chunks)) + event_stream.invoke_complete(
        error_code="E", error_details="d\u00fc"
    )
    buffer = EventStreamBuffer()
    payloads: list[bytes] = []
    types: list[object] = []
    for start in range(0, len(wire), size):
        buffer.add_data(wire[start : start + size])
        for message in buffer:
            payloads.append(message.payload)
            types.append(message.to_response_dict()["headers"][":event-type"])
    assert payloads[:-1] == chunks
    assert types == ["PayloadChunk"] * len(chunks) + ["InvokeComplete"]
    assert json.loads(payloads[-1]) == {"ErrorCode": "E", "ErrorDetails": "dü"}


def test_the_user_of_this_process_is_recognized() -> None:
    """Another user's connection, and one that has gone, are not."""
    from lambda_streaming.emulator.peer import is_held_by_own_user

    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            ends = Ends(client.getsockname(), server.getsockname())
            assert asyncio.run(is_held_by_own_user(ends))
        stale = Ends(("127.0.0.1", 1), server.getsockname())
        assert not asyncio.run(is_held_by_own_user(stale))
