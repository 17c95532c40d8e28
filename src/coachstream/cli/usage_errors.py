"""What is wrong with a command line, in a sentence about what was typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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


def sentence_of(error: typer.TyperException) -> str:
    """The message of an error in a command line, without the words of the library that found it."""
    cause = error.__cause__
    if isinstance(error, typer.BadParameter) and isinstance(cause, ValidationError):
        first = cause.errors()[0]
        sentence = _SENTENCES.get(first["type"])
        if sentence is not None:
            error.message = sentence(first["input"], first.get("ctx", {}))
    return error.format_message()
