r"""Files of environment variables in the syntax of python-dotenv, which parses them.

    # a comment; empty lines are skipped, and `export` before a name is allowed
    PLAIN=the value, up to a # that follows a space
    SINGLE='verbatim, except for \' and \\: $HOME, \n, # and "quotes"'
    DOUBLE="\n, \t, \" and \\ are escapes"

Values are not expanded. A line that is not an assignment is refused, where python-dotenv skips it.
"""

from __future__ import annotations

import re
from pathlib import Path

from dotenv.parser import Binding, parse_stream

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_ASSIGNMENT = "expected NAME=VALUE, the name of letters, digits and underscores"


class InvalidVariable(ValueError):
    """Raised for a line that is not an assignment; the message has the line and the reason, not the value."""


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables in a file; if a name occurs twice, the last value wins.

    Raises:
        InvalidVariable: a line is not an assignment, or the file is not UTF-8.
        OSError: the file cannot be read.
    """
    variables = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for binding in parse_stream(file):
                try:
                    if (variable := _variable(binding)) is not None:
                        variables[variable[0]] = variable[1]
                except InvalidVariable as error:
                    raise InvalidVariable(f"{path}, line {_line(binding)}: {error}") from error
    except UnicodeDecodeError as error:
        raise InvalidVariable(f"{path} is not UTF-8") from error
    return variables


def parse_variable(argument: str) -> tuple[str, str]:
    """Return the name and value of `NAME=VALUE` on a command line; the shell has removed the quotes.

    Raises:
        InvalidVariable: it is none.
    """
    name, separator, value = argument.partition("=")
    return _checked(name, value if separator else None)


def _variable(binding: Binding) -> tuple[str, str] | None:
    """Return the name and value of one statement; None for a comment or empty lines."""
    if binding.error:
        name, separator, _ = binding.original.string.strip().removeprefix("export ").partition("=")
        if separator and _NAME.fullmatch(name.strip()):
            raise InvalidVariable(
                f"the value of {name.strip()} has an opening quote and no closing one at its end"
            )
        raise InvalidVariable(_NO_ASSIGNMENT)
    if binding.key is None and binding.value is None:
        return None
    return _checked(binding.key or "", binding.value)


def _checked(name: str, value: str | None) -> tuple[str, str]:
    if value is None or not _NAME.fullmatch(name):
        raise InvalidVariable(_NO_ASSIGNMENT)
    if "\0" in value:
        raise InvalidVariable(f"the value of {name} holds a NUL character")
    return name, value


def _line(binding: Binding) -> int:
    """Return the number of a statement's line; its text begins with the empty lines before it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
