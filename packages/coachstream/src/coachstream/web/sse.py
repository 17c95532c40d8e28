r"""Server-Sent Events, both directions: frames to bytes, and bytes to frames.

The format is the HTML standard's, section 9.2 ("Server-sent events"). What we send is narrower, because
clients keep less than the standard (`docs/how-to/use-eventsource.md` has the table):

- Every blank line ends a block that has data, one `data: ` line of JSON. Some clients dispatch a block
  without data, a comment too, as an event with empty data. JSON escapes CR and LF: nothing in it ends it.
- The `id` comes behind the data. Some clients take an id as soon as they have read its line; when a block is
  cut off, they must not have an id whose data they lack.

What we read is all of it, cut anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec

from coachstream.web.frames import Frame

CONTENT_TYPE = "text/event-stream; charset=utf-8"

RESPONSE_HEADERS = {
    "Content-Type": CONTENT_TYPE,
    # `no-transform` keeps proxies from compressing, and thereby collecting, the stream.
    "Cache-Control": "no-cache, no-transform",
    # nginx and its like collect responses unless told not to.
    "X-Accel-Buffering": "no",
}

KEEP_ALIVE = b": keep-alive\n"
"""A comment: every SSE reader skips it, and every proxy in between sees traffic. No blank line ends it."""

KEEP_ALIVE_AFTER_S = 15.0
"""How long a stream may be quiet; the HTML standard advises a comment every 15 seconds or so."""

RETRY_MS = 1000
"""How long an `EventSource` waits before it reconnects."""

_encoder = msgspec.json.Encoder()


def encode_frame(frame: Frame, *, event_id: str | None = None, retry_ms: int | None = None) -> bytes:
    """Encode one event: `data: <JSON on one line>`, its other fields and a blank line, in UTF-8.

    A lone surrogate, which UTF-8 cannot hold, goes out as its JSON escape: two halves of a pair in two chunks
    are whole again in a JavaScript client that joins them.
    """
    lines = [b"data: " + _json(frame)]
    if retry_ms is not None:
        lines.append(b"retry: %d" % retry_ms)
    if event_id is not None:
        lines.append(b"id: " + event_id.encode())
    return b"\n".join(lines) + b"\n\n"


def _json(frame: Frame) -> bytes:
    try:
        return _encoder.encode(frame)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(frame), separators=(",", ":")).encode("ascii")


class SseReader:
    """Turns bytes, cut anywhere, into the `data` of each event.

    Lines are found as bytes, before decoding, so a code point may be cut by a chunk and a Unicode line
    separator inside JSON ends nothing. Event names and retry times are skipped; nothing here uses them.

    Attributes:
        last_event_id: the id of the block that ended last, or of the last one before it that had an id.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._skip_line_feed = False
        self._data: list[bytes] = []
        self._is_first_line = True
        self._event_id = ""
        self.last_event_id = ""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Take the next bytes and yield what became complete by them."""
        if not chunk:
            return
        if self._skip_line_feed:
            chunk = chunk.removeprefix(b"\n")
        # A CR at the very end may be half of a CR LF; the line ends there either way.
        self._skip_line_feed = chunk.endswith(b"\r")
        *lines, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield from self._take_line(line)

    def _take_line(self, line: bytes) -> Iterator[str]:
        if self._is_first_line:
            line = line.removeprefix(b"\xef\xbb\xbf")
            self._is_first_line = False
        if not line:
            self.last_event_id = self._event_id
            if self._data:
                yield b"\n".join(self._data).decode("utf-8", "replace")
            self._data = []
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        elif field == b"id" and b"\0" not in value:
            self._event_id = value.removeprefix(b" ").decode("utf-8", "replace")
