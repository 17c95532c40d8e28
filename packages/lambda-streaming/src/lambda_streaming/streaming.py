"""Streaming handlers: the decorator, and how a decorated handler runs.

A decorated handler is an ordinary `handler(event, context)`. A runtime that can stream installs a driver,
which the handler uses when it is called; without a driver it returns a buffered response
(`buffered_response`).
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias, cast

from lambda_streaming.response_stream import (
    Data,
    Invocation,
    ResponseStream,
    ResponseTransport,
    StreamState,
)

logger = logging.getLogger("lambda_streaming")


class LambdaContext(Protocol):
    """The context attributes available under every runtime (developer guide, "Context object")."""

    aws_request_id: str
    function_name: str
    function_version: str
    invoked_function_arn: str
    memory_limit_in_mb: str
    log_group_name: str
    log_stream_name: str

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the invocation times out."""
        ...


StreamHandler: TypeAlias = Callable[[Any, ResponseStream, Any], Awaitable[object]]
"""`async def handler(event, response_stream, context)`."""

ChunkHandler: TypeAlias = Callable[[Any, Any], AsyncIterator[Data]]
"""`async def handler(event, context)` that yields the response."""

LambdaHandler: TypeAlias = Callable[[Any, Any], object]
"""A handler as Python runtimes call it: `handler(event, context)`."""

Driver: TypeAlias = Callable[[Invocation], object]
"""Runs an invocation for a synchronous caller and returns the result to report."""

_MARKER = "__lambda_streaming_handler__"

# Set once per process, by a runtime that can stream.
_driver: Driver | None = None


def install_driver(driver: Driver | None) -> None:
    """Make decorated handlers stream through a runtime; without one their responses are buffered."""
    global _driver  # noqa: PLW0603 (a process has one runtime)
    _driver = driver


def streamify_response(handler: StreamHandler | ChunkHandler) -> LambdaHandler:
    """Make a handler stream its response.

    Use it on `async def handler(event, response_stream, context)`, which writes the response, or on an async
    generator `async def handler(event, context)`, which yields it. The first kind's return value is ignored,
    and its response is ended automatically.

    The result is an ordinary `handler(event, context)` for Lambda. Under `lambda_streaming`'s runtime it
    streams; under the stock runtime it returns the whole response. Tracing decorators may wrap it.

    Raises:
        TypeError: the handler is of neither kind.
    """
    stream_handler = _as_stream_handler(handler)

    @functools.wraps(handler)
    def entry_point(event: object, context: object) -> object:
        invocation = functools.partial(_respond, stream_handler, event, context)
        if _driver is not None:
            return _driver(invocation)
        from lambda_streaming.buffered_response import run_buffered

        return run_buffered(invocation)

    # Points to a function with other parameters: code that inspects the entry point must not follow it.
    del entry_point.__wrapped__
    setattr(entry_point, _MARKER, stream_handler)
    return entry_point


def is_streaming(handler: Callable[..., object]) -> bool:
    """Whether the handler is decorated with `streamify_response`, even if it has been wrapped since."""
    return hasattr(handler, _MARKER)


async def invoke_streaming(
    handler: LambdaHandler, event: object, transport: ResponseTransport, context: object
) -> None:
    """Run a decorated handler on the running event loop and send its response to the transport.

    Raises:
        TypeError: the handler is not decorated.
        Exception: any exception of the handler; the response is then not ended.
    """
    stream_handler: StreamHandler | None = getattr(handler, _MARKER, None)
    if stream_handler is None:
        raise TypeError(f"{handler!r} does not stream: decorate it with @streamify_response.")
    await _respond(stream_handler, event, context, transport)


async def _respond(
    handler: StreamHandler, event: object, context: object, transport: ResponseTransport
) -> None:
    stream = ResponseStream(transport)
    returned = await handler(event, stream, context)
    if returned is not None:
        logger.warning(
            "The handler returned a %s, which is ignored: streaming handlers write their response.",
            type(returned).__name__,
        )
    if stream.state is not StreamState.ENDED:
        await stream.end()


def _as_stream_handler(handler: StreamHandler | ChunkHandler) -> StreamHandler:
    if inspect.isasyncgenfunction(handler) and _takes(handler, 2):
        chunks_of = cast("Callable[[Any, Any], AsyncGenerator[Data, None]]", handler)

        @functools.wraps(handler)
        async def write_chunks(event: object, stream: ResponseStream, context: object) -> None:
            async with aclosing(chunks_of(event, context)) as chunks:
                async for chunk in chunks:
                    await stream.write(chunk)

        return write_chunks
    if inspect.iscoroutinefunction(handler) and _takes(handler, 3):
        return cast("StreamHandler", handler)
    raise TypeError(
        f"@streamify_response cannot stream {handler!r}. Write it as 'async def handler(event, "
        "response_stream, context)', or as an async generator 'async def handler(event, context)' that "
        "yields the response."
    )


def _takes(handler: Callable[..., object], arguments: int) -> bool:
    try:
        inspect.signature(handler).bind(*[None] * arguments)
    except TypeError:
        return False
    return True
