"""Reads structs from environment variables, and writes them back.

A field names the variables that fill it, as `lease_s: Annotated[float, v.LEASE]` (with several, the first
that is set). Annotations stay strings, in which the names are looked up: to evaluate them would take longer
than to read the settings, at every cold start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from coachstream.settings import variables as v
from coachstream.settings.kinds import InvalidValue, KeyArn, Or, text_of
from coachstream.settings.names import probable_misspelling
from coachstream.settings.secret import Secret, SecretArn
from coachstream.settings.variables import Variable

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class SettingsError(Exception):
    """The environment does not describe a service that can run.

    Attributes:
        problems: one sentence per error, with the variable's name, but never the value of a secret.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Reader:
    """Reads variables. A problem is recorded, and its variable reads as the default until `check` raises."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read from `environment`, in which unset and blank are the same."""
        self._environment = environment
        self._problems: dict[str, None] = {}

    def check(self) -> None:
        """Raise `SettingsError` if there are problems."""
        if self._problems:
            raise SettingsError(tuple(self._problems))

    def problem(self, sentence: str) -> None:
        """Record a problem, once."""
        self._problems[sentence] = None

    def is_set(self, variable: Variable[object]) -> bool:
        """Whether there is a value, valid or not."""
        return bool(self._text(variable))

    def read(self, variable: Variable[T], *others: Variable[T]) -> T:
        """The value of the first variable that is set, or else the default."""
        for each in (variable, *others):
            if text := self._text(each):
                try:
                    return each.kind.parse(text)
                except InvalidValue as error:
                    self.problem(f"{each.name} {error}")
                    return each.default
        if variable.is_required:
            self._missing(variable)
        return variable.default

    def key(
        self, variable: Variable[Secret | None], arn: Variable[SecretArn | None]
    ) -> Secret | SecretArn | None:
        """A key, or its ARN in Secrets Manager; None if both are missing."""
        if self.is_set(variable) and self.is_set(arn):
            self.problem(f"{variable.name} and {arn.name} are both set; set only one of them")
        kept = self.read(arn)
        return self.read(variable) if kept is None else kept

    def struct(self, of: type[S], **more: object) -> S:
        """A struct whose fields are read from their variables, except those that are given."""
        read = {
            field: self.read(*variables)
            for field, variables in variables_of(of).items()
            if field not in more
            and any(variable.is_required or self.is_set(variable) for variable in variables)
        }
        return of(**read, **more)

    def _text(self, variable: Variable[object]) -> str:
        return self._environment.get(variable.name, "").strip()

    def _missing(self, variable: Variable[object]) -> None:
        meant = probable_misspelling(variable.name, self._environment)
        hint = "" if meant is None else f"; {meant} is set, which may be a misspelling"
        self.problem(f"{variable.name} is not set ({variable.description.replace('`', '')}){hint}")


def environment_of(struct: msgspec.Struct) -> dict[str, str]:
    """The variables of a struct and the structs within, by name; a field that is None is left out."""
    environment: dict[str, str] = {}
    for field, variables in variables_of(type(struct)).items():
        value = getattr(struct, field)
        if not variables:
            environment |= environment_of(value) if isinstance(value, msgspec.Struct) else {}
        elif value is None:
            if isinstance(kind := variables[0].kind, Or):
                environment[variables[0].name] = kind.word
        else:
            is_arn = isinstance(value, SecretArn)
            variable = next(each for each in variables if isinstance(each.kind, KeyArn) is is_arn)
            environment[variable.name] = text_of(value)
    return environment


def variables_of(struct: type[msgspec.Struct]) -> dict[str, tuple[Variable[object], ...]]:
    """The variables of each field; the struct's module imports `variables` as `v`."""
    return {
        field: tuple(
            getattr(v, part.removeprefix("v."))
            for part in annotation.rstrip("]").split(", ")
            if part.startswith("v.")
        )
        for field, annotation in struct.__annotations__.items()
    }
