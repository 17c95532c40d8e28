"""A turn runs independently of its reader, which may be slow, leave or be cancelled."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation import events as e
from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Completed,
    Contextual,
    Event,
    Failed,
    LogPoint,
    Reconnect,
    Reset,
    Send,
    Started,
)
from coachstream.conversation.model import StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.runs.watcher import HasLeft
from coachstream.conversation.text import utf16_length
from coachstream.conversation.turn.reader_queue import CAPACITY, TurnReader
from coachstream.conversation.turn.turn import run_turn
from support.doubles import ScriptedModel
from support.patience import PATIENCE_S
from support.turns import FixedDate, Stage

DONE = ModelStop(StopReason.END_TURN)


class Jumping(FixedDate):
    """A clock whose monotonic time can jump ahead."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def _reader(stage: Stage) -> TurnReader:
    return TurnReader(
        partial(run_turn, stage.request(), stage.dependencies, stage.settings), clock=FixedDate()
    )


async def test_a_reader_gets_every_event_in_order() -> None:
    """Nothing is lost, doubled or rearranged on the way."""
    words = [f"{number} " for number in range(3 * CAPACITY)]
    stage = Stage(ScriptedModel(*words, DONE))
    async with _reader(stage) as events:
        read = [event async for event in events]
    assert read[0] == Started()
    chunks = [event for event in read if isinstance(event, Chunk)]
    assert [chunk.content for chunk in chunks[: CAPACITY // 2]] == words[: CAPACITY // 2]
    assert "".join(chunk.content for chunk in chunks) == "".join(words)
    assert isinstance(read[-1], Completed)


async def test_a_slow_reader_does_not_slow_the_turn_down() -> None:
    """The reply is stored before the reader has read it; the backlog is merged into few chunks."""
    said = [f"{number} 💪" for number in range(10 * CAPACITY)]
    stage = Stage(ScriptedModel(*said, DONE))
    async with _reader(stage) as events:
        assert await anext(events) == Started()
        await asyncio.wait_for(stage.store.reached["finish_run"].wait(), PATIENCE_S)
        read = [event async for event in events]
    chunks = [event for event in read if isinstance(event, Chunk)]
    assert "".join(chunk.content for chunk in chunks) == "".join(said)
    assert len(chunks) <= CAPACITY + 1
    for chunk, following in pairwise(chunks):
        assert chunk.offset + utf16_length(chunk.content) == following.offset
    assert isinstance(read[-1], Completed)


@given(st.lists(st.sampled_from(["read", "a", "é", "💪", "reset"]), max_size=4 * CAPACITY))
async def test_however_a_reader_lags_it_ends_with_the_text_that_was_sent(steps: list[str]) -> None:
    """Merged text keeps its offset and order, also before and after a reset."""
    said: list[str] = []
    text = b""

    async def turn(*, send: Send, has_left: HasLeft) -> None:  # noqa: ARG001 (the turn's signature)
        for number, step in enumerate(steps):
            if step == "read":
                allowed.release()
                await asyncio.sleep(0)
            elif step == "reset":
                said[len(said) // 2 :] = []
                await send(Reset(utf16_length("".join(said))))
            else:
                offset = utf16_length("".join(said))
                said.append(step)
                await send(Chunk(step, offset, LogPoint("run-1", number)))
        await send(Failed(ErrorCode.PROCESSING_ERROR, "", retryable=True))
        for _ in range(len(steps) + 2):
            allowed.release()

    allowed = asyncio.Semaphore(0)
    points: list[int] = []
    async with TurnReader(turn, clock=FixedDate()) as events:
        async for event in events:
            await allowed.acquire()
            match event:
                case Chunk(content, offset, point):
                    assert 2 * offset == len(text), "a gap or a repetition"
                    text += content.encode("utf-16-le")
                    assert point is not None
                    points.append(point.number)
                case Reset(offset):
                    text = text[: 2 * offset]
                case _:
                    pass
    assert text.decode("utf-16-le") == "".join(said)
    assert points == sorted(points)


async def test_a_contextual_event_keeps_its_place_in_the_text_and_moves_no_position() -> None:
    """In a queue that is full, where text joins text; the position is that of the text."""
    notice = Contextual("Saved.", e.Stage.MEMORY_SAVED)

    async def turn(*, send: Send, has_left: HasLeft) -> None:  # noqa: ARG001 (the turn's signature)
        for number in range(2 * CAPACITY):
            await send(Chunk("x", number, LogPoint("run-1", number)))
        await send(notice)
        await send(Chunk("y", 2 * CAPACITY))
        await send(Failed(ErrorCode.PROCESSING_ERROR, "", retryable=True))

    async with TurnReader(turn, clock=FixedDate()) as reader:
        read = [event async for event in reader]
        assert reader.point == LogPoint("run-1", 2 * CAPACITY - 1)
    place = read.index(notice)
    texts = [event.content for event in read if isinstance(event, Chunk)]
    assert "".join(texts[:place]) == "x" * 2 * CAPACITY
    assert [type(event) for event in read[place + 1 :]] == [Chunk, Failed]
    assert texts[place:] == ["y"]


async def test_a_stalled_reader_does_not_block_the_turn_and_is_sent_a_reconnect() -> None:
    """The whole reply is stored; the reader's queue ends with the point to resume from."""
    goes_on = asyncio.Event()
    stage = Stage(ScriptedModel(*["x"] * 10 * CAPACITY, goes_on, "y", "z", DONE))
    clock = Jumping()
    turn = partial(run_turn, stage.request(), stage.dependencies, stage.settings)
    async with TurnReader(turn, clock=clock, stalled_after_s=10.0) as events:
        assert await anext(events) == Started()
        for _ in range(20 * CAPACITY):
            await asyncio.sleep(0)
        clock.ahead_s = 10.0
        goes_on.set()
        await asyncio.wait_for(stage.store.reached["finish_run"].wait(), PATIENCE_S)
        read = [event async for event in events]
    assert isinstance(read[0], Attached)
    assert isinstance(read[-1], Reconnect)
    assert read[-1].point.run_id == read[0].point.run_id
    assert stage.stored()[-1] == ("assistant", "x" * 10 * CAPACITY + "yz")


async def test_a_reader_may_wait_with_a_timeout_and_loses_nothing() -> None:
    """Between two events it can do other work, such as sending a keep-alive, as often as it likes."""
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
    """Once the reader has left the turn, no task of it is running."""
    before = asyncio.all_tasks()
    for leaves_early in (False, True):
        async with _reader(Stage()) as events:
            async for _ in events:
                if leaves_early:
                    break
        assert asyncio.all_tasks() == before


async def test_a_reader_that_leaves_does_not_stop_the_turn() -> None:
    """Leaving the context waits for the turn to end, and the whole reply is stored."""
    stage = Stage(ScriptedModel(*["x"] * 10 * CAPACITY, DONE))
    async with _reader(stage) as events:
        assert await anext(events) == Started()
    assert stage.stored()[-1] == ("assistant", "x" * 10 * CAPACITY)
    assert stage.store.claims == set()


async def test_a_reader_that_fails_does_not_stop_the_turn() -> None:
    """Only the reader fails; the reply is stored."""
    stage = Stage()
    with pytest.raises(ConnectionResetError):
        async with _reader(stage):
            raise ConnectionResetError
    assert stage.stored()[-1] == ("assistant", "Hello, you!")


async def test_a_cancelled_reader_ends_the_turn_with_what_was_said() -> None:
    """Cancellation, for example at server shutdown, does not wait for the model."""
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
    """A failed clean-up is logged, and the reader still gets its terminal event."""

    async def broken(*, send: Send, has_left: HasLeft) -> None:  # noqa: ARG001 (the turn's signature)
        try:
            for _ in range(2 * CAPACITY):
                await send(Started())
        finally:
            raise RuntimeError("secret words")

    async with TurnReader(broken, clock=FixedDate()) as events:
        read = [event async for event in events]
    assert isinstance(read[-1], Failed)
    assert "secret words" not in caplog.text


async def test_events_that_break_still_end_in_a_failure() -> None:
    """A reader always gets a terminal event, whatever the turn does."""

    async def broken(*, send: Send, has_left: HasLeft) -> None:  # noqa: ARG001 (the turn's signature)
        await send(Started())
        raise RuntimeError("a defect")

    async with TurnReader(broken, clock=FixedDate()) as events:
        read = [event async for event in events]
    assert read[0] == Started()
    failed = read[1]
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.PROCESSING_ERROR
