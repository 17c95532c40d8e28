"""The Runtime API over real sockets; the test plays the runtime byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from lambda_streaming.emulator.runtime_api import RuntimeState
from lambda_streaming.function_url.invoker import FunctionFailed, InvocationResponse, ResponseBrokenOff
from support.one_environment import ARN, OneEnvironment, one_environment, request_of
from support.patience import PATIENCE_S
from support.raw_runtime import PREFIX, RawResponse, RawRuntime, raw_runtime

OK = RawResponse(202, {"Content-Type": "application/json", "Content-Length": "16"}, b'{"status":"OK"}\n')
ALREADY_RECEIVING = RawResponse(
    403,
    {"Content-Type": "application/json", "Content-Length": "115"},
    b'{"errorMessage":"Another connection of this environment receives the events",'
    b'"errorType":"InvalidStateTransition"}\n',
)


@pytest.fixture
async def environment() -> AsyncIterator[OneEnvironment]:
    async with one_environment() as one:
        yield one


@pytest.fixture
async def runtime(environment: OneEnvironment) -> AsyncIterator[RawRuntime]:
    async with raw_runtime(environment.api.address) as connected:
        yield connected


async def body_of(response: InvocationResponse) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return b"".join([chunk async for chunk in response.body])


async def invoked(
    environment: OneEnvironment, runtime: RawRuntime, payload: bytes = b"{}", *, buffered: bool = False
) -> tuple[str, asyncio.Task[InvocationResponse]]:
    """Start an invocation and fetch its event; return its request id and the pending response."""
    request = request_of(payload, buffered=buffered)
    response = asyncio.create_task(environment.invoke(request))
    event = await runtime.next()
    assert event.headers["Lambda-Runtime-Aws-Request-Id"] == request.request_id
    return request.request_id, response


async def test_next_waits_for_an_event_and_carries_it_exactly(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """Every header that any runtime depends on is present, and no header is empty."""
    await runtime.ask_next()
    await environment.api.ready()
    request = request_of(b'{"x":1}')
    response = asyncio.create_task(environment.invoke(request))
    event = await runtime.response()
    assert (event.status, event.body) == (200, b'{"x":1}')
    deadline = event.headers.pop("Lambda-Runtime-Deadline-Ms")
    assert deadline.isdecimal()
    assert event.headers.pop("Lambda-Runtime-Invocation-Id")
    assert event.headers == {
        "Content-Type": "application/json",
        "Content-Length": "7",
        "Lambda-Runtime-Aws-Request-Id": request.request_id,
        "Lambda-Runtime-Invoked-Function-Arn": ARN,
        "Lambda-Runtime-Trace-Id": request.trace_id,
    }
    assert await runtime.post(f"invocation/{request.request_id}/response", b"done") == OK
    assert await body_of(await response) == b"done"


async def test_one_connection_serves_many_invocations(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """The connection is kept alive from call to call."""
    for number in range(3):
        request_id, response = await invoked(environment, runtime)
        await runtime.begin_response(request_id)
        await runtime.chunk(b"%d" % number)
        assert await runtime.end_response() == OK
        assert await body_of(await response) == b"%d" % number


async def test_connection_close_is_honoured(environment: OneEnvironment, runtime: RawRuntime) -> None:
    """The call gets its response, then the server closes the connection."""
    request_id, response = await invoked(environment, runtime)
    answer = await runtime.post(f"invocation/{request_id}/response", b"x", "Connection: close")
    assert answer.status == 202
    assert await runtime.ended() == b""
    assert await body_of(await response) == b"x"


async def test_polling_again_before_a_result_returns_the_same_event(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """A runtime that lost the response to `next` does not lose the event."""
    request_id, response = await invoked(environment, runtime, b"[1]")
    again = await runtime.next()
    assert (again.headers["Lambda-Runtime-Aws-Request-Id"], again.body) == (request_id, b"[1]")
    await runtime.post(f"invocation/{request_id}/response", b"")
    assert await body_of(await response) == b""


async def test_a_second_next_does_not_displace_the_first(environment: OneEnvironment) -> None:
    """While one connection polls for the event, a poll on another connection is an error."""
    async with raw_runtime(environment.api.address) as first, raw_runtime(environment.api.address) as second:
        await first.ask_next()
        await environment.api.ready()
        assert await second.next() == ALREADY_RECEIVING
        request = request_of()
        response = asyncio.create_task(environment.invoke(request))
        event = await first.response()
        assert event.headers["Lambda-Runtime-Aws-Request-Id"] == request.request_id
        assert await second.next() == ALREADY_RECEIVING, "the event belongs to the first connection"
        await second.post(f"invocation/{request.request_id}/response", b"ok")
        assert await body_of(await response) == b"ok"
        # Runtimes with a connection pool may use any connection of it.
        assert (await invoked(environment, second))[0]


async def test_a_next_that_overtakes_a_report_on_another_connection_waits_for_it(
    environment: OneEnvironment,
) -> None:
    """Node's client posts an error report and polls for the next event at the same time."""
    async with raw_runtime(environment.api.address) as first, raw_runtime(environment.api.address) as second:
        await first.ask_next()
        await environment.api.ready()
        request = request_of()
        response = asyncio.create_task(environment.invoke(request))
        await first.response()
        await second.ask_next()
        await first.post(f"invocation/{request.request_id}/error", b"{}")
        with pytest.raises(FunctionFailed):
            await body_of(await response)
        again = request_of()
        response = asyncio.create_task(environment.invoke(again))
        event = await second.response()
        assert event.headers["Lambda-Runtime-Aws-Request-Id"] == again.request_id
        await second.post(f"invocation/{again.request_id}/response", b"ok")
        assert await body_of(await response) == b"ok"


async def test_a_connection_lost_while_waiting_is_replaced(environment: OneEnvironment) -> None:
    """A runtime that reconnects receives the event on the new connection once the loss is detected."""
    async with raw_runtime(environment.api.address) as lost, raw_runtime(environment.api.address) as kept:
        await lost.ask_next()
        await environment.api.ready()
        lost.drop()
        await kept.ask_next()
        request = request_of()
        response = asyncio.create_task(environment.invoke(request))
        event = await kept.response()
        assert event.headers["Lambda-Runtime-Aws-Request-Id"] == request.request_id
        await kept.post(f"invocation/{request.request_id}/response", b"ok")
        assert await body_of(await response) == b"ok"


async def test_an_event_for_a_runtime_that_lost_its_connection_waits_for_it(
    environment: OneEnvironment,
) -> None:
    """The event is delivered at the next poll."""
    async with raw_runtime(environment.api.address) as gone:
        await gone.ask_next()
        await environment.api.ready()
    request = request_of(b'"later"')
    response = asyncio.create_task(environment.invoke(request))
    async with raw_runtime(environment.api.address) as back:
        await asyncio.sleep(0)
        assert (await back.next()).body == b'"later"'
        await back.post(f"invocation/{request.request_id}/response", b"ok")
        assert await body_of(await response) == b"ok"


async def test_an_idle_connection_before_the_first_byte_does_not_matter(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """Node opens the connection for the response before its handler runs."""
    request_id, response = await invoked(environment, runtime)
    async with raw_runtime(environment.api.address) as idle:
        await runtime.send(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await runtime.response()).body == b"pong"
        await idle.begin_response(request_id)
        await idle.chunk(b"late")
        assert await idle.end_response() == OK
    assert await body_of(await response) == b"late"


async def test_a_chunk_is_handed_over_before_the_next_one_is_sent(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """Chunks are not buffered until more data arrives."""
    request_id, pending = await invoked(environment, runtime)
    await runtime.begin_response(request_id, "Content-Type: text/plain")
    await runtime.chunk(b"one")
    response = await pending
    assert response.content_type == "text/plain"
    assert await anext(response.body) == b"one"
    await runtime.chunk(b"two")
    assert await anext(response.body) == b"two"
    assert await runtime.end_response() == OK
    assert await body_of(response) == b""


async def test_a_slow_reader_stops_the_writer(environment: OneEnvironment, runtime: RawRuntime) -> None:
    """The runtime can send ahead only what the socket buffers hold; the emulator's memory does not grow."""
    request_id, pending = await invoked(environment, runtime)
    await runtime.begin_response(request_id)
    sending = asyncio.create_task(runtime.chunk(b"x" * 64 * 1024 * 1024))
    response = await pending
    assert await anext(response.body)
    done, _ = await asyncio.wait((sending,), timeout=0.3)
    assert not done, "64 MiB were accepted from the runtime although nothing was read"
    received = 0
    finishing = asyncio.create_task(_finish(runtime, sending))
    async for chunk in response.body:
        assert len(chunk) <= 65_536
        received += len(chunk)
    assert await finishing == OK
    assert received > 63 * 1024 * 1024


async def _finish(runtime: RawRuntime, sending: asyncio.Task[None]) -> RawResponse:
    await sending
    return await runtime.end_response()


async def test_an_abandoned_response_is_read_to_its_end_and_accepted(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """The runtime does not see that the client has disconnected."""
    request_id, pending = await invoked(environment, runtime)
    await runtime.begin_response(request_id)
    await runtime.chunk(b"one")
    await (await pending).body.aclose()
    for _ in range(100):
        await runtime.chunk(b"x" * 65_536)
    assert await runtime.end_response() == OK


async def test_an_error_before_a_response_fails_the_invocation(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """The runtime stays alive and can poll for the next event."""
    request_id, response = await invoked(environment, runtime)
    report = b'{"errorType":"ValueError","errorMessage":"no","requestId":"x","stackTrace":[]}'
    assert await runtime.post(f"invocation/{request_id}/error", report) == OK
    with pytest.raises(FunctionFailed) as failed:
        await response
    assert (failed.value.error_type, failed.value.error_message) == ("ValueError", "no")
    request_id, response = await invoked(environment, runtime)
    await runtime.post(f"invocation/{request_id}/response", b"well")
    assert await body_of(await response) == b"well"


async def test_an_x_ray_cause_of_nearly_a_mebibyte_is_read(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """The Python runtime sends the cause in one header."""
    request_id, response = await invoked(environment, runtime)
    cause = "Lambda-Runtime-Function-XRay-Error-Cause: " + "x" * 1_000_000
    assert await runtime.post(f"invocation/{request_id}/error", b"{}", cause) == OK
    with pytest.raises(FunctionFailed):
        await response


async def test_error_trailers_after_the_first_byte_break_the_response_off(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """The POST itself is still accepted."""
    request_id, pending = await invoked(environment, runtime)
    await runtime.begin_response(request_id)
    await runtime.chunk(b"partial")
    response = await pending
    assert await anext(response.body) == b"partial"
    trailers = ("Lambda-Runtime-Function-Error-Type: T", "Lambda-Runtime-Function-Error-Body: e30=")
    assert await runtime.end_response(*trailers) == OK
    with pytest.raises(ResponseBrokenOff) as broken:
        await body_of(response)
    assert broken.value.error_type == "T"


async def test_undeclared_trailers_are_lost_with_a_warning(
    environment: OneEnvironment, runtime: RawRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """AWS's own emulator drops them too; ours logs a warning."""
    request_id, response = await invoked(environment, runtime)
    head = (
        f"POST {PREFIX}/invocation/{request_id}/response HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    await runtime.send(head.encode() + b"1\r\nx\r\n")
    assert await runtime.end_response("Lambda-Runtime-Function-Error-Type: T") == OK
    assert await body_of(await response) == b"x"
    assert "trailers that no Trailer header declares" in caplog.text


async def test_expect_100_continue_is_answered(environment: OneEnvironment, runtime: RawRuntime) -> None:
    """libcurl, which the native clients use, waits for the 100 before it sends a large body."""
    request_id, response = await invoked(environment, runtime)
    head = (
        f"POST {PREFIX}/invocation/{request_id}/response HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    )
    await runtime.send(head.encode())
    assert (await runtime.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await runtime.send(b"body")
    assert await runtime.response() == OK
    assert await body_of(await response) == b"body"


async def test_a_buffered_result_at_the_limit_is_accepted_and_one_past_it_is_not() -> None:
    """The limit is 6 MiB plus 100 bytes; past it the runtime receives a 413 and stays alive."""
    async with one_environment() as environment, raw_runtime(environment.api.address) as runtime:
        limit = 6 * 1024 * 1024 + 100
        for size, status in ((limit, 202), (limit + 1, 413)):
            request_id, pending = await invoked(environment, runtime, buffered=True)
            answering = asyncio.create_task(runtime.post(f"invocation/{request_id}/response", b"x" * size))
            response = await pending
            if status == 202:
                assert len(await body_of(response)) == size
            else:
                with pytest.raises(ResponseBrokenOff) as broken:
                    await body_of(response)
                assert broken.value.error_type == "Function.ResponseSizeTooLarge"
            answer = await answering
            assert answer.status == status
        assert answer.json() == {
            "errorMessage": "Exceeded maximum allowed payload size (6291556 bytes).",
            "errorType": "RequestEntityTooLarge",
        }
        await invoked(environment, runtime)


async def test_an_init_error_is_accepted_and_reported(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """The report has no content type, as awslambdaric sends it."""
    assert (
        await runtime.post(
            "init/error",
            b'{"errorType":"Runtime.ImportModuleError","errorMessage":"no app"}',
            "Lambda-Runtime-Function-Error-Type: Runtime.ImportModuleError",
        )
        == OK
    )
    report = environment.api.init_failure.result()
    assert (report.error_type, report.error_message) == ("Runtime.ImportModuleError", "no app")
    assert environment.api.state is RuntimeState.FAILED


async def test_restore_next_returns_at_once(environment: OneEnvironment, runtime: RawRuntime) -> None:
    """SnapStart's `restore/next` returns an empty 200 immediately, and invocations follow."""
    await runtime.send(f"GET {PREFIX}/restore/next HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    restored = await runtime.response()
    assert (restored.status, restored.body) == (200, b"")
    await invoked(environment, runtime)


async def test_a_restore_error_counts_as_an_init_error(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """It is accepted only during a restore."""
    await runtime.send(f"GET {PREFIX}/restore/next HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await runtime.response()
    body = b'{"errorType":"Runtime.AfterRestoreError","errorMessage":"hook"}'
    assert await runtime.post("restore/error", body) == OK
    assert environment.api.init_failure.result().error_type == "Runtime.AfterRestoreError"


async def test_an_extension_registers_and_its_next_stays_open(
    environment: OneEnvironment, runtime: RawRuntime
) -> None:
    """The poll stays open until the environment shuts down."""
    register = (
        "POST /2020-01-01/extension/register HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        'Lambda-Extension-Name: lambda-adapter\r\nContent-Length: 15\r\n\r\n{ "events":[] }'
    )
    async with raw_runtime(environment.api.address) as extension:
        await extension.send(register.encode())
        registered = await extension.response()
        assert registered.status == 200
        assert registered.json() == {
            "functionName": "fn",
            "functionVersion": "$LATEST",
            "handler": "app.handler",
        }
    async with raw_runtime(environment.api.address) as extension:
        identifier = registered.headers["Lambda-Extension-Identifier"]
        ask = "GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        await extension.send(f"{ask}Lambda-Extension-Identifier: {identifier}\r\n\r\n".encode())
        listening = asyncio.create_task(extension.ended())
        await invoked(environment, runtime)
        assert not listening.done()
        await environment.api.close()
        assert await listening == b""


@pytest.mark.parametrize(
    ("path", "api"), [("2022-07-01/telemetry", "Telemetry"), ("2020-08-15/logs", "Logs")]
)
async def test_a_subscription_of_an_extension_is_reported_as_not_supported(
    path: str, api: str, runtime: RawRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """It is accepted, as by AWS's emulator, so that the extension starts; the log says what is missing."""
    await runtime.send(f"PUT /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    response = await runtime.response()
    assert (response.status, response.json()) == (
        202,
        {"errorMessage": f"{api} API is not supported", "errorType": f"{api}.NotSupported"},
    )
    assert f"an extension subscribes to the {api} API, which is not emulated" in caplog.text


@pytest.mark.parametrize("path", ["extension/init/error", "extension/exit/error"])
async def test_an_error_of_an_extension_is_reported_and_does_not_end_the_environment(
    path: str, runtime: RawRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """On Lambda the environment would end; here the developer reads why, and can go on."""
    report = b'{"errorMessage": "no key", "errorType": "Extension.ConfigInvalid"}'
    head = f"POST /2020-01-01/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(report)}\r\n\r\n"
    await runtime.send(head.encode() + report)
    assert (await runtime.response()).status == 202
    assert f"an extension reported {path} (Extension.ConfigInvalid: no key)" in caplog.text


@pytest.mark.parametrize(
    ("identifier", "error_type"),
    [
        ("", "Extension.MissingExtensionIdentifier"),
        ("Lambda-Extension-Identifier: made-up\r\n", "Extension.UnknownExtensionIdentifier"),
    ],
)
async def test_an_unregistered_extension_is_refused(
    runtime: RawRuntime, identifier: str, error_type: str
) -> None:
    """The identifier must be one that registration issued."""
    await runtime.send(
        f"GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: 127.0.0.1\r\n{identifier}\r\n".encode()
    )
    answer = await runtime.response()
    assert answer.status == 403
    assert answer.json()["errorType"] == error_type  # type: ignore[index]


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01 tls?\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"]
)
async def test_bytes_that_are_not_http_are_refused_and_affect_no_other_connection(
    environment: OneEnvironment, runtime: RawRuntime, garbage: bytes
) -> None:
    """Only the offending connection is closed."""
    async with raw_runtime(environment.api.address) as stranger:
        await stranger.send(garbage)
        assert (await stranger.ended()).startswith(b"HTTP/1.1 400 ")
    await invoked(environment, runtime)
