"""APIs and load balancers in front of a function: the events they send, and the results they take."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming import HttpResponseStream, ResponseStream, streamify_response
from lambda_streaming.emulator.front_doors.http_api import HttpApi
from lambda_streaming.emulator.front_doors.load_balancer import LoadBalancer
from lambda_streaming.emulator.front_doors.rest_api import RestApi
from lambda_streaming.event_sources import request_of
from lambda_streaming.function_url.app import FunctionUrlApp
from lambda_streaming.function_url.exchange import InvokeMode
from lambda_streaming.function_url.front_door import FrontDoor, FunctionUrl
from lambda_streaming.function_url.http_to_event import HttpRequest
from lambda_streaming.function_url.in_process import InProcessInvoker
from lambda_streaming.response_mode import ResponseMode, is_buffered
from support.emulating import Emulating, emulating
from support.http_server import serving
from support.patience import PATIENCE_S

APPS = Path(__file__).parents[1] / "asgi_app" / "apps"

DOORS: dict[str, FrontDoor] = {
    "function-url": FunctionUrl("local"),
    "http-api": HttpApi(),
    "rest-api": RestApi(),
    "alb": LoadBalancer(multi_value_headers=False),
    "alb-lists": LoadBalancer(multi_value_headers=True),
}
KEEPS_LINES = ("rest-api", "alb-lists")
"""The doors that deliver repeated headers one by one."""


def event_of(door: FrontDoor, request: HttpRequest, body: bytes) -> Any:  # noqa: ANN401 (JSON)
    """The event that a door makes of a request."""
    invocation = door.invocation_request(
        request, body, request_id="r", trace_id="Root=1-67e0a000-0123456789abcdef01234567", buffered=True
    )
    return json.loads(invocation.payload)


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)


@pytest.mark.parametrize("name", DOORS)
@given(
    segments=st.lists(_TEXT, max_size=3),
    query=st.lists(st.tuples(_TEXT, _TEXT), max_size=3, unique_by=lambda pair: pair[0]),
    values=st.lists(_TEXT.map(str.strip).filter(bool), min_size=1, max_size=3),
    cookies=st.lists(st.sampled_from(["a=1", "b=2"]), max_size=2, unique=True),
    body=st.binary(max_size=20),
    content_type=st.sampled_from(["text/plain", "application/json", "image/png"]),
)
def test_an_event_holds_the_request_as_it_was_sent(
    name: str,
    segments: list[str],
    query: list[tuple[str, str]],
    values: list[str],
    cookies: list[str],
    body: bytes,
    content_type: str,
) -> None:
    """Our own reader of the service's events finds every part again."""
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    headers = [("host", "127.0.0.1:9000"), ("content-type", content_type), ("x-forwarded-for", "10.0.0.9")]
    headers += [("x-tag", value) for value in values]
    if cookies:
        headers.append(("cookie", "; ".join(cookies)))
    request = HttpRequest(
        method="POST",
        raw_path=path,
        raw_query_string=urlencode(query),
        headers=tuple(headers),
        client_host="203.0.113.9",
        server_port=9000,
    )
    received = request_of(event_of(DOORS[name], request, body))
    assert (received.method, received.body, received.scheme) == ("POST", body, "http")
    assert received.root_path == ""
    assert received.client_host == "203.0.113.9"
    assert received.server_port == 9000
    assert received.query_string == urlencode(query)
    lines = received.headers
    assert ("x-forwarded-for", "10.0.0.9, 203.0.113.9") in lines
    assert [value for key, value in lines if key == "cookie"] == (["; ".join(cookies)] if cookies else [])
    tags = [value for key, value in lines if key == "x-tag"]
    expected = {"alb": values[-1:]}.get(name, values if name in KEEPS_LINES else [",".join(values)])
    assert tags == expected
    if name != "rest-api":  # its path is decoded, so that an escape may come back in another spelling
        assert received.raw_path == path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("/a%2Fb/%C3%A9", "/a%2Fb/é"),
        ("/%2f%25", "/%2f%25"),
        ("/a%20b", "/a b"),
        ("/%FF", "/%FF"),
        ("/%E4%B8", "/%E4%B8"),
    ],
)
def test_a_rest_apis_path_is_decoded_except_what_would_change_it(raw: str, path: str) -> None:
    """An encoded slash or percent sign, and bytes that are not UTF-8, stay as they are."""
    request = HttpRequest(method="GET", raw_path=raw, raw_query_string="", headers=())
    event = event_of(RestApi(), request, b"")
    assert (event["path"], event["requestContext"]["path"]) == (path, path)
    assert event["pathParameters"] == ({"proxy": path[1:]} if path != "/" else None)


@pytest.mark.parametrize("name", DOORS)
def test_a_handler_can_see_whether_the_service_streams(name: str) -> None:
    """The runtime recognizes the services that cannot, whichever way the emulator is addressed."""
    for host in ("127.0.0.1:9000", "localhost", "local", "[::1]:9000", "api.example"):
        request = HttpRequest(method="GET", raw_path="/", raw_query_string="", headers=(("host", host),))
        event = event_of(DOORS[name], request, b"")
        assert is_buffered(event, ResponseMode.AUTO) == (name not in ("function-url", "rest-api")), host


# --- results ---


@asynccontextmanager
async def answering(door: str, result: object) -> AsyncIterator[httpx.AsyncClient]:
    """A door in front of a plain handler with that result."""

    def handler(_event: object, _context: object) -> object:
        if isinstance(result, Exception):
            raise result
        return result

    invoker = InProcessInvoker(handler)
    app = FunctionUrlApp(invoker, front_door=DOORS[door], invoke_mode=InvokeMode.BUFFERED)
    async with (
        serving(app) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client,
    ):
        yield client
    await invoker.aclose()


PROXY = {"statusCode": 201, "headers": {"content-type": "text/x", "x-one": 1}, "body": "grüß"}


@pytest.mark.parametrize("door", DOORS)
async def test_a_proxy_result_is_the_response(door: str) -> None:
    """Status, headers and body, and base64."""
    result: dict[str, object] = dict(PROXY)
    if door == "alb-lists":
        result["multiValueHeaders"] = {"content-type": ["text/x"], "x-one": [1]}
        del result["headers"]
    async with answering(door, result) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (201, "grüß")
    assert (response.headers["content-type"], response.headers["x-one"]) == ("text/x", "1")
    encoded = result | {"body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}
    async with answering(door, encoded) as client:
        assert (await client.get("/")).content == b"\x00\xff"


@pytest.mark.parametrize("door", KEEPS_LINES)
async def test_lists_of_headers_are_lines(door: str) -> None:
    """Cookies too: each value is a line of its own."""
    headers = {"set-cookie": ["a=1", "b=2"], "x-tag": ["one", "two"]}
    async with answering(door, {"statusCode": 200, "multiValueHeaders": headers, "body": ""}) as client:
        response = await client.get("/")
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.headers.get_list("x-tag") == ["one", "two"]


async def test_a_rest_api_prefers_the_list_of_a_name_that_has_both() -> None:
    """Names are compared without their case, as API Gateway does."""
    result = {
        "statusCode": 200,
        "headers": {"X-Tag": "zero", "x-one": "1"},
        "multiValueHeaders": {"x-tag": ["a"]},
    }
    async with answering("rest-api", result) as client:
        response = await client.get("/")
    assert (response.headers.get_list("x-tag"), response.headers["x-one"]) == (["a"], "1")


async def test_a_load_balancer_takes_names_in_another_case_as_further_lines() -> None:
    """So several cookies fit into single values."""
    headers = {"set-cookie": "a=1", "Set-Cookie": "b=2"}
    async with answering("alb", {"statusCode": 200, "headers": headers}) as client:
        assert (await client.get("/")).headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_an_http_api_takes_cookies_and_values_that_are_no_response() -> None:
    """A value without `statusCode` is the body of a 200, as JSON."""
    async with answering("http-api", {"statusCode": 200, "cookies": ["a=1", "b=2"]}) as client:
        assert (await client.get("/")).headers.get_list("set-cookie") == ["a=1", "b=2"]
    async with answering("http-api", {"hello": 1}) as client:
        response = await client.get("/")
    assert (response.status_code, response.json()) == (200, {"hello": 1})
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("door", "result", "status", "body"),
    [
        ("rest-api", {"hello": 1}, 502, b'{"message": "Internal server error"}'),
        ("rest-api", {"statusCode": 200, "cookies": []}, 502, b'{"message": "Internal server error"}'),
        ("rest-api", {"statusCode": 200, "body": {"a": 1}}, 502, b'{"message": "Internal server error"}'),
        ("rest-api", ValueError("no"), 502, b'{"message": "Internal server error"}'),
        ("http-api", {"statusCode": "abc"}, 500, b'{"message":"Internal Server Error"}'),
        ("http-api", ValueError("no"), 500, b'{"message":"Internal Server Error"}'),
        ("alb", {"hello": 1}, 502, b"502 Bad Gateway"),
        ("alb", {"statusCode": 200, "body": "x" * 1024 * 1024}, 502, b"502 Bad Gateway"),
        ("alb", ValueError("no"), 502, b"502 Bad Gateway"),
    ],
)
async def test_a_service_refuses_what_is_no_response_in_its_own_words(
    door: str, result: object, status: int, body: bytes
) -> None:
    """The client learns nothing of the function's error."""
    async with answering(door, result) as client:
        response = await client.get("/")
    assert response.status_code == status
    assert body in response.content
    assert b"hello" not in response.content


@pytest.mark.parametrize(
    ("door", "megabytes"), [("rest-api", 5), ("http-api", 5), ("rest-api", 7), ("alb", 1.1), ("alb", 7)]
)
async def test_a_request_past_a_services_limit_is_a_413(door: str, megabytes: float) -> None:
    """Base64 counts, except at a load balancer, which takes 1 MB of body."""
    async with answering(door, PROXY) as client:
        response = await client.post("/", content=bytes(int(megabytes * 1024 * 1024)))
    assert response.status_code == 413
    assert (b"html" in response.content) == (door == "alb")


async def test_a_rest_api_streams_what_has_a_prelude_and_sends_lists_as_lines() -> None:
    """Without a prelude the response is refused, where a Function URL sends it with status 200."""

    @streamify_response
    async def handler(event: Any, stream: ResponseStream, _context: object) -> None:  # noqa: ANN401
        if event["path"] == "/prelude":
            metadata = {"statusCode": 201, "multiValueHeaders": {"x-tag": ["a", "b"]}, "cookies": ["c=1"]}
            stream = HttpResponseStream.from_(stream, metadata)
        await stream.write("one")
        await stream.write("two")

    invoker = InProcessInvoker(handler)
    async with (
        serving(FunctionUrlApp(invoker, front_door=RestApi())) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client,
    ):
        response = await client.get("/prelude")
        refused = await client.get("/other")
    await invoker.aclose()
    assert (response.status_code, response.text) == (201, "onetwo")
    assert response.headers.get_list("x-tag") == ["a", "b"]
    assert response.headers.get_list("set-cookie") == ["c=1"]
    assert (refused.status_code, refused.json()) == (502, {"message": "Internal server error"})


@pytest.mark.parametrize("door", ["http-api", "rest-api", "alb"])
async def test_a_streamed_result_is_refused_with_the_remedy_where_it_must_be_whole(
    door: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the variable; the prelude never becomes part of a body."""

    @streamify_response(response_mode=ResponseMode.STREAM)
    async def handler(_event: object, stream: ResponseStream, _context: object) -> None:
        await HttpResponseStream.from_(stream, {"statusCode": 200}).write("text")

    invoker = InProcessInvoker(handler)
    app = FunctionUrlApp(invoker, front_door=DOORS[door], invoke_mode=InvokeMode.BUFFERED)
    async with serving(app) as port, httpx.AsyncClient(timeout=PATIENCE_S) as client:
        response = await client.get(f"http://127.0.0.1:{port}/")
    await invoker.aclose()
    assert response.status_code == (500 if door == "http-api" else 502)
    assert "LAMBDA_STREAMING_RESPONSE_MODE=buffered" in caplog.text


# --- an app through the runtime ---

VARIANTS = {
    "function-url": ("--front-door", "function-url"),
    "function-url-buffered": ("--invoke-mode", "buffered"),
    "http-api": ("--front-door", "http-api"),
    "rest-api": ("--front-door", "rest-api"),
    "rest-api-buffered": (
        *("--front-door", "rest-api", "--invoke-mode", "buffered"),
        *("--env", "LAMBDA_STREAMING_RESPONSE_MODE=buffered"),
    ),
    "alb": ("--front-door", "alb"),
    "alb-lists": ("--front-door", "alb", "--multi-value-headers"),
}


@pytest.fixture(scope="module", params=VARIANTS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Emulating]]:
    """A FastAPI app, unchanged, behind each front door; with the door's name."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copy(APPS / "front_door_app.py", folder / "main.py")
    command = (sys.executable, "-m", "lambda_streaming", "main.app")
    patient = ("--init-timeout", str(PATIENCE_S), "--timeout", str(PATIENCE_S))
    with emulating(folder, *VARIANTS[request.param], *patient, "--", *command) as emulator:
        yield request.param, emulator


def test_a_fastapi_app_works_behind_every_front_door(served: tuple[str, Emulating]) -> None:
    """The request arrives complete; status, headers, cookies and bytes of the response come back."""
    name, emulator = served
    with httpx.Client(base_url=emulator.url, timeout=PATIENCE_S) as client:
        echoed = client.post(
            "/echo/a b/c?x=1&x=2&y=%C3%A9",
            content=b"\x00\xff",
            headers=[(b"x-name", "Torrejón".encode()), (b"cookie", b"a=1; b=2"), (b"x-tag", b"t")],
        ).json()
        lines = client.get("/lines")
        stream = client.get("/stream")
        failed = client.get("/fails")
    port = emulator.url.rstrip("/").rpartition(":")[2]
    assert echoed == {
        "method": "POST",
        "path": "a b/c",
        "query": [["x", "2"], ["y", "é"]] if name == "alb" else [["x", "1"], ["x", "2"], ["y", "é"]],
        "cookies": {"a": "1", "b": "2"},
        "name": "Torrejón",
        "tags": ["t"],
        "host": f"127.0.0.1:{port}",
        "client": "127.0.0.1",
        "body": base64.b64encode(b"\x00\xff").decode(),
    }
    assert (lines.status_code, lines.content, lines.headers["x-name"]) == (201, b"\x00\xff", "one")
    assert lines.headers.get_list("set-cookie") == [
        "sid=s1; Path=/; SameSite=lax",
        "theme=dark; Path=/; SameSite=lax",
    ]
    assert ",".join(lines.headers.get_list("x-tag")).replace(" ", "") == "a,b"
    assert (stream.text, stream.headers["content-type"]) == ("one,two", "text/plain; charset=utf-8")
    assert failed.status_code == 500


def test_an_absent_part_of_a_request_is_as_the_service_has_it() -> None:
    """A REST API sends nulls, a load balancer empty values, and only the kind of headers that is enabled."""
    request = HttpRequest(method="GET", raw_path="/", raw_query_string="", headers=())
    rest, single, lists = (event_of(DOORS[name], request, b"") for name in ("rest-api", "alb", "alb-lists"))
    assert (rest["body"], rest["queryStringParameters"], rest["stageVariables"]) == (None, None, None)
    assert (single["body"], single["queryStringParameters"]) == ("", {})
    assert "multiValueHeaders" not in single
    assert "headers" not in lists
    assert msgspec.json.encode(lists["requestContext"]).startswith(b'{"elb":{"targetGroupArn":"arn:aws:')
