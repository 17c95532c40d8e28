"""Application Load Balancers.

Source: Elastic Load Balancing user guide, "Use Lambda functions as targets of an Application Load Balancer".
Query values arrive encoded. If the target group has multi-value headers enabled, requests and responses have
them only; otherwise a response has one value for each name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import product
from typing import Any

import msgspec

from lambda_streaming.event_sources.received_request import (
    ReceivedRequest,
    decoded_body,
    encoded_path,
    first_value,
    header_lines,
    port_of,
    scheme_of,
)


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    http_method: str
    path: str = "/"
    headers: dict[str, str] | None = None
    multi_value_headers: dict[str, list[str]] | None = None
    query_string_parameters: dict[str, str] | None = None
    multi_value_query_string_parameters: dict[str, list[str]] | None = None
    body: str | None = None
    is_base64_encoded: bool | None = None


def request_of(event: Mapping[object, object]) -> ReceivedRequest:
    """Return the request.

    Raises:
        msgspec.ValidationError: the event is not in this format.
        UnsupportedEvent: the body cannot be decoded.
    """
    received = msgspec.convert(event, _Event)
    headers = header_lines(received.multi_value_headers, received.headers)
    query = received.multi_value_query_string_parameters or {
        name: [value] for name, value in (received.query_string_parameters or {}).items()
    }
    forwarded_for = first_value(headers, "x-forwarded-for")
    return ReceivedRequest(
        method=received.http_method.upper(),
        raw_path=encoded_path(received.path),
        root_path="",
        query_string="&".join(f"{name}={value}" for name, values in query.items() for value in values),
        headers=headers,
        # The load balancer appends the address that it sees; what stands before it is the client's own word.
        client_host=forwarded_for.rpartition(",")[2].strip(),
        server_host=first_value(headers, "host"),
        server_port=port_of(headers),
        scheme=scheme_of(headers),
        http_version="1.1",
        body=decoded_body(received.body, is_base64=bool(received.is_base64_encoded)),
    )


def head_of(
    event: Mapping[object, object], status: int, headers: Mapping[str, list[str]], cookies: list[str]
) -> dict[str, Any]:
    """Return status line, headers and cookies of a whole response."""
    head: dict[str, Any] = {"statusDescription": _status_line(status)}
    if "multiValueHeaders" in event:
        return head | {"multiValueHeaders": {**headers, **({"set-cookie": cookies} if cookies else {})}}
    # One value for each name, but names that differ in case are sent as several lines.
    names = _spellings("set-cookie")
    return head | {
        "headers": {name: ", ".join(values) for name, values in headers.items()}
        | {next(names): cookie for cookie in cookies}
    }


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _spellings(name: str) -> Iterator[str]:
    for letters in product(*((letter, letter.upper()) if letter.isalpha() else (letter,) for letter in name)):
        yield "".join(letters)
