"""Streaming handlers: the decorator, and how a decorated handler runs.

A decorated handler is an ordinary `handler(event, context)`. A runtime that can stream installs a driver,
which the handler uses when it is called; without a driver, and for events of services that cannot stream
(`response_mode`), it returns a buffered response (`buffered_response`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, overload

import msgspec

from lambda_streaming.handler_kinds import StreamHandler, as_stream_handler, is_asynchronous
from lambda_streaming.lifespan import Lifespan, LifespanFactory
from lambda_streaming.response_mode import ResponseMode, is_buffered
from lambda_streaming.response_stream import Invocation, ResponseStream, ResponseTransport, StreamState
from lambda_streaming.user_traceback import user_traceback


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


class Streaming(msgspec.Struct, frozen=True):
    """What makes a decorated handler stream.

    Attributes:
        handler: writes the response.
        lifespan: the resources that it needs, if any.
        is_asynchronous: whether it runs on the event loop, and not in a thread.
    """

    handler: StreamHandler
    lifespan: Lifespan | None = None
    is_asynchronous: bool = True

    async def respond(self, event: object, context: object, transport: ResponseTransport) -> None:
        """Run the handler on the running event loop, and end its response."""
        if self.lifespan is None:
            await self._respond(event, context, transport)
            return
        await self.lifespan.start()
        with self.lifespan.available():
            await self._respond(event, context, transport)

    async def _respond(self, event: object, context: object, transport: ResponseTransport) -> None:
        stream = ResponseStream(transport)
        await self.handler(event, stream, context)
        if stream.state is not StreamState.ENDED:
            await stream.end()


@overload
def streamify_response(
    handler: Callable[..., object],
    *,
    lifespan: LifespanFactory | None = None,
    response_mode: ResponseMode = ...,
) -> LambdaHandler: ...


@overload
def streamify_response(
    handler: None = None, *, lifespan: LifespanFactory | None = None, response_mode: ResponseMode = ...
) -> Callable[[Callable[..., object]], LambdaHandler]: ...


def streamify_response(
    handler: Callable[..., object] | None = None,
    *,
    lifespan: LifespanFactory | None = None,
    response_mode: ResponseMode = ResponseMode.AUTO,
) -> LambdaHandler | Callable[[Callable[..., object]], LambdaHandler]:
    """Make a handler stream its response.

    A handler takes `(event, response_stream, context)` and writes the response, or `(event, context)`. Both
    may be functions, methods or other callables, synchronous or asynchronous, and generators that yield the
    response's pieces. What a handler returns before it has written anything is its response: a proxy result
    (a mapping with `statusCode`), an iterable of pieces, text or bytes, or a value to send as JSON.
    Synchronous handlers run in a thread; a write or a `yield` there waits until Lambda can take more, too.

    The result is an ordinary `handler(event, context)` for Lambda. Under `lambda_streaming`'s runtime it
    streams; under the stock runtime it returns the whole response. Tracing decorators may wrap it.

    Args:
        handler: the handler; omit it to pass options, as in `@streamify_response(lifespan=...)`.
        lifespan: makes an asynchronous context manager, entered once in the INIT phase and left when the
            process ends; `lifespan_state()` returns what it yields.
        response_mode: whether to stream.

    Raises:
        TypeError: the handler takes other arguments, or is an ASGI app: use `from_asgi` for that.
    """
    if handler is None:
        return functools.partial(streamify_response, lifespan=lifespan, response_mode=response_mode)
    streaming = Streaming(
        as_stream_handler(handler),
        None if lifespan is None else Lifespan(lifespan),
        is_asynchronous=is_asynchronous(handler),
    )
    return entry_point(streaming, handler, response_mode)


def entry_point(streaming: Streaming, named_after: object, response_mode: ResponseMode) -> LambdaHandler:
    """Return what a runtime calls, with the name and the documentation of the object that it stands for."""

    @functools.wraps(named_after)  # type: ignore[arg-type]  # takes what it finds on any object
    def handler(event: object, context: object) -> object:
        invocation = functools.partial(streaming.respond, event, context)
        try:
            if _driver is not None and not is_buffered(event, response_mode):
                return _driver(invocation)
            from lambda_streaming.buffered_response import run_buffered

            return run_buffered(invocation, event, could_stream=_driver is not None)
        except Exception as error:  # noqa: BLE001 (it is raised again)
            # Tools that wrap this call record the traceback.
            raise error.with_traceback(user_traceback(error.__traceback__))  # noqa: B904 (the same error)

    # Points to a function with other parameters: code that inspects the entry point must not follow it.
    del handler.__wrapped__
    setattr(handler, _MARKER, streaming)
    return handler


def streaming_of(handler: object) -> Streaming | None:
    """Return what makes a handler stream, or None for any other object."""
    found = getattr(handler, _MARKER, None)
    return found if isinstance(found, Streaming) else None


def is_streaming(handler: Callable[..., object]) -> bool:
    """Whether the handler is decorated with `streamify_response`, even if it has been wrapped since."""
    return streaming_of(handler) is not None


async def invoke_streaming(
    handler: LambdaHandler, event: object, transport: ResponseTransport, context: object
) -> None:
    """Run a decorated handler on the running event loop and send its response to the transport.

    Raises:
        TypeError: the handler is not decorated.
        Exception: any exception of the handler; the response is then not ended.
    """
    streaming = streaming_of(handler)
    if streaming is None:
        raise TypeError(f"{handler!r} does not stream: decorate it with @streamify_response.")
    await streaming.respond(event, context, transport)
