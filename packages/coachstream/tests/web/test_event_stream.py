from __future__ import annotations

import asyncio

import anyio

from coachstream.web.event_stream import EventStream
from coachstream.web.frames import ChunkFrame, StartFrame
from coachstream.web.sse import KEEP_ALIVE, encode_frame
from lambda_streaming import ResponseBroken
from support.patience import PATIENCE_S


class Wire:
    """Records what was written, and lets a test wait for writes or cut the connection."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_cut = False
        self._changed = asyncio.Event()

    async def write(self, data: bytes, /) -> None:
        self._changed.set()
        if self.is_cut:
            raise ResponseBroken
        self.writes.append(data)

    async def wait_for_writes(self, count: int) -> None:
        with anyio.fail_after(PATIENCE_S):
            while len(self.writes) < count:
                self._changed.clear()
                await self._changed.wait()


async def test_a_quiet_stream_is_kept_alive_by_comments() -> None:
    """A comment is sent whenever the interval passes without a frame."""
    wire = Wire()
    async with EventStream(wire, keep_alive_after_s=0.01) as events:
        await events.send(encode_frame(StartFrame()))
        await wire.wait_for_writes(4)
    assert wire.writes[0] == encode_frame(StartFrame())
    assert set(wire.writes[1:]) == {KEEP_ALIVE}


async def test_a_busy_stream_carries_no_comments_and_nothing_follows_its_end() -> None:
    """Comments only fill silence, and stop with the stream."""
    wire = Wire()
    async with EventStream(wire, keep_alive_after_s=30) as events:
        for number in range(5):
            await events.send(encode_frame(ChunkFrame(str(number), number)))
    assert wire.writes == [encode_frame(ChunkFrame(str(number), number)) for number in range(5)]
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"keep-alive"})


async def test_a_broken_connection_is_recorded_and_not_an_error() -> None:
    """Frames after a broken write are dropped, so that the turn can continue."""
    wire = Wire()
    async with EventStream(wire, keep_alive_after_s=30) as events:
        await events.send(encode_frame(StartFrame()))
        wire.is_cut = True
        await events.send(encode_frame(ChunkFrame("lost", 0)))
        wire.is_cut = False
        await events.send(encode_frame(ChunkFrame("not tried", 4)))
    assert events.is_broken_off
    assert wire.writes == [encode_frame(StartFrame())]
