"""Wrapping text while it arrives."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from coachstream.local.word_wrap import WordWrapper

WORDS = st.lists(st.text("abcdefg", min_size=1, max_size=9), max_size=30)


@given(words=WORDS, width=st.integers(10, 40))
def test_no_line_crosses_the_edge_and_no_word_is_lost_or_cut(words: list[str], width: int) -> None:
    """Pieces as a model sends them: a word followed by a space."""
    wrapper = WordWrapper(width)
    shown = "".join(wrapper.feed(f"{word} ") for word in words)
    assert all(len(line) <= width for line in shown.split("\n"))
    assert shown.split() == words


@given(text=st.text("ab \n", max_size=80), cuts=st.lists(st.integers(0, 80), max_size=5))
def test_without_a_width_nothing_changes_however_it_is_cut(text: str, cuts: list[int]) -> None:
    """Only trailing spaces of a line are dropped, since they are invisible."""
    wrapper = WordWrapper(0)
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    shown = "".join(wrapper.feed(text[a:b]) for a, b in itertools.pairwise(borders))
    assert shown.split("\n") == [line.rstrip(" ") for line in text.split("\n")]


def test_a_wide_character_takes_two_columns() -> None:
    """Emoji and East Asian text are measured as the terminal shows them."""
    assert WordWrapper(6).feed("\u7761\u7720 \u4f11") == "\u7761\u7720\n\u4f11"
