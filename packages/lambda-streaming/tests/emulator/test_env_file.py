"""Files of environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming.emulator.env_file import (
    InvalidVariable,
    parse_assignment,
    parse_variable,
    read_env_file,
)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("A=1", "A", "1"),
        ("A=", "A", ""),
        ("A = spaced ", "A", "spaced"),
        ("export A=1", "A", "1"),
        ("A=a=b", "A", "a=b"),
        ("A=b # comment", "A", "b"),
        ("A=# comment", "A", ""),
        ("A=b#c", "A", "b#c"),
        ("A='b # c' # comment", "A", "b # c"),
        (r"A='\n$HOME'", "A", r"\n$HOME"),
        (r'A="\n\t\"\\\x"', "A", '\n\t"\\\\x'),
        ('A=say "hi"', "A", 'say "hi"'),
        ("exported=1", "exported", "1"),
    ],
)
def test_an_assignment_is_a_name_and_a_value(line: str, name: str, value: str) -> None:
    """Quotes and comments as Docker and dotenv have them."""
    assert parse_assignment(line) == (name, value)


@pytest.mark.parametrize("line", ["A", "=1", "1A=1", "A-B=1", "A='open", 'A="open', "A='a' b", "A=\0"])
def test_what_is_no_assignment_is_refused(line: str) -> None:
    """Rather than guessed."""
    with pytest.raises(InvalidVariable):
        parse_assignment(line)


@given(st.text())
def test_any_line_is_an_assignment_or_refused_without_showing_its_value(line: str) -> None:
    """A secret in a broken line does not get into a log."""
    refused: InvalidVariable | None = None
    try:
        name, _ = parse_assignment(line)
        assert name
    except InvalidVariable as error:
        refused = error
    if refused is not None and "=" in line:
        value = line.partition("=")[2].strip("'\" \0")
        assert len(value) < 10 or value not in str(refused)


@given(st.text(alphabet=st.characters(blacklist_characters="'\0\n\r", blacklist_categories=["Cs"])))
def test_what_is_quoted_comes_back(value: str) -> None:
    """Single quotes keep everything but themselves."""
    assert parse_assignment(f"A='{value}'") == ("A", value)


@given(st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_a_variable_of_the_command_line_is_verbatim(value: str) -> None:
    """The shell has had its turn."""
    assert parse_variable(f"A={value}") == ("A", value)


def test_a_file_has_comments_empty_lines_and_windows_line_ends(tmp_path: Path) -> None:
    """And a byte order mark; of a name that is there twice, the last value counts."""
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbf# mine\r\n\r\nA=1\r\n  B=2\r\nA=3")
    assert read_env_file(file) == {"A": "3", "B": "2"}


@pytest.mark.parametrize(
    ("content", "message"), [(b"A=1\nB\n", "line 2: expected NAME=VALUE"), (b"\xff", "is not UTF-8")]
)
def test_a_broken_file_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    """With its name and the line."""
    file = tmp_path / "env"
    file.write_bytes(content)
    with pytest.raises(InvalidVariable, match=message):
        read_env_file(file)
