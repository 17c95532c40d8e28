"""Which titles a model may give."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coachstream.conversation.title import FEWEST_WORDS, MOST_CHARS, MOST_WORDS, title_from

WORDS = st.text(st.characters(categories=["Ll", "Lu", "Nd"], max_codepoint=0x24F), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("suggested", "title"),
    [
        ("Knee pain in squats", "Knee pain in squats"),
        ('  "Knee pain in squats."  ', "Knee pain in squats"),
        ("„Knieschmerzen bei tiefen Kniebeugen“", "Knieschmerzen bei tiefen Kniebeugen"),
        ("Knee  pain   in squats", "Knee pain in squats"),
        ("5x5 squats at 100 kg: done!", "5x5 squats at 100 kg: done!"),
        ("Knee pain in squats...", "Knee pain in squats"),
        ("深蹲后的膝盖疼痛", "深蹲后的膝盖疼痛"),
        ("อาการปวดเข่าหลังสควอท", "อาการปวดเข่าหลังสควอท"),
        ("무릎 통증과 스쿼트", "무릎 통증과 스쿼트"),
    ],
)
def test_a_title_that_fits_is_kept_without_what_surrounds_it(suggested: str, title: str) -> None:
    """Quotation marks, a full stop and repeated blanks go."""
    assert title_from(suggested) == title


@pytest.mark.parametrize(
    "suggested",
    [
        "",
        "Squats",
        "Knee pain",
        "— — —",
        "one two three four five six seven eight",
        "Knee pain\nin squats",
        "Knee pain\tin squats",
        "Knee\u2028pain in squats",
        "<b>Knee</b> pain in squats",
        "**Knee pain** in squats",
        "# Knee pain in squats",
        "[Knee pain](javascript:x) in squats",
        "Knee pain in `squats`",
        "Knee \u202epain in squats",
        "Knee\u200bpain in my squats",
        "Knee \udcff pain in squats",
        "abcdefghijklmnopqrst " * 3,
        "深蹲",
    ],
)
def test_a_title_that_does_not_fit_is_refused(suggested: str) -> None:
    """Too few words, too many, too long, and everything that is not one line of plain text."""
    assert title_from(suggested) is None


@given(st.text() | st.lists(WORDS, max_size=12).map(" ".join))
@example("\N{COMBINING GRAVE ACCENT} a b c")
def test_every_title_is_one_short_line_of_plain_text(suggested: str) -> None:
    """Whatever a model writes."""
    title = title_from(suggested)
    if title is None:
        return
    assert 0 < len(title) <= MOST_CHARS
    assert title.isprintable()
    assert title == " ".join(title.split())
    assert not set(title) & set("<>[]{}`*_#|\\~^")


@given(st.lists(WORDS, min_size=1, max_size=12))
def test_plain_words_fit_if_their_number_and_length_do(words: list[str]) -> None:
    """Nothing else decides."""
    text = " ".join(words)
    fits = FEWEST_WORDS <= len(words) <= MOST_WORDS and len(text) <= MOST_CHARS
    assert title_from(text) == (text if fits else None)
