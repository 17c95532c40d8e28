"""Text as models deliver it, made safe to send and to store."""

from __future__ import annotations


class SurrogateJoiner:
    """Joins UTF-16 surrogates that arrive in different pieces; everything else passes at once, unaltered.

    A service that counts text in UTF-16 may cut between the two halves of a character. A half has no UTF-8,
    so it is held until the other one comes, and becomes U+FFFD if none does.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return what can be sent after this piece."""
        text = self._held + piece
        self._held = ""
        if text.isascii():
            return text
        if _is_high_surrogate(text[-1]):
            text, self._held = text[:-1], text[-1]
        return encodable(text)

    def flush(self) -> str:
        """Return what is left when no piece follows."""
        held, self._held = self._held, ""
        return encodable(held)


def _is_high_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udbff"


def encodable(text: str) -> str:
    """The text itself if UTF-8 can hold it; else with surrogate pairs joined and lone halves as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def beginning_of(text: str, *, most_bytes: int) -> str:
    """As much of an encodable text as has so many bytes in UTF-8, cut between code points."""
    if len(text) * 4 <= most_bytes:
        return text
    encoded = text.encode()
    return text if len(encoded) <= most_bytes else encoded[: max(0, most_bytes)].decode(errors="ignore")


def utf16_length(text: str) -> int:
    """How long JavaScript says the text is."""
    return len(text) if text.isascii() else len(text) + sum(character > "\uffff" for character in text)
