"""The services that send HTTP requests as events: how to read a request, and how each wants a whole response.

One module for each format: `payload_2` (Function URLs, HTTP APIs), `rest_api` (REST APIs, and HTTP APIs in
the older format), `load_balancer`. A streamed response has the same format for all that can stream
(`prelude`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_streaming.event_sources import load_balancer, payload_2, rest_api
from lambda_streaming.event_sources.received_request import ReceivedRequest, UnsupportedEvent

__all__ = ["ReceivedRequest", "UnsupportedEvent", "proxy_result", "request_of"]


def request_of(event: object) -> ReceivedRequest:
    """Return the HTTP request that an event holds.

    Raises:
        UnsupportedEvent: it holds none, or one that this package cannot serve.
    """
    if not isinstance(event, Mapping):
        raise UnsupportedEvent(f"The event is {type(event).__name__}, not an HTTP request: {_SERVED}")
    context = event.get("requestContext")
    if not isinstance(context, Mapping):
        context = {}
    if "connectionId" in context:
        raise UnsupportedEvent(
            "The event is from a WebSocket API, which has no HTTP response: WebSockets are not "
            "supported. Send the response as Server-Sent Events instead."
        )
    try:
        if "elb" in context:
            return load_balancer.request_of(event)
        if "http" in context:
            return payload_2.request_of(event)
        if "httpMethod" in event:
            return rest_api.request_of(event)
    except msgspec.ValidationError as error:
        raise UnsupportedEvent(f"The event is not a valid HTTP request: {error}") from error
    raise UnsupportedEvent(f"The event is not an HTTP request: {_SERVED}")


def proxy_result(
    event: object,
    *,
    status: int,
    headers: Mapping[str, list[str]],
    cookies: list[str],
    body: str,
    is_base64: bool,
) -> dict[str, Any]:
    """Return a whole response as the service that sent the event wants it.

    Args:
        event: the event; for any other than an HTTP request the result is in payload format 2.0.
        status: the HTTP status.
        headers: the values of each name, without cookies.
        cookies: `Set-Cookie` values.
        body: text, or base64.
        is_base64: which of the two.
    """
    result: dict[str, Any] = {"statusCode": status, "body": body, "isBase64Encoded": is_base64}
    if isinstance(event, Mapping):
        context = event.get("requestContext")
        if isinstance(context, Mapping) and "elb" in context:
            return result | load_balancer.head_of(event, status, headers, cookies)
        if "httpMethod" in event:
            return result | rest_api.head_of(headers, cookies)
    return result | payload_2.head_of(headers, cookies)


_SERVED = "those of Function URLs, API Gateway (HTTP and REST APIs) and load balancers are served"
