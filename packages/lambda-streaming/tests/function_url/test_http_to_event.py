"""HTTP requests as payload 2.0 events."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming.function_url.event import FunctionUrlEvent
from lambda_streaming.function_url.http_to_event import (
    HttpRequest,
    invocation_request,
    quoted_path,
    raw_path_of,
    trace_id_of,
)
from lambda_streaming.function_url.invoker import InvocationRequest
from lambda_streaming.function_url.limits import MAX_REQUEST_PAYLOAD_BYTES
from lambda_streaming.function_url.refusals import REQUEST_TOO_LARGE, Refused

HOST = "abc123.lambda-url.eu-west-1.on.aws"
TRACE_ID = "Root=1-67e0a000-0123456789abcdef01234567"


def event_of(
    body: bytes = b"",
    *headers: tuple[str, str],
    method: str = "POST",
    path: str = "/",
    query: str = "",
) -> dict[str, Any]:
    """Return a request's event as the function would decode it."""
    request = HttpRequest(
        method=method,
        raw_path=path,
        raw_query_string=query,
        headers=(("host", HOST), *headers),
        scheme="https",
        client_host="203.0.113.9",
        server_port=443,
    )
    invocation = invocation_request(request, body, url_id="abc123", request_id="9c1f", trace_id=TRACE_ID)
    event: dict[str, Any] = json.loads(invocation.payload)
    return event


def test_the_worked_example_becomes_its_event() -> None:
    """The whole event is compared, key by key."""
    event = event_of(
        b'{"text":"hey"}',
        ("content-type", "application/json"),
        ("x-tag", "one"),
        ("x-tag", "two"),
        ("cookie", "sid=s1; theme=dark"),
        ("user-agent", "curl/8.9"),
        ("content-length", "14"),
        ("connection", "keep-alive"),
        path="/chat/42",
        query="tag=a&tag=b%2Fc&empty=",
    )
    context = event["requestContext"]
    assert isinstance(context.pop("timeEpoch"), int)
    time = context.pop("time")
    assert time.endswith(" +0000")
    assert len(time) == len("23/Nov/2026:02:30:00 +0000")
    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/chat/42",
        "rawQueryString": "tag=a&tag=b%2Fc&empty=",
        "cookies": ["sid=s1", "theme=dark"],
        "headers": {
            "host": HOST,
            "content-type": "application/json",
            "content-length": "14",
            "x-tag": "one,two",
            "user-agent": "curl/8.9",
            "x-forwarded-for": "203.0.113.9",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
            "x-amzn-trace-id": TRACE_ID,
        },
        "queryStringParameters": {"tag": "a,b/c", "empty": ""},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc123",
            "domainName": HOST,
            "domainPrefix": "abc123",
            "http": {
                "method": "POST",
                "path": "/chat/42",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.9",
                "userAgent": "curl/8.9",
            },
            "requestId": "9c1f",
            "routeKey": "$default",
            "stage": "$default",
        },
        "body": '{"text":"hey"}',
        "isBase64Encoded": False,
    }


def test_keys_without_a_value_are_absent() -> None:
    """A bare request has no cookies, no query parameters and no body in its event."""
    event = event_of()
    assert {"cookies", "queryStringParameters", "body"}.isdisjoint(event)
    assert event["isBase64Encoded"] is False
    assert event["rawQueryString"] == ""


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "TEXT/CSV; charset=utf-8",
        "application/json",
        "application/json;charset=utf-8",
        "application/xml",
        "application/javascript",
    ],
)
def test_text_is_delivered_as_text(content_type: str) -> None:
    """Textual content types are not base64-encoded."""
    event = event_of("grüß".encode(), ("content-type", content_type))
    assert (event["body"], event["isBase64Encoded"]) == ("grüß", False)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", "application/x-www-form-urlencoded"),),
        (("content-type", "application/octet-stream"),),
        (("content-type", "multipart/form-data; boundary=x"),),
        (("content-type", "application/ld+json"),),
        (("content-type", "garbage"),),
    ],
)
def test_everything_else_is_base64(headers: tuple[tuple[str, str], ...]) -> None:
    """This includes form posts and bodies without a content type."""
    event = event_of(b"a=1", *headers)
    assert (event["body"], event["isBase64Encoded"]) == ("YT0x", True)


def test_text_that_is_not_utf8_is_base64() -> None:
    """A wrong text content type must not corrupt the body."""
    event = event_of(b"\xff\xfe", ("content-type", "text/plain"))
    assert (base64.b64decode(event["body"]), event["isBase64Encoded"]) == (b"\xff\xfe", True)


def test_the_path_is_kept_as_it_was_sent() -> None:
    """Trailing slashes, double slashes and escapes, valid or not, are preserved."""
    event = event_of(path="/a//b%2Fc/%Ft/")
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/a//b%2Fc/%Ft/"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b", "/a/b"),
        ("http://host:1/a/b", "/a/b"),
        ("http://host", "/"),
        ("*", "/"),
        ("", "/"),
        ("odd", "/odd"),
        ("//double", "//double"),
    ],
)
def test_every_form_of_a_request_target_has_a_path(target: str, path: str) -> None:
    """This includes the absolute and asterisk forms."""
    assert raw_path_of(target) == path


def test_a_decoded_path_is_quoted_again() -> None:
    """Some servers do not pass the raw path on."""
    assert quoted_path("/a b/100%/é") == "/a%20b/100%25/%C3%A9"


def test_a_trace_id_of_the_caller_is_kept() -> None:
    """A missing or malformed one is replaced by a new one."""
    assert (
        trace_id_of(
            HttpRequest(
                method="GET", raw_path="/", raw_query_string="", headers=(("x-amzn-trace-id", TRACE_ID),)
            )
        )
        == TRACE_ID
    )
    made = trace_id_of(
        HttpRequest(method="GET", raw_path="/", raw_query_string="", headers=(("x-amzn-trace-id", "odd"),))
    )
    assert made.startswith("Root=1-")
    assert len(made) == len(TRACE_ID)


def test_the_clients_address_is_appended_to_x_forwarded_for() -> None:
    """Every proxy appends the address of its peer."""
    assert (
        event_of(b"", ("x-forwarded-for", "198.51.100.1"))["headers"]["x-forwarded-for"]
        == "198.51.100.1, 203.0.113.9"
    )


def test_an_event_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    """The limit applies to the event as JSON."""
    overhead = len(invocation_of(b"a").payload) - 1
    at_limit = MAX_REQUEST_PAYLOAD_BYTES - overhead
    assert len(invocation_of(b"a" * at_limit).payload) == MAX_REQUEST_PAYLOAD_BYTES
    with pytest.raises(Refused) as refused:
        invocation_of(b"a" * (at_limit + 1))
    assert refused.value.refusal is REQUEST_TOO_LARGE


def invocation_of(body: bytes) -> InvocationRequest:
    """Return the invocation of a text post."""
    request = HttpRequest(
        method="POST", raw_path="/", raw_query_string="", headers=(("content-type", "text/plain"),)
    )
    return invocation_request(request, body, url_id="local", request_id="id", trace_id=TRACE_ID)


header_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=20)
header_names = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz-"), min_size=1, max_size=12)


@given(
    st.binary(max_size=64),
    st.lists(
        st.tuples(header_names | st.sampled_from(["cookie", "content-type", "host"]), header_text), max_size=6
    ),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=30),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=30),
)
def test_any_request_round_trips_through_its_event(
    body: bytes, headers: list[tuple[str, str]], path: str, query: str
) -> None:
    """Every request becomes JSON, and the typed event returns the same bytes, path and query."""
    event = FunctionUrlEvent.from_payload(event_of(body, *headers, path=f"/{path}", query=query))
    assert (event.body or b"") == body
    assert event.raw_path == f"/{path}"
    assert event.raw_query_string == query
    assert msgspec.json.encode(event.headers)
