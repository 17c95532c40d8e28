"""Functions instrumented as monitoring tools do it, run as `support.instrumented_functions.<name>`.

The tools find AWS's runtime in `__main__`, wrap what it calls, and load the handler that they stand for.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lambda_streaming import HttpResponseStream, ResponseStream, streamify_response

_runtime: Any = sys.modules["__main__"].bootstrap


def _after(method: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(method)
    def wrapper(*args: object, **options: object) -> object:
        print("sent what was recorded", flush=True)  # noqa: T201
        return method(*args, **options)

    return wrapper


_client = _runtime.LambdaRuntimeClient
_client.post_invocation_result = _after(_client.post_invocation_result)
_client.post_invocation_error = _after(_client.post_invocation_error)

_handle = _runtime.handle_event_request


def _recorded(client: object, handler: Callable[[Any, Any], object], *rest: object) -> object:
    def recorder(event: Any, context: Any) -> object:  # noqa: ANN401
        result = handler(event, context)
        print(f"recorded {result}", flush=True)  # noqa: T201
        return event.get("result", result)

    return _handle(client, recorder, *rest)


_runtime.handle_event_request = _recorded


@asynccontextmanager
async def _lifespan() -> AsyncIterator[None]:
    print("started", flush=True)  # noqa: T201
    yield
    print("stopped", flush=True)  # noqa: T201


@streamify_response(lifespan=_lifespan)
async def handler(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Respond with a status, headers and a cookie."""
    metadata = {"statusCode": 201, "headers": {"x-a": "b"}, "cookies": ["session=secret"]}
    response = HttpResponseStream.from_(stream, metadata)
    await response.write("one")
    if event.get("fails"):
        raise ValueError("no")


class _Decorated:
    """Wraps a handler, as an object that refers to it in a way of its own."""

    def __init__(self, func: Callable[[Any, Any], object]) -> None:
        self.func = func

    def __call__(self, event: Any, context: Any) -> object:  # noqa: ANN401
        return self.func(event, context)


decorated = _Decorated(handler)


def redirected(event: Any, context: Any) -> object:  # noqa: ANN401
    """Load the handler at each invocation, as AWS's runtime does once."""
    return _runtime._get_handler(f"{__name__}.handler")(event, context)


def hidden(event: Any, context: Any) -> object:  # noqa: ANN401
    """Call the handler, which nothing can know before."""
    return handler(event, context)


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
    """Be an ASGI app with a lifespan, for `redirected_to_app`."""
    if scope["type"] == "lifespan":
        await receive()
        print("started", flush=True)  # noqa: T201
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("stopped", flush=True)  # noqa: T201
        await send({"type": "lifespan.shutdown.complete"})
        return
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b"one"})


def redirected_to_app(event: Any, context: Any) -> object:  # noqa: ANN401
    """Load the app at each invocation."""
    return _runtime._get_handler(f"{__name__}.app")(event, context)
