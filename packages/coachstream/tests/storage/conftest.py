"""DynamoDB Local for the tests of the DynamoDB adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from coachstream.storage.dynamodb import DynamoDbStore
from support.dynamodb import Table, an_emptied_table


@pytest.fixture
async def table(dynamodb_local_url: str, aws_credentials: None) -> AsyncIterator[Table]:  # noqa: ARG001
    """An empty table in DynamoDB Local."""
    async with an_emptied_table(dynamodb_local_url) as table:
        yield table


@pytest.fixture
async def dynamodb_store(table: Table) -> DynamoDbStore:
    """A store over that table."""
    return table.store()
