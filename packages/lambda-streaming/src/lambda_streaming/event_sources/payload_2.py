"""Payload format 2.0: Function URLs and API Gateway's HTTP APIs.

Source: Lambda developer guide, "Invoking Lambda function URLs"; API Gateway developer guide, "Working with
AWS Lambda proxy integrations for HTTP APIs". Repeated headers arrive joined with commas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_streaming.event_sources.received_request import (
    ReceivedRequest,
    decoded_body,
    encoded_path,
    header_lines,
    port_of,
    scheme_of,
    version_of,
)

_NO_STAGE = "$default"


class _Http(msgspec.Struct, frozen=True, rename="camel"):
    method: str
    protocol: str | None = None
    source_ip: str | None = None


class _RequestContext(msgspec.Struct, frozen=True, rename="camel"):
    http: _Http
    stage: str | None = None
    domain_name: str | None = None


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    request_context: _RequestContext
    raw_path: str = "/"
    raw_query_string: str = ""
    headers: dict[str, str] | None = None
    cookies: list[str] | None = None
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
    headers = header_lines(None, received.headers)
    if received.cookies:
        headers.append(("cookie", "; ".join(received.cookies)))
    path = encoded_path(received.raw_path)
    return ReceivedRequest(
        method=context.http.method.upper(),
        raw_path=path,
        root_path=_stage_in(path, context.stage),
        query_string=received.raw_query_string,
        headers=headers,
        client_host=context.http.source_ip or "",
        server_host=context.domain_name or "",
        server_port=port_of(headers),
        scheme=scheme_of(headers),
        http_version=version_of(context.http.protocol),
        body=decoded_body(received.body, is_base64=bool(received.is_base64_encoded)),
    )


def _stage_in(path: str, stage: str | None) -> str:
    """The stage, if the path begins with it, as it does under an HTTP API's own domain."""
    prefix = f"/{stage}"
    return prefix if stage and stage != _NO_STAGE and f"{path}/".startswith(f"{prefix}/") else ""


def head_of(headers: Mapping[str, list[str]], cookies: list[str]) -> dict[str, Any]:
    """Return headers and cookies of a whole response."""
    return {"headers": {name: ", ".join(values) for name, values in headers.items()}, "cookies": cookies}
