"""Coerces stored records whose schema has drifted over the years: bad values become empty, nothing raises.

Several programs and language models wrote them (existing system, section 1.4), so their types are not
guaranteed. Unexpected types are coerced where they carry information: an exercise to avoid may be in a list,
a string, or an object. The resulting text can be encoded as UTF-8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice

from coachstream.conversation.model import to_milliseconds
from coachstream.conversation.text import encodable

MAX_DEPTH = 4
"""How deep nested values are searched for text; real records have two levels."""

MAX_ITEMS = 100
"""The maximum number of entries read from one list or object."""

LARGEST_NUMBER = 1e15
"""A larger number is an error, and cannot be represented exactly as a `float`."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TOO_LATE = datetime(9999, 1, 1, tzinfo=UTC)
"""Later times would overflow `datetime` in some time zones."""

FIRST_MILLISECONDS = 100_000_000_000
"""A number from here on counts as milliseconds: that is the year 1973; as seconds it would be 5138."""


def as_record(value: object) -> Mapping[str, object]:
    """The value if it is an object, else an empty one; keys that are not strings are dropped."""
    if not isinstance(value, dict | Mapping):
        return {}
    return {key: item for key, item in value.items() if isinstance(key, str)}


def as_text(value: object) -> str:
    """The value as one trimmed, readable text; lists are comma-separated, objects become `key: value`."""
    return _text(value, MAX_DEPTH)


def as_texts(value: object) -> tuple[str, ...]:
    """The value as a list of non-empty texts; a single value becomes a list of one."""
    if isinstance(value, Mapping):
        return tuple(_pairs(value, MAX_DEPTH))
    if _is_list(value):
        return tuple(_entries(value, MAX_DEPTH))
    text = as_text(value)
    return (text,) if text else ()


def as_number(value: object) -> float | None:
    """The value as a finite number, from a number or a numeric string; None if it is neither."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= LARGEST_NUMBER else None


def as_count(value: object) -> int:
    """The value as a non-negative integer; 0 if it is not one."""
    return max(0, int(as_number(value) or 0))


def as_moment(value: object) -> datetime | None:
    """The value as a time in UTC: from a time, an ISO 8601 text, or seconds or milliseconds since the epoch.

    A time without a zone is in UTC; one before 1970 or after 9998 is an error and becomes None.
    """
    try:
        moment = _moment(value)
        if moment is None:
            return None
        moment = to_milliseconds(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError, OSError):
        return None
    return moment if EPOCH <= moment < TOO_LATE else None


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    number = as_number(value)
    if number is not None:
        return datetime.fromtimestamp(number if number < FIRST_MILLISECONDS else number / 1000, UTC)
    return datetime.fromisoformat(value.strip()) if isinstance(value, str) else None


def _text(value: object, depth: int) -> str:
    if isinstance(value, str):  # first, because most are
        return encodable(value).strip()
    if value is None:
        return ""
    if isinstance(value, Mapping) or _is_list(value):
        return _nested_text(value, depth)
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = as_number(value)
    if number is not None:
        return f"{number:.15g}"
    return value.isoformat() if isinstance(value, date) else ""


def _nested_text(value: object, depth: int) -> str:
    if depth == 0:
        return ""
    if isinstance(value, Mapping):
        return "; ".join(_pairs(value, depth))
    return ", ".join(_entries(value, depth))


def _pairs(value: Mapping[object, object], depth: int) -> Iterable[str]:
    for key, item in islice(value.items(), MAX_ITEMS):
        text = _text(item, depth - 1)
        if text:
            # A key as words: `morning_preferred` becomes `morning preferred`.
            yield f"{_text(key, 0).replace('_', ' ')}: {text}".strip()


def _entries(value: object, depth: int) -> Iterable[str]:
    if isinstance(value, Sequence):
        yield from filter(None, (_text(entry, depth - 1) for entry in value[:MAX_ITEMS]))
    elif isinstance(value, AbstractSet):
        # A DynamoDB set has no order, but prompt caching needs a stable one.
        yield from sorted(filter(None, (_text(entry, depth - 1) for entry in value)))[:MAX_ITEMS]


def _is_list(value: object) -> bool:
    return not isinstance(value, str | bytes | bytearray | memoryview) and isinstance(
        value, Sequence | AbstractSet
    )
