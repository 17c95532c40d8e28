"""Cutting an answer into deltas: a word with the blanks behind it, and never inside what is one character."""

from __future__ import annotations

import unicodedata

_JOINERS = frozenset("\u200c\u200d")
_EMOJI_MODIFIERS = range(0x1F3FB, 0x1F400)
_EMOJI_TAGS = range(0xE0020, 0xE0080)


def split_into_deltas(text: str) -> list[str]:
    """Cut before each word; blanks stay with the word before them, so that the deltas joined are the text.

    A word is never cut, so neither is a code point, an emoji of several, or a letter with its marks; also a
    mark that stands on a blank (Unicode Standard Annex 29, rules GB9 and GB3) stays with it.
    """
    deltas = []
    begin = 0
    for at in range(1, len(text)):
        if text[at - 1].isspace() and not text[at].isspace() and not _extends(text[at]):
            deltas.append(text[begin:at])
            begin = at
    if text:
        deltas.append(text[begin:])
    return deltas


def _extends(character: str) -> bool:
    """Whether the character belongs to the one before it."""
    code = ord(character)
    return (
        unicodedata.category(character) in {"Mn", "Me", "Mc"}
        or character in _JOINERS
        or code in _EMOJI_MODIFIERS
        or code in _EMOJI_TAGS
    )
