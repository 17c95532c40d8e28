"""An entry of a run's log, as an item: a plain map, which a person can read in the console."""

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
"""Where `msgspec` has the kind of a content; among our attributes it is called `kind`."""


def log_entry_item(key: ConversationKey, run_id: str, entry: LogEntry, *, ttl: int) -> Item:
    """An entry, to be deleted by DynamoDB after so many seconds since 1970.

    It has no `entityType`, so it costs no index. The coach is in no key of it, and so it is an attribute.
    """
    attributes: dict[str, object] = msgspec.to_builtins(entry)
    content = dict(as_record(attributes.pop("content")))
    attributes |= {"kind": content.pop(_KIND), "content": content, "coachId": key.coach_id, "ttl": ttl}
    return item_of(log_entry_key(key, run_id, entry.number), attributes)


def parse_log_entry(item: Mapping[str, object]) -> LogEntry:
    """The entry in an item.

    Raises:
        StorageUnavailable: there is something else in its place. Nothing may be left out of a log.
    """
    content = {**as_record(item.get("content")), _KIND: item.get("kind")}
    try:
        return msgspec.convert({**item, "content": content}, LogEntry)
    except msgspec.ValidationError:
        # Not `from` it: it may quote what is stored.
        raise StorageUnavailable("an entry in the log of a run cannot be read") from None


def is_of_coach(item: Mapping[str, object], key: ConversationKey) -> bool:
    """Whether it is of this coach's conversation: conversations of two coaches could have one id."""
    return item.get("coachId") == key.coach_id
