"""Joins a model's continuation to the partial reply.

A request must not end with blanks, so trailing blanks of the partial reply are not sent, and the model
usually writes them again. The reader has already received them.
"""

from __future__ import annotations


def beginning_of_reply(said: str) -> str:
    """The partial reply to send to the model: without trailing blanks, which Bedrock rejects."""
    return said.rstrip()


class ContinuationJoiner:
    """Removes blanks that were already sent from the continuation; other text passes immediately."""

    def __init__(self, said: str) -> None:
        """Store the trailing blanks; text that is all blanks counts as empty."""
        stripped = beginning_of_reply(said)
        self._said_blanks = said[len(stripped) :] if stripped else ""
        self._is_joined = not self._said_blanks
        self._held = ""

    def feed(self, text: str) -> str:
        """Return the text to pass on for this piece; leading blanks are held until they can be compared."""
        if self._is_joined:
            return text
        self._held += text
        words = self._held.lstrip()
        if not words:
            return ""
        self._is_joined = True
        return _unsaid(self._held[: len(self._held) - len(words)], self._said_blanks) + words


def _unsaid(blanks: str, said: str) -> str:
    """The part of the blanks between two words that was not sent yet."""
    if blanks.startswith(said):
        return blanks[len(said) :]
    missing_breaks = blanks.count("\n") - said.count("\n")
    if missing_breaks <= 0:
        return ""
    *_, indentation = blanks.rpartition("\n")
    return "\n" * missing_breaks + indentation
