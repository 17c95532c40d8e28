"""Attribute values and item sizes, checked against boto3's conversion and DynamoDB's own size limit."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.model import Message, Role
from coachstream.storage.dynamodb.attribute_values import (
    MAX_DIGITS,
    from_attribute,
    from_item,
    to_attribute,
    to_item,
)
from coachstream.storage.dynamodb.history import embedded_messages, merged
from coachstream.storage.dynamodb.item_size import KIB, item_bytes
from support.dynamodb import Table
from support.odd_values import ODD_VALUES

LIMIT = 400 * KIB

_DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    _DECIMALS,
    st.text(max_size=20),
    st.binary(max_size=9),
)
_SETS = st.one_of(
    st.frozensets(st.text(max_size=5), min_size=1, max_size=4),
    st.frozensets(st.integers(-(10**9), 10**9), min_size=1, max_size=4),
    st.frozensets(st.binary(max_size=5), min_size=1, max_size=4),
)
STORABLE = st.recursive(
    st.one_of(_SCALARS, _SETS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(STORABLE)
def test_boto3_reads_what_we_write(value: object) -> None:
    """Its deserializer and ours agree on every value; numbers are compared by value."""
    attribute = to_attribute(value)
    assert _plain(TypeDeserializer().deserialize(attribute)) == _plain(from_attribute(attribute))
    assert _plain(from_attribute(attribute)) == _plain(value)


@given(STORABLE)
def test_we_read_what_boto3_writes(value: object) -> None:
    """The same in the other direction."""
    assert _plain(from_attribute(TypeSerializer().serialize(value))) == _plain(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_fraction_survives_to_the_last_bit(value: float) -> None:
    """Floats are written as their shortest exact representation."""
    stored = from_attribute(to_attribute(value))
    assert isinstance(stored, int | float)
    assert float(stored) == value


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), 10**MAX_DIGITS + 1]
)
def test_a_number_that_cannot_be_stored_is_refused(value: float | Decimal) -> None:
    """DynamoDB has no such numbers and would reject or round them."""
    with pytest.raises(ValueError, match="cannot be stored"):
        to_attribute(value)


@pytest.mark.parametrize("value", [object(), frozenset(), frozenset(["a", 1]), 1j])
def test_a_value_without_a_stored_form_is_refused(value: object) -> None:
    """Empty and mixed sets, and types that are not data."""
    with pytest.raises(TypeError):
        to_attribute(value)


def test_a_type_that_is_not_known_reads_as_nothing() -> None:
    """A later DynamoDB may add types."""
    assert from_item({"a": {"NEW": [1]}, "b": {"S": "x"}}) == {"a": None, "b": "x"}


async def test_our_item_size_is_that_of_dynamodb(table: Table) -> None:
    """An item that we measure at 400 KiB is accepted; one byte more is rejected."""
    item: dict[str, Any] = {
        "pk": "p",
        "sk": "ü",
        "attributes": {
            "messages": [{"id": "m", "content": "💪" * 1000, "ok": True, "none": None}] * 10,
            "empty": {"list": [], "object": {}, "text": ""},
            "tags": frozenset(["a", "bc"]),
        },
        "text": "",
    }
    item["text"] = "x" * (LIMIT - item_bytes(item))
    assert item_bytes(item) == LIMIT
    await table.put(item)
    with pytest.raises(Exception, match="size"):
        await table.put({**item, "text": item["text"] + "x"})


@given(STORABLE)
def test_every_storable_value_has_a_size(value: object) -> None:
    """The mirror also measures items that it did not write."""
    stored = from_item(to_item({"v": value}))
    assert item_bytes(stored) >= 1


@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("id", "role", "content", "timestamp", "metadata"), ODD_VALUES)
        )
    )
)
def test_embedded_messages_of_any_shape_are_read(entries: list[dict[str, object]]) -> None:
    """Whatever the list holds, nothing raises, and every result is a message."""
    found = embedded_messages({"attributes": {"messages": entries}})
    assert len(found) <= len(entries)
    assert all(message.role in set(Role) for message in found)


_NUMBERS = st.integers(1, 40)


def _message(number: int, *, is_ours: bool) -> Message:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    milliseconds = int(at.timestamp() * 1000)
    name = f"msg_{milliseconds:013d}_aaaaaaaaa_user" if is_ours else f"msg_{milliseconds}_user"
    # A client's clock may be arbitrarily wrong.
    return Message(name, Role.USER, "x", at - timedelta(days=number % 3))


@given(st.lists(_NUMBERS, unique=True), st.lists(_NUMBERS, unique=True), st.lists(_NUMBERS, unique=True))
def test_merged_messages_are_each_there_once_and_in_order(
    theirs: list[int], ours: list[int], mirrored: list[int]
) -> None:
    """A message may be in the list, in an item, or in both."""
    embedded = [_message(n, is_ours=False) for n in theirs] + [_message(n, is_ours=True) for n in mirrored]
    items = [_message(n, is_ours=True) for n in {*ours, *mirrored}]
    result = merged(embedded, items)
    assert sorted(m.id for m in result) == sorted({m.id for m in [*embedded, *items]})
    times = [m.id.split("_")[1] for m in result]
    assert times == sorted(times)


def _plain(value: object) -> object:  # noqa: PLR0911 (one for each type)
    """The value with numbers, lists and binary values normalized to one type each."""
    match value:
        case bool() | None | str():
            return value
        case int() | float() | Decimal():
            return Decimal(str(value)).normalize() + 0
        case bytes():
            return value
        case dict():
            return {name: _plain(entry) for name, entry in value.items()}
        case list() | tuple():
            return [_plain(entry) for entry in value]
        case set() | frozenset():
            return frozenset(_plain(entry) for entry in value)
    return bytes(value)  # type: ignore[call-overload]  # boto3's Binary
