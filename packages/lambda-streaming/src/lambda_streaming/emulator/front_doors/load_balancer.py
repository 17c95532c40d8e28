"""Application Load Balancers with a function as their target.

Source: Elastic Load Balancing user guide, "Use Lambda functions as targets of an Application Load Balancer".
Query values are delivered as they were sent. Requests and responses have either one value for each header or
lists of them, which is an attribute of the target group.
"""

from __future__ import annotations

from typing import Final

import msgspec

from lambda_streaming.emulator import policy
from lambda_streaming.emulator.front_doors.proxy_result import check_not_streamed, proxy_result
from lambda_streaming.emulator.front_doors.rest_api import values_by_name
from lambda_streaming.function_url.http_to_event import (
    HttpRequest,
    cookie_header,
    delivered_lines,
    encoded_body,
)
from lambda_streaming.function_url.invoker import InvocationRequest
from lambda_streaming.function_url.limits import MIB
from lambda_streaming.function_url.opening import Opening
from lambda_streaming.function_url.refusals import Refusal, Refusals, Refused
from lambda_streaming.function_url.response import MalformedResponse, ResponseHead

MAX_BODY_BYTES: Final = MIB
"""The largest body of a request, and the largest result, as JSON."""


def _page(status: int, title: str) -> Refusal:
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Refusal(status, text.encode(), content_type="text/html")


_FAILED: Final = _page(502, "502 Bad Gateway")

REFUSALS: Final = Refusals(
    request_too_large=_page(413, "413 Request Entity Too Large"),
    throttled=_FAILED,
    function_failed=_FAILED,
    timed_out=_FAILED,
    malformed_response=_FAILED,
)


class _TargetGroup(msgspec.Struct, frozen=True, rename="camel"):
    target_group_arn: str = (
        f"arn:aws:elasticloadbalancing:us-east-1:{policy.ACCOUNT_ID}:targetgroup/local/0123456789abcdef"
    )


class _RequestContext(msgspec.Struct, frozen=True):
    elb: _TargetGroup = _TargetGroup()


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    request_context: _RequestContext
    http_method: str
    path: str
    query_string_parameters: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    multi_value_query_string_parameters: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET
    headers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    multi_value_headers: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET
    body: str
    is_base64_encoded: bool


class LoadBalancer:
    """A load balancer, which cannot stream.

    Args:
        multi_value_headers: whether the target group has `lambda.multi_value_headers.enabled`.
    """

    refusals = REFUSALS

    def __init__(self, *, multi_value_headers: bool) -> None:
        self._has_lists = multi_value_headers

    def admit(self, request: HttpRequest) -> None:
        """Take every request."""

    def invocation_request(
        self, request: HttpRequest, body: bytes, *, request_id: str, trace_id: str, buffered: bool
    ) -> InvocationRequest:
        """Return the invocation."""
        if len(body) > MAX_BODY_BYTES:
            raise Refused(REFUSALS.request_too_large)
        lines = delivered_lines(request, trace_id)
        if cookies := cookie_header(request):
            lines.append(("cookie", cookies))
        headers = values_by_name(lines)
        query = values_by_name([_pair(part) for part in request.raw_query_string.split("&") if part])
        content, is_base64 = encoded_body(body, request.header("content-type") or "")
        event = _Event(
            request_context=_RequestContext(),
            http_method=request.method,
            path=request.raw_path,
            query_string_parameters=msgspec.UNSET if self._has_lists else _last_values(query),
            multi_value_query_string_parameters=query if self._has_lists else msgspec.UNSET,
            headers=msgspec.UNSET if self._has_lists else _last_values(headers),
            multi_value_headers=headers if self._has_lists else msgspec.UNSET,
            body=content if body else "",
            is_base64_encoded=is_base64,
        )
        return InvocationRequest(
            payload=msgspec.json.encode(event), request_id=request_id, trace_id=trace_id, buffered=buffered
        )

    def opening(self, content_type: str) -> Opening:
        """Refuse every streamed response.

        Raises:
            MalformedResponse: always.
        """
        raise MalformedResponse(f"a load balancer cannot stream a response of the type {content_type}")

    def whole_response(self, content_type: str, result: bytes) -> tuple[ResponseHead, bytes]:
        """Take a proxy result with the kind of headers that the target group has."""
        check_not_streamed(content_type)
        if len(result) > MAX_BODY_BYTES:
            raise MalformedResponse(f"it is larger than {MAX_BODY_BYTES} bytes, a load balancer's limit")
        received = proxy_result(result)
        values = (
            {name: several or [] for name, several in (received.multi_value_headers or {}).items()}
            if self._has_lists
            else {name: [value] for name, value in (received.headers or {}).items()}
        )
        head = ResponseHead.from_values(
            received.status_code, values, default_content_type="application/octet-stream"
        )
        return head, received.content()


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name, value


def _last_values(values: dict[str, list[str]]) -> dict[str, str]:
    return {name: of_name[-1] for name, of_name in values.items()}
