"""The lines and the cursors of an export."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import InvalidCursor
from coachstream.conversation.user_data import RecordPage, UserRecord
from coachstream.web.user_data import (
    ExportPosition,
    ExportSource,
    _digest,
    decode_cursor,
    encode_cursor,
    encode_page,
)

SAMS = ExportSource("sam", "the table coaches")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
POSITIONS = st.builds(ExportPosition, TEXT, st.integers(0, 2**60))


@given(user_id=TEXT, position=POSITIONS)
def test_a_cursor_says_where_it_came_from(user_id: str, position: ExportPosition) -> None:
    """Whatever the store's position is; it needs no escaping in a URL."""
    source = ExportSource(user_id, "the table coaches")
    cursor = encode_cursor(source, position)
    assert cursor.isascii()
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(source, cursor) == position


@given(position=POSITIONS, at=st.integers(0), letter=st.sampled_from("Az9-_=.%"), data=st.data())
def test_a_cursor_that_was_changed_is_refused(
    position: ExportPosition, at: int, letter: str, data: st.DataObject
) -> None:
    """Cut off, lengthened, with another letter, or used by another user or for another table."""
    cursor = encode_cursor(SAMS, position)
    at %= len(cursor)
    changes = [cursor[:at], cursor + letter, cursor[:at] + letter + cursor[at + 1 :], cursor * 2, cursor[1:]]
    changed = data.draw(st.sampled_from(changes))
    try:
        assert decode_cursor(SAMS, changed) == position  # the last letter may have bits that say nothing
        assert changed[:-1] == cursor[:-1]
    except InvalidCursor:
        assert changed != cursor
    others = [ExportSource(user_id, SAMS.place) for user_id in ("sa", "samm", "Sam", "")]
    for other in (*others, ExportSource("sam", "the table coaches2"), ExportSource(SAMS.place, "sam")):
        with pytest.raises(InvalidCursor):
            decode_cursor(other, cursor)


@given(text=st.text(max_size=20))
def test_any_other_text_is_refused(text: str) -> None:
    """Also what is no base64, or has characters that are not ASCII."""
    with pytest.raises(InvalidCursor):
        decode_cursor(SAMS, text)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{}",
        b'["sqlite:coach:"]',
        b'["sqlite:coach:",-1]',
        b'["sqlite:coach:",1e3]',
        b"[null,0]",
    ],
)
def test_a_cursor_with_a_digest_that_its_user_computed_is_refused(content: bytes) -> None:
    """The digest is no secret; what it covers must be a position all the same."""
    digest = _digest(SAMS, content)
    with pytest.raises(InvalidCursor):
        decode_cursor(SAMS, base64.urlsafe_b64encode(digest + content).rstrip(b"=").decode())


@given(texts=st.lists(TEXT, max_size=4), is_last=st.booleans())
def test_each_line_is_one_document(texts: list[str], is_last: bool) -> None:
    """Whatever the texts contain; the count goes on from the pages before."""
    records = [UserRecord("kind", f"kind#{number}", {"text": text}) for number, text in enumerate(texts)]
    page = RecordPage(records, None if is_last else "next")
    lines, position = encode_page(SAMS, page, ExportPosition("before", 10))
    documents = [json.loads(line) for line in lines.decode().removesuffix("\n").split("\n")]
    assert [document["data"]["text"] for document in documents[:-1]] == texts
    count = 10 + len(texts)
    if is_last:
        assert (documents[-1], position) == ({"type": "complete", "records": count}, None)
    else:
        assert position == ExportPosition("next", count)
        assert documents[-1] == {"type": "page", "next": encode_cursor(SAMS, position)}


def test_half_of_a_surrogate_pair_does_not_stop_an_export() -> None:
    """UTF-8 cannot encode it, so it is an escape; the rest of the record is as in any other."""
    data = {"text": "a\ud83d", "\udcaa": [b"\x00", {"b", "a"}, None, 10**38, 0.1]}
    lines, _ = encode_page(
        SAMS, RecordPage([UserRecord("kind", "kind#\ud83d", data)], None), ExportPosition()
    )
    record, _ = lines.decode("ascii").splitlines()
    assert json.loads(record) == {
        "type": "record",
        "kind": "kind",
        "id": "kind#\ud83d",
        "data": {"text": "a\ud83d", "\udcaa": ["AA==", ["a", "b"], None, 10**38, 0.1]},
    }
    assert record.startswith('{"type":"record","kind":"')
