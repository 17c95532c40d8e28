"""The rendezvous between the writer of a response and its reader."""

from __future__ import annotations

import asyncio

import pytest
from anyio import wait_all_tasks_blocked

from lambda_streaming.function_url.handover import Handover
from lambda_streaming.function_url.invoker import FunctionFailed, ResponseBrokenOff

FAILURE = FunctionFailed("E", "m")


async def test_a_writer_waits_for_its_reader() -> None:
    """`put` returns only when the reader has taken the chunk."""
    handover = Handover()
    writer = asyncio.create_task(handover.put(b"one"))
    await wait_all_tasks_blocked()
    assert not writer.done()
    assert await anext(handover) == b"one"
    await writer


async def test_a_writer_does_not_wait_when_the_reader_is_already_waiting() -> None:
    """One chunk passes without yielding to the event loop; the next one waits again."""
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
    """Concurrent writers queue; none overwrites another's chunk."""
    handover = Handover()
    writers = [asyncio.create_task(handover.put(b"%d" % number)) for number in range(5)]
    assert [await anext(handover) for _ in writers] == [b"0", b"1", b"2", b"3", b"4"]
    await asyncio.gather(*writers)


async def test_the_end_comes_after_the_last_chunk() -> None:
    """A waiting reader wakes and stays at the end; empty chunks are not delivered."""
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
    """This holds for waiting and for later readers; an undelivered chunk is lost, its writer released."""
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


async def test_a_failure_after_the_first_chunk_is_raised_by_the_body() -> None:
    """The response has begun, so the body raises to signal that it is incomplete."""
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


async def test_closing_an_unread_body_releases_the_writer() -> None:
    """Everything written afterwards is discarded."""
    handover = Handover()
    writer = asyncio.create_task(handover.put(b"one"))
    response = await handover.response()
    await response.body.aclose()
    await writer
    await handover.put(b"two")


async def test_cancelling_the_reader_releases_the_writer() -> None:
    """No reader waits for the response any more, so writes are discarded."""
    handover = Handover()
    reader = asyncio.create_task(handover.response())
    await wait_all_tasks_blocked()
    reader.cancel()
    await asyncio.wait({reader})
    await handover.put(b"one")
    await handover.put(b"two")


async def test_a_cancelled_write_is_not_delivered() -> None:
    """A chunk whose `put` was cancelled before the reader took it does not arrive."""
    handover = Handover()
    writer = asyncio.create_task(handover.put(b"never"))
    await wait_all_tasks_blocked()
    writer.cancel()
    await asyncio.wait({writer})
    handover.close()
    assert await anext(handover, None) is None
