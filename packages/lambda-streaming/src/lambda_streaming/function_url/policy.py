"""Our choices where the behaviour of real Function URLs is neither documented nor measured.

They are in one place so that each is easy to find, and to correct once the service has been measured. Where a
value is documented or measured, its comment says so.
"""

from __future__ import annotations

from typing import Final

# --- requests ---

METHODS: Final = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "DELETE"})
"""The methods listed in the guide; others are refused with `METHOD_REFUSED`."""

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

MAX_DISCARDED_BYTES: Final = 64 * 1024 * 1024
"""How much of a request that is too large is read and discarded, so that its client sees the 413. The client
of a longer one may see a reset connection."""

# --- responses ---

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
