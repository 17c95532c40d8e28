"""What pages of other origins may send and read, wherever the functions are served."""

from __future__ import annotations

REQUEST_HEADERS = ("authorization", "content-type", "accept", "last-event-id", "cache-control")
"""What a client of the stream sends: its token, its message, and where it left a stream."""

RESPONSE_HEADERS = ("location", "retry-after")
"""What a client may read of a response, besides what every page may."""
