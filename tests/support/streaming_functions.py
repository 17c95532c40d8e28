"""Functions that a runtime process under test runs, as `support.streaming_functions.<name>`."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from lambda_streaming import (
    HttpResponseStream,
    ResponseStream,
    StreamingError,
    WriteAfterEnd,
    streamify_response,
)

logger = logging.getLogger("function")
logger.setLevel(logging.INFO)


@streamify_response
async def words(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write each word of the event as a separate piece."""
    for word in event["words"]:
        await stream.write(word)


@streamify_response
async def yields(event: Any, context: Any) -> AsyncIterator[str]:  # noqa: ANN401, ARG001
    """Yield each word of the event."""
    for word in event["words"]:
        yield word


@streamify_response
async def http(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Respond with a prelude; write `words`, then end with `last`, if the event has them."""
    response = HttpResponseStream.from_(stream, event["metadata"])
    for word in event.get("words", []):
        await response.write(word)
    if "last" in event:
        await response.end(event["last"])


@streamify_response
async def typed(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Announce a content type and write one word."""
    stream.set_content_type("text/plain")
    await stream.write("word")


@streamify_response
async def cuts_a_character(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write a character of four bytes in two pieces of bytes, then as text."""
    runner = "\N{RUNNER}"
    await stream.write(runner.encode()[:1])
    await stream.write(runner.encode()[1:])
    await stream.write(runner)


@streamify_response
async def fails(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write the words of the event, end if the event says so, then raise with its message."""
    for word in event.get("words", []):
        await stream.write(word)
    if event.get("end"):
        await stream.end()
    raise ValueError(event["message"] * event.get("times", 1))


@streamify_response
async def fails_deep_down(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write one word, then raise from deep inside."""
    await stream.write("word")

    def descend(depth: int) -> None:
        if depth == 0:
            raise LookupError("deep down")
        descend(depth - 1) if depth % 2 else _descend_elsewhere(descend, depth)

    descend(400)


def _descend_elsewhere(descend: Callable[[int], None], depth: int) -> None:
    descend(depth - 1)


@streamify_response
async def exits(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write one word, then exit the process."""
    await stream.write("word")
    sys.exit(7)


@streamify_response
async def exits_in_a_task(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write one word, then exit the process from a task."""
    await stream.write("word")

    async def leave() -> None:
        sys.exit(7)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(leave())


@streamify_response
async def cancels_itself(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Raise a cancellation."""
    raise asyncio.CancelledError


@streamify_response
async def leaves_work(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Leave a task behind."""

    async def forgotten_work() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(forgotten_work())
    await asyncio.sleep(0)
    await stream.write("done" if not task.done() else "?")


@streamify_response
async def writes_after_end(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """End the response, then try to write to it and log the outcome."""
    await stream.end("whole")
    try:
        await stream.write("more")
    except WriteAfterEnd as error:
        logger.info("refused: %s", error.error_type)


@streamify_response
async def changes_its_head(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Try to change content type and status between two writes, and log the outcome."""
    await stream.write("one")
    for change in (
        lambda: stream.set_content_type("text/plain"),
        lambda: HttpResponseStream.from_(stream, {"statusCode": 201}),
    ):
        try:
            change()
        except StreamingError as error:
            logger.info("refused: %s", error.error_type)
    await stream.write("two")


@streamify_response
async def megabytes(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write megabytes, and log each."""
    for number in range(event["count"]):
        await stream.write(bytes([number]) * 1024 * 1024)
        logger.info("wrote megabyte %d", number)


@streamify_response
async def counts_loops(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write the ids of its event loop and process."""
    await stream.write(f"{os.getpid()}:{id(asyncio.get_running_loop())}")


@streamify_response
async def meets_others(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    """Write the request's id, wait at the event's port until the test releases all, write it again."""
    await stream.write(context.aws_request_id)
    reader, writer = await asyncio.open_connection("127.0.0.1", event["gate"])
    await reader.read()
    writer.close()
    await stream.write(context.aws_request_id)


def traced(handler: Callable[..., object]) -> Callable[..., object]:
    """Wrap a handler as tracing libraries do."""

    @functools.wraps(handler)
    def wrapper(event: object, context: object) -> object:
        logger.info("traced")
        return handler(event, context)

    return wrapper


traced_words = traced(words)


def plain(event: Any, context: Any) -> Any:  # noqa: ANN401, ARG001
    """Return the value in the event, or raise."""
    if "raise" in event:
        raise KeyError(event["raise"])
    if event.get("bytes"):
        return b"\x00\xff"
    return event["return"]


def plain_at_a_gate(event: Any, context: Any) -> str:  # noqa: ANN401, ARG001
    """Wait at the event's port until the test releases it."""
    with socket.create_connection(("127.0.0.1", event["gate"])) as gate:
        gate.recv(1)
    return "passed"
