"""The kinds of handlers that can stream, each turned into `async def handler(event, stream, context)`."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from lambda_streaming.response_stream import (
    HttpResponseStream,
    ResponseAlreadyStarted,
    ResponseStream,
    StreamState,
)

logger = logging.getLogger("lambda_streaming")

StreamHandler: TypeAlias = Callable[[Any, ResponseStream, Any], Awaitable[object]]
"""`async def handler(event, response_stream, context)`."""

_WITH_STREAM: Final = 3
_WITHOUT_STREAM: Final = 2
_ASGI_PARAMETERS: Final = ("scope", "receive", "send")
_WSGI_PARAMETERS: Final = ("environ", "start_response")


class ResultAfterStart(ResponseAlreadyStarted):
    """Raised when a handler returns a proxy result after it has written: the result has nowhere to go."""

    def __init__(self) -> None:
        super().__init__("the response to the proxy result that the handler returned")


def as_stream_handler(handler: Callable[..., object]) -> StreamHandler:
    """Return the handler as one that writes to a stream.

    Raises:
        TypeError: it cannot be called with an event and a context.
    """
    if is_asgi_app(handler):
        raise TypeError(f"{handler!r} is an ASGI app: wrap it as lambda_streaming.from_asgi(app).")
    if is_wsgi_app(handler):
        raise TypeError(f"{handler!r} is a WSGI app: {WSGI_REMEDY}.")
    arguments = next((count for count in (_WITH_STREAM, _WITHOUT_STREAM) if _takes(handler, count)), None)
    if arguments is None:
        raise TypeError(
            f"@streamify_response cannot stream {handler!r}. Write it as 'async def handler(event, "
            "response_stream, context)' or 'async def handler(event, context)', or without 'async'; it may "
            "be a generator that yields the response."
        )
    takes_stream = arguments == _WITH_STREAM
    if is_asynchronous(handler):
        return _asynchronous(handler, takes_stream=takes_stream)
    return _synchronous(handler, takes_stream=takes_stream)


def is_asynchronous(handler: object) -> bool:
    """Whether calling the object returns a coroutine or an asynchronous generator."""
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in _functions(handler)
    )


def is_generator(handler: object) -> bool:
    """Whether calling the object returns a synchronous generator."""
    return any(inspect.isgeneratorfunction(each) for each in _functions(handler))


def is_asgi_app(found: object) -> bool:
    """Whether an object has the shape of an ASGI app: an asynchronous callable with three arguments.

    The names of the parameters distinguish it from a handler, and count for a callable that is not
    asynchronous itself, as `functools.partial` and compiled code may be.
    """
    names = parameters(found)
    if names == _ASGI_PARAMETERS:
        return True
    return (
        callable(found)
        and is_asynchronous(found)
        and len(names) == len(_ASGI_PARAMETERS)
        and names[0].strip("_") == "scope"
    )


def is_wsgi_app(found: object) -> bool:
    """Whether an object has the shape of a WSGI app, which Flask and Django make."""
    return parameters(found) == _WSGI_PARAMETERS


WSGI_REMEDY: Final = "bridge it with a2wsgi, as lambda_streaming.from_asgi(a2wsgi.WSGIMiddleware(app))"


def parameters(found: object) -> tuple[str, ...]:
    """Return the names of a callable's positional parameters without a default, if they are all it has."""
    if not callable(found) or inspect.isclass(found):
        return ()
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [each for each in signature.parameters.values() if each.default is inspect.Parameter.empty]
    return tuple(each.name for each in required) if all(each.kind in kinds for each in required) else ()


def _functions(handler: object) -> tuple[object, ...]:
    """A callable, and what it runs when it is called."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler, getattr(type(handler), "__call__", None)  # noqa: B004 (not to ask whether it is callable)


def _takes(handler: object, arguments: int) -> bool:
    if not callable(handler):
        return False
    try:
        inspect.signature(handler).bind(*[None] * arguments)
    except (TypeError, ValueError):
        return False
    return True


def _asynchronous(handler: Callable[..., Any], *, takes_stream: bool) -> StreamHandler:
    async def handle(event: object, stream: ResponseStream, context: object) -> None:
        returned = handler(event, stream, context) if takes_stream else handler(event, context)
        if inspect.isawaitable(returned):
            returned = await returned
        if not await _write_pieces(returned, stream):
            await send_returned(returned, stream)

    return handle


def _synchronous(handler: Callable[..., Any], *, takes_stream: bool) -> StreamHandler:
    async def handle(event: object, stream: ResponseStream, context: object) -> None:
        # Only a synchronous handler needs threads.
        from lambda_streaming.threaded_handler import run_in_thread

        returned = await run_in_thread(handler, event, stream, context, takes_stream=takes_stream)
        if inspect.isawaitable(returned):
            returned = await returned
        if not await _write_pieces(returned, stream):
            await send_returned(returned, stream)

    return handle


async def _write_pieces(returned: object, stream: ResponseStream) -> bool:
    """Write what an asynchronous iterable yields; False if the object is none."""
    if not isinstance(returned, AsyncIterable):
        return False
    pieces = aiter(returned)
    try:
        async for piece in pieces:
            await stream.write(piece)
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
    return True


async def send_returned(returned: object, stream: ResponseStream) -> None:
    """Send what a handler returned, provided that it has written nothing.

    Raises:
        ResultAfterStart: it is a proxy result, and the handler has written.
        ValueError: it is a proxy result that no HTTP response can have.
    """
    if returned is None:
        return
    is_proxy_result = isinstance(returned, Mapping) and "statusCode" in returned
    if stream.state is not StreamState.OPEN or stream.has_metadata:
        if is_proxy_result:
            raise ResultAfterStart
        logger.warning(
            "The handler returned a %s, which is ignored, because it has written its response.",
            type(returned).__name__,
        )
        return
    # Off the path of handlers that write.
    from lambda_streaming.returned_result import response_of

    metadata, body = response_of(returned)
    await HttpResponseStream.from_(stream, metadata).end(body)
