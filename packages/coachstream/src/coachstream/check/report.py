"""The findings of the checks, as data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    OFF = "off"
    SKIPPED = "skipped"


class Trouble(Exception):
    """A backend cannot be used.

    Attributes:
        remedy: how to fix it.
    """

    def __init__(self, message: str, remedy: str) -> None:
        """Describe a problem; neither sentence may contain a secret or a service's error message."""
        super().__init__(message)
        self.remedy = remedy


class NotKnown(Exception):
    """It is unknown without a network whether a backend can be used; the message has what is known."""


class Advice(msgspec.Struct, frozen=True):
    """A backend can be used, but needs action soon.

    Attributes:
        message: the finding.
        remedy: what to do.
    """

    message: str
    remedy: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a backend or another part, and how to check it.

    Attributes:
        part: its name.
        choice: the selected choice, if there are several.
        facts: other settings, and where it would connect; no secrets.
        connect: checks it, and returns what works or what to do. Raises `Trouble`.
        look: checks what can be checked without a network, if anything. Raises `Trouble` or `NotKnown`.
        off: the reason if there is nothing to check.
        remedy: what to do if it is off and should not be.
    """

    part: str
    choice: str
    facts: Mapping[str, str]
    connect: Callable[[], Awaitable[str | Advice]] | None = None
    look: Callable[[], Awaitable[str | Advice]] | None = None
    off: str = ""
    remedy: str | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of one check."""

    part: str
    choice: str
    facts: Mapping[str, str]
    verdict: Verdict
    message: str
    remedy: str | None = None


class Report(msgspec.Struct, frozen=True):
    """The whole report.

    Attributes:
        ok: whether nothing failed.
        problems: configuration errors; if there are any, nothing is checked.
    """

    ok: bool
    problems: tuple[str, ...] = ()
    parts: tuple[Finding, ...] = ()
