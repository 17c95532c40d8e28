from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given

from coachstream.conversation.prompt.records import (
    LARGEST_NUMBER,
    MAX_DEPTH,
    MAX_ITEMS,
    as_count,
    as_moment,
    as_number,
    as_record,
    as_text,
    as_texts,
)
from support.odd_values import ODD_VALUES


@given(ODD_VALUES)
@example({"_": False})
def test_anything_can_be_read_as_anything(value: object) -> None:
    """No value raises; every text can be encoded as UTF-8 and has no surrounding whitespace."""
    for text in (as_text(value), *as_texts(value)):
        text.encode()
        assert text == text.strip()
    assert all(as_texts(value))
    assert all(isinstance(name, str) for name in as_record(value))
    assert as_count(value) >= 0
    number, moment = as_number(value), as_moment(value)
    assert number is None or abs(number) <= LARGEST_NUMBER
    assert moment is None or moment.tzinfo is UTC


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("2026-03-01T10:00:00.123Z", datetime(2026, 3, 1, 10, 0, 0, 123000, UTC)),
        ("2026-03-01T10:00:00.123456+02:00", datetime(2026, 3, 1, 8, 0, 0, 123000, UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        (Decimal(1772359200), datetime(2026, 3, 1, 10, tzinfo=UTC)),
        (1772359200000, datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("yesterday", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("9999-12-31T23:59:59Z", None),
        ("1969-12-31T23:59:59Z", None),
        (10**30, None),
        (True, None),
    ],
)
def test_a_date_is_read_in_every_stored_form(stored: object, read: datetime | None) -> None:
    """Text with or without a time zone, seconds and milliseconds are read; anything else is not a date."""
    assert as_moment(stored) == read


@pytest.mark.parametrize(
    ("stored", "read"),
    [(Decimal("0.750"), "0.75"), (50.0, "50"), (3, "3"), (float("nan"), ""), (10**400, ""), (False, "no")],
)
def test_a_number_is_read_as_a_person_writes_it(stored: object, read: str) -> None:
    """No trailing zeros; a number that is not finite yields empty text."""
    assert as_text(stored) == read


def test_half_a_character_becomes_a_replacement() -> None:
    """A lone surrogate cannot be encoded as UTF-8; a surrogate pair becomes the character it encodes."""
    assert as_text("a\ud83d b\ud83d\ude00") == "a\ufffd b\U0001f600"


def test_a_long_list_is_read_to_its_limit() -> None:
    """A runaway record costs no more than a large one."""
    assert len(as_texts(["x"] * MAX_ITEMS)) == MAX_ITEMS
    assert len(as_texts(["x"] * (MAX_ITEMS + 1))) == MAX_ITEMS


def test_nesting_is_read_to_its_limit() -> None:
    """Reading a deeply nested or self-referencing value terminates."""
    value: object = "deep"
    for _ in range(MAX_DEPTH):
        value = [value]
    assert as_text(value) == "deep"
    assert as_text([value]) == ""


def test_a_set_is_read_in_the_same_order_every_time() -> None:
    """A prompt cached by its text must have the same text in the next process."""
    letters = tuple("abcdefghijklmnop")
    assert as_texts({*letters, 10**5000}) == letters
