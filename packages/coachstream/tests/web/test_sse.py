from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.web.frames import ChunkFrame
from coachstream.web.sse import KEEP_ALIVE, SseReader, encode_frame

ANY_TEXT = st.text(st.characters(), max_size=40)  # lone surrogates included
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def read(*chunks: bytes) -> list[str]:
    reader = SseReader()
    return [data for chunk in chunks for data in reader.feed(chunk)]


def fed_three_ways(stream: bytes) -> list[list[str]]:
    """Feed the stream whole, byte by byte, and cut in two at every position."""
    ways = [read(stream), read(*(stream[i : i + 1] for i in range(len(stream))))]
    ways += [read(stream[:i], b"", stream[i:]) for i in range(len(stream))]
    return ways


@given(ANY_TEXT)
def test_any_text_survives_the_wire(text: str) -> None:
    """Any text becomes one line of valid UTF-8 and is decoded to the same text."""
    data = encode_frame(ChunkFrame(text, 0))
    assert data.startswith(b'data: {"type":"chunk","content":')
    assert data.endswith(b"}\n\n")
    assert b"\n" not in data[:-2]
    assert b"\r" not in data
    data.decode("utf-8")
    [received] = read(data)
    assert json.loads(received)["content"] == text


def test_a_surrogate_pair_in_two_chunks_is_whole_again_when_joined() -> None:
    """JavaScript joins UTF-16 units, so the halves of an emoji may arrive in different chunks."""
    halves = [encode_frame(ChunkFrame(half, 0)) for half in ("\ud83c", "\udfcb")]
    assert halves[0] == b'data: {"type":"chunk","content":"\\ud83c","offset":0}\n\n'
    joined = "".join(json.loads(data)["content"] for data in read(*halves))
    assert joined.encode("utf-16", "surrogatepass").decode("utf-16") == "🏋"


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))), LINE_ENDS)
def test_the_reader_does_not_care_where_the_bytes_are_cut(texts: list[str], end: str) -> None:
    """Every event is read once and in order, with each kind of line end, wherever the bytes are cut."""
    stream = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    assert all(way == texts for way in fed_three_ways(stream))


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\n\n", [""]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", ["a", "b", "c"]),
        (b": keep-alive\n\ndata: a\n\n", ["a"]),
        (KEEP_ALIVE * 3, []),
        (b"event: x\nid: 7\nretry: 5\ndata: a\n\n", ["a"]),
        (b"database: no\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"data: a\xe2\x80\xa8b\xc2\x85c\n\n", ["a\u2028b\x85c"]),
        (b"data: cut off", []),
        (b"data: cut off\n", []),
        (b"", []),
    ],
)
def test_the_reader_follows_the_standard(stream: bytes, events: list[str]) -> None:
    """HTML standard, section 9.2.6; fed whole, byte by byte and in two parts."""
    assert all(way == events for way in fed_three_ways(stream))


def test_the_reader_knows_the_id_that_it_would_resume_after() -> None:
    """By the HTML standard, an id takes effect at the end of its block, with or without data."""
    reader = SseReader()
    seen = []
    blocks = ("data: a\n\n", "id: r:0\n\n", "data: b\n\n", "id: r:1\ndata: c\n\n", "id: r:2\ndata: d")
    for block in blocks:
        list(reader.feed(block.encode()))
        seen.append(reader.last_event_id)
    assert seen == ["", "r:0", "r:0", "r:1", "r:1"]
    list(reader.feed(b"\n\nid: r:\x003\n\n"))
    assert reader.last_event_id == "r:2"
