"""Text in segments, for the log."""

from __future__ import annotations

from coachstream.conversation.text import beginning_of


def first_segment(text: str, *, most_bytes: int) -> str:
    """The beginning of a text, of so many bytes in UTF-8, cut between two code points; at least one."""
    return beginning_of(text, most_bytes=most_bytes) or text[:1]
