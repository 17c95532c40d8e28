"""Environment variables that have one of a few values."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TypeVar

Choice = TypeVar("Choice", bound=StrEnum)


def choice_of(variable: str, default: Choice) -> Choice:
    """Return the value of an environment variable, or the default if it is unset or empty.

    Raises:
        ValueError: it has a value that the default's class does not list; the message lists the allowed ones.
    """
    choices = type(default)
    value = os.environ.get(variable)
    if not value:
        return default
    try:
        return choices(value)
    except ValueError:
        raise ValueError(f"{variable} is {value!r}; it is one of {', '.join(choices)}") from None
