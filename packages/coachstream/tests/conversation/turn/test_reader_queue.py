"""A turn apart from its reader: one that is slow, one that leaves, one that is cancelled."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Completed,
    Event,
    Failed,
    Reconnect,
    Send,
    Started,
)
from coachstream.conversation.model import StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.runs.watcher import HasLeft
from coachstream.conversation.turn.reader_queue import CAPACITY, TurnReader
from coachstream.conversation.turn.turn import run_turn
from support.doubles import ScriptedModel
from support.patience import PATIENCE_S
from support.turns import FixedDate, Stage

DONE = ModelStop(StopReason.END_TURN)


def _reader(stage: Stage, *, within_s: float = 30.0) -> TurnReader:
    request = stage.request(within_s=within_s)
    return TurnReader(
        partial(run_turn, request, stage.dependencies, stage.settings),
        save_deadline=request.deadline - stage.settings.save_reserve_s,
        clock=FixedDate(),
    )


async def test_a_reader_gets_every_event_in_order() -> None:
    """Nothing is lost, doubled or rearranged on the way."""
    words = [f"{number} " for number in range(3 * CAPACITY)]
    stage = Stage(ScriptedModel(*words, DONE))
    async with _reader(stage) as events:
        read = [event async for event in events]
    assert read[0] == Started()
    assert [event.content for event in read if isinstance(event, Chunk)] == words
    assert isinstance(read[-1], Completed)


async def test_a_slow_reader_makes_the_model_wait() -> None:
    """No more than the capacity is ahead of the reader; the rest stays where it is."""
    spoken = 0

    class Counting(ScriptedModel):
        async def stream(self, prompt, *, deadline):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            nonlocal spoken
            async for event in super().stream(prompt, deadline=deadline):
                spoken += 1
                yield event

    stage = Stage(Counting(*["x"] * 10 * CAPACITY, DONE))
    async with _reader(stage) as events:
        assert await anext(events) == Started()
        for _ in range(20 * CAPACITY):
            await asyncio.sleep(0)
        assert CAPACITY <= spoken <= CAPACITY + 2
        assert isinstance([event async for event in events][-1], Completed)
    assert spoken == 10 * CAPACITY + 1


async def test_a_reader_that_blocks_does_not_keep_the_reply_from_being_saved() -> None:
    """Past the save deadline the turn ends by itself; the reader finds the ending whenever it reads."""
    stage = Stage(ScriptedModel(*["x"] * 10 * CAPACITY, DONE))
    saved = asyncio.Event()
    finish = stage.store.finish_run

    async def finish_run(*args):  # type: ignore[no-untyped-def] # noqa: ANN002, ANN202
        there = await finish(*args)
        saved.set()
        return there

    stage.store.finish_run = finish_run  # type: ignore[method-assign]
    async with _reader(stage, within_s=1.2) as events:
        await asyncio.wait_for(saved.wait(), PATIENCE_S)
        read = [event async for event in events]
    texts = [event.content for event in read if isinstance(event, Chunk)]
    assert stage.stored()[-1] == ("assistant-", "".join(texts))
    failed = read[-1]
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.DEADLINE_EXCEEDED


async def test_a_reader_that_takes_nothing_holds_nobody_up_and_is_told_to_come_again() -> None:
    """The whole reply is stored; what waits for the reader ends with the place to go on from."""
    stage = Stage(ScriptedModel(*["x"] * 10 * CAPACITY, DONE))
    request = stage.request()
    async with TurnReader(
        partial(run_turn, request, stage.dependencies, stage.settings),
        save_deadline=request.deadline - stage.settings.save_reserve_s,
        clock=FixedDate(),
        stalled_after_s=0.05,
    ) as events:
        assert await anext(events) == Started()
        await asyncio.wait_for(stage.store.reached["finish_run"].wait(), PATIENCE_S)
        read = [event async for event in events]
    assert isinstance(read[0], Attached)
    assert isinstance(read[-1], Reconnect)
    assert read[-1].point.run_id == read[0].point.run_id
    assert stage.stored()[-1] == ("assistant", "x" * 10 * CAPACITY)


async def test_a_reader_may_wait_with_a_timeout_and_loses_nothing() -> None:
    """Between two events it can do something else, a keep-alive for one, as often as it likes."""
    gate = asyncio.Event()
    stage = Stage(ScriptedModel("One ", gate, "two", DONE))
    read: list[Event] = []
    timeouts = 0
    async with _reader(stage) as events:
        while not (read and isinstance(read[-1], Completed)):
            try:
                read.append(await asyncio.wait_for(anext(events), 0.01))
            except TimeoutError:
                timeouts += 1
                if timeouts == 3:
                    gate.set()
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert [type(event) for event in read] == [Started, Attached, Chunk, Chunk, Completed]
    assert timeouts >= 3


async def test_a_turn_leaves_no_task_behind() -> None:
    """When the reader has left the turn, nothing of it runs any more."""
    before = asyncio.all_tasks()
    for leaves_early in (False, True):
        async with _reader(Stage()) as events:
            async for _ in events:
                if leaves_early:
                    break
        assert asyncio.all_tasks() == before


async def test_a_reader_that_leaves_does_not_stop_the_turn() -> None:
    """Leaving waits for the end, and the whole reply is stored."""
    stage = Stage(ScriptedModel(*["x"] * 10 * CAPACITY, DONE))
    async with _reader(stage) as events:
        assert await anext(events) == Started()
    assert stage.stored()[-1] == ("assistant", "x" * 10 * CAPACITY)
    assert stage.store.claims == set()


async def test_a_reader_that_fails_does_not_stop_the_turn() -> None:
    """Its failure is its own; the reply is stored."""
    stage = Stage()
    with pytest.raises(ConnectionResetError):
        async with _reader(stage):
            raise ConnectionResetError
    assert stage.stored()[-1] == ("assistant", "Hello, you!")


async def test_a_cancelled_reader_ends_the_turn_with_what_was_said() -> None:
    """Whoever cancels it, a server that stops, does not wait for the model."""
    stage = Stage(ScriptedModel("So far", asyncio.Event()))
    reading = asyncio.Event()

    async def read() -> None:
        async with _reader(stage) as events:
            async for event in events:
                if isinstance(event, Chunk):
                    reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    began = asyncio.get_running_loop().time()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert asyncio.get_running_loop().time() - began < 5
    assert stage.stored()[-1] == ("assistant-", "So far")
    assert stage.store.claims == set()


async def test_events_that_cannot_be_closed_still_end_in_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A clean-up that fails is logged; the reader gets its terminal event all the same."""

    async def broken(*, send: Send, has_left: HasLeft) -> None:  # noqa: ARG001 (the turn's signature)
        try:
            for _ in range(2 * CAPACITY):
                await send(Started())
        finally:
            raise RuntimeError("secret words")

    async with TurnReader(
        broken, save_deadline=asyncio.get_running_loop().time() + 9, clock=FixedDate()
    ) as events:
        read = [event async for event in events]
    assert isinstance(read[-1], Failed)
    assert "secret words" not in caplog.text


async def test_events_that_break_still_end_in_a_failure() -> None:
    """A reader always gets a terminal event, whatever the turn does."""

    async def broken(*, send: Send, has_left: HasLeft) -> None:  # noqa: ARG001 (the turn's signature)
        await send(Started())
        raise RuntimeError("a defect")

    async with TurnReader(
        broken, save_deadline=asyncio.get_running_loop().time() + 9, clock=FixedDate()
    ) as events:
        read = [event async for event in events]
    assert read[0] == Started()
    failed = read[1]
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.PROCESSING_ERROR
