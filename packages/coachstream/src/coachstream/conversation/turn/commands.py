"""Slash commands: requests to the service itself, in the first word of a message.

Parsed from the text alone, so that a command is never missed and never guessed (existing system, section 8).
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from coachstream.conversation.visible_text import is_blank

_COMMAND = re.compile(r"/([a-zA-Z0-9-]+)\s*(.*)", re.DOTALL)


class CommandName(StrEnum):
    """The known commands, as typed after the slash; case-insensitive."""

    SAVE_MEMORY = "save-memory"
    LOG_WORKOUT = "log-workout"


class Command(msgspec.Struct, frozen=True):
    """A command and its argument: the rest of the message, trimmed; empty if it has no visible text."""

    name: CommandName
    content: str


def is_command(text: str) -> bool:
    """Whether a message has the form of a command, known or not; nothing else is looked for in it."""
    return _COMMAND.fullmatch(text) is not None


def parse_command(text: str) -> Command | None:
    """Parse the command of a message.

    `None` if it has none: the slash must be the first character. A slash before an unknown word is ordinary
    text.
    """
    match = _COMMAND.fullmatch(text)
    if match is None or (name := match[1].lower()) not in set(CommandName):
        return None
    return Command(CommandName(name), "" if is_blank(match[2]) else match[2].strip())
