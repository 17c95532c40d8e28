r"""Files of environment variables, one `NAME=VALUE` a line, as Docker and the dotenv tools read them.

    # a comment; empty lines are skipped, and `export` before a name is allowed
    PLAIN=the value, up to a # that follows a space
    SINGLE='verbatim: $HOME, \n, # and "quotes"'
    DOUBLE="\n, \t, \" and \\ are escapes"

Values are not expanded, and none spans several lines.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_SINGLE_QUOTED = re.compile(r"'([^']*)'\s*(?:#.*)?", re.DOTALL)
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', re.DOTALL)
_COMMENT_AFTER_VALUE = re.compile(r"(?:^|\s+)#.*", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class InvalidVariable(ValueError):
    """Raised for a line that is not an assignment; the message has the line and the reason, not the value."""


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables in a file; if a name occurs twice, the last value wins.

    Raises:
        InvalidVariable: a line is not an assignment, or the file is not UTF-8.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidVariable(f"{path} is not UTF-8") from error
    variables = {}
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            try:
                name, value = parse_assignment(stripped)
            except InvalidVariable as error:
                raise InvalidVariable(f"{path}, line {number}: {error}") from error
            variables[name] = value
    return variables


def parse_assignment(line: str) -> tuple[str, str]:
    """Return the name and value of one assignment in a file.

    Raises:
        InvalidVariable: it is none.
    """
    assignment = _ASSIGNMENT.fullmatch(line)
    if assignment is None:
        raise InvalidVariable("expected NAME=VALUE, the name of letters, digits and underscores")
    name, value = assignment.groups()
    if "\0" in value:
        raise InvalidVariable(f"the value of {name} holds a NUL character")
    if value.startswith(("'", '"')):
        quoted = (_SINGLE_QUOTED if value[0] == "'" else _DOUBLE_QUOTED).fullmatch(value)
        if quoted is None:
            raise InvalidVariable(f"the value of {name} has an opening quote and no closing one at its end")
        if value[0] == "'":
            return name, quoted[1]
        return name, _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[0]), quoted[1])
    return name, _COMMENT_AFTER_VALUE.sub("", value).rstrip()


def parse_variable(argument: str) -> tuple[str, str]:
    """Return the name and value of `NAME=VALUE` on a command line; the shell has removed the quotes.

    Raises:
        InvalidVariable: it is none.
    """
    name, separator, value = argument.partition("=")
    if not separator or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise InvalidVariable("expected NAME=VALUE, the name of letters, digits and underscores")
    if "\0" in value:
        raise InvalidVariable(f"the value of {name} holds a NUL character")
    return name, value
