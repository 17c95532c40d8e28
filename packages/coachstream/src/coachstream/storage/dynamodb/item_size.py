"""The size of an item as DynamoDB counts it (Developer Guide, "DynamoDB item sizes and formats").

It is the UTF-8 bytes of names and values, more than the JSON characters that the existing system counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal

KIB = 1024

_CONTAINER_BYTES = 3
_ENTRY_BYTES = 1
_MOST_NUMBER_BYTES = 21


def item_bytes(item: Mapping[str, object]) -> int:
    """The size of an item; the limit is 400 KiB."""
    return sum(len(name.encode()) + value_bytes(value) for name, value in item.items())


def value_bytes(value: object) -> int:  # noqa: PLR0911 (one for each type)
    """The size of one value. For a number, the guide gives only an approximation; this is its upper bound."""
    match value:
        case str():
            return len(value.encode())
        case bytes():
            return len(value)
        case None | bool():
            return 1
        case int() | float() | Decimal():
            return _number_bytes(value)
        case Mapping():
            return _CONTAINER_BYTES + item_bytes(value) + _ENTRY_BYTES * len(value)
        case Sequence():
            return _CONTAINER_BYTES + sum(value_bytes(entry) + _ENTRY_BYTES for entry in value)
        case AbstractSet():
            return sum(value_bytes(entry) for entry in value)
    raise TypeError(f"a {type(value).__qualname__} cannot be stored")


def _number_bytes(value: float | Decimal) -> int:
    digits = len(Decimal(str(value)).normalize().as_tuple().digits)
    return min(_MOST_NUMBER_BYTES, (digits + 1) // 2 + 2)
