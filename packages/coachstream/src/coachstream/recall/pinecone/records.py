"""Converts records from and to the index (existing system, section 4.3).

The index has records of two generations, with fields in snake_case and in camelCase, and conversation
summaries with a different type field. All are read; new records have both spellings, so that readers of
either generation find them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from coachstream.conversation.model import ConversationKey, Match, Memory, format_timestamp
from coachstream.conversation.prompt.records import as_text
from coachstream.conversation.prompt.user import ConversationSummary
from coachstream.conversation.text import encodable
from coachstream.recall.records import (
    CONTEXT_TYPES,
    CONVERSATION_SUMMARY,
    METHODOLOGY,
    USER_MEMORY,
    WRITTEN_TYPES,
    memory_text,
    summary_id,
    summary_text,
    user_namespace,
)

_TEXT = ("text", "content")
_TITLE = ("title",)
_TYPE = ("record_type", "recordType", "type")

FIELDS = (*_TEXT, *_TITLE, *_TYPE)
"""The fields that a search returns; a workout record has thirty more."""

OWN_RECORDS: Mapping[str, object] = {
    "$or": [
        {"record_type": {"$in": list(CONTEXT_TYPES)}},
        {"recordType": {"$in": list(CONTEXT_TYPES)}},
        {"type": {"$eq": CONVERSATION_SUMMARY}},
    ]
}
"""The filter for the user's namespace. The methodology's records often have no type, and need none."""

WRITTEN_RECORDS: Mapping[str, object] = {"$or": [{name: {"$in": list(WRITTEN_TYPES)}} for name in _TYPE]}
"""The filter for a user's memories and summaries of conversations, whichever generation stored them."""

MAX_TEXT_BYTES = 32_000
"""The limit for a memory. A record may have 40 KB; an embedding model reads about a quarter of this."""

# Namespaces are ASCII without NUL, at most 512 characters (Pinecone, "Identifier limits"). A namespace is
# also part of the request's path: a character that a server or proxy might treat as a separator, an escape or
# a trimmable blank would let one user's id name another user's records.
_SAFE_NAMESPACE = re.compile(r"[!-~]{1,512}")
_AMBIGUOUS = frozenset("/\\%?#;")


def own_namespace(user_id: str) -> str | None:
    """The user's namespace; `None` for an id that cannot safely name one, so that nothing is stored there."""
    namespace = user_namespace(user_id)
    is_safe = _SAFE_NAMESPACE.fullmatch(namespace) and _AMBIGUOUS.isdisjoint(namespace)
    return namespace if is_safe else None


def summaries_of(conversation_id: str) -> Mapping[str, object]:
    """The filter for a conversation's summaries. Workouts name their conversation as well, and are kept."""
    is_summary = [{name: {"$eq": CONVERSATION_SUMMARY}} for name in _TYPE]
    is_of_it = [{name: {"$eq": conversation_id}} for name in ("conversation_id", "conversationId")]
    return {"$and": [{"$or": is_summary}, {"$or": is_of_it}]}


def match_of(record_id: str, score: float, fields: Mapping[str, object], *, namespace: str) -> Match | None:
    """A hit as a match; `None` if it has no text."""
    content = _first(fields, _TEXT)
    if not content:
        return None
    default = METHODOLOGY if namespace == METHODOLOGY else "unknown"
    return Match(
        id=record_id,
        content=content,
        score=score,
        record_type=_first(fields, _TYPE) or default,
        namespace=namespace,
        title=_first(fields, _TITLE),
    )


def record_of(user_id: str, memory: Memory) -> dict[str, object]:
    """A memory as a record, with the memory's own id, so that storing it again creates no duplicate."""
    created_at = format_timestamp(memory.created_at)
    fields: dict[str, object] = {
        "record_type": USER_MEMORY,
        "user_id": user_id,
        "memory_id": memory.id,
        "memory_type": memory.memory_type,
        "importance": memory.importance.value,
        "source": memory.source.value,
        "tags": [encodable(tag) for tag in memory.tags] or None,
        "coach_id": memory.coach_id,
        "is_global": memory.coach_id is None,
        "usage_count": memory.usage_count,
        "created_at": created_at,
        "logged_at": created_at,
    }
    return _record(memory.id, memory_text(memory), fields)


def summary_record(key: ConversationKey, summary: ConversationSummary) -> dict[str, object]:
    """A summary as a record, one for a conversation; `type` is how the existing functions name its kind."""
    created_at = None if summary.created_at is None else format_timestamp(summary.created_at)
    fields: dict[str, object] = {
        "record_type": CONVERSATION_SUMMARY,
        "type": CONVERSATION_SUMMARY,
        "user_id": key.user_id,
        "coach_id": key.coach_id,
        "conversation_id": key.conversation_id,
        "summary_id": summary_id(key.conversation_id),
        "total_messages": summary.total_messages,
        "created_at": created_at,
        "logged_at": created_at,
    }
    return _record(summary_id(key.conversation_id), summary_text(summary), fields)


def _record(record_id: str, text: str, fields: Mapping[str, object]) -> dict[str, object]:
    """A record with both spellings of its fields; the index rejects nulls."""
    kept = {name: value for name, value in fields.items() if value is not None}
    in_camel_case = {_camel_case(name): value for name, value in kept.items()}
    return {"_id": record_id, "text": _shortened(text), **kept, **in_camel_case}


def _first(fields: Mapping[str, object], names: tuple[str, ...]) -> str:
    return next(filter(None, (as_text(fields.get(name)) for name in names)), "")


def _camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(map(str.title, rest))


def _shortened(text: str) -> str:
    return encodable(text).encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
