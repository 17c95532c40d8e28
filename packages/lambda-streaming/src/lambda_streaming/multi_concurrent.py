"""Many invocations at once in one environment (Lambda Managed Instances).

By default each has a worker process of its own, as with the stock runtime. `Concurrency.ASYNCIO` serves them
in one process, with asynchronous handlers on one event loop (`shared_loop`).

Imported only there: an ordinary cold start should not pay for the modules that fork and share sockets.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import sys
from typing import Any, Final

from awslambdaric import bootstrap
from awslambdaric.lambda_config import LambdaConfigProvider
from awslambdaric.lambda_multi_concurrent_utils import MultiConcurrentRunner
from awslambdaric.lambda_runtime_client import InvocationRequest
from awslambdaric.lambda_runtime_exception import FaultException
from awslambdaric.lambda_runtime_log_utils import LogFormat

from lambda_streaming import portable_runtime_client
from lambda_streaming.concurrency import VARIABLE, Concurrency, configured_concurrency
from lambda_streaming.current_invocation import CurrentInvocation, current
from lambda_streaming.event_loop import invocation_loop
from lambda_streaming.function import (
    UNUSABLE,
    Find,
    as_handler,
    load_handler,
    run_function,
    streaming_beneath,
)
from lambda_streaming.invocation_labels import LabelledOutput, RequestFilter, trace_by_context
from lambda_streaming.invocation_tasks import InvocationTasks
from lambda_streaming.polling_thread import CallingThread
from lambda_streaming.response_stream import Invocation
from lambda_streaming.runtime_client import StreamingClient, StreamingMultiConcurrentRuntimeClient
from lambda_streaming.shared_loop import SharedLoop
from lambda_streaming.streaming import LambdaHandler


def run_multi_concurrent(config: LambdaConfigProvider) -> None:
    """Run a function, with as many invocations at once as Lambda sends, until Lambda ends the process."""
    max_concurrency = int(config.max_concurrency)
    try:
        concurrency = configured_concurrency()
    except ValueError:
        concurrency = Concurrency.PROCESSES  # whose workers report it
    if concurrency is Concurrency.ASYNCIO:
        StreamingMultiConcurrentRunner.run_on_one_loop(
            config.handler, config.api_address, config.lmi_socket_path, max_concurrency
        )
    else:
        StreamingMultiConcurrentRunner.run_concurrent(
            config.handler,
            config.api_address,
            config.use_thread_polling,
            config.lmi_socket_path,
            max_concurrency,
        )


class StreamingMultiConcurrentRunner(MultiConcurrentRunner):  # type: ignore[misc]  # untyped
    """awslambdaric's runner, whose workers can stream."""

    @classmethod
    def run_single(cls, handler: str, api_addr: str, use_thread: bool, socket_path: str) -> None:  # noqa: ARG003 (awslambdaric's)
        """Run one worker until Lambda ends it."""
        if socket_path:
            cls._redirect_output(socket_path)
        run_function(handler, StreamingMultiConcurrentRuntimeClient(api_addr))

    @classmethod
    def run_on_one_loop(cls, handler: str, api_addr: str, socket_path: str, max_concurrency: int) -> None:
        """Run all invocations in this process until Lambda ends it."""
        if socket_path:
            cls._redirect_output(socket_path)
        outputs = _label_output()
        trace_by_context()
        portable_runtime_client.install()
        client = _SharedClient(api_addr, max_concurrency, outputs)
        run_function(handler, client, client.load)


def _label_output() -> tuple[LabelledOutput, ...]:
    """Label what is printed. Managed Instances log JSON; the text format has no place for a label."""
    if bootstrap._AWS_LAMBDA_LOG_FORMAT != LogFormat.JSON:  # noqa: SLF001 (so that both agree)
        return ()
    sys.stdout, sys.stderr = LabelledOutput(sys.stdout, "INFO"), LabelledOutput(sys.stderr, "ERROR")
    return sys.stdout, sys.stderr


class _SharedClient(StreamingMultiConcurrentRuntimeClient):
    """What `bootstrap.run` starts the function with; its request for the first invocation begins to serve.

    Args:
        address: of the Runtime API.
        max_concurrency: how many invocations Lambda sends at once.
        outputs: what the invocations print to.
    """

    def __init__(self, address: str, max_concurrency: int, outputs: tuple[LabelledOutput, ...]) -> None:
        super().__init__(address)
        self._clients = [_ThreadClient(address) for _ in range(max_concurrency)]
        self._outputs = outputs
        self._handler: LambdaHandler | None = None
        self._log_sink: Any = None

    @property
    def instrumented_class(self) -> type[StreamingClient]:
        """The class that this one and that of the threads extend."""
        return StreamingMultiConcurrentRuntimeClient

    def load(self, find: Find, name: str) -> LambdaHandler:
        """Return the handler.

        Raises:
            FaultException: it is not asynchronous.
        """
        (log_handler,) = [each for each in logging.getLogger().handlers if hasattr(each, "log_sink")]
        log_handler.addFilter(RequestFilter())
        self._log_sink = log_handler.log_sink
        self._handler = load_handler(functools.partial(_find_asynchronous, find), name)
        return self._handler

    def wait_next_invocation(self) -> InvocationRequest:
        """Serve until Lambda ends the process; never returns."""
        context = contextvars.copy_context()

        def begin(loop: asyncio.AbstractEventLoop, tasks: InvocationTasks) -> SharedLoop:
            workers = [functools.partial(self._work, context, client) for client in self._clients]
            return SharedLoop(loop, tasks, workers)

        invocation_loop.share(begin)
        sys.exit(0)

    def drive(self, invocation: Invocation) -> object:
        """Run a streaming handler with the client of its thread."""
        return _client.get().drive(invocation)

    def _work(self, context: contextvars.Context, client: _ThreadClient, shared: SharedLoop) -> None:
        request = client.wait_next_invocation()
        # A context of its own, with what was set while the function was imported.
        context.copy().run(self._handle, shared, client, request)

    def _handle(self, shared: SharedLoop, client: _ThreadClient, request: InvocationRequest) -> None:
        invocation = CurrentInvocation(
            request_id=request.invoke_id,
            tenant_id=request.tenant_id,
            trace_id=request.x_amzn_trace_id,
            deadline_s=int(request.deadline_time_in_ms) / 1000,
        )
        current.set(invocation)
        _client.set(client)
        with shared.handling(invocation):
            # Looked up here, because tools replace it.
            bootstrap.handle_event_request(
                client,
                self._handler,
                request.invoke_id,
                request.event_body,
                request.content_type,
                request.client_context,
                request.cognito_identity,
                request.invoked_function_arn,
                request.deadline_time_in_ms,
                request.tenant_id,
                self._log_sink,
                request.invocation_id,
            )
        for output in self._outputs:
            output.finish(invocation)


class _ThreadClient(StreamingMultiConcurrentRuntimeClient):
    """The client of one thread, which requests invocations and reports their results itself."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.ThreadPoolExecutor = CallingThread()


_client: Final[contextvars.ContextVar[_ThreadClient]] = contextvars.ContextVar("client")


def _find_asynchronous(find: Find, name: str) -> LambdaHandler:
    """Import what the configuration names, and refuse a handler that would need a process of its own."""
    handler = as_handler(find(name), name)
    streaming = streaming_beneath(handler)
    if streaming is None or not streaming.is_asynchronous:
        raise FaultException(
            UNUSABLE,
            f"Handler '{name}' is synchronous; {VARIABLE}={Concurrency.ASYNCIO} is for asynchronous ones: "
            "decorate an 'async def' handler with @lambda_streaming.streamify_response, name an ASGI app, or "
            "remove the variable, so that each invocation has a process of its own",
            None,
        )
    return handler
