"""Observers judge leases by their own monotonic clock, so a wrong wall clock never kills a healthy run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.events import Completed, Failed
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.run_log import (
    MAX_CLOCK_SKEW,
    LogEntry,
    Opened,
    Released,
    Said,
    StopAsked,
    decode_entry,
    encode_entry,
)
from coachstream.conversation.runs.lease import LeaseWatch
from coachstream.conversation.runs.settings import RunSettings, TurnPolicy
from coachstream.conversation.turn.request import ResumeRequest
from coachstream.conversation.turn.turn import resume_run, run_closer, run_opener, run_turn, run_watcher
from support.doubles import ScriptedModel
from support.turn_events import events_of
from support.turns import KEY, NOW, FixedDate, Later, Stage

SETTINGS = RunSettings(lease_s=15, renew_every_s=0.8, reader_awaited_s=30)
QUICK = RunSettings(commit_every_s=0.0, renew_every_s=0.02, first_poll_s=0.005, longest_poll_s=0.01)
AHEAD_S = [20.0, 3600.0, 86_400.0 * 400, -20.0, -3600.0]


class HandClock:
    """A clock whose wall time and monotonic time the test sets."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.monotonic_s = 1000.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.wall_s)

    def monotonic(self) -> float:
        return self.monotonic_s

    def wait(self, seconds: float) -> None:
        self.wall_s += seconds
        self.monotonic_s += seconds


def renewal(number: int, *, at_s: float = 0.0, lease_s: float | None = 15.0) -> LogEntry:
    """A renewal by a lease holder whose wall clock reads `at_s` seconds after `NOW`."""
    until = milliseconds_of(NOW + timedelta(seconds=at_s + (lease_s or 15.0)))
    lease_ms = None if lease_s is None else round(1000 * lease_s)
    return LogEntry(number, 1, until, "w", Said("", 0), lease_ms)


def looked(watch: LeaseWatch, clock: HandClock, *entries: LogEntry) -> bool:
    """Whether an observer that reads these entries now judges the lease expired."""
    watch.note(entries, asked_at=clock.monotonic())
    return watch.is_over


# One observer


@given(
    skew_s=st.floats(-1e9, 1e9),
    jump_s=st.floats(-1e9, 1e9),
    looks=st.lists(st.floats(0.01, 0.75), min_size=1, max_size=40),
)
def test_a_producer_that_renews_is_never_dead(skew_s: float, jump_s: float, looks: list[float]) -> None:
    """Skew or jumps of the observer's wall clock do not matter as long as each read finds a renewal."""
    clock = HandClock()
    clock.wall_s = skew_s
    watch = LeaseWatch(clock, SETTINGS)
    for number, pause_s in enumerate(looks):
        assert not looked(watch, clock, renewal(number, at_s=number * 0.8))
        clock.wait(pause_s)
        clock.wall_s += jump_s


@pytest.mark.parametrize("skew_s", [0.0, 20.0, -20.0, -3600.0, -1e8])
def test_a_dead_run_is_dead_after_its_lease_whatever_the_wall_clock_says(skew_s: float) -> None:
    """The run is dead after exactly 15 s of observation; a slow wall clock does not keep it alive."""
    clock = HandClock()
    clock.wall_s = skew_s
    watch = LeaseWatch(clock, SETTINGS)
    assert not looked(watch, clock, renewal(0))
    assert watch.seconds_left == 15
    clock.wait(14.9)
    assert not looked(watch, clock)
    clock.wait(0.1)
    assert looked(watch, clock)


def test_the_duration_of_a_read_does_not_count_against_the_lease() -> None:
    """A renewal written while the read was in flight may be missing from its result."""
    clock = HandClock()
    watch = LeaseWatch(clock, SETTINGS)
    assert not looked(watch, clock, renewal(0))
    asked_at = clock.monotonic()
    clock.wait(60)
    watch.note([], asked_at=asked_at)
    assert not watch.is_over


def test_a_run_that_died_long_ago_is_dead_after_three_missed_renewals() -> None:
    """If the lease expired by more than the maximum clock skew, an observer need not wait the full 15 s."""
    clock = HandClock()
    clock.wall_s = 15 + MAX_CLOCK_SKEW.total_seconds() + 1
    watch = LeaseWatch(clock, SETTINGS)
    assert not looked(watch, clock, renewal(0))
    assert watch.is_long_over
    clock.wait(2.5)
    assert looked(watch, clock)


def test_a_stop_request_does_not_keep_a_dead_run_alive() -> None:
    """A stop request copies the lease into its entry, but no number of them renews it."""
    clock = HandClock()
    watch = LeaseWatch(clock, SETTINGS)
    looked(watch, clock, renewal(0))
    for number in range(1, 15):
        clock.wait(1)
        stop = msgspec.structs.replace(renewal(0), number=number, writer="s", content=StopAsked())
        assert not looked(watch, clock, stop)
    clock.wait(1)
    assert looked(watch, clock)


def test_entries_of_a_former_version_have_the_lease_that_is_configured() -> None:
    """15 s for a lease holder, 30 s while the run waits for a reader."""
    for content, lease_s in ((Said("x", 0), 15), (Released(), 30), (Opened("m", has_producer=False), 30)):
        clock = HandClock()
        watch = LeaseWatch(clock, SETTINGS)
        entry = msgspec.structs.replace(renewal(0, lease_s=None), content=content)
        assert not looked(watch, clock, entry)
        assert watch.seconds_left == lease_s


def test_the_lease_duration_is_an_addition_to_the_stored_entry() -> None:
    """Entries without a lease duration are read and written exactly as before."""
    former = (
        '{"number":1,"epoch":1,"leasedUntil":5,"writer":"w","content":{"type":"said","text":"x","offset":0}}'
    )
    entry = decode_entry(former)
    assert entry.lease_ms is None
    assert encode_entry(entry) == former
    assert '"leaseMs":15000' in encode_entry(msgspec.structs.replace(entry, lease_ms=15_000))


# Whole runs


class Ahead(FixedDate):
    """A wall clock that is off by a fixed amount."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead = timedelta(seconds=ahead_s)

    def now(self) -> datetime:
        return NOW + self._ahead


@asynccontextmanager
async def a_silent_run() -> AsyncIterator[tuple[Stage, str, asyncio.Event]]:
    """A run whose model is silent until the event while its holder renews the lease; yields its id."""
    silent = asyncio.Event()
    stage = Stage(ScriptedModel("So far", silent, *ScriptedModel().script))
    stage.settings = msgspec.structs.replace(stage.settings, runs=QUICK)
    request = msgspec.structs.replace(stage.request(), streamed=True)

    async def run() -> None:
        stage_events = [
            event async for event in events_of(run_turn, request, stage.dependencies, stage.settings)
        ]
        assert isinstance(stage_events[-1], Completed)

    running = asyncio.create_task(run())
    await stage.store.reached["append"].wait()
    run_id = (await stage.store.read_queue(KEY)).run_id
    assert run_id is not None
    yield stage, run_id, silent
    silent.set()
    await running
    assert stage.stored()[:2] == [("user", "How am I doing?"), ("assistant", "So farHello, you!")]


@pytest.mark.parametrize("ahead_s", AHEAD_S)
async def test_opening_a_conversation_with_a_wrong_clock_leaves_its_healthy_run_alone(ahead_s: float) -> None:
    """A GET closes only a run that it has observed to be dead."""
    async with a_silent_run() as (stage, run_id, _):
        parts = msgspec.structs.replace(stage.dependencies, clock=Ahead(ahead_s))
        await run_closer(parts, stage.settings).settle(KEY)
        assert (await stage.store.read_queue(KEY)).run_id == run_id


@pytest.mark.parametrize("ahead_s", AHEAD_S)
async def test_joining_with_a_wrong_clock_leaves_a_healthy_run_alone(ahead_s: float) -> None:
    """The reader gets the whole reply."""
    async with a_silent_run() as (stage, run_id, silent):
        parts = msgspec.structs.replace(stage.dependencies, clock=Ahead(ahead_s))
        request = ResumeRequest(KEY, run_id, parts.clock.monotonic() + 30)
        watcher = run_watcher(request, parts, stage.settings)
        await watcher.open()
        loop = asyncio.get_running_loop()
        loop.call_later(10 * QUICK.renewed_every_s, silent.set)
        events = [event async for event in events_of(resume_run, request, watcher, parts, stage.settings)]
        assert isinstance(events[-1], Completed)


@pytest.mark.parametrize("ahead_s", AHEAD_S)
async def test_another_message_with_a_wrong_clock_leaves_a_healthy_run_alone(ahead_s: float) -> None:
    """The message is refused as soon as it observes a renewal, and is stored after the reply."""
    async with a_silent_run() as (stage, run_id, _):
        parts = msgspec.structs.replace(stage.dependencies, clock=Ahead(ahead_s))
        request = msgspec.structs.replace(stage.request("And now?"), streamed=True, policy=TurnPolicy.REJECT)
        failed = [event async for event in events_of(run_turn, request, parts, stage.settings)][-1]
        assert isinstance(failed, Failed)
        assert (failed.code, failed.run_id) == (ErrorCode.TURN_IN_PROGRESS, run_id)
    assert stage.stored()[2:] == [("user", "And now?")]


async def test_a_stop_of_a_run_that_died_long_ago_closes_it() -> None:
    """A reader may never come to close it."""
    stage = Stage()
    stage.settings = msgspec.structs.replace(stage.settings, runs=QUICK)
    from coachstream.conversation.turn.turn import new_user_message

    message = new_user_message(stage.request(), stage.dependencies)
    opened = msgspec.structs.replace(renewal(0), content=Opened(message.id))
    await stage.store.begin_run(KEY, message, "run-dead", opened)
    parts = msgspec.structs.replace(stage.dependencies, clock=Later(3600))
    assert await run_opener(parts, stage.settings).stop(KEY, "run-dead")
    assert (await stage.store.read_queue(KEY)).run_id is None
    assert stage.stored() == [("user", "How am I doing?"), ("assistant", "")]
