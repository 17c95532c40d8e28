from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.text import SurrogateJoiner, encodable

ANYTHING = st.text(st.characters(exclude_categories=()))
ENCODABLE = st.text(st.characters(codec="utf-8"))


def _as_utf_16_units(text: str) -> list[str]:
    """Split the text as a service that counts in UTF-16 may: one code unit a piece."""
    units = text.encode("utf-16-le", "surrogatepass")
    return [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]


@given(st.lists(ENCODABLE, max_size=5))
def test_whole_characters_pass_at_once_unaltered(pieces: list[str]) -> None:
    """Text without split characters is neither delayed nor changed."""
    joiner = SurrogateJoiner()
    assert [joiner.feed(piece) for piece in pieces] == pieces
    assert joiner.flush() == ""


@given(ENCODABLE)
def test_characters_cut_between_pieces_are_whole_again(text: str) -> None:
    """Cut at every code unit, the text is restored exactly, and each piece can be encoded."""
    joiner = SurrogateJoiner()
    sent = [joiner.feed(unit) for unit in _as_utf_16_units(text)] + [joiner.flush()]
    assert b"".join(piece.encode() for piece in sent) == text.encode()


@given(st.lists(ANYTHING, max_size=5))
def test_the_pieces_say_what_the_whole_text_says(pieces: list[str]) -> None:
    """Wherever the text is cut and whatever surrogates it holds, the result is that of a single piece."""
    joiner = SurrogateJoiner()
    sent = "".join([*map(joiner.feed, pieces), joiner.flush()])
    assert sent == encodable("".join(pieces))


@given(ANYTHING)
def test_encodable_text_can_be_sent(text: str) -> None:
    """UTF-8 can hold the result, and making it encodable again changes nothing."""
    result = encodable(text)
    assert encodable(result.encode().decode()) == result


@pytest.mark.parametrize(
    ("pieces", "sent"),
    [
        (["a\ud83d", "\ude00b"], ["a", "😀b", ""]),
        (["\ud83d", "x"], ["", "\ufffdx", ""]),
        (["\ude00"], ["\ufffd", ""]),
        (["\ud83d"], ["", "\ufffd"]),
        (["\ud83d", "", "\ude00"], ["", "", "😀", ""]),
        (["\ud83d", "\ud83d\ude00"], ["", "\ufffd😀", ""]),
    ],
)
def test_a_half_character_waits_for_its_other_half(pieces: list[str], sent: list[str]) -> None:
    """A first half is held until the next piece; a half that stays alone becomes U+FFFD."""
    joiner = SurrogateJoiner()
    assert [*map(joiner.feed, pieces), joiner.flush()] == sent
