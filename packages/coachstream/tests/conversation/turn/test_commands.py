"""A slash command is read only from the first word of a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.turn.commands import Command, CommandName, parse_command
from coachstream.conversation.visible_text import is_blank


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/save-memory I hate burpees", Command(CommandName.SAVE_MEMORY, "I hate burpees")),
        ("/SAVE-Memory\n\n two\nlines \n", Command(CommandName.SAVE_MEMORY, "two\nlines")),
        ("/save-memory", Command(CommandName.SAVE_MEMORY, "")),
        ("/log-workout 5x5 squats", Command(CommandName.LOG_WORKOUT, "5x5 squats")),
        ("/log-workout/5x5", Command(CommandName.LOG_WORKOUT, "/5x5")),
        (" /save-memory with a blank before it", None),
        ("Please /save-memory", None),
        ("/save-memories of mine", None),
        ("/unknown text", None),
        ("/ save-memory", None),
        ("//save-memory x", None),
        ("/", None),
        ("", None),
        ("and/or", None),
    ],
)
def test_a_command_is_the_first_word_behind_a_slash(text: str, command: Command | None) -> None:
    """The match is case-insensitive; the rest, stripped, is the command's content."""
    assert parse_command(text) == command


@given(name=st.sampled_from(CommandName), blank=st.sampled_from([" ", "\n", "\t "]), content=st.text())
def test_any_content_arrives_as_it_was_written(name: CommandName, blank: str, content: str) -> None:
    """Only surrounding whitespace is stripped; content without visible characters becomes empty."""
    said = "" if is_blank(content) else content.strip()
    assert parse_command(f"/{name}{blank}{content}") == Command(name, said)


@given(st.text())
def test_any_text_is_a_command_or_is_none(text: str) -> None:
    """Parsing never raises, and text without a leading slash is no command."""
    command = parse_command(text)
    assert command is None or text.startswith("/")
