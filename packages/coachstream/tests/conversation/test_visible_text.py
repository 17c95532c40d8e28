"""Invisible characters are removed; characters that join visible ones are kept."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coachstream.conversation.visible_text import VisibleStream, is_blank, visible
from support import unicode_tables

ANY_TEXT = st.text(st.characters(exclude_categories=()))
JOINED = st.text(st.sampled_from("a1می\u0915\u094d\U0001f469\U0001f3fd\u2640\ufe0f\u200d\u200c\r\n\u202e "))


def test_the_properties_are_those_of_the_character_database() -> None:
    """`make unicode` regenerates them when `regex` ships a newer database."""
    assert unicode_tables.PATH.read_text() == unicode_tables.document()


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param("".join(map(chr, range(0xE0100, 0xE01F0))), id="variation selectors 17 to 256"),
        pytest.param("".join(map(chr, range(0xFE00, 0xFE10))), id="variation selectors 1 to 16"),
        pytest.param("".join(map(chr, range(0xE0000, 0xE0080))), id="tags"),
        pytest.param("\u3164\u115f\u1160\uffa0", id="Hangul fillers"),
        pytest.param("\u034f", id="combining grapheme joiner"),
        pytest.param("\u180b\u180c\u180d\u180e\u180f", id="Mongolian selectors and the vowel separator"),
        pytest.param("\u200b\u2060\ufeff\u00ad", id="zero width"),
        pytest.param("\u200c\u200d", id="joiners that join nothing"),
        pytest.param(
            "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", id="direction"
        ),
        pytest.param("\u2061\u2062\u2063\u2064\u206a\u206f", id="mathematics, and what is deprecated"),
        pytest.param("\U0001d173\U0001d17a\U0001bca0", id="musical and shorthand controls"),
        pytest.param("\ufff9\ufffa\ufffb", id="interlinear annotation"),
        pytest.param("\ue000\U000f0000\U0010fffd", id="private use"),
        pytest.param("\u0378\uffff\U000e0fff\U0005ffff", id="unassigned, and never to be"),
        pytest.param("\x00\x07\x08\x1b\x7f\x9b", id="controls"),
    ],
)
def test_invisible_characters_are_removed(hidden: str) -> None:
    """They are removed inside a word and at both ends; a text of nothing else is blank."""
    spread = "".join(f"{each}a" for each in hidden)
    assert visible(spread) == "a" * len(hidden)
    assert visible(f"{hidden}Squat{hidden}") == "Squat"
    assert visible(hidden) == ""
    assert is_blank(hidden)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Squat 140 kg — “félicitations”\n\t日本語 Привет", id="text of many scripts"),
        pytest.param("\U0001f469\u200d\U0001f680", id="a woman astronaut"),
        pytest.param("\U0001f469\U0001f3fd\u200d\U0001f680", id="with a skin tone"),
        pytest.param("\U0001f468\u200d\u2764\ufe0f\u200d\U0001f48b\u200d\U0001f468", id="a kiss"),
        pytest.param("\U0001f3f3\ufe0f\u200d\U0001f308", id="a flag"),
        pytest.param("1\ufe0f\u20e3 #\ufe0f\u20e3", id="keycaps"),
        pytest.param("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", id="Persian"),
        pytest.param("\u0647\u200d.", id="a Persian letter that is joined to nothing"),
        pytest.param("\u0915\u094d\u200d\u0937 \u0915\u094d\u200c\u0937", id="Devanagari"),
        pytest.param("\u09b0\u200d\u09cd\u09af", id="Bengali"),
        pytest.param("\u0661\u06dd", id="the end of an ayah, a format character that is seen"),
        pytest.param("\U0001facc", id="a place that is kept for an emoji"),
    ],
)
def test_what_a_person_sees_stays_to_the_letter(text: str) -> None:
    """Both whole and streamed one character at a time."""
    assert visible(text) == text
    assert in_pieces(text, 1) == text
    assert not is_blank(text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        pytest.param("a\u200db", "ab", id="a joiner between letters that do not join"),
        pytest.param("\u0645\u200c\u200c\u200c\u06cc", "\u0645\u200c\u06cc", id="more joiners than one"),
        pytest.param("\U0001f469\u200d\u200d\U0001f680", "\U0001f469\U0001f680", id="between emoji"),
        pytest.param("\U0001f469\ufe0f\ufe0f", "\U0001f469\ufe0f", id="an emoji's style twice"),
        pytest.param("\U0001f469\u200d", "\U0001f469", id="an emoji joined to nothing"),
        pytest.param("x\ufe0f", "x", id="a letter with an emoji's style"),
        pytest.param("one\r\ntwo\rthree\x85four", "one\ntwo\nthree\nfour", id="line ends"),
        pytest.param("a\x0bb\x1fc", "a b c", id="controls that part words"),
        pytest.param("\u2803\u2800\u2803", "\u2803 \u2803", id="the space of Braille"),
        pytest.param("half \ud83d", "half \ufffd", id="half a surrogate pair"),
    ],
)
def test_joiners_and_blanks_in_the_wrong_place(text: str, seen: str) -> None:
    """A joiner that joins nothing is removed, and what looks like a space becomes one."""
    assert visible(text) == seen


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t", "\u2800", "\U0001d159", "\u3164 \U000e0041\n", "\u00a0\u3000"]
)
def test_a_text_in_which_there_is_nothing_to_see_is_blank(text: str) -> None:
    """Spaces, blank glyphs, hidden characters, or any mix of them."""
    assert is_blank(text)


def test_no_character_of_a_hidden_kind_is_seen() -> None:
    """Covers every character of these general categories; lone surrogates become a visible replacement."""
    by_category: dict[str, list[str]] = {"Cc": [], "Co": [], "Cs": [], "Cf": []}
    for character in map(chr, range(sys.maxunicode + 1)):
        by_category.get(unicodedata.category(character), []).append(character)
    assert set(visible("".join(by_category["Cc"]))) == set("\t\n ")
    assert visible("".join(by_category["Co"])) == ""
    assert set(visible(" ".join(by_category["Cs"]))) == set(" \ufffd")
    assert len(visible("".join(by_category["Cf"]))) == 13, "the marks of Arabic, Syriac and Kaithi"


def in_pieces(text: str, size: int) -> str:
    """The visible part of a text that arrives in pieces."""
    stream = VisibleStream()
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    return "".join([*map(stream.feed, pieces), stream.flush()])


@given(
    JOINED | ANY_TEXT.filter(lambda text: not any("\ud800" <= each <= "\udfff" for each in text)),
    st.integers(1, 5),
)
@example("\U0001f468\u200d\u2764\ufe0f\u200d\U0001f48b", 1)
@example("a\r\nb", 2)
def test_a_text_in_pieces_is_seen_as_the_whole_is(text: str, size: int) -> None:
    """The position of the cuts makes no difference."""
    assert in_pieces(text, size) == visible(text)


@given(JOINED | ANY_TEXT)
def test_visible_is_idempotent(text: str) -> None:
    """Removing characters never exposes more to remove, and the result can be encoded as UTF-8."""
    seen = visible(text)
    assert visible(seen) == seen
    assert is_blank(text) == (seen.strip() == "")
    seen.encode()
