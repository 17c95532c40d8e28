"""`SqliteRecall`: search over the user's own records and the shared methodology, by words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from coachstream.conversation.model import Match

METHODOLOGY = "methodology"
"""The namespace that everybody's searches include."""


def user_namespace(user_id: str) -> str:
    """The namespace of a user's own records."""
    return f"user_{user_id}"


class RecallRecord(msgspec.Struct, frozen=True):
    """A passage that can be found; `id` is unique in its namespace."""

    id: str
    namespace: str
    text: str
    record_type: str
    title: str = ""


class SqliteRecall:
    """`SemanticMemory` in an SQLite file of its own; nothing is opened before the first use."""

    def __init__(self, path: Path) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError

    async def add(self, *records: RecallRecord) -> None:
        raise NotImplementedError

    async def search(self, user_id: str, text: str, *, limit: int) -> Sequence[Match]:
        raise NotImplementedError
