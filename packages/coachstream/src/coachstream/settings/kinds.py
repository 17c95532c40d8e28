"""The kinds of values: what a text must be, and the typed value that it becomes.

Environment variables (`variables`) and the options of a deployment (`coachstream.infrastructure.options`) are
declared with them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from coachstream.settings.secret import Secret, SecretArn
from coachstream.time_zone import DEFAULT_TIME_ZONE, zone_named

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class InvalidValue(ValueError):
    """Raised for a text that is not of a kind; the message continues a sentence that begins with a name."""


class Kind(Protocol[T_co]):
    """A kind of value; `form` describes its texts, with an article."""

    @property
    def form(self) -> str:
        """The valid texts: "a number from 0 to 1"."""

    def parse(self, text: str) -> T_co:
        """Return the value of a text that is neither empty nor begins or ends with white space.

        Raises:
            InvalidValue: the text is invalid.
        """


class Text(msgspec.Struct, frozen=True):
    """Any text."""

    form: str = "a text"

    def parse(self, text: str) -> str:
        """Return the text."""
        return text


class Folder(msgspec.Struct, frozen=True):
    """The path of a folder or file, which need not exist."""

    form: str = "a path"

    def parse(self, text: str) -> Path:
        """Return the path."""
        return Path(text)


class Matching(msgspec.Struct, frozen=True):
    """A text that matches a pattern as a whole."""

    pattern: str
    form: str

    def parse(self, text: str) -> str:
        """Return the text."""
        if not re.fullmatch(self.pattern, text):
            raise _wrong(self, text)
        return text


class ListOf(msgspec.Struct, Generic[T], frozen=True):
    """Comma-separated values of one kind."""

    of: Kind[T]

    @property
    def form(self) -> str:
        """The form of each of them."""
        return self.of.form

    def parse(self, text: str) -> tuple[T, ...]:
        """Return the values, at least one."""
        parts = [part for each in text.split(",") if (part := each.strip())]
        if not parts:
            raise _wrong(self, text)
        return tuple(map(self.of.parse, parts))


class OneOf(msgspec.Struct, Generic[T], frozen=True):
    """One of several choices, case-insensitive."""

    choices: Iterable[T]

    @property
    def form(self) -> str:
        """The choices."""
        *most, last = map(str, self.choices)
        return f"{', '.join(most)} or {last}"

    def parse(self, text: str) -> T:
        """Return the choice."""
        for choice in self.choices:
            if text.lower() == str(choice):
                return choice
        raise _wrong(self, text)


class Boolean(msgspec.Struct, frozen=True):
    """True or false, case-insensitive; also 1 or 0, yes or no."""

    form: str = "true or false"

    def parse(self, text: str) -> bool:
        """Return whether it is true."""
        if text.lower() not in _BOOLEANS:
            raise _wrong(self, text)
        return _BOOLEANS[text.lower()]


class Number(msgspec.Struct, frozen=True):
    """A number from `least` to `most`."""

    least: float
    most: float

    @property
    def form(self) -> str:
        """The bounds."""
        return f"a number from {self.least:.9g} to {self.most:.9g}"

    def parse(self, text: str) -> float:
        """Return the number."""
        number = _number(text)
        if not self.least <= number <= self.most:
            raise _wrong(self, text)
        return number


class WholeNumber(msgspec.Struct, frozen=True):
    """A whole number from `least` to `most`."""

    least: int
    most: int

    @property
    def form(self) -> str:
        """The bounds."""
        return f"a whole number from {self.least} to {self.most}"

    def parse(self, text: str) -> int:
        """Return the number."""
        number = _number(text)
        if not self.least <= number <= self.most or number != int(number):
            raise _wrong(self, text)
        return int(number)


class Or(msgspec.Struct, Generic[T], frozen=True):
    """A value of another kind, or a word that stands for none, case-insensitive."""

    kind: Kind[T]
    word: str

    @property
    def form(self) -> str:
        """The other kind's form, or the word."""
        return f"{self.kind.form} or {self.word}"

    def parse(self, text: str) -> T | None:
        """Return the value; None for the word."""
        if text.lower() == self.word:
            return None
        try:
            return self.kind.parse(text)
        except InvalidValue:
            raise _wrong(self, text) from None


class Url(msgspec.Struct, frozen=True):
    """An https URL, or an http one of this machine."""

    form: str = "a URL"

    def parse(self, text: str) -> str:
        """Return the URL."""
        _endpoint_path(text)
        return text


class Host(msgspec.Struct, frozen=True):
    """A host, to be called over https; or a URL like those of `Url`, without a path."""

    form: str = "a host"

    def parse(self, text: str) -> str:
        """Return the text."""
        if _endpoint_path(text if "://" in text else f"https://{text}").strip("/"):
            raise InvalidValue("cannot be used: it has a path after the host")
        return text


class TimeZone(msgspec.Struct, frozen=True):
    """A time zone, by its name in the IANA time zone database."""

    form: str = "a name in the IANA time zone database, such as Europe/Berlin"

    def parse(self, text: str) -> str:
        """Return the name."""
        # The database, which takes long to load, has this one for certain.
        if text != DEFAULT_TIME_ZONE and zone_named(text) is None:
            raise _wrong(self, text)
        return text


class Key(msgspec.Struct, frozen=True):
    """A secret without white space. The messages never include it."""

    least_bytes: int = 1
    form: str = "a key"

    def parse(self, text: str) -> Secret:
        """Return the secret."""
        if not re.fullmatch(r"[!-~]+", text):
            raise InvalidValue("contains whitespace or characters that are invalid in a key")
        if len(text) < self.least_bytes:
            raise InvalidValue(f"is shorter than {self.least_bytes} characters")
        return Secret(text)


class KeyArn(msgspec.Struct, frozen=True):
    """The ARN of a key in AWS Secrets Manager."""

    form: str = "the ARN of a secret"

    def parse(self, text: str) -> SecretArn:
        """Return the ARN."""
        if not re.fullmatch(_SECRET_ARN, text):
            raise _wrong(self, text)
        return SecretArn(text)


# Secrets Manager API reference, "GetSecretValue": `SecretId`; a name may hold /_+=.@- (`CreateSecret`).
_SECRET_ARN = r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,519}"


def text_of(value: object) -> str:
    """Return the text that is parsed to a value, of whatever kind; it includes secrets."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value)
        case tuple():
            return ",".join(map(text_of, value))
        case Secret():
            return value.reveal()
        case SecretArn():
            return value.arn
        case _:
            return str(value)


def default_text(value: object) -> str | None:
    """Return a default as people read it; None if there is none."""
    if isinstance(value, float):
        return f"{value:g}"
    return None if value is None else text_of(value) or None


def _wrong(kind: Kind[object], text: str) -> InvalidValue:
    return InvalidValue(f"must be {kind.form}, not {text!r}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _endpoint_path(url: str) -> str:
    from coachstream.endpoint import checked_endpoint

    try:
        return checked_endpoint(url).path
    except ValueError as error:
        raise InvalidValue(f"cannot be used: {error}") from error
