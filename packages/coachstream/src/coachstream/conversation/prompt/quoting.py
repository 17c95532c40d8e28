"""Text of users and of records inside a prompt: marked as data, so that it cannot pose as an instruction.

A model cannot tell instructions from data by itself. So foreign text is put between `<data>` tags, on one
line, without its angle brackets (which could close the tag or spell a model's control tokens), and without
characters that are invisible to a person but not to a model.
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
    """The text as data: on one line between tags, truncated to the limit."""
    return f"<data>{one_line(text, limit_chars)}</data>"


def one_line(text: str, limit_chars: int) -> str:
    """The text on one line, truncated to the limit, without angle brackets and invisible characters."""
    return shortened(" ".join(visible(text).split()).translate(_BRACKETS), limit_chars)


def shortened(text: str, limit_chars: int) -> str:
    """The text, truncated with an ellipsis if it is longer than the limit."""
    return text if len(text) <= limit_chars else text[: limit_chars - len(ELLIPSIS)].rstrip() + ELLIPSIS
