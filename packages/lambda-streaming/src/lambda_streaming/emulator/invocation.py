"""One invocation: the event on its way to the runtime, and the response on its way back."""

from __future__ import annotations

import asyncio
import logging

from lambda_streaming.emulator.runtime_api import (
    DEFAULT_CONTENT_TYPE,
    MAX_BUFFERED_RESULT_BYTES,
    ResultTooLarge,
)
from lambda_streaming.function_url.handover import Handover
from lambda_streaming.function_url.invoker import (
    FunctionFailed,
    InvocationFailed,
    InvocationRequest,
    InvocationResponse,
)

logger = logging.getLogger("lambda_streaming.emulator")


class RunningInvocation:
    """One invocation: the Runtime API writes its response, the Function URL reads it.

    Args:
        request: the invocation request.
        environment: the name of the environment that runs it, for the log.

    Attributes:
        failure: the failure, if it failed.
        received_bytes: how many bytes of a response the runtime has posted.
    """

    def __init__(self, request: InvocationRequest, *, environment: str) -> None:
        self.request = request
        self.failure: InvocationFailed | None = None
        self.received_bytes = 0
        self._environment = environment
        self._max_bytes = MAX_BUFFERED_RESULT_BYTES if request.buffered else None
        self._handover = Handover()
        self._over = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the response is complete or has failed."""
        return self._handover.ended

    async def over(self) -> None:
        """Wait until the runtime has posted all of its response, or the invocation has failed."""
        await self._over.wait()

    def begin(self, content_type: str | None) -> None:
        """Note the response's content type, before its first byte."""
        self._handover.content_type = content_type or DEFAULT_CONTENT_TYPE

    async def write(self, chunk: bytes) -> None:
        """Forward a chunk; returns when the reader has taken it, or when there is no reader any more.

        Raises:
            ResultTooLarge: the result exceeds the limit of a buffered response; the invocation has failed.
        """
        self.received_bytes += len(chunk)
        if self._max_bytes is not None and self.received_bytes > self._max_bytes:
            too_large = ResultTooLarge(self._max_bytes)
            self.fail(FunctionFailed("Function.ResponseSizeTooLarge", str(too_large)))
            raise too_large
        await self._handover.put(chunk)

    def complete(self) -> None:
        """End the response cleanly."""
        self._handover.close()
        self._over.set()

    def fail(self, failure: InvocationFailed) -> None:
        """End the response with a failure and log it, unless the response has ended."""
        if not self.ended:
            self.failure = failure
            logger.error("[%s] %s %s", self._environment, self.request.request_id, failure)
            self._handover.fail(failure)
            self._over.set()

    async def response(self) -> InvocationResponse:
        """Wait until the response begins; see `Invoker.invoke`."""
        return await self._handover.response()
