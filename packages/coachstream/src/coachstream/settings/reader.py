"""Reads variables, and collects their errors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from coachstream.settings.names import probable_misspelling
from coachstream.settings.secret import Secret, SecretArn
from coachstream.settings.variables import Variable

# Secrets Manager API reference, "GetSecretValue": `SecretId`; a name may hold /_+=.@- (`CreateSecret`).
_SECRET_ARN = r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,519}"

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class SettingsError(Exception):
    """The environment does not describe a service that can run.

    Attributes:
        problems: one sentence per error, with the variable's name, but never the value of a secret.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


_Choice = TypeVar("_Choice", bound=StrEnum)


class Reader:
    """Reads variables; an invalid one is recorded as a problem and read as a harmless value."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read from `environment`, in which unset and blank are the same."""
        self.problems: list[str] = []
        self._environment = environment

    def check(self) -> None:
        """Raise `SettingsError` if there are problems."""
        if self.problems:
            raise SettingsError(tuple(self.problems))

    def text(self, variable: Variable) -> str:
        """The value; a missing required one is a problem and reads as an empty string."""
        value = self.optional(variable)
        if value is None and variable.is_required:
            meant = probable_misspelling(variable.name, self._environment)
            hint = "" if meant is None else f"; {meant} is set, which may be a misspelling"
            self.problem(f"{variable.name} is not set ({_plain(variable.meaning)}){hint}")
        return value or ""

    def optional(self, variable: Variable) -> str | None:
        """The value, the default, or None."""
        return self._environment.get(variable.name, "").strip() or variable.default

    def matching(self, variable: Variable, pattern: str, right: str) -> str | None:
        """A value that matches a pattern, which `right` describes; None if it is missing."""
        value = self.text(variable)
        if value and not re.fullmatch(pattern, value):
            self.wrong(variable, right, value)
        return value or None

    def url(self, variable: Variable) -> str | None:
        """An https URL, or an http one of this machine; None if it is missing."""
        value = self.text(variable)
        if value:
            self._endpoint_path(variable, value)
        return value or None

    def host(self, variable: Variable) -> str:
        """A host, to be called over https; or a URL like those of `url`, without a path."""
        value = self.text(variable)
        if value and self._endpoint_path(variable, value if "://" in value else f"https://{value}").strip(
            "/"
        ):
            self.problem(f"{variable.name} cannot be used: it has a path after the host")
        return value

    def secret(self, variable: Variable) -> Secret | None:
        """A key without whitespace; None if it is missing."""
        value = self.optional(variable)
        if value is not None and not re.fullmatch(r"[!-~]+", value):
            self.problem(f"{variable.name} contains whitespace or characters that are invalid in a key")
        return None if value is None else Secret(value)

    def secret_or_arn(
        self, variable: Variable, arn: Variable, *, least_bytes: int = 1
    ) -> Secret | SecretArn | None:
        """A key, or its ARN in Secrets Manager; None if both are missing."""
        key = self.secret(variable)
        kept = self.matching(arn, _SECRET_ARN, "the ARN of a secret")
        if key is not None and kept is not None:
            self.problem(f"{variable.name} and {arn.name} are both set; set only one of them")
        if key is not None and len(key.reveal().encode()) < least_bytes:
            self.problem(f"{variable.name} is shorter than {least_bytes} characters")
        return key if kept is None else SecretArn(kept)

    def choice(self, variable: Variable, choices: type[_Choice]) -> _Choice | None:
        """One of the choices, case-insensitive; None if it is invalid or missing."""
        text = self.text(variable).lower()
        for choice in choices:
            if text == choice:
                return choice
        if text:
            *most, last = choices
            self.wrong(variable, f"{', '.join(most)} or {last}", text)
        return None

    def boolean(self, variable: Variable) -> bool:
        """True or false."""
        text = self.text(variable).lower()
        if text not in _BOOLEANS:
            self.wrong(variable, "true or false", text)
        return _BOOLEANS.get(text, False)

    def optional_boolean(self, variable: Variable) -> bool | None:
        """True or false; None if it is missing."""
        return None if self.optional(variable) is None else self.boolean(variable)

    def number(self, variable: Variable, *, least: float, most: float, otherwise: str | None = None) -> float:
        """A number from `least` to `most`; `otherwise` is a word that the caller also accepts."""
        text = self.text(variable)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            right = f"a number from {least:.9g} to {most:.9g}"
            self.wrong(variable, right if otherwise is None else f"{right} or {otherwise}", text)
            return least
        return number

    def whole_number(self, variable: Variable, *, least: int, most: int) -> int:
        """A whole number from `least` to `most`."""
        number = self.number(variable, least=least, most=most)
        if number != int(number):
            self.wrong(variable, "a whole number", f"{number:g}")
        return int(number)

    def wrong(self, variable: Variable, right: str, value: str) -> None:
        """Record an invalid value; `right` describes valid ones."""
        self.problem(f"{variable.name} must be {right}, not {value!r}")

    def problem(self, sentence: str) -> None:
        """Record any other problem."""
        self.problems.append(sentence)

    def _endpoint_path(self, variable: Variable, url: str) -> str:
        from coachstream.endpoint import checked_endpoint

        try:
            return checked_endpoint(url).path
        except ValueError as error:
            self.problem(f"{variable.name} cannot be used: {error}")
        return ""


def _plain(meaning: str) -> str:
    return meaning.replace("`", "")
