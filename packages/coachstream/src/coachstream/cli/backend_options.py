"""The options that select the backends, shared by several commands and derived from `BackendChoice`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter
from typing import Annotated, get_type_hints

import msgspec
import typer

from coachstream.cli.derived_options import with_parameters
from coachstream.local.options import ON_THIS_MACHINE, BackendChoice
from coachstream.settings.reader import variables_of
from coachstream.settings.variables import Variable


def with_backend_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options; its `**chosen` receives them, for `backend_choice`."""
    return with_parameters(command, first=_PARAMETERS)


def backend_choice(chosen: Mapping[str, object]) -> BackendChoice:
    """The choice that the options make."""
    return msgspec.convert(chosen, BackendChoice)


def _parameters() -> Iterator[Parameter]:
    types = get_type_hints(BackendChoice)
    for field, (variable, *_) in variables_of(BackendChoice).items():
        option = typer.Option(
            f"--{field.replace('_', '-')}",
            metavar=None if variable in ON_THIS_MACHINE else field.rpartition("_")[2].upper(),
            help=_help(variable),
        )
        annotation = Annotated[types[field], option]  # type: ignore[valid-type]
        yield Parameter(field, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(variable: Variable[object]) -> str:
    meaning = f"{variable.meaning[0].upper()}{variable.meaning[1:]}"
    if variable in ON_THIS_MACHINE:
        return f"{meaning}; {ON_THIS_MACHINE[variable]} by default."
    if variable.scope.of is None:
        return f"{meaning}; {variable.name} by default."
    return f"{meaning}, for --{variable.scope.part.value.lower()} {variable.scope.of}."


_PARAMETERS = tuple(_parameters())
