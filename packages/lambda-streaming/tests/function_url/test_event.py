"""FunctionUrlEvent: payload format 2.0, typed."""

from __future__ import annotations

import base64
import time
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming.function_url.event import (
    FunctionUrlEvent,
    InvalidEventBody,
    NotAFunctionUrlEvent,
    percent_decoded,
)

EVENT: dict[str, Any] = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/chat/a%2Fb//%C3%A9/%zz%FF",
    "rawQueryString": "tag=a&tag=b%2Fc&empty=",
    "cookies": ["sid=s1", "theme=dark"],
    "headers": {"content-type": "application/json", "X-Tag": "one,two", "user-agent": "curl/8.9"},
    "queryStringParameters": {"tag": "a,b/c", "empty": ""},
    "requestContext": {
        "accountId": "anonymous",
        "http": {
            "method": "POST",
            "path": "/chat",
            "protocol": "HTTP/1.1",
            "sourceIp": "203.0.113.9",
            "userAgent": "curl/8.9",
        },
        "requestId": "9c1f",
    },
    "body": '{"text":"hé"}',
    "isBase64Encoded": False,
}


class SecondsLeft:
    """A Lambda context that provides only the remaining time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


class Message(msgspec.Struct):
    text: str


def test_every_part_of_an_event_is_read() -> None:
    """The view of a full event has every part, decoded."""
    event = FunctionUrlEvent.from_payload(EVENT)
    assert event == FunctionUrlEvent(
        method="POST",
        raw_path="/chat/a%2Fb//%C3%A9/%zz%FF",
        raw_query_string="tag=a&tag=b%2Fc&empty=",
        segments=("chat", "a/b", "é", "%zz%FF"),
        headers={"content-type": "application/json", "x-tag": "one,two", "user-agent": "curl/8.9"},
        query={"tag": "a,b/c", "empty": ""},
        cookies=("sid=s1", "theme=dark"),
        body='{"text":"hé"}'.encode(),
        request_id="9c1f",
        source_ip="203.0.113.9",
        user_agent="curl/8.9",
    )
    assert event.header("x-tag") == event.header("X-TAG") == "one,two"
    assert event.header("absent") is None
    assert event.query_values("tag") == ("a", "b/c")
    assert event.query_values("absent") == ()
    assert event.cookie("theme") == "dark"
    assert event.cookie("absent") is None
    assert event.text() == '{"text":"hé"}'
    assert event.json(Message) == Message("hé")


def test_absent_keys_are_empty() -> None:
    """An event needs nothing but the method."""
    event = FunctionUrlEvent.from_payload({"requestContext": {"http": {"method": "GET"}}})
    assert event == FunctionUrlEvent(method="GET")
    assert (event.text(), event.body) == ("", None)


@pytest.mark.parametrize("absent", [*EVENT, *EVENT["requestContext"], "sourceIp", "userAgent", "path"])
def test_any_one_key_may_be_absent_or_null(absent: str) -> None:
    """An event that lacks a key, or has null for it, is still read."""
    for replacement in ({}, {absent: None}):
        event = {k: v for k, v in EVENT.items() if k != absent}
        context = {k: v for k, v in EVENT["requestContext"].items() if k != absent}
        http = {k: v for k, v in EVENT["requestContext"]["http"].items() if k != absent}
        if absent in EVENT["requestContext"]:
            context |= replacement
        elif absent in EVENT:
            event |= replacement
        else:
            http |= replacement
        if absent in ("requestContext", "http") or (absent == "version" and replacement):
            continue
        if absent != "requestContext":
            event["requestContext"] = context | {"http": http}
        assert FunctionUrlEvent.from_payload(event).method == "POST"


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "text",
        {},
        {"version": "1.0", "httpMethod": "GET", "path": "/"},
        {"version": "1.0", "requestContext": {"http": {"method": "GET"}}},
        {"Records": [{"eventSource": "aws:sqs"}]},
        {"version": "2.0", "requestContext": {"http": {"method": 1}}},
        {"version": "2.0", "requestContext": "text"},
    ],
)
def test_other_events_are_refused(event: object) -> None:
    """Anything but a payload 2.0 event is refused with a dedicated error."""
    with pytest.raises(NotAFunctionUrlEvent):
        FunctionUrlEvent.from_payload(event)


def test_a_base64_body_is_decoded() -> None:
    """Any bytes survive base64."""
    encoded = base64.b64encode(bytes(range(256))).decode()
    event = FunctionUrlEvent.from_payload(EVENT | {"body": encoded, "isBase64Encoded": True})
    assert event.body == bytes(range(256))
    with pytest.raises(InvalidEventBody):
        event.text()
    with pytest.raises(InvalidEventBody):
        event.json(Message)


@pytest.mark.parametrize("body", ["=", "a", "ab=c", "é", "YQ==\n", "\ud800"])
def test_a_body_that_is_not_base64_is_refused(body: str) -> None:
    """Invalid base64 is a typed error, never half a body."""
    with pytest.raises(InvalidEventBody):
        FunctionUrlEvent.from_payload(EVENT | {"body": body, "isBase64Encoded": True})


@pytest.mark.parametrize("body", ["", "{", "[]", '{"text":1}', "\x00"])
def test_json_that_does_not_fit_is_refused(body: str) -> None:
    """Invalid JSON and JSON of another type raise the same typed error."""
    with pytest.raises(InvalidEventBody):
        FunctionUrlEvent.from_payload(EVENT | {"body": body}).json(Message)


def test_the_deadline_is_on_the_monotonic_clock() -> None:
    """The context's remaining time becomes a point in time."""
    before = time.monotonic()
    event = FunctionUrlEvent.from_payload(EVENT, SecondsLeft(12.5))
    assert event.deadline is not None
    assert before + 12.5 <= event.deadline <= time.monotonic() + 12.5


def test_header_names_that_differ_in_case_are_one_header() -> None:
    """Their values are joined as the service joins duplicates."""
    event = FunctionUrlEvent.from_payload(EVENT | {"headers": {"X-A": "1", "x-a": "2"}})
    assert event.headers == {"x-a": "1,2"}


@given(st.lists(st.text(min_size=1)))
def test_segments_survive_quoting(segments: list[str]) -> None:
    """Segments that were percent-encoded into a path are read back unchanged, including slashes."""
    path = "/" + "//".join(quote(segment, safe="", errors="surrogatepass") for segment in segments)
    event = FunctionUrlEvent.from_payload({"rawPath": path, "requestContext": {"http": {"method": "GET"}}})
    if not any("\ud800" <= character <= "\udfff" for segment in segments for character in segment):
        assert event.segments == tuple(segments)


@given(st.text(alphabet="%0123456789abcdefABCDEFé/zx", max_size=40))
def test_decoding_never_loses_an_escape(text: str) -> None:
    """Undecodable text is kept verbatim, so decoding text without a valid escape changes nothing."""
    decoded = percent_decoded(text)
    if "%" not in text:
        assert decoded == text
    assert len(decoded) <= len(text)


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("%41%FF%42", "A%FFB"),
        ("%e2%82", "%e2%82"),
        ("%E2%82%AC%E2%82", "€%E2%82"),
        ("%", "%"),
        ("%4", "%4"),
        ("%2541", "%41"),
        ("+", "+"),
    ],
)
def test_invalid_escapes_stay_verbatim(text: str, decoded: str) -> None:
    """An escape that is not UTF-8 is kept as written; its neighbours are decoded."""
    assert percent_decoded(text) == decoded


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*EVENT], json_values)), json_values, json_values)
def test_malformed_events_give_an_event_or_a_typed_error(
    event: dict[str, Any], context: dict[str, Any], http: object
) -> None:
    """No JSON value makes parsing fail with anything but the module's own errors."""
    if isinstance(context, dict):
        event = event | {"requestContext": context | {"http": http}}
    for candidate in (event, event | {"requestContext": {"http": {"method": "GET"}}}):
        try:
            view = FunctionUrlEvent.from_payload(candidate)
        except (NotAFunctionUrlEvent, InvalidEventBody):
            continue
        assert view.method


@pytest.mark.parametrize(
    ("stage", "path", "segments"),
    [
        ("prod", "/prod/users/sam", ("users", "sam")),
        ("prod", "//prod/prod", ("prod",)),
        ("prod", "/prod", ()),
        ("prod", "/users/prod", ("users", "prod")),
        ("prod", "/production/x", ("production", "x")),
        ("$default", "/$default/x", ("$default", "x")),
        (None, "/prod/x", ("prod", "x")),
    ],
)
def test_segments_are_without_a_named_stage(stage: str | None, path: str, segments: tuple[str, ...]) -> None:
    """An HTTP API begins the path with it (developer guide, "Payload format version"); only there, once."""
    context = {**EVENT["requestContext"], "stage": stage}
    event = FunctionUrlEvent.from_payload({**EVENT, "rawPath": path, "requestContext": context})
    assert (event.segments, event.raw_path) == (segments, path)
