"""Messages of AWS's event stream encoding, as a service writes them.

The layout is that of the Smithy specification, "Amazon Event Stream": total length and length of the headers
(four bytes each), the CRC-32 of these eight, headers, payload, and the CRC-32 of all that comes before.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"

_STRING = 7
_CRC_BYTES = 4
_AROUND_BYTES = 16  # two lengths and two checksums


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message with string headers."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack("!II", _AROUND_BYTES + len(encoded) + len(payload), len(encoded))
    checked = lengths + struct.pack("!I", crc32(lengths)) + encoded + payload
    return checked + struct.pack("!I", crc32(checked))


def event(name: str, content: Mapping[str, object]) -> bytes:
    """An event of the stream, as JSON; text outside ASCII as UTF-8, halves of a surrogate pair as escapes."""
    return message(
        {":message-type": "event", ":event-type": name, ":content-type": "application/json"}, _json(content)
    )


def exception(name: str, text: str) -> bytes:
    """A modelled exception in the stream; it is the stream's last message."""
    return message(
        {":message-type": "exception", ":exception-type": name, ":content-type": "application/json"},
        _json({"message": text}),
    )


def error(code: str, text: str) -> bytes:
    """An error that the service's description does not name."""
    return message({":message-type": "error", ":error-code": code, ":error-message": text}, b"")


def corrupt(whole: bytes) -> bytes:
    """The message with one bit of its payload flipped, so that its checksum is wrong."""
    at = len(whole) - _CRC_BYTES - 1
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _STRING, len(text)) + text


def _json(content: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(content).encode()
