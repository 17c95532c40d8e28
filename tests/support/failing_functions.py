"""Functions of every kind that fail, before or after their first piece; the event says which.

They run as `support.failing_functions.<name>`.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from lambda_streaming import BlockingResponseStream, ResponseStream, streamify_response

_create_task = asyncio.BaseEventLoop.create_task


def _create_traced_task(
    loop: asyncio.BaseEventLoop,
    work: Any,  # noqa: ANN401
    **options: Any,  # noqa: ANN401
) -> asyncio.Task[Any]:
    async def traced_task() -> object:
        return await work

    return _create_task(loop, traced_task(), **options)


# As ddtrace does: a frame of its own in each task.
asyncio.BaseEventLoop.create_task = _create_traced_task  # type: ignore[assignment,method-assign]


def fail() -> None:
    """Fail."""
    raise ValueError("no")


if os.environ.get("FAILS_TO_IMPORT"):
    fail()


def plain(event: Any, context: Any) -> object:  # noqa: ANN401, ARG001
    """Fail in a plain handler."""
    fail()
    return None


@streamify_response
async def writes(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Fail in a handler that writes."""
    if event["after"]:
        await stream.write("piece")
    fail()


@streamify_response
async def yields(event: Any, context: Any) -> AsyncIterator[str]:  # noqa: ANN401, ARG001
    """Fail in an asynchronous generator."""
    if event["after"]:
        yield "piece"
    fail()


@streamify_response
def writes_in_a_thread(event: Any, stream: BlockingResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Fail in a synchronous handler."""
    if event["after"]:
        stream.write("piece")
    fail()


@streamify_response
def yields_in_a_thread(event: Any, context: Any) -> Iterator[str]:  # noqa: ANN401, ARG001
    """Fail in a synchronous generator."""
    if event["after"]:
        yield "piece"
    fail()


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
    """Fail in an ASGI app, which has no other event than requests."""
    if scope["type"] != "http":
        raise NotImplementedError
    await receive()
    if scope["aws.event"]["after"]:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"piece", "more_body": True})
    fail()


def _traced(handler: Callable[[Any, Any], object]) -> Callable[[Any, Any], object]:
    @functools.wraps(handler)
    def tracer(event: Any, context: Any) -> object:  # noqa: ANN401
        try:
            return handler(event, context)
        finally:
            print("traced", flush=True)  # noqa: T201

    return tracer


traced = _traced(writes)


@streamify_response
async def misuses_its_stream(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Fail inside this package."""
    if event["after"]:
        await stream.write("piece")
    stream.set_content_type("\n" if not event["after"] else "text/plain")
