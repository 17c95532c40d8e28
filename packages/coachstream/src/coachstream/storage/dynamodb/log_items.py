"""A run's log entry as an item: a plain map that is readable in the AWS console."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coachstream.conversation.errors import StorageUnavailable
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.prompt.records import as_record
from coachstream.conversation.run_log import LogEntry
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.keys import log_entry_key
from coachstream.storage.dynamodb.requests import item_of

_KIND = "type"
"""The tag field of `msgspec`; the item's attribute is `kind`."""


def log_entry_item(key: ConversationKey, run_id: str, entry: LogEntry, *, ttl: int) -> Item:
    """The item of a log entry, which DynamoDB deletes after `ttl`, in seconds since 1970.

    It has no `entityType`, so it costs no index write. The key does not have the coach, so an attribute does.
    """
    attributes: dict[str, object] = msgspec.to_builtins(entry)
    content = dict(as_record(attributes.pop("content")))
    attributes |= {"kind": content.pop(_KIND), "content": content, "coachId": key.coach_id, "ttl": ttl}
    return item_of(log_entry_key(key, run_id, entry.number), attributes)


def parse_log_entry(item: Mapping[str, object]) -> LogEntry:
    """The entry in an item.

    Raises:
        StorageUnavailable: the item is malformed. No entry of a log may be skipped.
    """
    content = {**as_record(item.get("content")), _KIND: item.get("kind")}
    try:
        return msgspec.convert({**item, "content": content}, LogEntry)
    except msgspec.ValidationError:
        # Not `from` the error: it may quote stored data.
        raise StorageUnavailable("an entry in the log of a run cannot be read") from None


def is_of_coach(item: Mapping[str, object], key: ConversationKey) -> bool:
    """Whether the item belongs to this coach: conversations of two coaches could have the same id."""
    return item.get("coachId") == key.coach_id
