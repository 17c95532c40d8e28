"""A function as the runtime runs it: what its configuration names, recognised by its shape, and its lifespan.

awslambdaric imports the handler and reports what goes wrong there as an error of the INIT phase; recognising
the handler and starting its lifespan happen in the same place, so that they are reported likewise.
"""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeAlias

from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient
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
from lambda_streaming.lifespan import Lifespan
from lambda_streaming.response_mode import configured_mode
from lambda_streaming.streaming import LambdaHandler, streaming_of

UNUSABLE: Final = "Runtime.UnusableHandler"
"""The error type of a handler that no event can be given to."""


Find: TypeAlias = Callable[[str], object]
"""Imports what the function's configuration names."""


def run_function(
    handler: str, client: BaseLambdaRuntimeClient, load: Callable[[Find, str], LambdaHandler] | None = None
) -> None:
    """Run a function until Lambda ends the process, then leave its lifespan.

    Args:
        handler: `package.module.function`, or the name of an ASGI app.
        client: of the Runtime API.
        load: returns the handler, by default `load_handler`.
    """
    bootstrap._get_handler = functools.partial(load or load_handler, bootstrap._get_handler)  # noqa: SLF001 (the only place for it)
    try:
        bootstrap.run(handler, client)
    finally:
        invocation_loop.close()


def load_handler(find: Find, name: str) -> LambdaHandler:
    """Return what the runtime calls; its lifespan is started now, or after a restore from a snapshot."""
    # A value that is not valid is an error of the start, not of each request.
    configured_mode()
    configured_concurrency()
    handler = as_handler(find(name), name)
    streaming = streaming_of(handler)
    if streaming is not None and streaming.lifespan is not None:
        if os.environ.get(bootstrap.AWS_LAMBDA_INITIALIZATION_TYPE) == bootstrap.INIT_TYPE_SNAP_START:
            from snapshot_restore_py import register_after_restore

            # Connections do not survive the snapshot, and what is random must not be shared by its copies.
            register_after_restore(invocation_loop.start, streaming.lifespan)
        else:
            _start(streaming.lifespan)
    return handler


def _start(lifespan: Lifespan) -> None:
    try:
        invocation_loop.start(lifespan)
    except Exception as error:
        frames = traceback.extract_tb(_without_own_frames(error.__traceback__))
        raise FaultException(type(error).__name__, str(error), traceback.format_list(frames)) from error


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
    elif not callable(found):
        reason = f"is {type(found).__name__}, neither a function nor an ASGI app"
    if reason is not None:
        raise FaultException(UNUSABLE, f"Handler '{name}' {reason}", None)
    return found  # type: ignore[no-any-return]  # a plain handler, as the stock runtime runs it


_OWN: Final = ("lambda_streaming", "asyncio", "contextlib")


def _without_own_frames(found: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame on that is neither this package's nor the event loop's."""
    first = found
    while first is not None and first.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _OWN:
        first = first.tb_next
    return first or found
