"""API Gateway's REST APIs with a proxy integration, under a domain of their own, streamed or buffered.

Sources: API Gateway developer guide, "Lambda proxy integrations in API Gateway" and "Stream the integration
response". The resource is `/{proxy+}`, or `/`. Bodies that are not text are base64, as with all other types
among the API's binary media types.
"""

from __future__ import annotations

import re
import time
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from lambda_streaming.emulator import policy
from lambda_streaming.emulator.front_doors.proxy_result import check_not_streamed, proxy_result
from lambda_streaming.function_url.http_to_event import (
    HttpRequest,
    common_log_time,
    cookie_header,
    delivered_lines,
    encoded_body,
    host_name,
)
from lambda_streaming.function_url.invoker import InvocationRequest
from lambda_streaming.function_url.limits import MAX_REQUEST_PAYLOAD_BYTES
from lambda_streaming.function_url.opening import Opening, announces_prelude
from lambda_streaming.function_url.refusals import Refusal, Refusals, Refused
from lambda_streaming.function_url.response import MalformedResponse, ResponseHead

_FAILED: Final = Refusal(502, b'{"message": "Internal server error"}')

REFUSALS: Final = Refusals(
    request_too_large=Refusal(413, b'{"message":"Request Entity Too Large"}'),
    throttled=Refusal(500, b'{"message": "Internal server error"}'),
    function_failed=_FAILED,
    timed_out=_FAILED,
    malformed_response=_FAILED,
)

_KEPT = re.compile(r"(%2[Ff5])")
"""Escapes that stay in `path`: without them it would be another path."""


class _Identity(msgspec.Struct, frozen=True, rename="camel"):
    source_ip: str
    user_agent: str
    caller: None = None
    user: None = None


class _RequestContext(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    account_id: str = policy.ACCOUNT_ID
    api_id: str = policy.API_ID
    domain_name: str
    domain_prefix: str
    extended_request_id: str
    http_method: str
    identity: _Identity
    path: str
    protocol: str
    request_id: str
    request_time: str
    request_time_epoch: int
    resource_id: str = policy.API_ID
    resource_path: str
    stage: str = policy.STAGE


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    resource: str
    path: str
    http_method: str
    headers: dict[str, str]
    multi_value_headers: dict[str, list[str]]
    query_string_parameters: dict[str, str] | None
    multi_value_query_string_parameters: dict[str, list[str]] | None
    path_parameters: dict[str, str] | None
    stage_variables: None = None
    request_context: _RequestContext
    body: str | None
    is_base64_encoded: bool


class RestApi:
    """A REST API; it streams in the mode RESPONSE_STREAM."""

    refusals = REFUSALS

    def admit(self, request: HttpRequest) -> None:
        """Take every request: the method is ANY."""

    def invocation_request(
        self, request: HttpRequest, body: bytes, *, request_id: str, trace_id: str, buffered: bool
    ) -> InvocationRequest:
        """Return the invocation, in payload format 1.0."""
        headers = _headers(request, trace_id)
        query = values_by_name(parse_qsl(request.raw_query_string, keep_blank_values=True))
        content, is_base64 = encoded_body(body, request.header("content-type") or "")
        path = _decoded_path(request.raw_path)
        resource = "/" if path == "/" else "/{proxy+}"
        domain = host_name(request.header("host") or "localhost")
        now = time.time()
        event = _Event(
            resource=resource,
            path=path,
            http_method=request.method,
            headers={name: values[-1] for name, values in headers.items()},
            multi_value_headers=headers,
            query_string_parameters={name: values[-1] for name, values in query.items()} or None,
            multi_value_query_string_parameters=query or None,
            path_parameters=None if path == "/" else {"proxy": path.removeprefix("/")},
            request_context=_RequestContext(
                domain_name=domain,
                domain_prefix=domain.partition(".")[0],
                extended_request_id=request_id,
                http_method=request.method,
                identity=_Identity(
                    source_ip=request.client_host, user_agent=request.header("user-agent") or ""
                ),
                path=path,
                protocol=f"HTTP/{request.http_version}",
                request_id=request_id,
                request_time=common_log_time(now),
                request_time_epoch=int(now * 1000),
                resource_path=resource,
            ),
            body=content if body else None,
            is_base64_encoded=is_base64,
        )
        payload = msgspec.json.encode(event)
        if len(payload) > MAX_REQUEST_PAYLOAD_BYTES:
            raise Refused(REFUSALS.request_too_large)
        return InvocationRequest(payload=payload, request_id=request_id, trace_id=trace_id, buffered=buffered)

    def opening(self, content_type: str) -> Opening:
        """Take a streamed response with a prelude.

        Raises:
            MalformedResponse: it has none.
        """
        if not announces_prelude(content_type):
            raise MalformedResponse("a streaming REST API needs a prelude: use HttpResponseStream")
        return Opening(content_type, read_prelude=_head)

    def whole_response(self, content_type: str, result: bytes) -> tuple[ResponseHead, bytes]:
        """Take a proxy result without any other key."""
        check_not_streamed(content_type)
        received = proxy_result(result)
        if received.cookies is not None or received.status_description is not None:
            raise MalformedResponse("a REST API's result has neither cookies nor a statusDescription")
        return _head(result), received.content()


def values_by_name(lines: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of each name, in order."""
    values: dict[str, list[str]] = {}
    for name, value in lines:
        values.setdefault(name, []).append(value)
    return values


def _headers(request: HttpRequest, trace_id: str) -> dict[str, list[str]]:
    lines = delivered_lines(request, trace_id)
    if cookies := cookie_header(request):
        lines.append(("cookie", cookies))
    return values_by_name(lines)


def _head(metadata: bytes) -> ResponseHead:
    received = proxy_result(metadata)
    values = received.merged_headers()
    if received.cookies:
        values["set-cookie"] = [*received.cookies]
    return ResponseHead.from_values(received.status_code, values, default_content_type="application/json")


def _decoded_path(raw_path: str) -> str:
    return "".join(
        part if _KEPT.fullmatch(part) else _unquoted(part) for part in _KEPT.split(raw_path) if part
    )


def _unquoted(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
