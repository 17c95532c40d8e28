"""Turns with a guardrail, over the production stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.sqlite import SqliteStore
from contracts.guarded_turns import GuardedTurnContract
from support.dynamodb import an_emptied_table


class TestOnSqlite(GuardedTurnContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(tmp_path / "coachstream.db")
        yield store
        await store.aclose()


class TestOnDynamoDbLocal(GuardedTurnContract):
    @pytest.fixture
    async def store(self, dynamodb_local_url: str, aws_credentials: None) -> AsyncIterator[DynamoDbStore]:  # noqa: ARG002
        async with an_emptied_table(dynamodb_local_url) as table:
            yield table.store(mirror_messages=True)
