"""The rendezvous between the writer of a response and its reader."""

from __future__ import annotations

import asyncio

import pytest
from anyio import wait_all_tasks_blocked

from lambda_streaming.function_url.handover import Handover
from lambda_streaming.function_url.invoker import FunctionFailed, ResponseBrokenOff

FAILURE = FunctionFailed("E", "m")


async def test_a_writer_waits_for_its_reader() -> None:
    """`put` returns when the chunk is taken, and not before."""
    handover = Handover()
    writer = asyncio.create_task(handover.put(b"one"))
    await wait_all_tasks_blocked()
    assert not writer.done()
    assert await anext(handover) == b"one"
    await writer


async def test_a_writer_that_finds_its_reader_waiting_goes_on_at_once() -> None:
    """One chunk passes without a turn of the loop; the next one waits again."""
    handover = Handover()
    reader = asyncio.create_task(anext(handover))
    await wait_all_tasks_blocked()
    await handover.put(b"one")
    second = asyncio.create_task(handover.put(b"two"))
    assert await reader == b"one"
    await wait_all_tasks_blocked()
    assert not second.done()
    assert await anext(handover) == b"two"
    await second


async def test_chunks_of_several_writers_arrive_whole_and_in_order() -> None:
    """Writers queue up; none overwrites another's chunk."""
    handover = Handover()
    writers = [asyncio.create_task(handover.put(b"%d" % number)) for number in range(5)]
    assert [await anext(handover) for _ in writers] == [b"0", b"1", b"2", b"3", b"4"]
    await asyncio.gather(*writers)


async def test_the_end_comes_after_the_last_chunk() -> None:
    """A waiting reader is woken, and stays at the end; empty chunks are none."""
    handover = Handover()
    await handover.put(b"")
    reader = asyncio.create_task(anext(handover, None))
    await wait_all_tasks_blocked()
    handover.close()
    handover.fail(FAILURE)
    assert await reader is None
    assert await anext(handover, None) is None
    assert handover.ended


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_failure_reaches_the_reader(*, waiting: bool) -> None:
    """Whether it waits already or comes later; a chunk that was not taken is lost, its writer goes on."""
    handover = Handover()
    if waiting:
        reader = asyncio.create_task(handover.response())
        await wait_all_tasks_blocked()
        handover.fail(FAILURE)
    else:
        writer = asyncio.create_task(handover.put(b"lost"))
        await wait_all_tasks_blocked()
        handover.fail(FAILURE)
        await writer
        reader = asyncio.create_task(handover.response())
    with pytest.raises(FunctionFailed):
        await reader
    await handover.put(b"nobody takes this")


async def test_a_failure_after_the_first_chunk_breaks_the_body_off() -> None:
    """The response has begun, so the body says that it will never be complete."""
    handover = Handover()
    handover.content_type = "text/plain"
    writer = asyncio.create_task(handover.put(b"one"))
    response = await handover.response()
    await writer
    handover.fail(FAILURE)
    assert response.content_type == "text/plain"
    assert await anext(response.body) == b"one"
    with pytest.raises(ResponseBrokenOff) as broken:
        await anext(response.body)
    assert (broken.value.error_type, broken.value.error_message) == ("E", "m")


async def test_a_body_closed_before_it_was_read_lets_the_writer_go_on() -> None:
    """All that still comes is thrown away."""
    handover = Handover()
    writer = asyncio.create_task(handover.put(b"one"))
    response = await handover.response()
    await response.body.aclose()
    await writer
    await handover.put(b"two")


async def test_a_cancelled_reader_lets_the_writer_go_on() -> None:
    """Nobody waits for the response any more."""
    handover = Handover()
    reader = asyncio.create_task(handover.response())
    await wait_all_tasks_blocked()
    reader.cancel()
    await asyncio.wait({reader})
    await handover.put(b"one")
    await handover.put(b"two")


async def test_a_cancelled_writer_takes_its_chunk_back() -> None:
    """What it was cancelled in does not arrive."""
    handover = Handover()
    writer = asyncio.create_task(handover.put(b"never"))
    await wait_all_tasks_blocked()
    writer.cancel()
    await asyncio.wait({writer})
    handover.close()
    assert await anext(handover, None) is None
