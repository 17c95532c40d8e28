"""Ids of messages, conversations and runs, which sort by time as strings.

The time in the id of a message is also its place in its conversation, and a clock can be set back. So a store
gives a new message an id that is greater than every other one (`id_after`): its time is the clock's or, if
that is not later, one millisecond after the newest message. The message's `timestamp` remains the clock's.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from coachstream.conversation.model import Role

_BASE_36 = string.digits + string.ascii_lowercase
_RANDOM_CHARACTERS = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_IN_ID = re.compile(r"msg_(\d{1,13})(?=_|$)")

RandomBelow = Callable[[int], int]
"""Returns a random integer from 0 up to, but not including, its argument, like `secrets.randbelow`."""


def milliseconds_of(moment: datetime) -> int:
    """Whole milliseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def moment_of(milliseconds: int) -> datetime:
    """The moment that many milliseconds after the epoch."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def message_id(moment: datetime, role: Role, random_below: RandomBelow) -> str:
    """`msg_<ms>_<9 base 36>_<role>`, the milliseconds with 13 digits, as they have until the year 2286."""
    return f"msg_{milliseconds_of(moment):013d}_{_random_text(random_below)}_{role.value}"


def first_message_id(moment: datetime) -> str:
    """A lower bound: ids of this millisecond and later ones sort after it, earlier ones before it."""
    return f"msg_{max(0, milliseconds_of(moment)):013d}"


def time_in(message_id: str) -> int | None:
    """The milliseconds in a message id; None if it has no time."""
    found = _TIME_IN_ID.match(message_id)
    return int(found[1]) if found else None


def id_after(message_id: str, newest_id: str | None) -> str:
    """The id of a new message that sorts after the newest one: unchanged, or with a later time.

    Args:
        message_id: the id with the clock's time.
        newest_id: the greatest id of the conversation, or an upper bound of its ids; None if it has none.
    """
    newest = None if newest_id is None else time_in(newest_id)
    if newest_id is None or newest is None or message_id > newest_id:
        return message_id
    return _TIME_IN_ID.sub(f"msg_{newest + 1:013d}", message_id, count=1)


def conversation_id(moment: datetime, random_below: RandomBelow) -> str:
    """`conv_<ms>_<9 base 36>` (existing system, section 1.2)."""
    return f"conv_{milliseconds_of(moment)}_{_random_text(random_below)}"


def run_id(moment: datetime, random_below: RandomBelow) -> str:
    """`run_<ms>_<9 base 36>`, the milliseconds with 13 digits."""
    return f"run_{milliseconds_of(moment):013d}_{_random_text(random_below)}"


def _random_text(random_below: RandomBelow) -> str:
    return "".join(_BASE_36[random_below(len(_BASE_36))] for _ in range(_RANDOM_CHARACTERS))
