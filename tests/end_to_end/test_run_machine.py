"""Runs and quotas under any order of events, on both stores (see `support.run_machine`, `quota_machine`)."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.sqlite import SqliteStore
from contracts.store_records import SeedableStore
from support.calls_in_turn import CallsInTurn, in_turn
from support.dynamodb import a_table
from support.quota_machine import QuotaMachine
from support.run_machine import RunMachine

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

QUICK = settings(
    max_examples=120,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class OnSqlite:
    """Each example has its own file."""

    calls: CallsInTurn

    async def open_store(self) -> SeedableStore:
        self.folder = Path(tempfile.mkdtemp())
        self.sqlite = SqliteStore(self.folder / "data.db")
        return self.sqlite

    async def close_store(self) -> None:
        await self.sqlite.aclose()
        shutil.rmtree(self.folder)

    def store_in_turn(self) -> SeedableStore:
        return in_turn(self.sqlite, self.calls)


class OnDynamoDb:
    """Each example has its own table; every write is a call over the network."""

    url: ClassVar[str]
    calls: CallsInTurn

    async def open_store(self) -> SeedableStore:
        self.opened = AsyncExitStack()
        self.table = await self.opened.enter_async_context(a_table(self.url))
        self.client = await self.table.client()
        return self.table.store()

    async def close_store(self) -> None:
        await self.opened.aclose()

    def store_in_turn(self) -> SeedableStore:
        client: DynamoDBClient = in_turn(self.client, self.calls)

        async def opened() -> DynamoDBClient:
            return client

        return DynamoDbStore(opened, self.table.name)


def test_no_message_is_lost_or_doubled_whatever_happens_on_sqlite() -> None:
    """Start, read, cut, resume, stop, kill and expire happen in any order."""

    class RunsOnSqlite(OnSqlite, RunMachine):
        pass

    run_state_machine_as_test(RunsOnSqlite, settings=QUICK)


@pytest.mark.usefixtures("aws_credentials")
def test_no_message_is_lost_or_doubled_whatever_happens_on_dynamodb(dynamodb_local_url: str) -> None:
    """The same holds where every write is a call over the network."""

    class RunsOnDynamoDb(OnDynamoDb, RunMachine):
        url = dynamodb_local_url

    run_state_machine_as_test(RunsOnDynamoDb, settings=settings(QUICK, max_examples=20))


def test_no_quota_is_exceeded_or_leaks_whatever_happens_on_sqlite() -> None:
    """Messages, retries, stops, deletions, deaths, clocks and pauses happen in any order."""

    class QuotasOnSqlite(OnSqlite, QuotaMachine):
        pass

    run_state_machine_as_test(QuotasOnSqlite, settings=QUICK)


@pytest.mark.usefixtures("aws_credentials")
def test_no_quota_is_exceeded_or_leaks_whatever_happens_on_dynamodb(dynamodb_local_url: str) -> None:
    """A process may also die between two calls of one operation."""

    class QuotasOnDynamoDb(OnDynamoDb, QuotaMachine):
        url = dynamodb_local_url

    run_state_machine_as_test(QuotasOnDynamoDb, settings=settings(QUICK, max_examples=20))
