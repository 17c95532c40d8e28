"""The messages of a streamed response to `InvokeWithResponseStream`.

The layout is that of the Smithy specification, "Amazon Event Stream": total length and length of the headers
(four bytes each), the CRC-32 of these eight, headers, payload, and the CRC-32 of all that comes before.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final
from zlib import crc32

import msgspec

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"

_STRING: Final = 7
"""The type of a header's value."""

_BYTES_AROUND: Final = 16
"""Two lengths and two checksums."""


def payload_chunk(chunk: bytes) -> bytes:
    """Return the message that holds a part of the response."""
    return _event("PayloadChunk", "application/octet-stream", chunk)


def invoke_complete(
    *, error_code: str | None = None, error_details: str | None = None, log_result: str | None = None
) -> bytes:
    """Return the last message.

    Args:
        error_code: the error's type, if the invocation failed.
        error_details: the error, as `Invoke` would have it for a payload.
        log_result: the end of the log, in base64.
    """
    members = {"ErrorCode": error_code, "ErrorDetails": error_details, "LogResult": log_result}
    completed = {name: value for name, value in members.items() if value is not None}
    return _event("InvokeComplete", "application/json", msgspec.json.encode(completed))


def _event(event_type: str, content_type: str, payload: bytes) -> bytes:
    headers = _encoded({":event-type": event_type, ":content-type": content_type, ":message-type": "event"})
    lengths = struct.pack("!II", _BYTES_AROUND + len(headers) + len(payload), len(headers))
    checked = b"".join((lengths, struct.pack("!I", crc32(lengths)), headers, payload))
    return checked + struct.pack("!I", crc32(checked))


def _encoded(headers: Mapping[str, str]) -> bytes:
    return b"".join(
        struct.pack("!B", len(name))
        + name.encode()
        + struct.pack("!BH", _STRING, len(value))
        + value.encode()
        for name, value in headers.items()
    )
