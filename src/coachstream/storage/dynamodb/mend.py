"""Counters in records whose shape has drifted: an increment needs a number, and objects on the way to it."""

from __future__ import annotations

from contextlib import suppress

from coachstream.conversation.lenient import as_count, as_record
from coachstream.storage.dynamodb.calls import TableCalls
from coachstream.storage.dynamodb.errors import ConditionFailed
from coachstream.storage.dynamodb.keys import ItemKey
from coachstream.storage.dynamodb.requests import Update


async def mend_counter(
    calls: TableCalls, key: ItemKey, counter: str, *, counted_list: str | None = None
) -> None:
    """Make `attributes.metadata.<counter>` a number: what can be read there, else the length of a list.

    Only what is in the way is replaced, and only if it still is when it is written; everything else stays.

    Args:
        calls: of the table.
        key: the item; nothing happens if there is none.
        counter: a name in `attributes.metadata`.
        counted_list: the name of the list in `attributes` whose entries it counts.
    """
    item = await calls.get(key)
    attributes = as_record((item or {}).get("attributes"))
    counted = attributes.get(counted_list) if counted_list is not None else None
    count = as_count(as_record(attributes.get("metadata")).get(counter)) or (
        len(counted) if isinstance(counted, list) else 0
    )
    for path, kind, value in (
        ("#attributes", "M", {}),
        ("#attributes.#metadata", "M", {}),
        (f"#attributes.#metadata.#{counter}", "N", count),
    ):
        write = Update(
            key,
            f"SET {path} = :value",
            f"attribute_exists(#pk) AND NOT attribute_type({path}, :kind)",
            {":value": value, ":kind": kind},
        )
        with suppress(ConditionFailed):
            await calls.change(write)
