"""Our choices where the behaviour of real Function URLs is neither documented nor measured.

They are in one place so that each is easy to find, and to correct once the service has been measured. Where a
value is documented or measured, its comment says so.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A response of the URL itself, sent instead of the function's.

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


# --- requests ---

METHODS: Final = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "DELETE"})
"""The methods listed in the guide; others are refused with `METHOD_REFUSED`."""

METHOD_REFUSED: Final = Refusal(405, b'{"Message":"Method Not Allowed"}', "MethodNotAllowedException")

REQUEST_TOO_LARGE: Final = Refusal(
    413, b'{"Message":"Request must be smaller than 6291456 bytes"}', "RequestEntityTooLargeException"
)

UNKNOWN_URL: Final = Refusal(403, b'{"Message":null}', "AccessDeniedException")
"""Measured, not chosen: for a host name `<id>.lambda-url.<...>` with a different id."""

THROTTLED: Final = Refusal(429, b'{"Message":"Rate Exceeded."}', "TooManyRequestsException")
"""The status is documented, the body is not."""

HEADERS_NOT_DELIVERED: Final = frozenset(
    # `connection` is measured; `cookie` moves to `cookies`, as in HTTP APIs; the others are hop-by-hop, too
    # (RFC 9110, section 7.6.1).
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

HEADER_ENCODING: Final = "utf-8"
"""The encoding of header values, in both directions, as reports show the service to have it. A request's
value that is not UTF-8 is read as Latin-1, so that nothing is lost."""

# Valid percent escapes are kept in `rawPath`; `+` in a query value becomes a space in
# `queryStringParameters`; invalid UTF-8 such as `%FF` becomes U+FFFD there, and is verbatim in
# `rawQueryString`.

TEXT_BODY_TYPES: Final = frozenset({"application/json", "application/xml", "application/javascript"})
"""Delivered as text, in addition to `text/*` (measured). `+json` types, and bodies that are not UTF-8, are
base64: the safe choice."""

# --- responses ---

FUNCTION_FAILED: Final = Refusal(502, b"Internal Server Error")
"""Measured in the BUFFERED mode; chosen for a failure before the first byte in RESPONSE_STREAM."""

TIMED_OUT: Final = FUNCTION_FAILED
"""Some reports claim 504."""

MALFORMED_RESPONSE: Final = FUNCTION_FAILED
"""For an announced prelude that has no delimiter, is not a JSON object, or has an invalid status or header.
Reports differ: 502 from one edge product, 500 from API Gateway, an empty 200 from a Function URL."""

STATUSES: Final = range(200, 600)
"""Valid values of `statusCode`: final statuses (RFC 9110, section 15) that every HTTP server can send."""

REMAPPED_HEADERS: Final = frozenset({"content-length", "date", "server", "www-authenticate"})
"""Renamed to `x-amzn-remapped-<name>`. Measured for `content-length`; the others as in API Gateway."""

HOP_BY_HOP_HEADERS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Dropped from responses (RFC 9110, section 7.6.1)."""

# A prelude without a content type gets the default of a response without a prelude (which is measured).
# A response that fails after its first byte is cut off: the connection closes without the last chunk, so that
# HTTP/1.1 clients detect the truncation (the service may end it cleanly). HTTP/1.0 has no chunks, so its
# clients cannot detect it. `content-encoding` is passed through; the service may decompress.

# --- CORS ---

PREFLIGHT_STATUS: Final = 200
"""204 would also be valid. A preflight is OPTIONS with `Origin` and `Access-Control-Request-Method`; a plain
OPTIONS reaches the function. The matching origin is echoed, with `Vary: Origin`; without a match the headers
are omitted."""
