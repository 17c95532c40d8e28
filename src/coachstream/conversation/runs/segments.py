"""Text in segments, for the log."""

from __future__ import annotations


def first_segment(text: str, *, most_bytes: int) -> str:
    """The beginning of a text, of so many bytes in UTF-8, cut between two code points; at least one."""
    if len(text) * 4 <= most_bytes:
        return text
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    return encoded[:most_bytes].decode(errors="ignore") or text[0]
