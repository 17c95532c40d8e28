"""Slash commands: what a user asks of the service itself, in the first word of a message.

Read from the text alone, so that a command is never missed and never guessed (existing system, section 8).
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from coachstream.conversation.visible_text import is_blank

_COMMAND = re.compile(r"/([a-zA-Z0-9-]+)\s*(.*)", re.DOTALL)


class CommandName(StrEnum):
    """The known commands, as they are typed after the slash, in any case."""

    SAVE_MEMORY = "save-memory"
    LOG_WORKOUT = "log-workout"


class Command(msgspec.Struct, frozen=True):
    """A command and what it is about: the rest of the message, without blanks around it.

    Empty where a person would see nothing of it.
    """

    name: CommandName
    content: str


def parse_command(text: str) -> Command | None:
    """Read the command of a message.

    `None` where it has none: the slash must be its very first character. A slash before an unknown word is
    text like any other.
    """
    match = _COMMAND.fullmatch(text)
    if match is None or (name := match[1].lower()) not in set(CommandName):
        return None
    return Command(CommandName(name), "" if is_blank(match[2]) else match[2].strip())
