"""API Gateway's REST APIs, and HTTP APIs in payload format 1.0.

Source: API Gateway developer guide, "Input format of a Lambda function for proxy integration" and "Output
format …". The stage is in `requestContext.path` but not in `path`. Query values arrive decoded. A result with
a key that the format does not have, such as `cookies`, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from lambda_streaming.event_sources.received_request import (
    ReceivedRequest,
    decoded_body,
    encoded_path,
    first_value,
    header_lines,
    port_of,
    scheme_of,
    version_of,
)


class _Identity(msgspec.Struct, frozen=True, rename="camel"):
    source_ip: str | None = None


class _RequestContext(msgspec.Struct, frozen=True, rename="camel"):
    path: str | None = None
    protocol: str | None = None
    domain_name: str | None = None
    identity: _Identity | None = None


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    http_method: str
    path: str | None = None
    headers: dict[str, str] | None = None
    multi_value_headers: dict[str, list[str]] | None = None
    query_string_parameters: dict[str, str] | None = None
    multi_value_query_string_parameters: dict[str, list[str]] | None = None
    request_context: _RequestContext = _RequestContext()
    body: str | None = None
    is_base64_encoded: bool | None = None


def request_of(event: Mapping[object, object]) -> ReceivedRequest:
    """Return the request.

    Raises:
        msgspec.ValidationError: the event is not in this format.
        UnsupportedEvent: the body cannot be decoded.
    """
    received = msgspec.convert(event, _Event)
    context = received.request_context
    headers = header_lines(received.multi_value_headers, received.headers)
    within = encoded_path(received.path or "/")
    path = encoded_path(context.path or within)
    root = path.removesuffix(within) if path != within and path.endswith(within) else ""
    if not root:
        path = within
    query = received.multi_value_query_string_parameters or {
        name: [value] for name, value in (received.query_string_parameters or {}).items()
    }
    return ReceivedRequest(
        method=received.http_method.upper(),
        raw_path=path,
        root_path=root,
        query_string=urlencode([(name, value) for name, values in query.items() for value in values]),
        headers=headers,
        client_host=(context.identity.source_ip if context.identity else None) or "",
        server_host=context.domain_name or first_value(headers, "host"),
        server_port=port_of(headers),
        scheme=scheme_of(headers),
        http_version=version_of(context.protocol),
        body=decoded_body(received.body, is_base64=bool(received.is_base64_encoded)),
    )


def head_of(headers: Mapping[str, list[str]], cookies: list[str]) -> dict[str, Any]:
    """Return headers and cookies of a whole response; several values of a name are in `multiValueHeaders`."""
    several = {name: values for name, values in headers.items() if len(values) > 1}
    if cookies:
        several["set-cookie"] = cookies
    head: dict[str, Any] = {
        "headers": {name: values[0] for name, values in headers.items() if len(values) == 1}
    }
    return head | {"multiValueHeaders": several} if several else head
