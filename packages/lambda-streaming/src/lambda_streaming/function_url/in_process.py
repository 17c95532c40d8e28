"""A function behind a Function URL in the server's own process, on its event loop.

For containers and tests. Unlike on Lambda, many invocations run concurrently and share the process. As on
Lambda, events are decoded from JSON, a timeout ends an invocation, and a client's disconnect does not.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import warnings
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from lambda_streaming.function_url.app import FunctionUrlApp
from lambda_streaming.function_url.cors import CorsConfiguration
from lambda_streaming.function_url.exchange import InvokeMode
from lambda_streaming.function_url.handover import Handover
from lambda_streaming.function_url.invoker import (
    FunctionFailed,
    InvocationRequest,
    InvocationResponse,
    InvocationTimedOut,
    Throttled,
)
from lambda_streaming.function_url.limits import ResponseLimits
from lambda_streaming.handler_kinds import is_asgi_app, is_asynchronous
from lambda_streaming.shutdown import Shutdown
from lambda_streaming.streaming import LambdaHandler, invoke_streaming, streaming_of

logger = logging.getLogger("lambda_streaming.function_url")

MAX_TIMEOUT_S = 900.0
"""Lambda's maximum."""

CLEANUP_S = 10.0
"""How long a cancelled handler may take to end: enough for a database write and its retries."""

MAX_PLAIN_HANDLERS = 64
"""Threads for non-streaming handlers; each handler occupies one for its whole invocation."""


class InProcessContext:
    """The context of an invocation, with the attributes of awslambdaric's `LambdaContext`.

    Args:
        request: the invocation.
        function_name: also part of the ARN.
        timeout_s: the timeout, counted from now.
    """

    function_version = "$LATEST"
    memory_limit_in_mb = "128"
    log_group_name = "in-process"
    log_stream_name = "in-process"
    client_context = None
    identity = None
    tenant_id = None

    def __init__(self, request: InvocationRequest, function_name: str, timeout_s: float) -> None:
        self.aws_request_id = request.request_id
        self.function_name = function_name
        self.invoked_function_arn = f"arn:aws:lambda:local:000000000000:function:{function_name}"
        self._deadline = time.monotonic() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the invocation times out, never less than 0."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))

    def log(self, msg: object) -> None:
        """Write a message to the log."""
        logger.info("%s %s", self.aws_request_id, msg)


class InProcessInvoker:
    """Runs a handler in this process, any number of invocations concurrently.

    Args:
        handler: decorated with `streamify_response`, or a plain function, which runs in a thread and
            cannot be stopped at the timeout.
        timeout_s: the invocation timeout.
        function_name: its name in the context.

    Raises:
        TypeError: the handler is a coroutine function without the decorator, which Lambda does not support.
    """

    def __init__(
        self,
        handler: LambdaHandler,
        *,
        timeout_s: float = MAX_TIMEOUT_S,
        function_name: str | None = None,
    ) -> None:
        self._streaming = streaming_of(handler)
        if self._streaming is None and is_asgi_app(handler):
            raise TypeError(
                f"{handler!r} is an ASGI app already; from_asgi(app) makes a Lambda handler of it"
            )
        if self._streaming is None and is_asynchronous(handler):
            raise TypeError(f"{handler!r} is asynchronous: decorate it with @streamify_response")
        self._handler = handler
        self._timeout_s = timeout_s
        self._function_name = function_name or str(getattr(handler, "__name__", "handler"))
        self._threads = ThreadPoolExecutor(MAX_PLAIN_HANDLERS, thread_name_prefix="handler")
        self._running: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def start(self) -> None:
        """Start the handler's lifespan, if it has one; otherwise the first invocation does.

        Raises:
            Exception: whatever the lifespan raises.
        """
        if self._streaming is not None and self._streaming.lifespan is not None:
            await self._streaming.lifespan.start()

    async def invoke(self, request: InvocationRequest) -> InvocationResponse:
        """Run the handler in a task of its own; see `Invoker.invoke`."""
        if self._is_closing:
            raise Throttled
        run = self._run_plain if self._streaming is None else self._run_streaming
        invocation = _HandlerRun(request, self._function_name, self._timeout_s)
        # A task has its own copy of the context, so context variables do not leak into other invocations.
        task = asyncio.create_task(invocation.run(run))
        timer = asyncio.get_running_loop().call_later(self._timeout_s, invocation.time_out, task)
        task.add_done_callback(lambda _: timer.cancel())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await invocation.handover.response()

    async def aclose(self, timeout_s: float = 0.0, *, cleanup_s: float = CLEANUP_S) -> None:
        """Start no more handlers, drain running ones for at most `timeout_s`, and cancel the rest.

        A cancelled handler has `cleanup_s` to save its state and release its resources; its dependencies can
        be closed after that. A thread cannot be cancelled: the thread of a plain handler runs to its end.
        """
        self._is_closing = True
        try:
            await _wait_for(self._running, timeout_s)
        finally:
            # Also when the caller itself is cancelled and does not want to wait.
            late = frozenset(self._running)
            for task in late:
                task.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)
        if left := await _wait_for(late, cleanup_s):
            logger.error("%d handlers have not ended %g s after their cancellation", len(left), cleanup_s)
        if self._streaming is not None and self._streaming.lifespan is not None:
            await self._streaming.lifespan.stop(Shutdown().leave_s())

    async def _run_streaming(self, invocation: _HandlerRun) -> None:
        event = msgspec.json.decode(invocation.request.payload)
        await invoke_streaming(self._handler, event, invocation, invocation.context)

    async def _run_plain(self, invocation: _HandlerRun) -> None:
        # Serialises results as the stock runtime does; imported here because only plain handlers need it.
        from awslambdaric.lambda_runtime_exception import FaultException
        from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

        event = msgspec.json.decode(invocation.request.payload)
        in_context = contextvars.copy_context().run
        result = await asyncio.get_running_loop().run_in_executor(
            self._threads, in_context, self._handler, event, invocation.context
        )
        try:
            body, content_type = LambdaMarshaller().marshal_response(result)
        except FaultException as error:
            raise FunctionFailed(error.exception_type, error.msg) from error
        await invocation.open(content_type)
        await invocation.send(body if isinstance(body, bytes) else body.encode())
        await invocation.close()


class _HandlerRun:
    """One run of a handler; the transport of its response."""

    def __init__(self, request: InvocationRequest, function_name: str, timeout_s: float) -> None:
        self.request = request
        self.context = InProcessContext(request, function_name, timeout_s)
        self._timeout_s = timeout_s
        self.handover = Handover()
        self._timed_out = False

    # The `ResponseTransport` methods.

    async def open(self, content_type: str) -> None:
        self.handover.content_type = content_type

    async def send(self, data: bytes) -> None:
        await self.handover.put(data)

    async def close(self, last: bytes = b"") -> None:
        if last:
            await self.send(last)
        self.handover.close()

    async def run(self, handle: Callable[[_HandlerRun], Awaitable[None]]) -> None:
        """Run the handler to its end, and log a failure."""
        try:
            await handle(self)
            self.handover.close()
        except asyncio.CancelledError:
            if not self._timed_out:
                self._fail("Runtime.ExitError", "The server stopped before the function ended")
                raise
        except FunctionFailed as failure:
            if not self._timed_out:
                self._fail(failure.error_type, failure.error_message)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a handler may raise anything)
            # SystemExit too: a handler that exits ends its environment on Lambda, but not this server.
            if not self._timed_out:
                self._fail(type(error).__name__, str(error), error)

    def time_out(self, task: asyncio.Task[None]) -> None:
        """End the response and cancel the handler; if it ignores that, its outcome is discarded."""
        self._timed_out = True
        timeout = InvocationTimedOut(self._timeout_s)
        logger.error("%s %s", self.request.request_id, timeout.error_message)
        self.handover.fail(timeout)
        task.cancel()

    def _fail(self, error_type: str, message: str, error: BaseException | None = None) -> None:
        logger.error("%s %s: %s", self.request.request_id, error_type, message, exc_info=error)
        self.handover.fail(FunctionFailed(error_type, message))


async def _wait_for(tasks: Collection[asyncio.Task[None]], timeout_s: float) -> set[asyncio.Task[None]]:
    """Wait for tasks to end, and return those that have not ended."""
    return (await asyncio.wait(tasks, timeout=timeout_s))[1] if tasks else set()


def to_asgi(
    handler: LambdaHandler,
    *,
    cors: CorsConfiguration | None = None,
    invoke_mode: InvokeMode = InvokeMode.RESPONSE_STREAM,
    timeout_s: float = MAX_TIMEOUT_S,
    limits: ResponseLimits | None = None,
    function_name: str | None = None,
    drain_timeout_s: float = 30.0,
) -> FunctionUrlApp:
    """Return an ASGI app that serves a handler in process as a Function URL does: `uvicorn module:app`.

    The opposite, an ASGI app as a Lambda handler, is `from_asgi(app)`.

    Args:
        handler: decorated with `streamify_response`, or plain.
        cors: the URL's CORS configuration, if any.
        invoke_mode: how the handler's response is read.
        timeout_s: the invocation timeout, by default Lambda's maximum.
        limits: for responses; by default Lambda's 200 MB, without a bandwidth limit.
        function_name: its name in the context; by default the handler's name.
        drain_timeout_s: how long shutdown waits for invocations whose client has disconnected, and then
            again for handlers that still run after their response. The rest are cancelled and have
            `CLEANUP_S` to end.

    Raises:
        TypeError: the handler is a coroutine function without the decorator, or an ASGI app.
    """
    invoker = InProcessInvoker(handler, timeout_s=timeout_s, function_name=function_name)
    return FunctionUrlApp(
        invoker,
        cors=cors,
        invoke_mode=invoke_mode,
        limits=limits,
        drain_timeout_s=drain_timeout_s,
        on_start=invoker.start,
        on_close=lambda: invoker.aclose(drain_timeout_s),
    )


def asgi(handler: LambdaHandler, **options: Any) -> FunctionUrlApp:  # noqa: ANN401 (those of `to_asgi`)
    """Return `to_asgi(handler, ...)`.

    Deprecated: the name does not say which way it goes. `to_asgi(handler)` makes an ASGI app of a Lambda
    handler, and `from_asgi(app)` a Lambda handler of an ASGI app.
    """
    warnings.warn(
        "lambda_streaming.asgi(handler) is now called to_asgi(handler); from_asgi(app) is the opposite. The "
        "old name will be removed in 1.0.",
        DeprecationWarning,
        stacklevel=2,
    )
    return to_asgi(handler, **options)
