"""API Gateway's HTTP APIs with payload format 2.0, one route `$default`, and a domain of their own.

Source: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway".
"""

from __future__ import annotations

from typing import Final

import msgspec

from lambda_streaming.emulator import policy
from lambda_streaming.emulator.front_doors.proxy_result import check_not_streamed
from lambda_streaming.function_url import buffered
from lambda_streaming.function_url.http_to_event import HttpRequest, host_name, payload_2
from lambda_streaming.function_url.invoker import InvocationRequest
from lambda_streaming.function_url.limits import MAX_REQUEST_PAYLOAD_BYTES
from lambda_streaming.function_url.opening import Opening
from lambda_streaming.function_url.refusals import Refusal, Refusals, Refused
from lambda_streaming.function_url.response import MalformedResponse, ResponseHead

_FAILED: Final = Refusal(500, b'{"message":"Internal Server Error"}')

REFUSALS: Final = Refusals(
    request_too_large=Refusal(413, b'{"message":"Request Entity Too Large"}'),
    throttled=Refusal(503, b'{"message":"Service Unavailable"}'),
    function_failed=_FAILED,
    timed_out=_FAILED,
    malformed_response=_FAILED,
)


class HttpApi:
    """An HTTP API, which cannot stream."""

    refusals = REFUSALS

    def admit(self, request: HttpRequest) -> None:
        """Take every request: the route `$default` has all methods and paths."""

    def invocation_request(
        self, request: HttpRequest, body: bytes, *, request_id: str, trace_id: str, buffered: bool
    ) -> InvocationRequest:
        """Return the invocation, in payload format 2.0."""
        payload = payload_2(
            request,
            body,
            account_id=policy.ACCOUNT_ID,
            api_id=policy.API_ID,
            domain_prefix=host_name(request.header("host") or "localhost").partition(".")[0],
            request_id=request_id,
            trace_id=trace_id,
        )
        if len(payload) > MAX_REQUEST_PAYLOAD_BYTES:
            raise Refused(REFUSALS.request_too_large)
        return InvocationRequest(payload=payload, request_id=request_id, trace_id=trace_id, buffered=buffered)

    def opening(self, content_type: str) -> Opening:
        """Refuse every streamed response.

        Raises:
            MalformedResponse: always.
        """
        raise MalformedResponse(f"an HTTP API cannot stream a response of the type {content_type}")

    def whole_response(self, content_type: str, result: bytes) -> tuple[ResponseHead, bytes]:
        """Take a proxy result, or any other JSON value as the body."""
        check_not_streamed(content_type)
        try:
            msgspec.json.decode(result)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise MalformedResponse("the function's result is not JSON") from error
        return buffered.interpret(result)
