"""Decodes event streams (`application/vnd.amazon.eventstream`; Smithy, "Amazon Event Stream Specification").

A message is a prelude (total length, length of the headers, CRC-32 of both), headers, a payload, and a CRC-32
of all before it; integers are unsigned and big-endian. botocore decodes the same (`botocore.eventstream`), at
several times the cost; tests compare the two.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from zlib import crc32

import msgspec

Headers = Mapping[str, str]

PRELUDE_LENGTH = 12
CHECKSUM_LENGTH = 4

MAX_HEADERS_LENGTH = 128 * 1024
MAX_PAYLOAD_LENGTH = 24 * 1024 * 1024
"""botocore's limits; a corrupt length cannot make the decoder wait for gigabytes."""

MAX_KNOWN_HEADERS = 32
"""The blocks of headers that a decoder remembers. A stream repeats a handful, byte for byte."""

_PRELUDE = struct.Struct("!III")
_CHECKSUM = struct.Struct("!I")
_STRING_LENGTH = struct.Struct("!H")

_STRING = 7
_FIXED_LENGTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Header types of a fixed length: booleans, integers, timestamp, UUID."""
_OF_ANY_LENGTH = (6, _STRING)
"""Bytes and strings, after their length in 16 bits."""


class CorruptEventStream(Exception):
    """The bytes are not an event stream; what follows cannot be decoded either."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message.

    Attributes:
        headers: the headers that are strings, by name; all headers with a meaning are.
        payload: the bytes after the headers.
    """

    headers: Headers
    payload: bytes


class EventStreamDecoder:
    """Decodes one stream, which may be cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        self._known_headers: dict[bytes, Headers] = {}

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that these bytes complete; read them all before the next call.

        Raises:
            CorruptEventStream: a checksum or a length is wrong, or headers cannot be parsed.
        """
        data = self._rest + data
        start, end = 0, len(data)
        while end - start >= PRELUDE_LENGTH:
            total, headers_length, checksum = _PRELUDE.unpack_from(data, start)
            if crc32(data[start : start + PRELUDE_LENGTH - CHECKSUM_LENGTH]) != checksum:
                raise CorruptEventStream("the checksum of a prelude is wrong")
            payload_length = total - headers_length - PRELUDE_LENGTH - CHECKSUM_LENGTH
            if headers_length > MAX_HEADERS_LENGTH or not 0 <= payload_length <= MAX_PAYLOAD_LENGTH:
                raise CorruptEventStream("a length is out of range")
            if end - start < total:
                break
            payload_end = start + total - CHECKSUM_LENGTH
            if crc32(data[start:payload_end]) != _CHECKSUM.unpack_from(data, payload_end)[0]:
                raise CorruptEventStream("the checksum of a message is wrong")
            payload_start = start + PRELUDE_LENGTH + headers_length
            headers = self._headers(data[start + PRELUDE_LENGTH : payload_start])
            yield Message(headers, data[payload_start:payload_end])
            start += total
        self._rest = data[start:]

    def _headers(self, block: bytes) -> Headers:
        headers = self._known_headers.get(block)
        if headers is None:
            headers = parse_headers(block)
            if len(self._known_headers) < MAX_KNOWN_HEADERS:
                self._known_headers[block] = headers
        return headers


def parse_headers(block: bytes) -> Headers:
    """Return the headers that are strings.

    Raises:
        CorruptEventStream: a header is cut off, occurs twice, is of an unknown type, or not UTF-8.
    """
    headers: dict[str, str] = {}
    names = set()
    try:
        at = 0
        while at < len(block):
            name, at = _take(block, at + 1, block[at])
            if name in names:
                raise CorruptEventStream("a header occurs twice")
            names.add(name)
            kind, at = block[at], at + 1
            if kind in _OF_ANY_LENGTH:
                value, at = _take(block, at + _STRING_LENGTH.size, _STRING_LENGTH.unpack_from(block, at)[0])
            else:
                value, at = _take(block, at, _FIXED_LENGTHS[kind])
            if kind == _STRING:
                headers[name.decode()] = value.decode()
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise CorruptEventStream("headers cannot be parsed") from error
    return headers


def _take(block: bytes, start: int, length: int) -> tuple[bytes, int]:
    """Return the bytes and where they end."""
    end = start + length
    if end > len(block):
        raise CorruptEventStream("a header is cut off")
    return block[start:end], end
