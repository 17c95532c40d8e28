"""Removes invisible characters, which a model reads and a terminal obeys.

Characters with no visible rendering (Unicode's Default_Ignorable_Code_Point) are removed, and those of the
general categories control, format, surrogate, private use and unassigned. Exceptions are kept where they join
visible characters:

- a joiner between two emoji, next to a letter of a cursive script, or next to a virama;
- U+FE0F after an emoji or a keycap's digit.

The running Python's database decides which characters are unassigned; those reserved for emoji are kept.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache

from coachstream.conversation.text import encodable
from coachstream.conversation.unicode_properties import (
    DEFAULT_IGNORABLE,
    EMOJI_MODIFIERS,
    JOINING_LETTERS,
    PICTOGRAPHS,
    PREPENDED_MARKS,
    UNICODE_VERSION,
    VIRAMAS,
)
from coachstream.dated_facts import Provenance

DATED_FACTS: Mapping[str, Provenance] = {
    f"Unicode {UNICODE_VERSION} is the newest; each September may bring another": Provenance(
        source="https://www.unicode.org/versions/latest/, as the package regex ships it (make unicode)",
        looked_up=date(2026, 11, 27),
    )
}

_NON_JOINER, _JOINER = "\N{ZERO WIDTH NON-JOINER}", "\N{ZERO WIDTH JOINER}"
_EMOJI_STYLE = "\N{VARIATION SELECTOR-16}"
_CONNECTORS = _NON_JOINER + _JOINER + _EMOJI_STYLE
_WAIT_FOR_THE_NEXT = _CONNECTORS + "\r"
_LONGEST_CONTEXT = 2
"""The characters before a joiner between emoji: the emoji, and U+FE0F or a skin tone."""

_KEYCAPS = frozenset("0123456789#*")
_SPACES = re.compile(r"(\s+)")

# A lone carriage return would let a terminal overwrite earlier output.
_LINE_ENDS = dict.fromkeys("\r\x85", "\n")
_WORD_SEPARATING_CONTROLS = dict.fromkeys("\v\f\x1c\x1d\x1e\x1f", " ")
_EMPTY_GLYPHS = dict.fromkeys(
    "\N{BRAILLE PATTERN BLANK}\N{MUSICAL SYMBOL NULL NOTEHEAD}\N{KHITAN SMALL SCRIPT FILLER}"
    # Egyptian hieroglyph full blank and half blank, unknown to the oldest supported Python's database.
    "\U00013441\U00013442",
    " ",
)
_AS_SHOWN = str.maketrans({**_LINE_ENDS, **_WORD_SEPARATING_CONTROLS, **_EMPTY_GLYPHS})


def visible(text: str) -> str:
    """The text without invisible characters, encodable as UTF-8; line endings become line feeds."""
    return text if _is_plain(text) else "".join(_visible_parts(text))


def is_blank(text: str) -> bool:
    """Whether the text has no visible characters."""
    return not (text.strip() if _is_plain(text) else any(part.strip() for part in _visible_parts(text)))


class VisibleStream:
    """`visible` for text in pieces, which may be split between characters that belong together."""

    def __init__(self) -> None:
        self._context = ""
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return the text to show after this piece; trailing joiners are held until the next one."""
        new = self._held + piece
        complete = new.rstrip(_WAIT_FOR_THE_NEXT)
        self._held = new[len(complete) :]
        return self._shown(complete)

    def flush(self) -> str:
        """Return the rest after the last piece."""
        held, self._held = self._held, ""
        return self._shown(held)

    def _shown(self, complete: str) -> str:
        text = self._context + _as_shown(complete)
        shown = "".join(_seen(text, len(self._context)))
        self._context = text[-_LONGEST_CONTEXT:]
        return shown


def _visible_parts(text: str) -> Iterator[str]:
    """Word by word, because most words need no filtering; no joiner reaches across a space."""
    for part in _SPACES.split(_as_shown(text)):
        yield part if part.isspace() or _is_plain(part) else "".join(_seen(part))


def _is_plain(text: str) -> bool:
    """Whether all characters are visible; true for most texts, and checked in C."""
    printable = text.replace("\n", " ").replace("\t", " ").isprintable()
    return printable and (text.isascii() or not _ignorable_or_empty().search(text))


def _as_shown(text: str) -> str:
    return encodable(text).replace("\r\n", "\n").translate(_AS_SHOWN)


def _seen(text: str, start: int = 0) -> Iterator[str]:
    for at in range(start, len(text)):
        character = text[at]
        if _joins(text, at) if character in _CONNECTORS else _is_seen(character):
            yield character


def _is_seen(character: str) -> bool:
    if _has(DEFAULT_IGNORABLE, character):
        return False
    # Printable is all but the general categories Other and Separator (Python documentation, `str`).
    return (
        character.isprintable()
        or character.isspace()
        or _has(PREPENDED_MARKS, character)
        or _has(PICTOGRAPHS, character)
    )


def _joins(text: str, at: int) -> bool:
    before, after = text[at - 1] if at else "", text[at + 1 : at + 2]
    if text[at] == _EMOJI_STYLE:
        return before in _KEYCAPS or _has(PICTOGRAPHS, before)
    if before == _EMOJI_STYLE:
        before = text[at - 2] if at > 1 else ""
    if before and before in _CONNECTORS:
        return False
    if any(_has(JOINING_LETTERS, near) or _has(VIRAMAS, near) for near in (before, after)):
        return True
    follows_emoji = _has(PICTOGRAPHS, before) or _has(EMOJI_MODIFIERS, before)
    return text[at] == _JOINER and follows_emoji and _has(PICTOGRAPHS, after)


def _has(boundaries: str, character: str) -> bool:
    """Whether a character is in one of the ranges; false for an empty string."""
    return bisect_right(boundaries, character) % 2 == 1


@cache
def _ignorable_or_empty() -> re.Pattern[str]:
    pairs = zip(DEFAULT_IGNORABLE[::2], DEFAULT_IGNORABLE[1::2], strict=True)
    ranges = "".join(f"{first}-{chr(ord(beyond) - 1)}" for first, beyond in pairs)
    return re.compile(f"[{ranges}{''.join(_EMPTY_GLYPHS)}]")
