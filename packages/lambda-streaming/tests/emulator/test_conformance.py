"""What a Function URL and the Runtime API do, case by case, seen by an HTTP client.

The numbers are those of the project's list of conformance cases. Where the real service's behaviour is not
known, the expectation is the choice written down in `function_url.policy`, `function_url.refusals` or
`emulator.policy`. Runtimes are the official Node clients, unmodified; our own; the Lambda Web Adapter; and
the test itself, byte by byte.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from contracts.invoker import Gate, gate
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.app import FunctionUrlApp
from lambda_streaming.function_url.cors import CorsConfiguration, InvalidCorsConfiguration
from lambda_streaming.function_url.exchange import InvokeMode
from lambda_streaming.function_url.invoker import Invoker
from lambda_streaming.function_url.limits import Bandwidth, ResponseLimits
from support.environments import gone, scripted, until
from support.http_server import serving
from support.official_clients import EMULATOR_TESTS, node_command, web_adapter_command
from support.one_environment import OneEnvironment, one_environment
from support.patience import PATIENCE_S
from support.places import TESTS
from support.raw_runtime import PREFIX, RawRuntime, raw_runtime

PRELUDE_TYPE = "Content-Type: application/vnd.awslambda.http-integration-response"
NODE = tuple(pytest.param(client, marks=pytest.mark.peer) for client in ("node-4", "node-3"))
RUNTIMES = ("python", *NODE)


@asynccontextmanager
async def function_url(invoker: Invoker, **options: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401
    """An HTTP client of a Function URL in front of an invoker."""
    app = FunctionUrlApp(invoker, drain_timeout_s=5.0, **options)
    async with (
        serving(app) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client,
    ):
        yield client


def environments_of(runtime: str, *, function: str = "streamed", **options: Any) -> ExecutionEnvironments:  # noqa: ANN401
    """Environments with the conformance functions under one of the runtimes."""
    if runtime == "python":
        command = [sys.executable, "-m", "lambda_streaming", f"support.conformance_functions.{function}"]
    else:
        command = node_command(runtime)
    return ExecutionEnvironments(
        command,
        env={"PYTHONPATH": str(TESTS)},
        cwd=EMULATOR_TESTS / "node",
        **{"timeout_s": 20.0, "grace_s": 1.0, "settling_s": PATIENCE_S, **options},
    )


@asynccontextmanager
async def emulated(
    runtime: str,
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[httpx.AsyncClient, ExecutionEnvironments]]:
    """A Function URL with the conformance functions, and the environments behind it."""
    async with environments_of(runtime, **options) as pool, function_url(pool) as client:
        yield client, pool


@asynccontextmanager
async def played(
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[httpx.AsyncClient, RawRuntime, OneEnvironment]]:
    """A Function URL whose runtime is played by the test."""
    async with (
        one_environment() as environment,
        raw_runtime(environment.api.address) as runtime,
        function_url(environment, **options) as client,
    ):
        yield client, runtime, environment


async def asked(client: httpx.AsyncClient, runtime: RawRuntime) -> tuple[str, asyncio.Task[httpx.Response]]:
    """Send a request; return its request id as the runtime received it, and the pending response."""
    response = asyncio.create_task(client.get("/"))
    event = await runtime.next()
    return event.headers["Lambda-Runtime-Aws-Request-Id"], response


async def steps(client: httpx.AsyncClient, *taken: list[object]) -> httpx.Response:
    """Send a request that makes the scripted runtime perform these steps."""
    return await client.post("/", content=json.dumps(taken), headers={"content-type": "application/json"})


def process_of(pool: ExecutionEnvironments) -> int:
    (environment,) = pool.environments
    return environment.process.id


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_conformance_01_chunks_arrive_one_by_one_before_the_handler_ends(runtime: str) -> None:
    """The client has each chunk while the handler is still waiting for the test."""
    async with (
        emulated(runtime) as (client, _),
        gate() as gate_,
        client.stream("GET", "/three", params={"gate": gate_.port}) as response,
    ):
        chunks = response.aiter_raw()
        for word in (b"one", b"two", b"three"):
            assert await anext(chunks) == word
            await gate_.open()
        assert [chunk async for chunk in chunks] == []


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_conformance_02_the_prelude_is_status_headers_and_cookies(runtime: str) -> None:
    """No byte of the prelude reaches the body."""
    async with emulated(runtime) as (client, _):
        response = await client.get("/prelude")
    assert (response.status_code, response.content, response.headers["x-one"]) == (201, b"body", "1")
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_conformance_03_the_prelude_may_be_split_at_every_byte() -> None:
    """It may also arrive in one chunk; NULs in the payload are preserved."""
    prelude = b'{"statusCode":202,"headers":{"x-one":"\xc3\xbc"}}' + b"\0" * 8
    whole = prelude + b"\0\0payload\0" + b"\0" * 9
    async with played() as (client, runtime, _):
        for split in range(len(prelude) + 3):
            request_id, response = await asked(client, runtime)
            await runtime.begin_response(request_id, PRELUDE_TYPE)
            for part in (whole[:split], whole[split:]):
                if part:
                    await runtime.chunk(part)
            assert (await runtime.end_response()).status == 202
            received = await response
            assert received.status_code == 202
            assert received.content == whole[len(prelude) :]


async def test_conformance_04_without_a_prelude_the_content_type_is_the_functions() -> None:
    """The default is octet-stream, and the status is always 200."""
    async with emulated("python") as (client, _):
        bare, text = await client.get("/bare"), await client.get("/text")
    assert (bare.status_code, bare.headers["content-type"]) == (200, "application/octet-stream")
    assert bare.content == b"\0bytes"
    assert (text.status_code, text.headers["content-type"], text.text) == (200, "text/plain", "text")


async def test_conformance_05_a_prelude_without_status_is_200_and_header_values_may_be_arrays() -> None:
    """The Rust runtime sends multi-value headers as arrays."""
    async with emulated("python") as (client, _):
        response = await client.get("/without-status")
        assert (response.status_code, response.headers["x-one"], response.text) == (200, "1", "body")
    async with played() as (client, runtime, _):
        request_id, pending = await asked(client, runtime)
        await runtime.begin_response(request_id, PRELUDE_TYPE)
        await runtime.chunk(b'{"headers":{"x-one":["1","2"]}}' + b"\0" * 8)
        await runtime.end_response()
        response = await pending
        assert (response.status_code, response.headers["x-one"]) == (200, "1,2")


async def test_conformance_06_a_prelude_alone_is_a_whole_response() -> None:
    """A redirect has no body and ends immediately."""
    async with emulated("python") as (client, _):
        response = await client.get("/redirect")
    assert (response.status_code, response.headers["location"], response.content) == (302, "/there", b"")


@pytest.mark.parametrize("runtime", NODE)
async def test_conformance_08_the_official_node_clients_run_unmodified(runtime: str) -> None:
    """One process serves three invocations over keep-alive connections, with matching request ids."""
    async with emulated(runtime) as (client, pool):
        answers = [(await client.get("/echo")).json() for _ in range(3)]
        assert {answer["pid"] for answer in answers} == {process_of(pool)}
    for answer in answers:
        assert answer["event"]["requestContext"]["requestId"] == answer["requestId"]
    assert len({answer["requestId"] for answer in answers}) == 3


@pytest.mark.peer
async def test_conformance_09_the_lambda_web_adapter_streams_server_sent_events() -> None:
    """The unmodified adapter registers as an extension and survives several invocations."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pool = ExecutionEnvironments(
        web_adapter_command(port, sys.executable),
        env={"AWS_LWA_INVOKE_MODE": "response_stream", "AWS_LWA_PORT": str(port)},
        cwd=EMULATOR_TESTS / "web_adapter",
        grace_s=1.0,
        settling_s=PATIENCE_S,
    )
    async with pool, function_url(pool) as client, gate() as gate_:
        for _ in range(2):
            async with client.stream("GET", "/events", params={"gate": gate_.port}) as response:
                assert response.status_code == 200
                assert response.headers["content-type"] == "text/event-stream"
                assert response.headers["x-several"] in ("1,2", "1, 2")
                assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
                chunks = response.aiter_raw()
                for number in range(3):
                    assert await anext(chunks) == f"data: {number} /events\n\n".encode()
                    await gate_.open()
                assert [chunk async for chunk in chunks] == []
            assert pool.environments[0].alive


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_conformance_10_and_11_an_error_before_the_first_byte_is_a_502(
    runtime: str, caplog: pytest.LogCaptureFixture
) -> None:
    """This holds for a POST to `/error` and for Node's empty response with trailers; it is logged once."""
    error_type = "LookupError" if runtime == "python" else "TypeError"
    async with emulated(runtime) as (client, pool):
        response = await client.get("/fails-before")
        assert (response.status_code, response.content) == (502, b"Internal Server Error")
        process = process_of(pool)
        assert (await client.get("/echo")).status_code == 200
        assert process_of(pool) == process
    assert caplog.text.count(f"{error_type}: before the first byte") == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_conformance_12_an_error_after_the_first_byte_breaks_the_response_off(
    runtime: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client keeps what was sent and sees that it is incomplete; the runtime stays alive."""
    error_type = "LookupError" if runtime == "python" else "TypeError"
    async with emulated(runtime) as (client, pool), gate() as gate_:
        async with client.stream("GET", "/fails-after", params={"gate": gate_.port}) as response:
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"partial"
            await gate_.open()
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(chunks)
        process = process_of(pool)
        assert (await client.get("/echo")).status_code == 200
        assert process_of(pool) == process
    assert caplog.text.count(f"{error_type}: after the first byte") == 1


async def test_conformance_14_a_connection_that_breaks_in_mid_chunk_is_a_truncated_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """This holds whether or not the peer still reads; nothing hangs, and the runtime may continue."""
    async with played() as (client, runtime, environment):
        for answered in (True, False):
            request_id, pending = await asked(client, runtime)
            async with raw_runtime(environment.api.address) as second:
                # Until the first response, the peer's process may be unidentified and the connection ignored.
                await second.send(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                await second.response()
                await second.begin_response(request_id)
                await second.send(b"5\r\nab")
                if answered:
                    second.writer.write_eof()
                    answer = await second.response()
                    assert answer.status == 400
                    assert answer.json() == {
                        "errorMessage": "HTTP request detected as truncated",
                        "errorType": "TruncatedHTTPRequest",
                    }
                else:
                    second.drop()
                with pytest.raises(httpx.RemoteProtocolError):
                    await pending
    assert caplog.text.count("Runtime.TruncatedResponse") == 2


@pytest.mark.parametrize("mode", ["Streaming", "foo"])
async def test_conformance_15_a_wrong_response_mode_is_refused(mode: str) -> None:
    """That invocation fails, and the next one works."""
    async with played() as (client, runtime, _):
        request_id, pending = await asked(client, runtime)
        header = f"Lambda-Runtime-Function-Response-Mode: {mode}"
        answer = await runtime.post(f"invocation/{request_id}/response", b"x", header)
        assert answer.status == 400
        assert answer.json() == {
            "errorMessage": "Invalid function response mode",
            "errorType": "InvalidFunctionResponseMode",
        }
        assert (await pending).status_code == 502
        request_id, pending = await asked(client, runtime)
        await runtime.post(f"invocation/{request_id}/response", b"well")
        assert (await pending).content == b"well"


async def test_conformance_15_without_a_response_mode_it_still_streams() -> None:
    """Go's client never sends the mode."""
    async with played() as (client, runtime, _):
        beginning = asyncio.create_task(_stream_without_mode(runtime))
        async with client.stream("GET", "/") as response:
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"one"
            await beginning
            await runtime.chunk(b"two")
            assert await anext(chunks) == b"two"
            assert (await runtime.end_response()).status == 202


async def _stream_without_mode(runtime: RawRuntime) -> None:
    event = await runtime.next()
    path = f"{PREFIX}/invocation/{event.headers['Lambda-Runtime-Aws-Request-Id']}/response"
    await runtime.send(
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    await runtime.chunk(b"one")


async def test_conformance_16_results_for_other_invocations_are_refused() -> None:
    """Wrong request ids, stale invocation ids and second results are; the invocation id is optional."""
    async with played() as (client, runtime, _):
        request_id, pending = await asked(client, runtime)
        wrong = await runtime.post("invocation/0000/response", b"x")
        assert (wrong.status, wrong.json()) == (
            400,
            {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"},
        )
        stale = await runtime.post(
            f"invocation/{request_id}/response", b"x", "Lambda-Runtime-Invocation-Id: stale"
        )
        assert stale.status == 400
        assert (await runtime.post(f"invocation/{request_id}/response", b"right")).status == 202
        assert (await pending).content == b"right"
        for call in ("response", "error"):
            second = await runtime.post(f"invocation/{request_id}/{call}", b"{}")
            assert second.status == 403
            assert json.loads(second.body)["errorType"] == "InvalidStateTransition"


async def test_conformance_17_every_response_has_a_body_and_its_length() -> None:
    """`/next` returns exactly the JSON event and no empty headers; an accepted POST always has a body."""
    async with played() as (client, runtime, _):
        for call in ("response", "error"):
            pending = asyncio.create_task(client.get("/"))
            event = await runtime.next()
            assert event.headers["Content-Type"] == "application/json"
            assert all(event.headers.values())
            request_id = event.headers["Lambda-Runtime-Aws-Request-Id"]
            answer = await runtime.post(f"invocation/{request_id}/{call}", b"{}")
            assert (answer.status, answer.body) == (202, b'{"status":"OK"}\n')
            assert answer.headers["Content-Length"] == "16"
            await pending


async def test_conformance_20_our_runtime_ends_a_response_that_its_handler_left_open() -> None:
    """Once the handler has returned, the client does not wait for the timeout."""
    async with emulated("python") as (client, _):
        response = await client.get("/never-ends")
    assert (response.status_code, response.content) == (200, b"unended")


@pytest.mark.parametrize("runtime", NODE)
async def test_conformance_20_node_is_killed_at_the_timeout_when_its_handler_never_ends_the_response(
    runtime: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's response is truncated; the next request gets a fresh environment."""
    async with emulated(runtime, timeout_s=2.0) as (client, pool):
        async with client.stream("GET", "/never-ends") as response:
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"unended"
            process = process_of(pool)
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(chunks)
        await gone(process)
        assert (await client.get("/echo")).json()["pid"] != process
    assert caplog.text.count("Task timed out after 2.00 seconds") == 1


async def test_conformance_21_a_timeout_is_a_502_or_a_broken_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Before the first byte it is a 502, after it a truncated response; both are logged in Lambda's words."""
    async with scripted(timeout_s=2.0) as pool, function_url(pool) as client:
        before = await steps(client, ["hang"])
        assert (before.status_code, before.content) == (502, b"Internal Server Error")
        with pytest.raises(httpx.RemoteProtocolError):
            await steps(client, ["write", "partial"], ["hang"])
        assert (await steps(client, ["write", "fresh"])).content == b"fresh"
    assert caplog.text.count("Task timed out after 2.00 seconds") == 2


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_conformance_22_a_client_that_leaves_does_not_stop_the_invocation(runtime: str) -> None:
    """The runtime's response is read to its end; the same process takes the next request."""
    async with emulated(runtime) as (client, pool), gate() as gate_:
        async with client.stream("GET", "/three", params={"gate": gate_.port}) as response:
            assert await anext(response.aiter_raw()) == b"one"
        process = process_of(pool)
        for _ in ("one", "two", "three"):
            await gate_.open()
        await until(lambda: not pool._running, "the abandoned invocation ends")
        async with client.stream("GET", "/megabytes", params={"megabytes": "20"}) as response:
            assert await anext(response.aiter_raw())
        await until(lambda: not pool._running, "the second abandoned invocation ends")
        assert (await client.get("/prelude")).content == b"body"
        assert process_of(pool) == process


async def test_conformance_22_the_post_of_an_abandoned_response_is_answered_202() -> None:
    """The runtime sees the same 202 as if a client had read the response."""
    async with played() as (client, runtime, _):
        streaming = asyncio.create_task(_first_chunk_and_leave(client))
        event = await runtime.next()
        await runtime.begin_response(event.headers["Lambda-Runtime-Aws-Request-Id"])
        await runtime.chunk(b"one")
        await streaming
        for _ in range(200):
            await runtime.chunk(b"x" * 65_536)
        assert (await runtime.end_response()).status == 202


async def _first_chunk_and_leave(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/") as response:
        assert await anext(response.aiter_raw()) == b"one"


@pytest.mark.parametrize(
    ("path", "status", "content_type", "body"),
    [
        ("/dict", 200, "application/json", b'{"hello":"world"}'),
        ("/list", 200, "application/json", b'["hello",3,true]'),
        ("/string", 200, "application/json", b"hello"),
        ("/number", 200, "application/json", b"3.5"),
        ("/status", 418, "application/json", b"tea"),
        ("/base64", 200, "application/json", b"\x00\x01\x02\x03"),
        ("/fails", 502, "application/json", b"Internal Server Error"),
    ],
)
async def test_conformance_23_a_buffered_handler_on_a_buffered_url(
    path: str, status: int, content_type: str, body: bytes
) -> None:
    """An object with a status is a response; anything else is its own body."""
    pool = environments_of("python", function="buffered")
    async with pool, function_url(pool, invoke_mode=InvokeMode.BUFFERED) as client:
        response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (status, content_type)
    assert response.content == body
    if path == "/status":
        assert response.headers["x-one"] == "1"
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_conformance_23_a_result_past_the_buffered_limit_is_a_502() -> None:
    """The runtime receives a 413."""
    async with played(invoke_mode=InvokeMode.BUFFERED) as (client, runtime, _):
        request_id, pending = await asked(client, runtime)
        size = 6 * 1024 * 1024 + 101
        assert (await runtime.post(f"invocation/{request_id}/response", b"x" * size)).status == 413
        assert (await pending).status_code == 502


async def test_conformance_24_a_buffered_handler_on_a_streaming_url_is_literal_json() -> None:
    """A streaming URL passes the result through uninterpreted."""
    async with emulated("python", function="buffered") as (client, _):
        response = await client.get("/status")
    assert response.status_code == 200
    assert response.json()["statusCode"] == "418"


async def test_conformance_25_the_event_of_a_request() -> None:
    """Headers, cookies and bodies arrive as text or base64; keys without a value are absent."""
    async with emulated("python") as (client, _):
        bare = (await client.get("/")).json()
        assert not {"cookies", "queryStringParameters", "body"} & bare.keys()
        assert bare["isBase64Encoded"] is False
        assert bare["version"] == "2.0"
        headers = [("X-Tag", "one"), ("X-Tag", "two"), ("Cookie", "sid=s1; theme=dark")]
        full = (await client.get("/", headers=headers)).json()
        assert full["headers"]["x-tag"].replace(" ", "") == "one,two"
        assert "cookie" not in full["headers"]
        assert full["cookies"] == ["sid=s1", "theme=dark"]
        for content_type, body, is_text in (
            ("application/json", b'{"text":"hey"}', True),
            ("text/plain; charset=utf-8", "grüß".encode(), True),
            ("application/x-www-form-urlencoded", b"a=1", False),
            ("application/octet-stream", b"\x00\xff", False),
            (None, b"{}", False),
        ):
            event = (
                await client.post(
                    "/", content=body, headers={"content-type": content_type} if content_type else {}
                )
            ).json()
            assert event["isBase64Encoded"] is not is_text
            assert event["body"] == (body.decode() if is_text else base64.b64encode(body).decode())


async def test_conformance_26_query_and_path_of_a_request() -> None:
    """Duplicate parameters are joined and decoded; raw fields stay exactly as sent."""
    async with emulated("python") as (client, _):
        event = (await client.get(httpx.URL("/chat/a%2Fb/%C3%BC/?tag=a&tag=b%2Fc&empty="))).json()
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/chat/a%2Fb/%C3%BC/"
    assert event["rawQueryString"] == "tag=a&tag=b%2Fc&empty="
    assert event["queryStringParameters"] == {"tag": "a,b/c", "empty": ""}


async def test_conformance_27_cors_is_answered_by_the_url() -> None:
    """A preflight invokes nothing; other responses carry the URL's headers and the function's own."""
    cors = CorsConfiguration(allow_origins=("https://a.example",), allow_methods=("POST",), max_age=60)
    async with environments_of("python") as pool, function_url(pool, cors=cors) as client:
        origin = {"origin": "https://a.example"}
        preflight = await client.options("/", headers={**origin, "access-control-request-method": "POST"})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://a.example"
        assert preflight.headers["access-control-allow-methods"] == "POST"
        assert preflight.headers["access-control-max-age"] == "60"
        assert pool.environments == ()
        response = await client.get("/cors", headers=origin)
        assert sorted(response.headers.get_list("access-control-allow-origin")) == ["*", "https://a.example"]
    with pytest.raises(InvalidCorsConfiguration):
        CorsConfiguration(allow_origins=("*",), allow_methods=("OPTIONS",))


async def test_conformance_28_an_unknown_url_and_a_busy_function_are_refused() -> None:
    """An unknown URL is a 403 in the service's words; a request past the maximum is a 429."""
    async with scripted(max_concurrency=1) as pool, function_url(pool) as client, gate() as gate_:
        unknown = await client.get("/", headers={"host": "other.lambda-url.eu-west-1.on.aws"})
        assert (unknown.status_code, unknown.json()) == (403, {"Message": None})
        assert unknown.headers["x-amzn-errortype"] == "AccessDeniedException"
        running = asyncio.create_task(steps(client, ["gate", gate_.port], ["write", "done"]))
        await until(lambda: _at(gate_) == 1, "the first one at the gate")
        assert (await steps(client, ["write", "too many"])).status_code == 429
        await gate_.open()
        assert (await running).content == b"done"


def _at(gate_: Gate) -> int:
    return gate_._arrived.qsize()


async def test_conformance_29_bandwidth_is_limited_after_the_burst() -> None:
    """With the throttle on, 7 MiB take half a second, because only the first 6 are free."""
    limits = ResponseLimits(bandwidth=Bandwidth())
    async with environments_of("python") as pool, function_url(pool, limits=limits) as client:
        await client.get("/bare")
        began = time.monotonic()
        response = await client.get("/megabytes", params={"megabytes": "7"})
        took = time.monotonic() - began
    assert len(response.content) == 7 * 1024 * 1024
    assert took > 0.45


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_conformance_29_a_slow_reader_blocks_the_writer(runtime: str) -> None:
    """Backpressure reaches the function: while the client reads nothing, its writes block."""
    async with (
        emulated(runtime) as (client, pool),
        client.stream("GET", "/megabytes", params={"megabytes": "64"}) as response,
    ):
        chunks = response.aiter_raw()
        received = len(await anext(chunks))
        ended, _ = await asyncio.wait(pool._running, timeout=0.5)
        assert not ended, "the function wrote 64 MB although the client read nothing"
        async for chunk in chunks:
            received += len(chunk)
    assert received == 64 * 1024 * 1024


async def test_conformance_29_one_byte_past_the_limit_breaks_the_response_off() -> None:
    """The default is the service's 200 MB; 2 MiB keep the test fast. The function still runs to its end."""
    assert ResponseLimits().max_bytes == 200 * 1024 * 1024
    limits = ResponseLimits(max_bytes=2 * 1024 * 1024)
    async with environments_of("python") as pool, function_url(pool, limits=limits) as client:
        at_the_limit = await client.get("/megabytes", params={"megabytes": "2"})
        assert len(at_the_limit.content) == 2 * 1024 * 1024
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/megabytes", params={"megabytes": "3"})
        await until(lambda: not pool._running, "the function has written all")
        assert (await client.get("/bare")).status_code == 200
        assert len(pool.environments) == 1
