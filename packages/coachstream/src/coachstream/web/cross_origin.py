"""The CORS headers, for every way of serving the functions."""

from __future__ import annotations

REQUEST_HEADERS = ("authorization", "content-type", "accept", "last-event-id", "cache-control")
"""The request headers that clients send: token, content type, and cursor."""

RESPONSE_HEADERS = ("location", "retry-after", "ratelimit", "ratelimit-policy")
"""The response headers exposed to pages of other origins."""
