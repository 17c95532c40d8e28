"""Handlers that stream: the decorator, and what runs a decorated handler.

A decorated handler is an ordinary `handler(event, context)`. The runtime that can stream installs a driver,
which the handler finds when it is called; without one it answers in one piece (`buffered_response`).
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
    """What a handler may rely on of its context, under every runtime (developer guide, "Context object")."""

    aws_request_id: str
    function_name: str
    function_version: str
    invoked_function_arn: str
    memory_limit_in_mb: str
    log_group_name: str
    log_stream_name: str

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left of the function's timeout."""
        ...


StreamHandler: TypeAlias = Callable[[Any, ResponseStream, Any], Awaitable[object]]
"""`async def handler(event, response_stream, context)`."""

ChunkHandler: TypeAlias = Callable[[Any, Any], AsyncIterator[Data]]
"""`async def handler(event, context)` that yields the response."""

LambdaHandler: TypeAlias = Callable[[Any, Any], object]
"""What a Python runtime calls: `handler(event, context)`."""

Driver: TypeAlias = Callable[[Invocation], object]
"""Runs an invocation for a synchronous caller and returns what the caller is to report."""

_MARKER = "__lambda_streaming_handler__"

# Set once a process, by the runtime that can stream.
_driver: Driver | None = None


def install_driver(driver: Driver | None) -> None:
    """Make decorated handlers stream through a runtime; without one they answer buffered."""
    global _driver  # noqa: PLW0603 (a process has one runtime)
    _driver = driver


def streamify_response(handler: StreamHandler | ChunkHandler) -> LambdaHandler:
    """Make a handler stream its response.

    Use on `async def handler(event, response_stream, context)`, which writes the response, or on an async
    generator `async def handler(event, context)`, which yields it. What the first kind returns is ignored;
    a response that it does not end is ended for it.

    The result is an ordinary `handler(event, context)` for Lambda. Started by `lambda_streaming`'s runtime it
    streams; under the stock runtime it returns the whole response. It carries its own behaviour, so tracing
    decorators may wrap it.

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

    # Of the handler's own, and with other parameters: who inspects the entry point must not find it.
    del entry_point.__wrapped__
    setattr(entry_point, _MARKER, stream_handler)
    return entry_point


def is_streaming(handler: Callable[..., object]) -> bool:
    """Whether the handler was decorated with `streamify_response`, however often it was wrapped since."""
    return hasattr(handler, _MARKER)


async def invoke_streaming(
    handler: LambdaHandler, event: object, transport: ResponseTransport, context: object
) -> None:
    """Run a decorated handler on the running loop; its response goes to the transport.

    Raises:
        TypeError: the handler is not decorated.
        Exception: whatever the handler raises; the response is then not ended.
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
            "The handler returned a %s; streaming handlers write instead.", type(returned).__name__
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
