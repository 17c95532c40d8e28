"""Joining what a model goes on with to what was said before.

A request must not end with blanks, so the blanks at the end of what was said are kept back, and the model,
which does not know of them, mostly writes them itself. The reader has seen them already.
"""

from __future__ import annotations


def beginning_of_reply(said: str) -> str:
    """What the model is told to have said: without blanks at its end, which Bedrock refuses."""
    return said.rstrip()


class ContinuationJoiner:
    """Drops from what comes the blanks that were said already; all else passes at once."""

    def __init__(self, said: str) -> None:
        """Remember the blanks at the end; text of nothing but blanks counts as nothing."""
        stripped = beginning_of_reply(said)
        self._said_blanks = said[len(stripped) :] if stripped else ""
        self._is_joined = not self._said_blanks
        self._held = ""

    def feed(self, text: str) -> str:
        """What of the next piece of text is to be passed on; blanks are held until it is known."""
        if self._is_joined:
            return text
        self._held += text
        words = self._held.lstrip()
        if not words:
            return ""
        self._is_joined = True
        return _unsaid(self._held[: len(self._held) - len(words)], self._said_blanks) + words


def _unsaid(blanks: str, said: str) -> str:
    """What of the blanks between two words is missing, where others were said there."""
    if blanks.startswith(said):
        return blanks[len(said) :]
    missing_breaks = blanks.count("\n") - said.count("\n")
    if missing_breaks <= 0:
        return ""
    *_, indentation = blanks.rpartition("\n")
    return "\n" * missing_breaks + indentation
