"""Events from API Gateway REST APIs are read like those of Function URLs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming.function_url.event import FunctionUrlEvent

REST_EVENT: dict[str, Any] = {
    "resource": "/{proxy+}",
    "path": "/chat/a%2Fb/é",
    "httpMethod": "POST",
    "headers": {"Content-Type": "application/json", "X-Tag": "two", "Cookie": "sid=s1; theme=dark"},
    "multiValueHeaders": {
        "Content-Type": ["application/json"],
        "X-Tag": ["one", "two"],
        "Cookie": ["sid=s1; theme=dark"],
    },
    "queryStringParameters": {"tag": "b/c", "empty": ""},
    "multiValueQueryStringParameters": {"tag": ["a", "b/c"], "empty": [""]},
    "pathParameters": {"proxy": "chat/a%2Fb/é"},
    "stageVariables": None,
    "requestContext": {
        "accountId": "123456789012",
        "stage": "prod",
        "path": "/prod/chat/a%2Fb/é",
        "requestId": "9c1f",
        "identity": {"sourceIp": "203.0.113.9", "userAgent": "curl/8.9", "user": None},
    },
    "body": "eyJ0ZXh0IjoiaMOpIn0=",
    "isBase64Encoded": True,
}


def test_every_part_of_a_rest_event_is_read() -> None:
    """The result equals that of the same request through a Function URL."""
    event = FunctionUrlEvent.from_payload(REST_EVENT)
    assert event == FunctionUrlEvent(
        method="POST",
        raw_path="/chat/a%2Fb/%C3%A9",
        raw_query_string="tag=a&tag=b%2Fc&empty=",
        segments=("chat", "a/b", "é"),
        headers={"content-type": "application/json", "x-tag": "one,two"},
        query={"tag": "a,b/c", "empty": ""},
        cookies=("sid=s1", "theme=dark"),
        body='{"text":"hé"}'.encode(),
        request_id="9c1f",
        source_ip="203.0.113.9",
        user_agent="curl/8.9",
    )
    assert event.query_values("tag") == ("a", "b/c")


def test_a_rest_event_with_single_values_only_is_read_too() -> None:
    """Console test events and other tools produce such events; null fields are empty."""
    event = {
        "httpMethod": "GET",
        "path": "/",
        "headers": {"Accept": "text/event-stream"},
        "queryStringParameters": {"after": "run_1:2"},
        "multiValueHeaders": None,
        "requestContext": None,
        "body": None,
    }
    assert FunctionUrlEvent.from_payload(event) == FunctionUrlEvent(
        method="GET",
        raw_path="/",
        raw_query_string="after=run_1%3A2",
        headers={"accept": "text/event-stream"},
        query={"after": "run_1:2"},
    )


@given(
    query=st.lists(
        st.tuples(st.text(min_size=1), st.lists(st.text(), min_size=1)), unique_by=lambda item: item[0]
    ),
    headers=st.dictionaries(st.from_regex(r"x-[a-z]{1,8}", fullmatch=True), st.text("abc, ")),
)
def test_a_request_is_the_same_by_either_way(
    query: list[tuple[str, list[str]]], headers: dict[str, str]
) -> None:
    """This holds for any query and any headers."""
    pairs = [(name, value) for name, values in query for value in values]
    by_url = FunctionUrlEvent.from_payload(
        {
            "version": "2.0",
            "rawPath": "/chat",
            "rawQueryString": urlencode(pairs),
            "queryStringParameters": {name: ",".join(values) for name, values in query},
            "headers": headers,
            "requestContext": {"http": {"method": "GET"}},
        }
    )
    by_rest_api = FunctionUrlEvent.from_payload(
        {
            "httpMethod": "GET",
            "path": "/chat",
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "multiValueQueryStringParameters": dict(query),
        }
    )
    assert by_rest_api == by_url
    for name, values in query:
        assert by_rest_api.query_values(name) == tuple(values)
