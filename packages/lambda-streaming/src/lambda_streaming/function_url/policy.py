"""Every choice of ours where the real Function URL's behaviour is not documented and could not be observed.

One place, so that a choice is easy to find and to change when somebody measures the service. Where a value is
documented or measured after all, its comment says so. "Facts" are the sections of the protocol facts that the
project was built from.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A response that the URL gives without, or instead of, the function's.

    Attributes:
        status: the HTTP status.
        body: sent as `application/json`, as the service does even for its bare `Internal Server Error`.
        error_type: the value of `x-amzn-ErrorType`, if any.
    """

    status: int
    body: bytes
    error_type: str | None = None


class Refused(Exception):
    """Raised for a request that does not reach the function."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


# --- requests (facts 4.1, 4.5) ---

METHODS: Final = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "DELETE"})
"""The methods that the guide lists; others are refused with `METHOD_REFUSED`."""

METHOD_REFUSED: Final = Refusal(405, b'{"Message":"Method Not Allowed"}', "MethodNotAllowedException")

REQUEST_TOO_LARGE: Final = Refusal(
    413, b'{"Message":"Request must be smaller than 6291456 bytes"}', "RequestEntityTooLargeException"
)

UNKNOWN_URL: Final = Refusal(403, b'{"Message":null}', "AccessDeniedException")
"""Measured, not chosen: a host name `<id>.lambda-url.<...>` with another id than ours."""

THROTTLED: Final = Refusal(429, b'{"Message":"Rate Exceeded."}', "TooManyRequestsException")
"""The status is documented, the body is not."""

HEADERS_NOT_DELIVERED: Final = frozenset(
    # `connection` is measured; `cookie` moves to `cookies` as in HTTP APIs; the rest belongs to the
    # connection as well (RFC 9110, section 7.6.1).
    {
        "connection",
        "cookie",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

HEADER_ENCODING: Final = "latin-1"
"""How bytes of request headers become text: every byte has a character, so nothing is lost."""

# Valid percent escapes stay as they are in `rawPath`; `+` in a query value is a space in
# `queryStringParameters`; `%FF` and its like become U+FFFD there (`rawQueryString` has them verbatim).

TEXT_BODY_TYPES: Final = frozenset({"application/json", "application/xml", "application/javascript"})
"""Delivered as text beside `text/*` (measured). `+json` types, and what is not UTF-8, are base64: the safe
choice."""

# --- responses (facts 3, 4.3, 4.6) ---

FUNCTION_FAILED: Final = Refusal(502, b"Internal Server Error")
"""Measured in the BUFFERED mode; chosen for a failure before the first byte in RESPONSE_STREAM."""

TIMED_OUT: Final = FUNCTION_FAILED
"""504 is also claimed by some reports."""

MALFORMED_RESPONSE: Final = FUNCTION_FAILED
"""A prelude that is announced and never delimited, is no JSON object, or names an impossible status or
header. Reports differ: 502 from one edge product, 500 from API Gateway, an empty 200 from a Function URL."""

STATUSES: Final = range(200, 600)
"""What `statusCode` may be: a final status (RFC 9110, section 15) that every HTTP server can write."""

REMAPPED_HEADERS: Final = frozenset({"content-length", "date", "server", "www-authenticate"})
"""Come out as `x-amzn-remapped-<name>`. Measured for `content-length`; the others are so in API Gateway."""

HOP_BY_HOP_HEADERS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Dropped from responses (RFC 9110, section 7.6.1)."""

# A prelude without a content type gets the default of a response without a prelude (which is measured).
# A response that fails after its first byte is cut off: the connection closes without the last chunk, so that
# no HTTP/1.1 client can take it for complete (the service may end it cleanly). An HTTP/1.0 client has no last
# chunk to miss and cannot tell. `content-encoding` is passed on untouched; the service may decompress.

# --- CORS (facts 4.4) ---

PREFLIGHT_STATUS: Final = 200
"""204 would do as well. A preflight is OPTIONS with `Origin` and `Access-Control-Request-Method`; a plain
OPTIONS reaches the function. The matching origin is echoed, with `Vary: Origin`; on a mismatch the headers
are left out."""
