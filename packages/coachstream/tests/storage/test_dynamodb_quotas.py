"""Quotas in DynamoDB: limits as operators write them, and what happens between two calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from coachstream.conversation.errors import QuotaExceeded, StorageUnavailable
from coachstream.conversation.quotas import QuotaLimits
from coachstream.storage.dynamodb import DynamoDbStore
from contracts.quotas import Talk
from contracts.store_records import COACH, KEY
from support.dynamodb import Table

PK = f"user#{KEY.user_id}"
OWN_LIMITS = ("maxConcurrentRuns", "maxTurnsPerMinute", "maxTokensPerDay")
LIMITS = QuotaLimits(concurrent_runs=2, turns_per_minute=20, tokens_per_day=1_000)


@pytest.fixture
async def talk(dynamodb_store: DynamoDbStore) -> Talk:
    await dynamodb_store.put_coach(KEY.user_id, KEY.coach_id, COACH)
    return Talk(dynamodb_store)


async def set_limit(table: Table, name: str, value: object) -> None:
    """Give the user a limit of their own, as an operator may."""
    await table.put({"pk": PK, "sk": "coachQuota", name: value})


@pytest.mark.parametrize("name", OWN_LIMITS)
@pytest.mark.parametrize("value", [-1, Decimal("-0.5"), "1000", "", True, None, [5]], ids=repr)
async def test_a_limit_that_is_none_refuses_every_turn(
    table: Table, talk: Talk, name: str, value: object
) -> None:
    """Also the first one of a minute or day; the error names the attribute, and no retry helps."""
    await set_limit(table, name, value)
    key = await talk.key("a")
    async with table.metered() as spent:
        with pytest.raises(StorageUnavailable, match=name) as refused:
            await talk.send("a", LIMITS)
    assert not refused.value.retryable
    assert refused.value.remedy
    assert spent.calls["TransactWriteItems"] == 1
    assert await talk.store.load_messages(key) == []


@pytest.mark.parametrize(("value", "runs"), [(Decimal("1.5"), 2), (Decimal("0.5"), 1), (Decimal("1E+20"), 3)])
async def test_a_limit_can_be_any_number_from_0_on(
    table: Table, talk: Talk, value: Decimal, runs: int
) -> None:
    """A fraction is rounded up, and one above all use still fits the header's integers."""
    await set_limit(table, "maxConcurrentRuns", value)
    for name in "abc"[:runs]:
        await talk.begin(name, LIMITS)
    use = await talk.use(LIMITS)
    assert use.limits.concurrent_runs == (runs if value < 10 else 999_999_999_999_999)
    if value < 10:
        with pytest.raises(QuotaExceeded):
            await talk.send("c", LIMITS)


async def test_a_hundred_conversations_give_their_places_up(talk: Talk) -> None:
    """A transaction has at most 100 items, and each conversation with tokens is one."""
    limits = QuotaLimits(concurrent_runs=100, tokens_per_day=10**6)
    for number in range(101):
        await (await talk.begin(f"c-{number}", limits)).finish(tokens=1)
    assert (await talk.use(limits)).tokens == 101


async def test_tokens_that_are_counted_during_the_search_for_a_place_are_not_lost(
    table: Table, talk: Talk
) -> None:
    """A run that ends after its conversation was read and before its log is, leaves its place at once."""
    limits = QuotaLimits(concurrent_runs=1, tokens_per_day=1_000)
    run = await talk.begin("a", limits)
    await talk.key("b")
    async with before_first(table, "Query", lambda: run.finish(tokens=30)):
        await talk.begin("b", limits)
    assert (await talk.use(limits)).tokens == 30


@asynccontextmanager
async def before_first(
    table: Table, operation: str, act: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Do something before the first call of an operation."""
    events, name = (await table.client()).meta.events, f"before-call.dynamodb.{operation}"
    has_acted = False

    async def once(**_: object) -> None:
        nonlocal has_acted
        if not has_acted:
            has_acted = True
            await act()

    events.register(name, once)
    try:
        yield
    finally:
        events.unregister(name, once)
    assert has_acted
