"""The SQLite store meets the store contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coachstream.storage.sqlite import SqliteStore
from contracts.conversation_store import ConversationStoreContract


class TestSqliteStore(ConversationStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(tmp_path / "data" / "coachstream.db")
        yield store
        await store.aclose()
