"""What is written after a turn, over the stores that are used for real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.sqlite import SqliteStore
from contracts.post_turn import PostTurnContract


class TestOnSqlite(PostTurnContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(tmp_path / "coachstream.db")
        yield store
        await store.aclose()


class TestOnDynamoDbLocal(PostTurnContract):
    @pytest.fixture
    async def store(self, dynamodb_store: DynamoDbStore) -> DynamoDbStore:
        return dynamodb_store
