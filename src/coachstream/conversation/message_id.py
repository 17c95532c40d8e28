"""Ids of messages, conversations and runs, which sort by time as strings."""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from coachstream.conversation.model import Role

_BASE_36 = string.digits + string.ascii_lowercase
_RANDOM_CHARACTERS = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RandomBelow = Callable[[int], int]
"""Gives a whole number from 0 up to, but not including, its argument; `secrets.randbelow` is one."""


def milliseconds_of(moment: datetime) -> int:
    """Whole milliseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def moment_of(milliseconds: int) -> datetime:
    """The moment so many milliseconds after the epoch."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def message_id(moment: datetime, role: Role, random_below: RandomBelow) -> str:
    """`msg_<ms>_<9 base 36>_<role>`, the milliseconds with 13 digits, as they have until the year 2286."""
    return f"msg_{milliseconds_of(moment):013d}_{_random_text(random_below)}_{role.value}"


def first_message_id(moment: datetime) -> str:
    """What every id of that millisecond and later ones sorts behind, and every earlier one before."""
    return f"msg_{max(0, milliseconds_of(moment)):013d}"


def conversation_id(moment: datetime, random_below: RandomBelow) -> str:
    """`conv_<ms>_<9 base 36>` (existing system, section 1.2)."""
    return f"conv_{milliseconds_of(moment)}_{_random_text(random_below)}"


def run_id(moment: datetime, random_below: RandomBelow) -> str:
    """`run_<ms>_<9 base 36>`, the milliseconds with 13 digits."""
    return f"run_{milliseconds_of(moment):013d}_{_random_text(random_below)}"


def _random_text(random_below: RandomBelow) -> str:
    return "".join(_BASE_36[random_below(len(_BASE_36))] for _ in range(_RANDOM_CHARACTERS))
