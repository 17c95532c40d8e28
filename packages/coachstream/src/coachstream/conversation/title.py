"""Titles of conversations: the default one, and which others a model may give."""

from __future__ import annotations

import re

from coachstream.conversation.visible_text import visible

DEFAULT_TITLE = "New Conversation"
"""The existing system's title for a conversation without one; no user has chosen it."""

FEWEST_WORDS = 3
MOST_WORDS = 7
MOST_CHARS = 60

_FEWEST_CHARS = 4
"""Of a title in a script without blanks between words."""

_WITHOUT_BLANKS = re.compile(
    # Kana and Chinese characters; Thai and Lao; Burmese; Khmer.
    "[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
)
_QUOTATION_MARKS = "\"'\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
_MARKUP = frozenset("<>[]{}`*_#|\\~^")


def title_from(text: str) -> str | None:
    """The title that a model or a rule suggests, without quotation marks around it and full stops after it.

    Returns:
        None if it does not fit: it has too few or too many words, is too long, or has line breaks, markup or
        invisible characters. Scripts without blanks between words are measured in characters only.
    """
    line = text.strip().strip(_QUOTATION_MARKS).rstrip(f"{_QUOTATION_MARKS}. ").lstrip(" ")
    is_plain = line.isprintable() and visible(line) == line and _MARKUP.isdisjoint(line)
    title = " ".join(line.split())
    if not is_plain or len(title) > MOST_CHARS:
        return None
    return title if _has_fitting_words(title) else None


def _has_fitting_words(title: str) -> bool:
    if _WITHOUT_BLANKS.search(title):
        return len(title) >= _FEWEST_CHARS
    words = sum(any(character.isalnum() for character in word) for word in title.split())
    return FEWEST_WORDS <= words <= MOST_WORDS
