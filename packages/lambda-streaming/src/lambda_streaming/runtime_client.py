"""awslambdaric's Runtime API clients with response streaming.

Only what a streamed response needs is overridden. A decorated handler streams its response during the call
and returns a result without a body, for which nothing more is posted.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

import msgspec
from awslambdaric import bootstrap, lambda_runtime_client
from awslambdaric.lambda_runtime_client import (
    BaseLambdaRuntimeClient,
    InvocationRequest,
    LambdaMultiConcurrentRuntimeClient,
    LambdaRuntimeClient,
)
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from lambda_streaming.error_trailers import FunctionError
from lambda_streaming.event_loop import HandlerCancelled, invocation_loop
from lambda_streaming.polling_thread import PollingThread
from lambda_streaming.response_stream import Invocation, ResponseBroken
from lambda_streaming.runtime_api_connection import RuntimeApiConnection
from lambda_streaming.runtime_api_response import RuntimeApiResponse

logger = logging.getLogger("lambda_streaming")


class StreamedResult(dict[str, object]):
    """What the call of a handler returns when it has streamed its response: status and headers, but no body.

    It has the form of a proxy result, because tools that wrap the handler read the status there.
    """


class _StreamingMarshaller(LambdaMarshaller):  # type: ignore[misc]  # untyped
    def marshal_response(self, response: object) -> tuple[Any, str]:
        if isinstance(response, StreamedResult):
            return b"", ""
        body, content_type = super().marshal_response(response)
        return body, content_type


class StreamingClient(BaseLambdaRuntimeClient):  # type: ignore[misc]  # untyped
    """Adds streaming to both of awslambdaric's clients."""

    marshaller = _StreamingMarshaller()

    @property
    def instrumented_class(self) -> type[StreamingClient]:
        """The class whose methods tools may replace: that of every client of the process."""
        return type(self)

    def __init__(self, address: str) -> None:
        # Python runs signal handlers only where the main thread can be interrupted, which awslambdaric's
        # blocking call cannot. It polls in a thread only for some of the managed runtimes.
        super().__init__(address, True)
        self.ThreadPoolExecutor: Any = PollingThread()
        self._connection = RuntimeApiConnection(address)
        self._request: InvocationRequest | None = None
        self._response: RuntimeApiResponse | None = None

    def wait_next_invocation(self) -> InvocationRequest:
        """Reset the state of the last invocation and wait for the next one."""
        self._request = self._response = None
        self._request = super().wait_next_invocation()
        return self._request

    def post_invocation_result(
        self,
        invoke_id: str,
        result_data: Any,  # noqa: ANN401 (awslambdaric's)
        content_type: str = "application/json",
        invocation_id: str | None = None,
    ) -> None:
        """Report a result, unless a response has been streamed; a wrapper may have replaced its result."""
        if self._response is None or not self._response.begun:
            super().post_invocation_result(invoke_id, result_data, content_type, invocation_id)

    def post_invocation_error(
        self, invoke_id: str, error_response_data: str, xray_fault: str, invocation_id: str | None = None
    ) -> None:
        """Report an error, unless a response has begun: its trailers carry the error, or it had ended."""
        if self._response is None or not self._response.begun:
            super().post_invocation_error(invoke_id, error_response_data, xray_fault, invocation_id)

    def drive(self, invocation: Invocation) -> object:
        """Run a streaming handler, whose response goes to Lambda meanwhile."""
        request = self._request
        if request is None:
            raise RuntimeError("A streaming handler can be called only while an invocation is being handled")
        self._response = RuntimeApiResponse(
            self._connection,
            request.invoke_id,
            request.invocation_id,
            lambda_runtime_client._user_agent(),  # noqa: SLF001 (so that all calls have the same)
        )
        invocation_loop.run(functools.partial(_stream, invocation, self._response, request.invoke_id))
        return StreamedResult(self._response.metadata())


class StreamingRuntimeClient(StreamingClient, LambdaRuntimeClient):  # type: ignore[misc]  # untyped
    """awslambdaric's client of an execution environment, with response streaming."""


class StreamingMultiConcurrentRuntimeClient(
    StreamingClient,
    LambdaMultiConcurrentRuntimeClient,  # type: ignore[misc]  # untyped
):
    """The client of a worker process on a Managed Instance: a failed call does not end the worker."""


async def _stream(invocation: Invocation, response: RuntimeApiResponse, request_id: str) -> None:
    try:
        await response.connect()
        await invocation(response)
        response.require_end()
        await _log_status(response)
    except (Exception, asyncio.CancelledError) as error:
        # SystemExit and KeyboardInterrupt end the process, and the response is cut off.
        await _report(error, response, request_id)
        raise
    finally:
        await response.release()


async def _report(error: BaseException, response: RuntimeApiResponse, request_id: str) -> None:
    if not response.begun:
        return
    if not response.ended:
        reported = HandlerCancelled() if isinstance(error, asyncio.CancelledError) else error
        fault = bootstrap.build_fault_result((type(reported), reported, error.__traceback__), None)
        function_error = msgspec.convert({**fault, "requestId": request_id}, FunctionError)
        try:
            await response.fail(function_error)
        except ResponseBroken as broken:
            logger.error("The error could not be sent: %s", broken)  # noqa: TRY400
            return
    await _log_status(response)


async def _log_status(response: RuntimeApiResponse) -> None:
    """Wait for Lambda's status of the response, and log one that is not a success."""
    try:
        status = await response.status()
    except ResponseBroken as broken:
        logger.error("The response was not accepted: %s", broken)  # noqa: TRY400
    else:
        if not 200 <= status < 300:  # noqa: PLR2004 (what HTTP calls successful)
            logger.error("The response was not accepted: status %d", status)
