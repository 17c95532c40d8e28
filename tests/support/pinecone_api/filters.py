"""Pinecone's filters, as its guide describes them ("Filter by metadata")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fields = Mapping[str, object]
Condition = Callable[[Any, Any], bool]


class InvalidFilter(ValueError):
    """The filter is invalid."""


def _any(value: object, allowed: list[object]) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(each in allowed for each in values)


_CONDITIONS: Mapping[str, Condition] = {
    "$eq": lambda value, wanted: _any(value, [wanted]),
    "$ne": lambda value, wanted: not _any(value, [wanted]),
    "$gt": lambda value, wanted: isinstance(value, int | float) and value > wanted,
    "$gte": lambda value, wanted: isinstance(value, int | float) and value >= wanted,
    "$lt": lambda value, wanted: isinstance(value, int | float) and value < wanted,
    "$lte": lambda value, wanted: isinstance(value, int | float) and value <= wanted,
    "$in": _any,
    "$nin": lambda value, wanted: not _any(value, wanted),
    "$exists": lambda value, wanted: (value is not None) is wanted,
}


def matches(expression: object, fields: Fields) -> bool:
    """Whether a record's fields pass the filter.

    Raises:
        InvalidFilter: it uses something that the guide does not document.
    """
    if not isinstance(expression, dict):
        raise InvalidFilter("a filter is an object")
    ends = [_matches(name, wanted, fields) for name, wanted in expression.items()]
    return all(ends)  # every part is evaluated, so that a mistake shows whatever the record is


def _matches(name: str, wanted: object, fields: Fields) -> bool:
    if name in {"$and", "$or"}:
        if not isinstance(wanted, list) or not wanted:
            raise InvalidFilter(f"{name} needs a list of filters")
        ends = [matches(each, fields) for each in wanted]
        return all(ends) if name == "$and" else any(ends)
    if name.startswith("$"):
        raise InvalidFilter(f"{name} cannot stand here")
    conditions = wanted if isinstance(wanted, dict) else {"$eq": wanted}
    ends = [_holds(operator, each, fields.get(name)) for operator, each in conditions.items()]
    return all(ends)


def _holds(operator: str, wanted: object, value: object) -> bool:
    if operator not in _CONDITIONS:
        raise InvalidFilter(f"there is no {operator}")
    if (operator in {"$in", "$nin"}) != isinstance(wanted, list):
        raise InvalidFilter(f"{operator} does not take {type(wanted).__qualname__}")
    return _CONDITIONS[operator](value, wanted)
