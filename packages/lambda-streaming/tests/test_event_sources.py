"""Requests of each service, and whole responses as each wants them, without a network."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming import HttpResponseStream, ResponseMode, UnsupportedEvent, streamify_response
from lambda_streaming.event_sources import request_of
from lambda_streaming.response_mode import VARIABLE, is_buffered

URL_CONTEXT: dict[str, Any] = {
    "apiId": "abc",
    "domainName": "abc.lambda-url.eu-west-1.on.aws",
    "domainPrefix": "abc",
    "http": {"method": "POST", "path": "/chat", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.9"},
    "stage": "$default",
}
FUNCTION_URL: dict[str, Any] = {
    "version": "2.0",
    "rawPath": "/ch%C3%A4t/a%2Fb",
    "rawQueryString": "tag=a&tag=b%2Fc&empty=",
    "cookies": ["sid=s1", "theme=dark"],
    "headers": {
        "host": "abc.lambda-url.eu-west-1.on.aws",
        "x-tag": "one,two",
        "x-city": "Torrejón",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    },
    "requestContext": URL_CONTEXT,
    "body": base64.b64encode(b"\x00\xff").decode(),
    "isBase64Encoded": True,
}
HTTP_API = FUNCTION_URL | {
    "rawPath": "/prod/chat",
    "requestContext": URL_CONTEXT
    | {"domainName": "abc.execute-api.eu-west-1.amazonaws.com", "stage": "prod"},
    "body": "text",
    "isBase64Encoded": False,
}
REST_API: dict[str, Any] = {
    "resource": "/{proxy+}",
    "path": "/chat/ä b",
    "httpMethod": "GET",
    "headers": {"Host": "api.example", "X-Tag": "two", "X-Forwarded-Proto": "https"},
    "multiValueHeaders": {"Host": ["api.example"], "X-Tag": ["one", "two"], "Cookie": ["sid=s1; theme=dark"]},
    "queryStringParameters": {"tag": "b/c"},
    "multiValueQueryStringParameters": {"tag": ["a", "b/c"]},
    "requestContext": {
        "stage": "prod",
        "path": "/prod/chat/ä b",
        "protocol": "HTTP/1.1",
        "domainName": "api.example",
        "identity": {"sourceIp": "203.0.113.9"},
    },
    "body": None,
    "isBase64Encoded": False,
}
LOAD_BALANCER: dict[str, Any] = {
    "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:..."}},
    "httpMethod": "GET",
    "path": "/chat",
    "queryStringParameters": {"tag": "b%2Fc", "empty": ""},
    "headers": {
        "host": "lb.example",
        "x-forwarded-for": "10.0.0.1, 203.0.113.9",
        "x-forwarded-port": "80",
        "x-forwarded-proto": "http",
    },
    "body": "",
    "isBase64Encoded": False,
}
LOAD_BALANCER_WITH_LISTS = LOAD_BALANCER | {
    "headers": None,
    "multiValueHeaders": {"host": ["lb.example"], "x-tag": ["one", "two"]},
    "multiValueQueryStringParameters": {"tag": ["a", "b%2Fc"]},
}
SERVICES: dict[str, dict[str, Any]] = {
    "function url": FUNCTION_URL,
    "http api": HTTP_API,
    "rest api": REST_API,
    "load balancer": LOAD_BALANCER,
    "load balancer with lists": LOAD_BALANCER_WITH_LISTS,
}


def test_a_request_of_a_function_url() -> None:
    """Nothing is decoded but the body."""
    request = request_of(FUNCTION_URL)
    assert (request.method, request.raw_path, request.root_path) == ("POST", "/ch%C3%A4t/a%2Fb", "")
    assert request.query_string == "tag=a&tag=b%2Fc&empty="
    assert ("x-tag", "one,two") in request.headers
    assert ("cookie", "sid=s1; theme=dark") in request.headers
    assert (request.scheme, request.server_host, request.server_port) == (
        "https",
        "abc.lambda-url.eu-west-1.on.aws",
        443,
    )
    assert (request.client_host, request.http_version, request.body) == ("203.0.113.9", "1.1", b"\x00\xff")


def test_a_stage_of_an_http_api_is_the_root_path() -> None:
    """It is in the path only under the API's own domain."""
    request = request_of(HTTP_API)
    assert (request.raw_path, request.root_path, request.body) == ("/prod/chat", "/prod", b"text")
    elsewhere = request_of(HTTP_API | {"rawPath": "/production/chat"})
    assert (elsewhere.raw_path, elsewhere.root_path) == ("/production/chat", "")


def test_a_request_of_a_rest_api() -> None:
    """Repeated headers and parameters are kept; the path has the stage, as the client sent it."""
    request = request_of(REST_API)
    assert (request.raw_path, request.root_path) == ("/prod/chat/%C3%A4%20b", "/prod")
    assert parse_qsl(request.query_string) == [("tag", "a"), ("tag", "b/c")]
    assert [value for name, value in request.headers if name == "x-tag"] == ["one", "two"]
    assert (request.server_host, request.client_host) == ("api.example", "203.0.113.9")


def test_a_rest_api_behind_a_custom_domain_has_no_stage_in_its_path() -> None:
    """`path` and `requestContext.path` are the same there."""
    context = {"path": "/v1/chat", "stage": "prod"}
    request = request_of(REST_API | {"path": "/v1/chat", "requestContext": context})
    assert (request.raw_path, request.root_path) == ("/v1/chat", "")


def test_a_request_of_a_load_balancer() -> None:
    """Its query values arrive encoded; the last address is the one that it saw."""
    request = request_of(LOAD_BALANCER)
    assert request.query_string == "tag=b%2Fc&empty="
    assert (request.scheme, request.server_host, request.server_port) == ("http", "lb.example", 80)
    assert request.client_host == "203.0.113.9"
    with_lists = request_of(LOAD_BALANCER_WITH_LISTS)
    assert with_lists.query_string == "tag=a&tag=b%2Fc"
    assert [value for name, value in with_lists.headers if name == "x-tag"] == ["one", "two"]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ([], "is list, not an HTTP request"),
        ({"Records": []}, "not an HTTP request"),
        ({"requestContext": {"connectionId": "c1", "eventType": "MESSAGE"}}, "WebSockets are not supported"),
        ({"requestContext": {"http": {}}}, "not a valid HTTP request"),
        ({"httpMethod": "GET", "path": 1}, "not a valid HTTP request"),
        (FUNCTION_URL | {"body": "%%"}, "cannot be decoded"),
    ],
    ids=["list", "queue", "websocket", "no method", "odd path", "odd body"],
)
def test_an_event_that_is_no_request_is_refused_with_the_reason(event: object, reason: str) -> None:
    """One sentence, which does not quote the event."""
    with pytest.raises(UnsupportedEvent, match=reason):
        request_of(event)


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(path=_TEXTS, query=st.lists(st.tuples(_TEXTS, _TEXTS), max_size=3), body=st.binary(max_size=20))
def test_path_query_and_body_arrive_whatever_they_are(
    path: str, query: list[tuple[str, str]], body: bytes
) -> None:
    """A REST API sends them decoded, and the request has them encoded again."""
    lists: dict[str, list[str]] = {}
    for name, value in query:
        lists.setdefault(name, []).append(value)
    request = request_of(
        {
            "httpMethod": "POST",
            "path": f"/{path}".replace("%", "%25"),
            "multiValueQueryStringParameters": lists,
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
    )
    assert request.raw_path.isascii()
    assert unquote(request.raw_path) == f"/{path}"
    assert parse_qsl(request.query_string, keep_blank_values=True) == [
        (name, value) for name, values in lists.items() for value in values
    ]
    assert request.body == body


# Whole responses.


@streamify_response
async def repeats_headers(event: Any, stream: Any, context: Any) -> None:  # noqa: ANN401, ARG001
    """Respond with cookies and a header of two values."""
    metadata = {
        "statusCode": 201,
        "headers": {"content-type": "text/plain", "retry-after": 30, "x-none": None},
        "multiValueHeaders": {"link": ["</a>; rel=next", "</b>; rel=prev"], "Set-Cookie": ["c=3"]},
        "cookies": ["a=1", "b=2"],
    }
    await HttpResponseStream.from_(stream, metadata).write("hi")


BODY = {"statusCode": 201, "body": "hi", "isBase64Encoded": False}
ONE_VALUE = {"content-type": "text/plain", "retry-after": "30"}
LINKS = ["</a>; rel=next", "</b>; rel=prev"]
JOINED = ONE_VALUE | {"link": ", ".join(LINKS)}
PAYLOAD_2 = BODY | {"headers": JOINED, "cookies": ["a=1", "b=2", "c=3"]}


@pytest.mark.parametrize(
    ("event", "result"),
    [
        (FUNCTION_URL, PAYLOAD_2),
        (HTTP_API, PAYLOAD_2),
        ({}, PAYLOAD_2),
        (
            REST_API,
            BODY
            | {
                "headers": ONE_VALUE,
                "multiValueHeaders": {"link": LINKS, "set-cookie": ["a=1", "b=2", "c=3"]},
            },
        ),
        (
            LOAD_BALANCER,
            BODY
            | {
                "statusDescription": "201 Created",
                "headers": JOINED | {"set-cookie": "a=1", "set-cookiE": "b=2", "set-cookIe": "c=3"},
            },
        ),
        (
            LOAD_BALANCER_WITH_LISTS,
            BODY
            | {
                "statusDescription": "201 Created",
                "multiValueHeaders": {name: [value] for name, value in ONE_VALUE.items()}
                | {"link": LINKS, "set-cookie": ["a=1", "b=2", "c=3"]},
            },
        ),
    ],
    ids=["function url", "http api", "none", "rest api", "load balancer", "load balancer with lists"],
)
def test_a_whole_response_is_in_the_format_of_its_event(event: object, result: dict[str, object]) -> None:
    """A REST API refuses a result with a key that it does not know, such as `cookies` (sst#2760)."""
    assert repeats_headers(event, None) == result


@pytest.mark.parametrize(
    ("service", "buffered"),
    [
        ("function url", False),
        ("http api", True),
        ("rest api", False),
        ("load balancer", True),
        ("load balancer with lists", True),
    ],
)
def test_a_response_is_streamed_where_the_service_can(
    service: str, buffered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the code or, where that leaves it open, the environment says otherwise."""
    event = SERVICES[service]
    assert is_buffered(event, ResponseMode.AUTO) is buffered
    assert is_buffered(event, ResponseMode.BUFFERED)
    assert not is_buffered(event, ResponseMode.STREAM)
    monkeypatch.setenv(VARIABLE, "buffered")
    assert is_buffered(event, ResponseMode.AUTO)
    assert not is_buffered(event, ResponseMode.STREAM)
    monkeypatch.setenv(VARIABLE, "streamed")
    with pytest.raises(ValueError, match="it is one of auto, stream, buffered"):
        is_buffered(event, ResponseMode.AUTO)


def test_an_http_api_with_a_domain_of_its_own_is_recognised() -> None:
    """A Function URL's id is the first label of its domain."""
    context = URL_CONTEXT | {"domainName": "api.example", "domainPrefix": "api"}
    assert is_buffered(FUNCTION_URL | {"requestContext": context}, ResponseMode.AUTO)
    assert is_buffered(REST_API | {"version": "1.0"}, ResponseMode.AUTO)
    event: object
    for event in ("text", {"Records": []}, {"requestContext": {}}):
        assert not is_buffered(event, ResponseMode.AUTO)
