"""Makes model output safe to send and to store."""

from __future__ import annotations


class SurrogateJoiner:
    """Joins UTF-16 surrogates that arrive in different pieces; all other text passes through immediately.

    A service that counts text in UTF-16 may split a surrogate pair. A lone surrogate has no UTF-8 encoding,
    so it is held until the other one arrives, and becomes U+FFFD if it does not.
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
        """Return the rest after the last piece."""
        held, self._held = self._held, ""
        return encodable(held)


def _is_high_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udbff"


def encodable(text: str) -> str:
    """The text, encodable as UTF-8: surrogate pairs are joined, and lone surrogates become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def beginning_of(text: str, *, most_bytes: int) -> str:
    """The longest prefix of an encodable text within a limit of UTF-8 bytes, in whole code points."""
    if len(text) * 4 <= most_bytes:
        return text
    encoded = text.encode()
    return text if len(encoded) <= most_bytes else encoded[: max(0, most_bytes)].decode(errors="ignore")


def before_offset(text: str, offset: int) -> str:
    """The beginning of an encodable text, up to an offset in UTF-16 code units between two characters."""
    return text[:offset] if text.isascii() else text.encode("utf-16-le")[: 2 * offset].decode("utf-16-le")


def utf16_length(text: str) -> int:
    """The length of the text in JavaScript."""
    return len(text) if text.isascii() else len(text) + sum(character > "\uffff" for character in text)
