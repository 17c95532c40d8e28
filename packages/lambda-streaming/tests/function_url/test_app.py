"""The Function URL over real HTTP: responses, refusals, CORS and truncated responses."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from contracts.invoker import gate
from lambda_streaming import HttpResponseStream, ResponseStream, streamify_response
from lambda_streaming.function_url import (
    Bandwidth,
    CorsConfiguration,
    FunctionFailed,
    FunctionUrlApp,
    InvocationRequest,
    InvocationResponse,
    InvokeMode,
    ResponseBrokenOff,
    ResponseLimits,
    Throttled,
    to_asgi,
)
from support.http_server import connected, exchange, serving
from support.patience import PATIENCE_S

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PRELUDE_TYPE = "application/vnd.awslambda.http-integration-response"


class ScriptedInvoker:
    """A scripted invoker that yields chunks and failures as a runtime would send them."""

    def __init__(
        self, *script: bytes | Exception, content_type: str = PRELUDE_TYPE, refusal: Exception | None = None
    ) -> None:
        self.requests: list[InvocationRequest] = []
        self.reached_end = asyncio.Event()
        self._script = script
        self._content_type = content_type
        self._refusal = refusal

    async def invoke(self, request: InvocationRequest) -> InvocationResponse:
        self.requests.append(request)
        if self._refusal is not None:
            raise self._refusal

        async def body() -> Any:  # noqa: ANN401 (an async generator of bytes)
            for step in self._script:
                if isinstance(step, Exception):
                    raise step
                yield step
            self.reached_end.set()

        return InvocationResponse(content_type=self._content_type, body=body())


def function(
    answer: Callable[[ResponseStream], Awaitable[None]],
) -> Any:  # noqa: ANN401 (what streamify_response returns)
    """Return a streaming handler that responds to every event in the same way."""

    @streamify_response
    async def handler(_event: object, response_stream: ResponseStream, _context: object) -> None:
        await answer(response_stream)

    return handler


def split(response: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Return status line, headers (lower case, the last of a name) and the raw rest."""
    head, _, rest = response.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return status.encode(), {name.lower(): value for name, value in headers.items()}, rest


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what uvicorn logged with a traceback."""
    return [r.getMessage() for r in caplog.records if r.name.startswith("uvicorn") and r.exc_info]


async def test_chunks_leave_as_they_come() -> None:
    """Each write is its own chunk on the wire before the handler continues (conformance case 1)."""

    @streamify_response
    async def handler(event: dict[str, Any], response_stream: ResponseStream, _context: object) -> None:
        for word in ("one", "two", "three"):
            await response_stream.write(word)
            reader, writer = await asyncio.open_connection("127.0.0.1", int(event["rawPath"][1:]))
            writer.write(b"waiting\n")
            await reader.readline()
            writer.close()

    async with gate() as gate_, serving(to_asgi(handler)) as port, connected(port) as client:
        await client.send(b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % gate_.port)
        head = await client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        for chunk in (b"3\r\none\r\n", b"3\r\ntwo\r\n", b"5\r\nthree\r\n"):
            assert await client.read_until(chunk) == chunk
            await gate_.open()
        assert await client.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"


async def test_a_prelude_becomes_the_head() -> None:
    """It sets the status, headers and two Set-Cookie lines; none of its bytes is in the body (case 2)."""

    async def answer(stream: ResponseStream) -> None:
        HttpResponseStream.from_(
            stream,
            {
                "statusCode": 201,
                "headers": {"content-type": "text/plain", "content-length": "7", "x-a": "b"},
                "cookies": ["a=1", "b=2"],
            },
        )
        await stream.write("payload\0")

    async with serving(to_asgi(function(answer))) as port, httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/")
        assert (response.status_code, response.content) == (201, b"payload\0")
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert response.headers["content-type"] == "text/plain"
        assert response.headers["x-a"] == "b"
        assert response.headers["x-amzn-remapped-content-length"] == "7"
        assert re.fullmatch(r"[0-9a-f-]{36}", response.headers["x-amzn-requestid"])
        assert response.headers["x-amzn-trace-id"].startswith("Root=1-")


WIRE = b'{"statusCode":202,"headers":{"x-a":"b"}}' + bytes(8) + b"pay\0\0\0\0\0\0\0\0load"


async def test_a_prelude_may_be_split_anywhere() -> None:
    """Split at any position, fed byte by byte or whole, it gives the same response (case 3)."""
    scripts: list[tuple[bytes, ...]] = [(WIRE[:at], WIRE[at:]) for at in range(1, len(WIRE))]
    scripts += [(WIRE,), tuple(bytes((byte,)) for byte in WIRE)]
    current = iter(scripts)

    class Splitting:
        async def invoke(self, request: InvocationRequest) -> InvocationResponse:
            return await ScriptedInvoker(*next(current)).invoke(request)

    async with serving(FunctionUrlApp(Splitting())) as port, httpx.AsyncClient() as client:
        for _ in scripts:
            response = await client.get(f"http://127.0.0.1:{port}/")
            assert (response.status_code, response.headers["x-a"]) == (202, "b")
            assert response.content == b"pay\0\0\0\0\0\0\0\0load"
    assert next(current, None) is None


@pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain; charset=utf-8"])
async def test_without_a_prelude_the_content_type_is_the_posts(content_type: str) -> None:
    """The status is 200, the type the one the function set (case 4); prelude-like bytes are payload."""
    invoker = ScriptedInvoker(WIRE, content_type=content_type)
    async with serving(FunctionUrlApp(invoker)) as port, httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/")
        assert (response.status_code, response.content) == (200, WIRE)
        assert response.headers["content-type"] == content_type


async def test_a_prelude_alone_is_a_whole_response() -> None:
    """A redirect arrives complete, and the connection serves the next request (case 6)."""

    async def answer(stream: ResponseStream) -> None:
        HttpResponseStream.from_(stream, {"statusCode": 302, "headers": {"location": "/there"}})
        await stream.end()

    async with serving(to_asgi(function(answer))) as port, connected(port) as client:
        for _ in range(2):
            await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await client.read_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 302 Found\r\n")
            assert b"\r\nlocation: /there\r\n" in head
            assert await client.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"


@pytest.mark.parametrize("mode", InvokeMode)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_204_has_neither_content_type_nor_length_nor_body(mode: InvokeMode, method: bytes) -> None:
    """RFC 9110, section 8.6, forbids the length; clients of event streams refuse any type but their own."""
    if mode is InvokeMode.BUFFERED:
        result = json.dumps({"statusCode": 204, "headers": {"x-a": "b"}, "body": "not allowed"}).encode()
        invoker = ScriptedInvoker(result, content_type="application/json")
    else:
        invoker = ScriptedInvoker(b'{"statusCode":204}' + bytes(8), b"not allowed")
    async with serving(FunctionUrlApp(invoker, invoke_mode=mode)) as port:
        status, headers, rest = split(await exchange(port, GET.replace(b"GET", method, 1)))
    assert status.split()[1] == b"204"
    assert rest == b""
    assert not {"content-type", "content-length", "transfer-encoding"} & headers.keys()


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_body_ends_at_once(status: int) -> None:
    """Any body that the function still writes is read and discarded."""
    prelude = b'{"statusCode":%d}' % status + bytes(8)
    invoker = ScriptedInvoker(prelude, b"not allowed", b"at all")
    async with serving(FunctionUrlApp(invoker)) as port:
        response_status, headers, rest = split(await exchange(port, GET))
        assert response_status.split()[1] == b"%d" % status
        assert rest == b""
        assert "transfer-encoding" not in headers
        assert invoker.reached_end.is_set()


async def test_head_gets_the_head_while_the_function_still_writes() -> None:
    """The response to HEAD ends with its headers; the function still runs to completion."""

    class Endless(ScriptedInvoker):
        async def invoke(self, request: InvocationRequest) -> InvocationResponse:
            self.requests.append(request)

            async def body() -> Any:  # noqa: ANN401 (an async generator of bytes)
                yield WIRE
                await go_on.wait()
                yield b"more"
                self.reached_end.set()

            return InvocationResponse(content_type=PRELUDE_TYPE, body=body())

    go_on = asyncio.Event()
    invoker = Endless()
    async with serving(FunctionUrlApp(invoker)) as port, connected(port) as client:
        await client.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 Accepted\r\n")
        await client.send(b"GET /favicon HTTP/1.0\r\n\r\n")
        assert not invoker.reached_end.is_set()
        go_on.set()
        async with asyncio.timeout(PATIENCE_S):
            await invoker.reached_end.wait()
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 Accepted\r\n")


@pytest.mark.parametrize(
    "invoker",
    [
        ScriptedInvoker(refusal=FunctionFailed("ValueError", "secret")),
        ScriptedInvoker(ResponseBrokenOff("ValueError", "secret")),
        ScriptedInvoker(b'{"statusCode":2', ResponseBrokenOff("ValueError", "secret")),
        ScriptedInvoker(b'{"statusCode":200}', bytes(7)),
        ScriptedInvoker(b""),
        ScriptedInvoker(b"secret no json" + bytes(8), b"body"),
        ScriptedInvoker(b'{"statusCode":101}' + bytes(8), b"body"),
        ScriptedInvoker(b'{"headers":{"x":"secret\\r\\ny: z"}}' + bytes(8), b"body"),
        ScriptedInvoker(refusal=RuntimeError("secret")),
    ],
    ids=["error", "no byte", "in prelude", "no delimiter", "empty", "no json", "status", "header", "bug"],
)
async def test_a_failure_before_the_head_is_a_502(
    invoker: ScriptedInvoker, caplog: pytest.LogCaptureFixture
) -> None:
    """The client sees `Internal Server Error` but not the reason (cases 10 and 11)."""
    async with serving(FunctionUrlApp(invoker)) as port:
        status, headers, body = split(await exchange(port, GET))
    assert (status, body) == (b"HTTP/1.1 502 Bad Gateway", b"Internal Server Error")
    assert headers["content-length"] == "21"
    assert "secret" not in str(headers)
    assert tracebacks(caplog) == []


async def test_a_failure_after_the_first_byte_breaks_the_response_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The bytes sent so far arrive, the final chunk never does; the server logs no traceback (case 12)."""

    async def answer(stream: ResponseStream) -> None:
        await stream.write("partial")
        raise ValueError("secret")

    async with serving(to_asgi(function(answer))) as port:
        status, _, body = split(await exchange(port, GET.replace(b"Connection: close\r\n", b"")))
        assert (status, body) == (b"HTTP/1.1 200 OK", b"7\r\npartial\r\n")
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"http://127.0.0.1:{port}/")
    assert tracebacks(caplog) == []
    failures = [r for r in caplog.records if r.name == "lambda_streaming.function_url" and r.exc_info]
    assert len(failures) == 2


async def test_an_exception_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The entry has the traceback and the request id, even before the first byte."""

    async def answer(_stream: ResponseStream) -> None:
        raise ValueError("secret")

    async with serving(to_asgi(function(answer))) as port:
        _, headers, _ = split(await exchange(port, GET))
    failures = [r for r in caplog.records if r.exc_info]
    assert [r.getMessage() for r in failures] == [f"{headers['x-amzn-requestid']} ValueError: secret"]


async def test_a_timeout_is_a_502_before_the_first_byte_and_a_truncated_response_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log has Lambda's wording (case 21), and the handler is cancelled."""
    cancelled: list[str] = []

    @streamify_response
    async def handler(event: dict[str, Any], response_stream: ResponseStream, _context: object) -> None:
        if event["rawPath"] == "/after":
            await response_stream.write("partial")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(event["rawPath"])
            await response_stream.write("too late")
            raise

    async with serving(to_asgi(handler, timeout_s=1.0)) as port:
        before = split(await exchange(port, GET.replace(b" / ", b" /before ")))
        after = split(await exchange(port, GET.replace(b" / ", b" /after ")))
    assert (before[0], before[2]) == (b"HTTP/1.1 502 Bad Gateway", b"Internal Server Error")
    assert (after[0], after[2]) == (b"HTTP/1.1 200 OK", b"7\r\npartial\r\n")
    assert cancelled == ["/before", "/after"]
    assert caplog.text.count("Task timed out after 1.00 seconds") == 2
    assert tracebacks(caplog) == []


async def test_a_throttled_invocation_is_a_429() -> None:
    """It carries the service's error type (case 28)."""
    async with serving(FunctionUrlApp(ScriptedInvoker(refusal=Throttled()))) as port:
        status, headers, body = split(await exchange(port, GET))
    assert (status, body) == (b"HTTP/1.1 429 Too Many Requests", b'{"Message":"Rate Exceeded."}')
    assert headers["x-amzn-errortype"] == "TooManyRequestsException"


async def test_the_host_of_another_url_is_refused() -> None:
    """An unknown URL id is a 403 with a null message (case 28); any other host is served."""
    invoker = ScriptedInvoker(WIRE)
    async with serving(FunctionUrlApp(invoker, url_id="mine")) as port:
        for host, expected in (
            (b"other.lambda-url.eu-west-1.on.aws", b"403"),
            (b"mine.lambda-url.eu-west-1.on.aws", b"202"),
            (b"example.com", b"202"),
        ):
            status, headers, body = split(await exchange(port, GET.replace(b"localhost", host)))
            assert status.split()[1] == expected
            if expected == b"403":
                assert body == b'{"Message":null}'
                assert headers["content-type"] == "application/json"
                assert headers["x-amzn-errortype"] == "AccessDeniedException"
    assert len(invoker.requests) == 2


async def test_a_method_that_function_urls_do_not_have_is_refused() -> None:
    """The response is a 405, without an invocation."""
    invoker = ScriptedInvoker(WIRE)
    async with serving(FunctionUrlApp(invoker)) as port:
        status, _, _ = split(await exchange(port, GET.replace(b"GET", b"TRACE")))
    assert status.split()[1] == b"405"
    assert invoker.requests == []


@pytest.mark.parametrize("framing", ["declared", "chunked", "base64"])
async def test_a_request_over_the_limit_is_a_413(framing: str) -> None:
    """This holds for declared, chunked and base64-inflated bodies; nothing is invoked."""
    invoker = ScriptedInvoker(WIRE)
    size = 6 * 1024 * 1024 + 1 if framing != "base64" else 5 * 1024 * 1024

    async def pieces() -> Any:  # noqa: ANN401 (an async generator of bytes)
        for _ in range(7):
            yield bytes(1024 * 1024)

    async with serving(FunctionUrlApp(invoker)) as port, httpx.AsyncClient() as client:
        content = pieces() if framing == "chunked" else bytes(size)
        response = await client.post(f"http://127.0.0.1:{port}/", content=content)
        assert response.status_code == 413
        small = await client.post(f"http://127.0.0.1:{port}/", content=b"small")
        assert small.status_code == 202
    assert len(invoker.requests) == 1


async def test_a_response_over_the_limit_breaks_off_and_is_read_to_its_end() -> None:
    """One byte past the limit the client gets a truncated response; the function does not notice."""
    at_limit = ScriptedInvoker(b"12345", b"67890", content_type="text/plain")
    over = ScriptedInvoker(b"12345", b"67890", b"1", b"rest", content_type="text/plain")
    limits = ResponseLimits(max_bytes=10)
    async with serving(FunctionUrlApp(at_limit, limits=limits)) as port:
        assert split(await exchange(port, GET))[2] == b"5\r\n12345\r\n5\r\n67890\r\n0\r\n\r\n"
    async with serving(FunctionUrlApp(over, limits=limits)) as port:
        assert split(await exchange(port, GET))[2] == b"5\r\n12345\r\n5\r\n67890\r\n"
        async with asyncio.timeout(PATIENCE_S):
            await over.reached_end.wait()


async def test_the_bandwidth_limit_is_enforced() -> None:
    """After the burst, 1 MiB at 4 MiB/s takes a quarter of a second; every byte arrives (case 29)."""
    chunk = bytes(range(256)) * 1024
    invoker = ScriptedInvoker(*[chunk] * 5, content_type="text/plain")
    limits = ResponseLimits(bandwidth=Bandwidth(burst_bytes=len(chunk), bytes_per_s=4 * 1024 * 1024))
    async with serving(FunctionUrlApp(invoker, limits=limits)) as port, httpx.AsyncClient() as client:
        before = time.monotonic()
        response = await client.get(f"http://127.0.0.1:{port}/")
        assert response.content == chunk * 5
        assert time.monotonic() - before >= 0.24


CORS = CorsConfiguration(
    allow_origins=("https://example.com",),
    allow_methods=("POST",),
    allow_headers=("authorization",),
    max_age=60,
)
PREFLIGHT = {
    "origin": "https://example.com",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization",
}


async def test_a_preflight_is_answered_by_the_url() -> None:
    """The response has the configured headers only, and nothing is invoked (case 27)."""
    invoker = ScriptedInvoker(WIRE)
    async with serving(FunctionUrlApp(invoker, cors=CORS)) as port, httpx.AsyncClient() as client:
        response = await client.options(f"http://127.0.0.1:{port}/", headers=PREFLIGHT)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["access-control-allow-origin"] == "https://example.com"
        assert response.headers["access-control-allow-methods"] == "POST"
        assert response.headers["access-control-allow-headers"] == "authorization"
        assert response.headers["access-control-max-age"] == "60"
        assert response.headers["vary"] == "Origin"
        other = await client.options(
            f"http://127.0.0.1:{port}/", headers=PREFLIGHT | {"origin": "https://evil.example"}
        )
        assert other.status_code == 200
        assert "access-control-allow-origin" not in other.headers
    assert invoker.requests == []


async def test_options_requests_reach_the_function_without_cors_configuration() -> None:
    """A plain OPTIONS request that is no preflight always reaches it."""
    invoker = ScriptedInvoker(WIRE)
    async with serving(FunctionUrlApp(invoker)) as port, httpx.AsyncClient() as client:
        assert (await client.options(f"http://127.0.0.1:{port}/", headers=PREFLIGHT)).status_code == 202
    async with serving(FunctionUrlApp(invoker, cors=CORS)) as port, httpx.AsyncClient() as client:
        assert (await client.options(f"http://127.0.0.1:{port}/")).status_code == 202
    assert len(invoker.requests) == 2


async def test_the_configured_cors_headers_are_added_to_the_functions_own() -> None:
    """Duplicates are kept, as on Lambda; refusals carry the configured headers too (case 27)."""
    prelude = b'{"headers":{"access-control-allow-origin":"*"}}' + bytes(8)
    invoker = ScriptedInvoker(prelude, b"x")
    async with serving(FunctionUrlApp(invoker, cors=CORS)) as port, httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/", headers={"origin": "https://example.com"})
        assert response.headers.get_list("access-control-allow-origin") == ["*", "https://example.com"]
    failing = ScriptedInvoker(refusal=FunctionFailed("E", "m"))
    async with serving(FunctionUrlApp(failing, cors=CORS)) as port, httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/", headers={"origin": "https://example.com"})
        assert response.status_code == 502
        assert response.headers["access-control-allow-origin"] == "https://example.com"


def returns_response(_event: object, _context: object) -> dict[str, Any]:
    """A plain handler with a proxy response."""
    return {"statusCode": "418", "headers": {"x-a": "b"}, "cookies": ["a=1", "b=2"], "body": "tea"}


async def test_a_plain_handler_is_interpreted_on_a_buffered_url_only() -> None:
    """BUFFERED reads the proxy response (case 23); RESPONSE_STREAM sends its literal JSON (case 24)."""
    buffered = to_asgi(returns_response, invoke_mode=InvokeMode.BUFFERED)
    async with serving(buffered) as port, httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/")
        assert (response.status_code, response.text, response.headers["x-a"]) == (418, "tea", "b")
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert response.headers["content-length"] == "3"
    async with serving(to_asgi(returns_response)) as port, httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/")
        assert response.status_code == 200
        assert response.json() == returns_response(None, None)


async def test_a_streaming_handler_works_on_a_buffered_url() -> None:
    """Its prelude is read and its chunks arrive as one body."""

    async def answer(stream: ResponseStream) -> None:
        HttpResponseStream.from_(stream, {"statusCode": 201})
        await stream.write("one")
        await stream.write("two")

    app = to_asgi(function(answer), invoke_mode=InvokeMode.BUFFERED)
    async with serving(app) as port, httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/")
        assert (response.status_code, response.content) == (201, b"onetwo")
        assert response.headers["content-length"] == "6"


@pytest.mark.parametrize(
    "broken", [ResponseBrokenOff("E", "m"), b'{"statusCode":"x"}', bytes(6 * 1024 * 1024 + 1)]
)
async def test_a_broken_response_on_a_buffered_url_is_a_502(broken: bytes | Exception) -> None:
    """Nothing has been sent yet, so the status can still change."""
    invoker = ScriptedInvoker(broken, content_type="application/json")
    async with serving(FunctionUrlApp(invoker, invoke_mode=InvokeMode.BUFFERED)) as port:
        assert split(await exchange(port, GET))[0].split()[1] == b"502"


async def test_the_event_arrives_as_documented() -> None:
    """Real HTTP requests yield the exact path and query, headers, cookies and body (cases 25 and 26)."""
    invoker = ScriptedInvoker(WIRE)
    async with serving(FunctionUrlApp(invoker)) as port:
        await exchange(
            port,
            b"POST /a%2Fb//%Ft/?tag=a&tag=b%2Fc&empty= HTTP/1.1\r\nHOST: localhost:80\r\n"
            b"X-Tag: one\r\nx-tag: two\r\nCookie: a=1; b=2\r\nConnection: close\r\nContent-Length: 3\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\na=1",
        )
    event = json.loads(invoker.requests[0].payload)
    assert event["rawPath"] == "/a%2Fb//%Ft/"
    assert event["rawQueryString"] == "tag=a&tag=b%2Fc&empty="
    assert event["queryStringParameters"] == {"tag": "a,b/c", "empty": ""}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-tag"] == "one,two"
    assert "connection" not in event["headers"]
    assert (event["body"], event["isBase64Encoded"]) == ("YT0x", True)
    assert event["requestContext"]["domainName"] == "localhost"
    assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
    assert event["requestContext"]["requestId"] == invoker.requests[0].request_id


async def test_an_async_generator_streams_through_a_wrapper() -> None:
    """An async generator is the other form of streaming handler; tracing libraries wrap it like this."""

    @streamify_response
    async def handler(event: dict[str, Any], _context: object) -> AsyncGenerator[str, None]:
        yield event["rawPath"]
        yield "!"

    @functools.wraps(handler)
    def traced(event: object, context: object) -> object:
        return handler(event, context)

    async with serving(to_asgi(traced)) as port, httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/path")
        assert response.content == b"/path!"


async def test_an_asynchronous_handler_without_the_decorator_is_refused_at_once() -> None:
    """No runtime can run it, and the message names the remedy."""

    async def handler(_event: object, _context: object) -> None:
        """Never called."""

    with pytest.raises(TypeError, match="streamify_response"):
        to_asgi(handler)


def test_reading_events_imports_nothing_else() -> None:
    """A function that only needs the typed event does not pay for the app on a cold start."""
    program = (
        "import sys; from lambda_streaming import FunctionUrlEvent; "
        "print([m for m in sys.modules if m.startswith('lambda_streaming.function_url')])"
    )
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert modules.stdout == "['lambda_streaming.function_url', 'lambda_streaming.function_url.event']\n"


def test_all_and_the_lazy_imports_agree() -> None:
    """`__all__` and the table of modules list the same names, and every name can be imported."""
    import lambda_streaming.function_url as package

    assert set(package.__all__) == set(package._MODULES)
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
