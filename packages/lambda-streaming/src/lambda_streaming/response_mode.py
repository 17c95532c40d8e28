"""Whether the service behind an event can take a streamed response.

Function URLs and API Gateway's REST APIs can. HTTP APIs and load balancers invoke a function for one whole
result, and would pass on a streamed one with its prelude. Whether a REST API, or a Function URL, is
configured to stream is not visible in its events: that is what `ResponseMode` is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from lambda_streaming.choices import choice_of

VARIABLE: Final = "LAMBDA_STREAMING_RESPONSE_MODE"
"""The environment variable that decides where the code says `AUTO`."""


class ResponseMode(StrEnum):
    """Whether to stream a response.

    Attributes:
        AUTO: stream, unless the event is from a service that cannot: an HTTP API or a load balancer. The
            environment variable `LAMBDA_STREAMING_RESPONSE_MODE` overrides it.
        STREAM: always.
        BUFFERED: never, for a REST API or a Function URL that is not configured to stream.
    """

    AUTO = "auto"
    STREAM = "stream"
    BUFFERED = "buffered"


def configured_mode() -> ResponseMode:
    """Return the mode of the environment variable, `AUTO` if it is not set.

    Raises:
        ValueError: it has another value than `ResponseMode`.
    """
    return choice_of(VARIABLE, ResponseMode.AUTO)


def is_buffered(event: object, mode: ResponseMode) -> bool:
    """Whether to return the response to this event in one piece.

    Raises:
        ValueError: the mode is `AUTO`, and the environment variable is not valid.
    """
    if mode is ResponseMode.AUTO:
        mode = configured_mode()
    if mode is ResponseMode.AUTO:
        return isinstance(event, Mapping) and _cannot_stream(event)
    return mode is ResponseMode.BUFFERED


def _cannot_stream(event: Mapping[object, object]) -> bool:
    context = event.get("requestContext")
    if not isinstance(context, Mapping):
        return False
    if "elb" in context or event.get("version") == "1.0":  # a load balancer; an HTTP API in its older format
        return True
    if event.get("version") != "2.0":
        return False
    # An HTTP API may have a domain of its own; a Function URL's id is always the first label of its domain.
    domain = context.get("domainName")
    is_api_domain = isinstance(domain, str) and ".execute-api." in domain
    return is_api_domain or context.get("apiId") != context.get("domainPrefix")
