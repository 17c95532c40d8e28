"""Wraps streamed text between words."""

from __future__ import annotations

import re

from rich.cells import cell_len

_PARTS = re.compile(r"\n|[^\S\n]+|\S+")


class WordWrapper:
    """Replaces the whitespace before a word with a line break if the word would not fit.

    A word that arrives in several pieces is measured by its first one, because output cannot be undone.

    Args:
        width: columns of the terminal; 0 wraps nothing.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._column = 0
        self._blanks = ""

    def feed(self, piece: str) -> str:
        """Return the text to show for this piece; whitespace at its end waits for the next word."""
        return "".join(map(self._show, _PARTS.findall(piece)))

    def _show(self, part: str) -> str:
        if part == "\n":
            self._column, self._blanks = 0, ""
            return part
        if part.isspace():
            self._blanks += part
            return ""
        blanks, self._blanks = self._blanks, ""
        length = cell_len(part)
        if blanks and self._width and self._column + cell_len(blanks) + length > self._width:
            self._column = length
            return f"\n{part}"
        self._column += cell_len(blanks) + length
        return f"{blanks}{part}"
