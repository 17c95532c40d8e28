"""Repairs counters in records whose schema has drifted: an increment needs a number inside objects."""

from __future__ import annotations

from contextlib import suppress

from coachstream.conversation.prompt.records import as_count, as_record
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.errors import ConditionFailed
from coachstream.storage.dynamodb.keys import ItemKey
from coachstream.storage.dynamodb.requests import Update
from coachstream.storage.dynamodb.table_client import TableClient

COUNT: Item = {":number": "N", ":none": 0}
"""The values of the placeholders in `is_count`."""


async def repair_counter(
    table: TableClient, key: ItemKey, counter: str, *, counted_list: str | None = None
) -> None:
    """Make `attributes.metadata.<counter>` a count: the coerced stored value, or else the length of a list.

    Replaces only malformed values, each conditionally, so that a concurrent repair is kept.

    Args:
        table: the client of the table.
        key: the item; a missing item is ignored.
        counter: the counter's name in `attributes.metadata`.
        counted_list: the name of the list in `attributes` whose entries the counter counts.
    """
    item = await table.get(key)
    if item is None:
        return
    attributes = as_record(item.get("attributes"))
    counted = attributes.get(counted_list) if counted_list is not None else None
    count = as_count(as_record(attributes.get("metadata")).get(counter)) or (
        len(counted) if isinstance(counted, list) else 0
    )
    total = f"#attributes.#metadata.#{counter}"
    fixes: tuple[tuple[str, str, Item], ...] = (
        ("#attributes", "attribute_type(#attributes, :object)", {":object": "M", ":value": {}}),
        (
            "#attributes.#metadata",
            "attribute_type(#attributes.#metadata, :object)",
            {":object": "M", ":value": {}},
        ),
        (total, is_count(total), {**COUNT, ":value": count}),
    )
    for path, is_right, values in fixes:
        condition = f"attribute_exists(#pk) AND NOT ({is_right})"
        with suppress(ConditionFailed):
            await table.change(Update(key, f"SET {path} = :value", condition, values))


def is_count(path: str) -> str:
    """The condition that the path holds a non-negative number; its values are `COUNT`."""
    return f"attribute_type({path}, :number) AND {path} >= :none"
