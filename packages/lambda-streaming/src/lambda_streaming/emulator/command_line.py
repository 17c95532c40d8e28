"""Runs a command line and reports usage errors as one sentence about the user's input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import typer
from pydantic import ValidationError

_SENTENCES: Mapping[str, Callable[[object, Mapping[str, Any]], str]] = {
    "int_parsing": lambda typed, _: f"{typed!r} is not a whole number.",
    "float_parsing": lambda typed, _: f"{typed!r} is not a number.",
    "finite_number": lambda typed, _: f"{typed!r} is not a finite number.",
    "less_than_equal": lambda typed, limits: f"{typed} is more than {limits['le']:g}.",
    "greater_than_equal": lambda typed, limits: f"{typed} is less than {limits['ge']:g}.",
    "value_error": lambda _, details: str(details["error"]),
}


_WRONG_USAGE = 2
_INTERRUPTED = 130


def run(app: typer.Typer, *, program: str | None = None) -> NoReturn:
    """Run an app with this process's arguments, and exit.

    Args:
        app: its commands.
        program: its name in help texts, where that differs from the name of the file.
    """
    try:
        status: int | None = app(standalone_mode=False, prog_name=program)
    except typer.Abort:
        sys.exit(_INTERRUPTED)
    except typer.TyperException as error:
        context: typer.Context | None = getattr(error, "ctx", None)
        sentence = _sentence_of(error)
        if context is not None and sentence == context.get_help():
            typer.echo(sentence)  # the command was called without arguments
            sys.exit(_WRONG_USAGE)
        typer.secho(sentence, err=True, fg=typer.colors.RED)
        if context is not None:
            typer.echo(f"See `{context.command_path} --help`.", err=True)
        sys.exit(_WRONG_USAGE)
    sys.exit(status)


def _sentence_of(error: typer.TyperException) -> str:
    """The message of a usage error, in our own words instead of pydantic's."""
    cause = error.__cause__
    if isinstance(error, typer.BadParameter) and isinstance(cause, ValidationError):
        first = cause.errors()[0]
        sentence = _SENTENCES.get(first["type"])
        if sentence is not None:
            error.message = sentence(first["input"], first.get("ctx", {}))
    return error.format_message()
