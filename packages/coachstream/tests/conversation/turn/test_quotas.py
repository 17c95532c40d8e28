"""Quotas in a turn: refused before anything is stored, counted at its end, and reported to its readers."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode, ModelUnavailable, StorageUnavailable
from coachstream.conversation.events import Completed, Event, Failed
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.model import StopReason, Usage
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.quotas import QuotaLimits, QuotaUse
from coachstream.conversation.turn.turn import run_turn
from support.doubles import ScriptedModel
from support.turn_events import events_of
from support.turns import KEY, NOW, FixedDate, Stage

LIMITS = QuotaLimits(concurrent_runs=2, turns_per_minute=2, tokens_per_day=1_000)
AT = milliseconds_of(NOW)
AT_NIGHT = NOW.replace(hour=23, minute=59, second=50, microsecond=0)
DONE = ModelStop(StopReason.END_TURN, Usage(100, 20, 3, 4))


def limited(*script: object, limits: QuotaLimits = LIMITS) -> Stage:
    """A stage with quotas."""
    stage = Stage(ScriptedModel(*(script or ("Hello!", DONE))))  # type: ignore[arg-type]
    runs = msgspec.structs.replace(stage.settings.runs, quotas=limits)
    stage.settings = msgspec.structs.replace(stage.settings, runs=runs)
    return stage


async def use_of(stage: Stage) -> QuotaUse:
    return await stage.store.quota_use(KEY.user_id, LIMITS, at=AT)


async def test_the_end_of_a_turn_says_what_is_left() -> None:
    """With its own run ended and its own tokens counted; every reader of the run gets the same."""
    stage = limited()
    completed = (await stage.run())[-1]
    assert isinstance(completed, Completed)
    assert [(left.quota, left.limit, left.remaining) for left in completed.quotas] == [
        ("concurrent-runs", 2, 2),
        ("turns-per-minute", 2, 1),
        ("tokens-per-day", 1_000, 873),
    ]
    again = (await stage.run())[-1]
    assert isinstance(again, Completed)
    assert [left.remaining for left in again.quotas] == [2, 0, 746]


async def test_a_turn_without_a_quota_left_is_refused_and_nothing_is_stored() -> None:
    """The reader learns which one, and when to try again."""
    stage = limited()
    for _ in range(2):
        await stage.run()
    stored, calls = stage.stored(), stage.model.calls
    refused = (await stage.run())[-1]
    assert isinstance(refused, Failed)
    assert (refused.code, refused.retryable) == (ErrorCode.QUOTA_EXCEEDED, True)
    assert refused.quota is not None
    assert (refused.quota.quota, refused.quota.remaining) == ("turns-per-minute", 0)
    assert refused.retry_after_s == refused.quota.reset_s
    assert (stage.stored(), stage.model.calls) == (stored, calls)


async def test_what_is_left_is_that_of_the_end_and_not_of_the_beginning() -> None:
    """A reply that began before midnight leaves all of the new day but its own tokens."""
    clock = SetDate(AT_NIGHT - timedelta(hours=1))
    stage = limited("Hello!", DONE, limits=QuotaLimits(turns_per_minute=5, tokens_per_day=150))
    await events_at(stage, clock)  # leaves 23 tokens of the day
    clock.date = AT_NIGHT
    stage.store.reached.clear()
    goes_on = asyncio.Event()
    stage.model.script = ("Hello!", goes_on, DONE)
    turn = asyncio.ensure_future(events_at(stage, clock))
    for step in ("quota_use", "append"):
        await stage.store.reached[step].wait()
    clock.date += timedelta(seconds=20)
    goes_on.set()
    completed = (await turn)[-1]
    assert isinstance(completed, Completed)
    assert [(left.quota, left.remaining, left.reset_s) for left in completed.quotas] == [
        ("turns-per-minute", 5, 50),
        ("tokens-per-day", 23, 86_390),
    ]


class SetDate(FixedDate):
    """A clock whose date a test sets."""

    def __init__(self, date: datetime) -> None:
        self.date = date

    def now(self) -> datetime:
        return self.date


async def events_at(stage: Stage, clock: SetDate) -> list[Event]:
    """All events of a turn with this clock."""
    dependencies = msgspec.structs.replace(stage.dependencies, clock=clock)
    return [event async for event in events_of(run_turn, stage.request(), dependencies, stage.settings)]


async def test_without_quotas_nothing_is_read_for_them() -> None:
    """And `complete` says nothing of them."""
    stage = limited(limits=QuotaLimits())
    completed = (await stage.run())[-1]
    assert isinstance(completed, Completed)
    assert completed.quotas == ()
    assert "quota_use" not in stage.store.steps


@pytest.mark.parametrize("failure", [None, StorageUnavailable(), ValueError("secret")])
async def test_a_turn_does_not_depend_on_what_is_left(
    failure: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """If that cannot be read, or takes too long, it is not reported; the tokens are counted all the same."""
    stage = limited()
    if failure is None:
        stage.store.gates["quota_use"] = asyncio.Event()
    else:
        stage.store.failures["quota_use"] = [failure]
    completed = (await stage.run())[-1]
    assert isinstance(completed, Completed)
    assert completed.quotas == ()
    stage.store.gates.clear()
    assert (await use_of(stage)).tokens == 127
    assert "secret" not in caplog.text


async def test_the_tokens_of_a_reply_that_broke_off_are_estimated() -> None:
    """Its model reports none, but has read the prompt; one that never began costs none."""
    stage = limited("Half a ", ModelUnavailable())
    assert isinstance((await stage.run())[-1], Failed)
    broken = (await use_of(stage)).tokens
    assert broken > 10
    stage = limited(ModelUnavailable(), ModelUnavailable())
    assert isinstance((await stage.run())[-1], Failed)
    assert (await use_of(stage)).tokens == 0


async def test_the_tokens_of_a_cancelled_turn_are_estimated() -> None:
    """As if its reply had broken off; its place is free."""
    stage = limited("Half a ", asyncio.Event())
    turn = asyncio.ensure_future(stage.run())
    await stage.store.reached["append"].wait()
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    use = await use_of(stage)
    assert use.tokens > 10
    assert use.concurrent_runs == 0
