"""Splits a reply into deltas: a word and the blanks after it each, without splitting a visible character."""

from __future__ import annotations

import unicodedata

_JOINERS = frozenset("\u200c\u200d")
_EMOJI_MODIFIERS = range(0x1F3FB, 0x1F400)
_EMOJI_TAGS = range(0xE0020, 0xE0080)


def split_into_deltas(text: str) -> list[str]:
    """Split before each word; blanks stay with the word before them, so that the joined deltas are the text.

    Words are never split, so neither are emoji sequences or letters with combining marks; a mark that
    combines with a blank (Unicode Standard Annex 29, rules GB9 and GB3) stays with it, too.
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
    """Whether the character combines with the one before it."""
    code = ord(character)
    return (
        unicodedata.category(character) in {"Mn", "Me", "Mc"}
        or character in _JOINERS
        or code in _EMOJI_MODIFIERS
        or code in _EMOJI_TAGS
    )
