"""Functions that try to affect later invocations, run as `support.isolation_functions.<name>`."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import signal
from typing import Any

from lambda_streaming import HttpResponseStream, ResponseBroken, ResponseStream, streamify_response

logger = logging.getLogger("function")
logger.setLevel(logging.INFO)

user = contextvars.ContextVar("user", default="nobody")
_streams: list[ResponseStream] = []


@streamify_response
async def remembers_its_user(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write the user in the context, then set another one."""
    await stream.write(user.get())
    user.set(event["user"])


@functools.wraps(remembers_its_user)
def named_by_a_wrapper(event: Any, context: Any) -> object:  # noqa: ANN401
    """Set a user, as a tracing decorator opens a span, then call the handler."""
    token = user.set(f"wrapper of {event['user']}")
    try:
        return remembers_its_user(event, context)
    finally:
        user.reset(token)


# An event loop refers to its tasks weakly: one that waits for something of its own can be garbage.
kept: list[asyncio.Task[None]] = []


@streamify_response
async def leaves_stubborn_work(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Leave a task behind that ignores its cancellation."""

    async def stubborn_work() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn_work())
    kept.append(task)
    await asyncio.sleep(0)
    await stream.write("done" if not task.done() else "?")


@streamify_response
async def leaves_work_that_leaves_work(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Leave a task behind that starts another one when it is cancelled."""

    async def offspring() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            logger.info("offspring cancelled")
            raise

    async def parent() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            _tasks.append(asyncio.create_task(offspring()))
            await asyncio.sleep(0)

    _tasks: list[asyncio.Task[None]] = [asyncio.create_task(parent())]
    await asyncio.sleep(0)
    await stream.write("done")


@streamify_response
async def waits_for_ever(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write one word, then wait."""
    await stream.write("word")
    await asyncio.Event().wait()


@streamify_response
async def saves_when_cancelled(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write one word and wait; when cancelled, report it, take a while, and report completion."""
    await stream.write("word")
    try:
        await asyncio.Event().wait()
    finally:
        await stream.write("saving")
        await asyncio.sleep(0.2)
        print("saved", flush=True)  # noqa: T201


@streamify_response
async def has_its_own_handler(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Send SIGTERM to itself, which its own handler takes."""
    arrived: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: arrived.append(number))
    signal.raise_signal(signal.SIGTERM)
    await stream.write("handled " * len(arrived))
    await stream.write("word")


@streamify_response
async def gives_up_its_first_write(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Cancel the write that begins a response with a prelude, then write."""
    HttpResponseStream.from_(stream, {"statusCode": 201})
    await _cancelled(asyncio.create_task(stream.write("first")))
    await stream.write("second")


@streamify_response
async def gives_up_its_end(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Cancel the end of a response that has not begun."""
    await _cancelled(asyncio.create_task(stream.end()))


async def _cancelled(task: asyncio.Task[None]) -> None:
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@streamify_response
async def writes_to_an_earlier_response(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Begin a response, keep it, and fail; later invocations first write to the kept one."""
    if not _streams:
        await stream.write("mine")
        _streams.append(stream)
        raise ValueError("fails after its first byte")
    try:
        await _streams[0].write("late")
    except ResponseBroken:
        await stream.write("refused")
