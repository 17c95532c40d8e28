"""Runs under any order of events, on both stores (see `support.run_machine`)."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.sqlite import SqliteStore
from contracts.store_records import SeedableStore
from support.calls_in_turn import in_turn
from support.dynamodb import a_table
from support.run_machine import RunMachine

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

QUICK = settings(
    max_examples=120,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class OnSqlite(RunMachine):
    """Each example has its own file."""

    async def open_store(self) -> SeedableStore:
        self.folder = Path(tempfile.mkdtemp())
        self.sqlite = SqliteStore(self.folder / "data.db")
        return self.sqlite

    async def close_store(self) -> None:
        await self.sqlite.aclose()
        shutil.rmtree(self.folder)

    def store_in_turn(self) -> SeedableStore:
        return in_turn(self.sqlite, self.calls)


def test_no_message_is_lost_or_doubled_whatever_happens_on_sqlite() -> None:
    """Start, read, cut, resume, stop, kill and expire happen in any order."""
    run_state_machine_as_test(OnSqlite, settings=QUICK)


@pytest.mark.usefixtures("aws_credentials")
def test_no_message_is_lost_or_doubled_whatever_happens_on_dynamodb(dynamodb_local_url: str) -> None:
    """The same holds where every write is a call over the network."""

    class OnDynamoDb(RunMachine):
        """Each example has its own table."""

        async def open_store(self) -> SeedableStore:
            self.opened = AsyncExitStack()
            self.table = await self.opened.enter_async_context(a_table(dynamodb_local_url))
            self.client = await self.table.client()
            return self.table.store()

        async def close_store(self) -> None:
            await self.opened.aclose()

        def store_in_turn(self) -> SeedableStore:
            client: DynamoDBClient = in_turn(self.client, self.calls)

            async def opened() -> DynamoDBClient:
                return client

            return DynamoDbStore(opened, self.table.name)

    run_state_machine_as_test(OnDynamoDb, settings=settings(QUICK, max_examples=20))
