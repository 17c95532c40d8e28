"""The responses of the URL itself, sent instead of the function's; throttling (429) is one of them.

Like those in `policy`, a body or status is our choice where its comment does not say that it is documented or
measured.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A response of the URL itself, sent instead of the function's.

    Attributes:
        status: the HTTP status.
        body: a Function URL sends even its bare `Internal Server Error` as `application/json`.
        error_type: the value of `x-amzn-ErrorType`, if any.
        content_type: of the body.
    """

    status: int
    body: bytes
    error_type: str | None = None
    content_type: str = "application/json"


class Refused(Exception):
    """Raised for a request that does not reach the function."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


METHOD_REFUSED: Final = Refusal(405, b'{"Message":"Method Not Allowed"}', "MethodNotAllowedException")

REQUEST_TOO_LARGE: Final = Refusal(
    413, b'{"Message":"Request must be smaller than 6291456 bytes"}', "RequestEntityTooLargeException"
)

UNKNOWN_URL: Final = Refusal(403, b'{"Message":null}', "AccessDeniedException")
"""Measured, not chosen: for a host name `<id>.lambda-url.<...>` with a different id."""

THROTTLED: Final = Refusal(429, b'{"Message":"Rate Exceeded."}', "TooManyRequestsException")
"""The status is documented, the body is not."""

FUNCTION_FAILED: Final = Refusal(502, b"Internal Server Error")
"""Measured in the BUFFERED mode; chosen for a failure before the first byte in RESPONSE_STREAM."""

TIMED_OUT: Final = FUNCTION_FAILED
"""Some reports claim 504."""

MALFORMED_RESPONSE: Final = FUNCTION_FAILED
"""For an announced prelude that has no delimiter, is not a JSON object, or has an invalid status or header.
Reports differ: 502 from one edge product, 500 from API Gateway, an empty 200 from a Function URL."""


class Refusals(msgspec.Struct, frozen=True, kw_only=True):
    """The responses of one service in the place of the function's."""

    request_too_large: Refusal
    throttled: Refusal
    function_failed: Refusal
    timed_out: Refusal
    malformed_response: Refusal


OF_FUNCTION_URL: Final = Refusals(
    request_too_large=REQUEST_TOO_LARGE,
    throttled=THROTTLED,
    function_failed=FUNCTION_FAILED,
    timed_out=TIMED_OUT,
    malformed_response=MALFORMED_RESPONSE,
)
