"""Converts between DynamoDB's typed attribute values and Python's: `{"S": "x"}` and `"x"`.

boto3 has such a conversion, but the asynchronous SDK does not include boto3. Numbers are converted through
decimal text, so that neither direction introduces binary rounding. All values read can be encoded as JSON.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

Item = Mapping[str, object]
"""An item, or an object within one, in Python's types."""

MAX_DIGITS = 38
"""The maximum number of significant digits of a stored number."""


def to_attribute(value: object) -> AttributeValueTypeDef:  # noqa: PLR0911 (one for each type)
    """Convert a value to a DynamoDB attribute value.

    Raises:
        ValueError: a number that is not finite, or has too many digits.
        TypeError: a type that has no stored form.
    """
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | float() | Decimal():
            return {"N": _number_text(value)}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": to_item(value)}
        case set() | frozenset():
            return _set(value)
        case Sequence():
            return {"L": [to_attribute(entry) for entry in value]}
    raise TypeError(f"a {type(value).__qualname__} cannot be stored")


def to_item(values: Mapping[str, object]) -> dict[str, AttributeValueTypeDef]:
    """Convert an object to DynamoDB attribute values; raises like `to_attribute`."""
    return {name: to_attribute(value) for name, value in values.items()}


def from_attribute(attribute: Mapping[str, object]) -> object:  # noqa: PLR0911 (one for each type)
    """The value of a stored attribute; sets become frozen sets, an unknown type becomes `None`."""
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value
        case "B":
            return _bytes(value)
        case "N":
            return _number(cast("str", value))
        case "M":
            return from_item(cast("Mapping[str, Mapping[str, object]]", value))
        case "L":
            return [from_attribute(entry) for entry in cast("Sequence[Mapping[str, object]]", value)]
        case "SS":
            return frozenset(cast("Sequence[str]", value))
        case "BS":
            return frozenset(map(_bytes, cast("Sequence[object]", value)))
        case "NS":
            return frozenset(_number(text) for text in cast("Sequence[str]", value))
    return None


def from_item(attributes: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """The values of a stored object."""
    return {name: from_attribute(attribute) for name, attribute in attributes.items()}


def _bytes(value: object) -> bytes:
    """The bytes of a binary value: the SDK has decoded it, a response has base64 text."""
    return b64decode(value) if isinstance(value, str) else cast("bytes", value)


def _number_text(value: float | Decimal) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number that is not finite cannot be stored")
        return repr(value)  # the shortest text that round-trips
    exact = Decimal(value)
    if not exact.is_finite():
        raise ValueError("a number that is not finite cannot be stored")
    if len("".join(map(str, exact.as_tuple().digits)).strip("0")) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits cannot be stored")
    return str(value)


def _number(text: str) -> int | float:
    if text.isdecimal():
        return int(text)
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)


def _set(values: set[object] | frozenset[object]) -> AttributeValueTypeDef:
    if values and all(isinstance(value, str) for value in values):
        return {"SS": sorted(cast("set[str]", values))}
    if values and all(isinstance(value, bytes) for value in values):
        return {"BS": sorted(cast("set[bytes]", values))}
    if values and all(isinstance(value, int | float | Decimal) for value in values):
        return {"NS": sorted(_number_text(cast("float", value)) for value in values)}
    raise TypeError("only a non-empty set with elements of one type can be stored")
