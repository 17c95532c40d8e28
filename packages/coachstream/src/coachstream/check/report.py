"""What a check finds, as data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How it stands with a part."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    OFF = "off"
    SKIPPED = "skipped"


class Trouble(Exception):
    """A part cannot be used.

    Attributes:
        remedy: what to do about it.
    """

    def __init__(self, message: str, remedy: str) -> None:
        """Say what is wrong; neither sentence holds a secret, or what a service said in its own words."""
        super().__init__(message)
        self.remedy = remedy


class NotKnown(Exception):
    """Whether a part can be used is not known without a network; the message says what is."""


class Advice(msgspec.Struct, frozen=True):
    """A part can be used, but something should be done before long.

    Attributes:
        message: what was found.
        remedy: what to do about it.
    """

    message: str
    remedy: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What is configured of a part, and how it is tried.

    Attributes:
        part: its name.
        choice: what it is, where there is a choice.
        facts: what else is set, and where it would connect; no secrets.
        connect: tries it, and says what that proves, or what should be done. Raises `Trouble`.
        look: what can be tried without a network, if anything. Raises `Trouble` or `NotKnown`.
        off: why there is nothing to try, where there is not.
        remedy: what to do where it is off and should not be.
    """

    part: str
    choice: str
    facts: Mapping[str, str]
    connect: Callable[[], Awaitable[str | Advice]] | None = None
    look: Callable[[], Awaitable[str | Advice]] | None = None
    off: str = ""
    remedy: str | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part, and how it stands with it."""

    part: str
    choice: str
    facts: Mapping[str, str]
    verdict: Verdict
    message: str
    remedy: str | None = None


class Report(msgspec.Struct, frozen=True):
    """All of it.

    Attributes:
        ok: whether nothing failed.
        problems: what is wrong with the settings; without settings no part is looked at.
    """

    ok: bool
    problems: tuple[str, ...] = ()
    parts: tuple[Finding, ...] = ()
