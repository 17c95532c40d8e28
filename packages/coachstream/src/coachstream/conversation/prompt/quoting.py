"""Text of users and of records inside a prompt: marked as data, so that it cannot pose as an instruction.

A model takes text for what it looks like. So what others wrote stands between `<data>` tags, on one line,
without angle brackets of its own (which could close the tag, or spell a model's control tokens), and without
characters that a person does not see but a model reads.
"""

from __future__ import annotations

from coachstream.conversation.visible_text import visible

ELLIPSIS = "…"

_BRACKETS = str.maketrans(
    {
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
    }
)


def quoted(text: str, limit_chars: int) -> str:
    """The text as data: on one line between tags, shortened to the limit."""
    return f"<data>{one_line(text, limit_chars)}</data>"


def one_line(text: str, limit_chars: int) -> str:
    """The text on one line, shortened to the limit, without brackets and invisible characters."""
    return shortened(" ".join(visible(text).split()).translate(_BRACKETS), limit_chars)


def shortened(text: str, limit_chars: int) -> str:
    """The text itself if it is not longer than the limit, else its beginning and an ellipsis within it."""
    return text if len(text) <= limit_chars else text[: limit_chars - len(ELLIPSIS)].rstrip() + ELLIPSIS
