"""Functions with lifetimes longer than an invocation, run as `support.lifetime_functions.<name>`."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lambda_streaming import ResponseStream, lifespan_state, process_long, streamify_response

user = contextvars.ContextVar("user", default="nobody")
_kept: list[asyncio.Task[None]] = []


async def _wait_for_ever() -> None:
    await asyncio.Event().wait()


async def _clean_up_when_cancelled() -> None:
    try:
        await _wait_for_ever()
    finally:
        print("task of the process cancelled", flush=True)  # noqa: T201


@asynccontextmanager
async def lifespan() -> AsyncIterator[dict[str, object]]:
    """Yield a task that lives as long as the process."""
    print("started", flush=True)  # noqa: T201
    yield {"pid": os.getpid(), "task": asyncio.create_task(_clean_up_when_cancelled())}
    print("stopped", flush=True)  # noqa: T201


@streamify_response(lifespan=lifespan)
async def with_lifespan(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write what the lifespan has yielded; then wait for ever, if the event says so."""
    state = lifespan_state()
    await stream.write(f"{state['pid'] == os.getpid()} {id(state)} {state['task'].done()}")
    if event and event.get("wait"):
        await _wait_for_ever()


@asynccontextmanager
async def _lifespan_and_signal_handler() -> AsyncIterator[dict[str, object]]:
    def exit_at_sigterm(*_: object) -> None:
        print("signal handler", flush=True)  # noqa: T201
        sys.exit(3)

    # As a tool or the function may do at import.
    signal.signal(signal.SIGTERM, exit_at_sigterm)
    async with lifespan() as state:
        yield state


@streamify_response(lifespan=_lifespan_and_signal_handler)
async def with_signal_handler(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Write a word; then wait for ever, if the event says so."""
    await stream.write("word")
    if event and event.get("wait"):
        await _wait_for_ever()


@asynccontextmanager
async def _failing() -> AsyncIterator[None]:
    await _connect()
    yield


async def _connect() -> None:
    await asyncio.sleep(0)
    raise LookupError("no database")


@streamify_response(lifespan=_failing)
async def fails_to_start(event: Any, context: Any) -> None:  # noqa: ANN401
    """Do nothing."""


@asynccontextmanager
async def _stubborn() -> AsyncIterator[None]:
    yield
    await _wait_for_ever()


@streamify_response(lifespan=_stubborn)
async def does_not_stop(event: Any, context: Any) -> str:  # noqa: ANN401, ARG001
    """Return a word."""
    return "word"


@streamify_response
async def keeps_a_task(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Start a task for the process at the first invocation, and write whether it is done."""
    if not _kept:
        with process_long():
            _kept.append(asyncio.create_task(_wait_for_ever()))
    await stream.write(str(_kept[0].done()))


async def _endless(mine: str) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        await asyncio.sleep(0)
        print(f"generator of {mine} closed for {user.get()}", flush=True)  # noqa: T201


@streamify_response
async def abandons_generators(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Begin two generators, and keep one of them alive in a cycle (cpython#118944)."""
    user.set(context.aws_request_id)
    gc.disable()
    in_cycle, dropped = _endless(f"{user.get()}-cycle"), _endless(f"{user.get()}-dropped")
    await anext(in_cycle)
    await anext(dropped)
    cycle: dict[str, object] = {"generator": in_cycle}
    cycle["itself"] = cycle
    await stream.write("ok")


async def fails_its_startup(
    scope: Any,  # noqa: ANN401
    receive: Callable[[], Any],
    send: Callable[[Any], Any],
) -> None:
    """Be an ASGI app that cannot start."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "see the exception"})
    raise LookupError(f"no database for {scope['type']}")


async def app(
    scope: Any,  # noqa: ANN401
    receive: Callable[[], Any],
    send: Callable[[Any], Any],
) -> None:
    """Be an ASGI app that responds with its scope."""
    if scope["type"] != "http":
        raise TypeError("no lifespan here")
    await receive()
    headers = [
        (b"content-type", b"text/plain"),
        (b"link", b"</a>"),
        (b"link", b"</b>"),
        (b"content-length", b"1"),
    ]
    headers += [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-latin", "ó".encode("latin-1"))]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    text = f"{scope['method']} {scope['root_path']} {scope['path']}"
    await send({"type": "http.response.body", "body": text.encode()})
