"""Files of environment variables."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming.emulator.env_file import InvalidVariable, parse_variable, read_env_file


def variables_of(content: str) -> dict[str, str]:
    """The variables in a file with this content."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content.encode())
        return read_env_file(Path(file.name))


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("A=1", "A", "1"),
        ("A=", "A", ""),
        ("A = spaced ", "A", "spaced"),
        ("export A=1", "A", "1"),
        ("A=a=b", "A", "a=b"),
        ("A=b # comment", "A", "b"),
        ("A=b#c", "A", "b#c"),
        ("A=#b", "A", "#b"),
        ("A='b # c' # comment", "A", "b # c"),
        (r"A='\n$HOME'", "A", r"\n$HOME"),
        (r"A='it\'s \\'", "A", "it's \\"),
        (r'A="\n\t\"\\\x"', "A", '\n\t"\\\\x'),
        ('A="two\nlines"', "A", "two\nlines"),
        ('A=say "hi"', "A", 'say "hi"'),
        ("A=${HOME}", "A", "${HOME}"),
        ("exported=1", "exported", "1"),
    ],
)
def test_an_assignment_is_a_name_and_a_value(line: str, name: str, value: str) -> None:
    """Quotes and comments follow python-dotenv; nothing is expanded."""
    assert variables_of(line) == {name: value}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A", "expected NAME=VALUE"),
        ("=1", "expected NAME=VALUE"),
        ("1A=1", "expected NAME=VALUE"),
        ("A-B=1", "expected NAME=VALUE"),
        ("A='open", "the value of A has an opening quote and no closing one at its end"),
        ('export A = "open', "the value of A has an opening quote and no closing one at its end"),
        ("A='a' b", "the value of A has an opening quote and no closing one at its end"),
        ("A=\0", "the value of A holds a NUL character"),
    ],
)
def test_a_line_that_is_not_an_assignment_is_refused(line: str, reason: str) -> None:
    """An invalid line is neither guessed at nor skipped."""
    with pytest.raises(InvalidVariable, match=rf"line 3: {reason}"):
        variables_of(f"B=1\n\n{line}\nC=1\n")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")))
def test_any_line_is_an_assignment_or_refused_without_showing_its_value(line: str) -> None:
    """A secret in a malformed line must not reach a log."""
    refused: InvalidVariable | None = None
    try:
        variables = variables_of(line)
        assert len(variables) <= 1
        assert all(variables)
    except InvalidVariable as error:
        refused = error
    if refused is not None and "=" in line:
        value = line.partition("=")[2].strip("'\" \0")
        assert len(value) < 10 or value not in str(refused)


@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_a_quoted_value_is_read_back_unchanged(value: str) -> None:
    """Single quotes preserve everything; within them a backslash escapes only a quote and itself."""
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    assert variables_of(f"A='{quoted}'") == {"A": value}


@given(st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_a_variable_of_the_command_line_is_verbatim(value: str) -> None:
    """The shell has already processed quotes and escapes."""
    assert parse_variable(f"A={value}") == ("A", value)


@pytest.mark.parametrize("argument", ["A", "=1", "1A=1", "A-B=1", "A=\0"])
def test_an_invalid_variable_on_the_command_line_is_refused(argument: str) -> None:
    """The same rules apply as in a file."""
    with pytest.raises(InvalidVariable):
        parse_variable(argument)


def test_a_file_has_comments_empty_lines_and_windows_line_ends(tmp_path: Path) -> None:
    """A byte order mark is skipped, and the last value of a repeated name wins."""
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbf# mine\r\n\r\nA=1\r\n  B=2\r\n#A=2\r\nA=3\r\n\r\n")
    assert read_env_file(file) == {"A": "3", "B": "2"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A=1\nB\n", "line 2: expected NAME=VALUE"),
        (b"A='1\nB=2\n", "line 1: the value of A has an opening quote"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    """The error names the variable, where there is one, and the line."""
    file = tmp_path / "env"
    file.write_bytes(content)
    with pytest.raises(InvalidVariable, match=message):
        read_env_file(file)
