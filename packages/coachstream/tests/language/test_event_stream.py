"""The decoder of event streams decodes what botocore's does, and refuses what it refuses."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, cast
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import example, given
from hypothesis import strategies as st

from coachstream.language.bedrock.event_stream import (
    MAX_HEADERS_LENGTH,
    MAX_KNOWN_HEADERS,
    CorruptEventStream,
    EventStreamDecoder,
    parse_headers,
)
from support import event_stream

Decoded = tuple[dict[str, str], bytes]

_LENGTH = struct.Struct("!H")
VALUES_OF_A_FIXED_LENGTH = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


@st.composite
def header_values(draw: st.DrawFn) -> bytes:
    """The type and the value of a header of any type."""
    kind = draw(st.integers(0, 9))
    if kind in VALUES_OF_A_FIXED_LENGTH:
        length = VALUES_OF_A_FIXED_LENGTH[kind]
        return bytes([kind]) + draw(st.binary(min_size=length, max_size=length))
    value = draw(st.text(max_size=20)).encode() if kind == 7 else draw(st.binary(max_size=20))
    return bytes([kind]) + _LENGTH.pack(len(value)) + value


@st.composite
def blocks_of_headers(draw: st.DrawFn) -> bytes:
    """Headers of all types, sometimes with a name twice."""
    pairs = draw(st.lists(st.tuples(st.text(max_size=8), header_values()), max_size=5))
    names = [name.encode() for name, _ in pairs]
    return b"".join(bytes([len(name)]) + name + value for name, (_, value) in zip(names, pairs, strict=True))


def message(headers: bytes, payload: bytes) -> bytes:
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    checked = lengths + struct.pack("!I", crc32(lengths)) + headers + payload
    return checked + struct.pack("!I", crc32(checked))


def pieces(wire: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    for cut in cuts:
        yield wire[:cut]
        wire = wire[cut:]
    yield wire


def by_us(parts: Iterable[bytes]) -> tuple[list[Decoded], bool]:
    """The messages that come before the first error, and whether there is one."""
    decoder = EventStreamDecoder()
    decoded: list[Decoded] = []
    try:
        for part in parts:
            decoded.extend((dict(each.headers), each.payload) for each in decoder.feed(part))
    except CorruptEventStream:
        return decoded, True
    return decoded, False


def by_the_sdk(parts: Iterable[bytes]) -> tuple[list[Decoded], bool]:
    buffer = EventStreamBuffer()
    decoded: list[Decoded] = []
    try:
        for part in parts:
            buffer.add_data(part)
            for each in cast("Iterator[Any]", buffer):
                strings = {name: value for name, value in each.headers.items() if isinstance(value, str)}
                decoded.append((strings, each.payload))
    except Exception:  # noqa: BLE001 (it raises a `KeyError` for an unknown type, for example)
        return decoded, True
    return decoded, False


messages = st.builds(message, blocks_of_headers(), st.binary(max_size=100))
cuts = st.lists(st.integers(1, 60), max_size=30)


@given(wire=st.lists(messages, max_size=4).map(b"".join), cuts=cuts)
def test_it_decodes_what_the_sdk_decodes_however_the_bytes_are_cut(wire: bytes, cuts: list[int]) -> None:
    """Both give the same messages, and stop at the same header that occurs twice."""
    assert by_us(pieces(wire, cuts)) == by_the_sdk(pieces(wire, cuts))


@given(
    wire=st.lists(messages, min_size=1, max_size=3).map(b"".join),
    at=st.integers(0),
    bit=st.integers(0, 7),
    cuts=cuts,
)
def test_one_wrong_bit_is_noticed_where_the_sdk_notices_it(
    wire: bytes, at: int, bit: int, cuts: list[int]
) -> None:
    """The messages before it count."""
    damaged = bytearray(wire)
    damaged[at % len(wire)] ^= 1 << bit
    ours = by_us(pieces(bytes(damaged), cuts))
    assert ours == by_the_sdk(pieces(bytes(damaged), cuts))
    assert ours[1]


@given(block=st.binary(max_size=60), payload=st.binary(max_size=10))
@example(block=b"\x01a\x07\x00\x01\xff", payload=b"")
def test_headers_that_nobody_can_parse_are_refused(block: bytes, payload: bytes) -> None:
    """Their checksums are right, so only their content is wrong; the SDK may take a value that is cut off."""
    decoded, is_corrupt = by_us([message(block, payload)])
    theirs, refused_by_the_sdk = by_the_sdk([message(block, payload)])
    assert is_corrupt or (decoded, is_corrupt) == (theirs, refused_by_the_sdk)
    assert is_corrupt or not refused_by_the_sdk


@pytest.mark.parametrize(
    ("total", "headers"),
    [(15, 0), (16, 1), (0, 0), (0xFFFF_FFFF, 0), (0xFFFF_FFFF, MAX_HEADERS_LENGTH + 1)],
)
def test_lengths_out_of_range_are_refused_at_once(total: int, headers: int) -> None:
    """Nothing waits for bytes that cannot come."""
    lengths = struct.pack("!II", total, headers)
    with pytest.raises(CorruptEventStream, match="out of range"):
        list(EventStreamDecoder().feed(lengths + struct.pack("!I", crc32(lengths))))


def test_a_stream_of_ever_new_headers_is_not_remembered() -> None:
    """A decoder's memory is bounded."""
    decoder = EventStreamDecoder()
    for number in range(3 * MAX_KNOWN_HEADERS):
        [each] = decoder.feed(event_stream.message({"number": str(number)}, b""))
        assert each.headers == {"number": str(number)}
    assert len(decoder._known_headers) == MAX_KNOWN_HEADERS


def test_no_headers_are_no_error() -> None:
    assert parse_headers(b"") == {}
