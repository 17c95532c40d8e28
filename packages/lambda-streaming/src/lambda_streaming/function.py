"""A function as the runtime runs it: what its configuration names, recognised by its shape, and its lifespan.

awslambdaric imports the handler and reports what goes wrong there as an error of the INIT phase; recognising
the handler and starting its lifespan happen in the same place, so that they are reported likewise.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeAlias

from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_exception import FaultException

from lambda_streaming.concurrency import configured_concurrency
from lambda_streaming.event_loop import invocation_loop
from lambda_streaming.handler_kinds import (
    WSGI_REMEDY,
    is_asgi_app,
    is_asynchronous,
    is_generator,
    is_wsgi_app,
)
from lambda_streaming.response_mode import configured_mode
from lambda_streaming.runtime_client import StreamingClient
from lambda_streaming.streaming import LambdaHandler, Streaming, install_driver, streaming_of
from lambda_streaming.user_traceback import user_traceback

UNUSABLE: Final = "Runtime.UnusableHandler"
"""The error type of a handler that no event can be given to."""


Find: TypeAlias = Callable[[str], object]
"""Imports what the function's configuration names."""


def run_function(
    handler: str, client: StreamingClient, load: Callable[[Find, str], LambdaHandler] | None = None
) -> None:
    """Run a function until Lambda ends the process, then leave its lifespan.

    Args:
        handler: `package.module.function`, or the name of an ASGI app.
        client: of the Runtime API.
        load: returns the handler, by default `load_handler`; its lifespan is started then.
    """
    install_driver(client.drive)
    _stand_in_for_stock_runtime(handler, client, load or load_handler)
    try:
        bootstrap.run(handler, client)
    finally:
        invocation_loop.close()


def _stand_in_for_stock_runtime(
    name: str, client: StreamingClient, load: Callable[[Find, str], LambdaHandler]
) -> None:
    """Put what differs from AWS's runtime where that runtime, and the tools that instrument it, look for it.

    Tools read the handler's name in `_HANDLER`, and find `bootstrap` in `__main__`, as in a container image
    that runs `python -m awslambdaric`. They wrap its `handle_event_request` and the methods of its
    `LambdaRuntimeClient`, for example to send what they have recorded before the environment freezes, and
    call its `_get_handler` to load a handler that they wrap.
    """
    os.environ.setdefault("_HANDLER", name)  # Lambda does not set it in every container image
    sys.modules["__main__"].bootstrap = bootstrap  # type: ignore[attr-defined]
    bootstrap.LambdaRuntimeClient = client.instrumented_class
    find = bootstrap._get_handler  # noqa: SLF001 (the only place for it)

    def get_handler(name: str) -> LambdaHandler:
        handler = load(find, name)
        start_lifespan(handler)
        return handler

    # Cached, because a tool may load its handler at each invocation, and a lifespan starts once.
    bootstrap._get_handler = functools.cache(get_handler)  # noqa: SLF001
    bootstrap.extract_traceback = functools.partial(_user_frames, bootstrap.extract_traceback)


def _user_frames(extract: Callable[[TracebackType | None], object], found: TracebackType | None) -> object:
    return extract(user_traceback(found))


def load_handler(find: Find, name: str) -> LambdaHandler:
    """Return what the runtime calls.

    Raises:
        FaultException: no event can be given to it.
        ValueError: an environment variable has a value that is not valid, which would fail each request.
    """
    configured_mode()
    configured_concurrency()
    return as_handler(find(name), name)


def start_lifespan(handler: LambdaHandler) -> None:
    """Start the lifespan of a handler that has one, now or after the restore from a snapshot.

    Raises:
        Exception: whatever the lifespan raises.
    """
    streaming = streaming_beneath(handler)
    if streaming is None or streaming.lifespan is None:
        return
    if os.environ.get(bootstrap.AWS_LAMBDA_INITIALIZATION_TYPE) == bootstrap.INIT_TYPE_SNAP_START:
        from snapshot_restore_py import register_after_restore

        # Connections do not survive the snapshot, and what is random must not be shared by its copies.
        register_after_restore(invocation_loop.start, streaming.lifespan)
    else:
        invocation_loop.start(streaming.lifespan)


_WRAPPED: Final = ("__wrapped__", "func")
"""Where decorators refer to what they decorate, as those of `functools` do."""

_MOST_WRAPPERS: Final = 16


def streaming_beneath(handler: object) -> Streaming | None:
    """Return what a decorated handler runs, even if the handler has been wrapped since."""
    for _ in range(_MOST_WRAPPERS):
        if (streaming := streaming_of(handler)) is not None:
            return streaming
        handler = next((getattr(handler, name) for name in _WRAPPED if hasattr(handler, name)), None)
    return None


def as_handler(found: Any, name: str) -> LambdaHandler:  # noqa: ANN401 (whatever a module holds)
    """Return a handler for what the configuration names: itself, or one for an ASGI app.

    Raises:
        FaultException: no event can be given to it; the message has the remedy.
    """
    if streaming_of(found) is not None:
        return found  # type: ignore[no-any-return]  # a decorated handler
    if is_asgi_app(found):
        from lambda_streaming.asgi_app import from_asgi

        return from_asgi(found)
    reason = None
    if is_wsgi_app(found):
        reason = f"is a WSGI app; {WSGI_REMEDY}"
    elif is_asynchronous(found) or is_generator(found):
        reason = (
            "is asynchronous or a generator; decorate it with @lambda_streaming.streamify_response, or wrap "
            "an ASGI app as lambda_streaming.from_asgi(app)"
        )
    elif not inspect.isfunction(found) and is_asgi_app(getattr(found, "func", None)):
        reason = "wraps an ASGI app as a handler; name one that is made of it, handler = from_asgi(app)"
    elif not callable(found):
        reason = f"is {type(found).__name__}, neither a function nor an ASGI app"
    if reason is not None:
        raise FaultException(UNUSABLE, f"Handler '{name}' {reason}", None)
    return found  # type: ignore[no-any-return]  # a plain handler, as the stock runtime runs it
