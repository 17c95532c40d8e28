r"""Server-Sent Events, both directions: frames to bytes, and bytes to frames.

The format is the HTML standard's, section 9.2 ("Server-sent events"). What we send is narrower, because
clients keep less than the standard (`docs/how-to/use-eventsource.md` has the table):

- Every blank line ends a block that has data, one `data: ` line of JSON. Some clients dispatch a block
  without data, even a comment, as an event with empty data. JSON escapes CR and LF, so it has no line breaks.
- The `id` follows the data. Some clients store an id as soon as they have read its line; if a block is
  truncated, they must not have an id whose data they lack.

The reader accepts the whole format, split into chunks anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from coachstream.web.json_text import encode_json

CONTENT_TYPE = "text/event-stream; charset=utf-8"

RESPONSE_HEADERS = {
    "Content-Type": CONTENT_TYPE,
    # `no-transform` keeps proxies from compressing, and thereby buffering, the stream.
    "Cache-Control": "no-cache, no-transform",
    # nginx and similar proxies buffer responses by default.
    "X-Accel-Buffering": "no",
}

KEEP_ALIVE = b": keep-alive\n"
"""A comment: SSE readers skip it, and proxies see traffic. No blank line follows it."""

RETRY_MS = 1000
"""How long an `EventSource` waits before it reconnects."""


def encode_frame(frame: msgspec.Struct, *, event_id: str | None = None, retry_ms: int | None = None) -> bytes:
    """Encode one event: `data: <JSON on one line>`, its other fields and a blank line, in UTF-8.

    A lone surrogate, which UTF-8 cannot encode, is sent as its JSON escape: the halves of a pair in two
    chunks form a character again when a JavaScript client joins them.
    """
    lines = [b"data: " + encode_json(frame)]
    if retry_ms is not None:
        lines.append(b"retry: %d" % retry_ms)
    if event_id is not None:
        lines.append(b"id: " + event_id.encode())
    return b"\n".join(lines) + b"\n\n"


class SseReader:
    """Parses bytes, split anywhere, into the `data` of each event.

    Lines are split as bytes, before decoding, so that a chunk may end inside a code point, and a Unicode line
    separator in JSON is not a line break. Event names and retry times are ignored.

    Attributes:
        last_event_id: the id of the last complete block, or of the last one before it that had an id.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._skip_line_feed = False
        self._data: list[bytes] = []
        self._is_first_line = True
        self._event_id = ""
        self.last_event_id = ""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Add the next bytes and yield the events that they complete."""
        if not chunk:
            return
        if self._skip_line_feed:
            chunk = chunk.removeprefix(b"\n")
        # A trailing CR may be half of a CR LF; the line ends there either way.
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
