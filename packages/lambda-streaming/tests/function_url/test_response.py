"""The header rules, and how BUFFERED results are interpreted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming.function_url import buffered
from lambda_streaming.function_url.response import MalformedResponse, ResponseHead, raw_headers


def head(prelude: dict[str, Any]) -> ResponseHead:
    """Return the response head that a prelude describes."""
    return ResponseHead.from_prelude(msgspec.json.encode(prelude))


def test_every_key_of_a_prelude_is_optional() -> None:
    """An empty prelude is a 200 with the default type; an unknown key, such as `status`, is ignored."""
    default = ResponseHead(status=200, headers=(("content-type", "application/octet-stream"),))
    assert head({}) == head({"status": 404}) == head({"statusCode": None, "headers": None}) == default


def test_headers_and_cookies_become_lines() -> None:
    """Names become lower case, each cookie its own line, lists are joined, numbers and booleans are text."""
    assert head(
        {
            "statusCode": "201",
            "headers": {
                "Content-Type": "text/plain",
                "X-List": ["a", "b"],
                "x-number": 3,
                "x-yes": True,
                "x-null": None,
            },
            "cookies": ["a=1; Secure", "b=2"],
        }
    ) == ResponseHead(
        status=201,
        headers=(
            ("content-type", "text/plain"),
            ("x-list", "a,b"),
            ("x-number", "3"),
            ("x-yes", "true"),
            ("set-cookie", "a=1; Secure"),
            ("set-cookie", "b=2"),
        ),
    )


def test_set_cookie_in_a_list_is_never_joined() -> None:
    """The date in a cookie contains a comma."""
    lines = head({"headers": {"set-cookie": ["a=1", "b=2"], "content-type": "x/y"}}).headers
    assert lines == (("set-cookie", "a=1"), ("set-cookie", "b=2"), ("content-type", "x/y"))


def test_content_length_is_remapped_and_hop_by_hop_headers_are_dropped() -> None:
    """Message framing is the server's job."""
    lines = head(
        {
            "headers": {
                "content-type": "x/y",
                "Content-Length": "5",
                "Transfer-Encoding": "chunked",
                "Connection": "close",
                "Keep-Alive": "timeout=5",
                "Date": "today",
            }
        }
    ).headers
    assert lines == (
        ("content-type", "x/y"),
        ("x-amzn-remapped-content-length", "5"),
        ("x-amzn-remapped-date", "today"),
    )


@pytest.mark.parametrize(
    "prelude",
    [
        b"",
        b"[]",
        b'"text"',
        b"{",
        b'{"statusCode":100}',
        b'{"statusCode":101}',
        b'{"statusCode":600}',
        b'{"statusCode":-200}',
        b'{"statusCode":200.5}',
        b'{"statusCode":"two hundred"}',
        b'{"statusCode":1e999}',
        b'{"statusCode":true}',
        b'{"headers":[]}',
        b'{"headers":{"a b":"c"}}',
        b'{"headers":{"":"c"}}',
        b'{"headers":{"a":"c\\r\\nd: e"}}',
        b'{"headers":{"a":["c\\u0000"]}}',
        b'{"headers":{"a":{"b":1}}}',
        b'{"cookies":"a=1"}',
        b'{"cookies":["a=1\\nset-cookie: b=2"]}',
    ],
)
def test_an_impossible_prelude_is_refused(prelude: bytes) -> None:
    """Nothing that a server could not send is accepted, and no header can inject another."""
    with pytest.raises(MalformedResponse):
        ResponseHead.from_prelude(prelude)


@pytest.mark.parametrize(
    ("method", "status", "allowed"),
    [("GET", 200, True), ("HEAD", 200, False), ("GET", 204, False), ("GET", 304, False), ("POST", 302, True)],
)
def test_some_responses_have_no_body(method: str, status: int, *, allowed: bool) -> None:
    """These are responses to HEAD, 204 and 304."""
    assert ResponseHead(status=status, headers=()).allows_body(method) is allowed


@pytest.mark.parametrize("status", [204, 205, "204", 204.0])
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}, {"x-a": "b"}])
def test_a_response_without_content_has_no_content_type(status: object, headers: dict[str, str]) -> None:
    """Neither the default type nor the function's is sent, because there is no content."""
    names = [name for name, _ in head({"statusCode": status, "headers": headers}).headers]
    assert "content-type" not in names
    assert ("x-a" in names) == ("x-a" in headers)


def test_a_304_has_only_the_content_type_that_the_function_sets() -> None:
    """A 304 may describe the cached response."""
    assert head({"statusCode": 304}).headers == ()
    named = head({"statusCode": 304, "headers": {"content-type": "text/css"}})
    assert named.headers == (("content-type", "text/css"),)


@given(st.dictionaries(st.from_regex(r"x-[a-z0-9]{1,8}", fullmatch=True), st.text(max_size=20), max_size=4))
def test_any_header_text_is_written_or_refused(headers: dict[str, str]) -> None:
    """A header line never contains a line break."""
    try:
        lines = raw_headers(head({"headers": headers}).headers)
    except MalformedResponse:
        assert any(ord(c) < 0x20 or ord(c) == 0x7F for value in headers.values() for c in value)
        return
    for _, value in lines:
        assert not {0, 10, 13} & set(value)


BUFFERED_CASES: list[tuple[object, int, bytes, dict[str, str]]] = [
    ({"hello": "world"}, 200, b'{"hello":"world"}', {"content-type": "application/json"}),
    (["hello", 3, True], 200, b'["hello",3,true]', {"content-type": "application/json"}),
    ("hello", 200, b"hello", {"content-type": "application/json"}),
    (True, 200, b"true", {"content-type": "application/json"}),
    (3.5, 200, b"3.5", {"content-type": "application/json"}),
    (None, 200, b"null", {"content-type": "application/json"}),
    ({"statusCode": 204}, 204, b"", {}),
    ({"statusCode": "418", "body": "tea"}, 418, b"tea", {"content-type": "application/json"}),
    ({"statusCode": 200, "body": {"a": [1, 2]}}, 200, b'{"a":[1,2]}', {"content-type": "application/json"}),
    (
        {
            "statusCode": 200,
            "headers": {"Content-Type": "image/png"},
            "body": "/w==",
            "isBase64Encoded": True,
        },
        200,
        b"\xff",
        {"content-type": "image/png"},
    ),
    (
        {"statusCode": 200, "cookies": ["a=1"], "body": None},
        200,
        b"",
        {"content-type": "application/json", "set-cookie": "a=1"},
    ),
]


@pytest.mark.parametrize(("result", "status", "body", "headers"), BUFFERED_CASES)
def test_a_buffered_result_is_interpreted(
    result: object, status: int, body: bytes, headers: dict[str, str]
) -> None:
    """An object with a statusCode is a response; everything else is a body."""
    head, sent = buffered.interpret(b" " + msgspec.json.encode(result) + b"\n")
    assert (head.status, sent, dict(head.headers)) == (status, body, headers)


def test_a_result_that_is_no_json_is_passed_on() -> None:
    """The body is exactly what the runtime posted."""
    assert buffered.interpret(b"\x00\xff")[1] == b"\x00\xff"


@pytest.mark.parametrize(
    "result",
    [
        b'{"statusCode":"x"}',
        b'{"statusCode":200,"headers":[]}',
        b'{"statusCode":200,"body":"?","isBase64Encoded":true}',
    ],
)
def test_a_malformed_buffered_response_is_refused(result: bytes) -> None:
    """An object with a statusCode must be a valid response."""
    with pytest.raises(MalformedResponse):
        buffered.interpret(result)
