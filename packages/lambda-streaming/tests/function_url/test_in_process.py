"""The in-process invoker, and `asgi`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.invoker import InvokerContract, InvokerFactory
from lambda_streaming import LambdaContext, ResponseStream, streamify_response
from lambda_streaming.function_url.in_process import InProcessInvoker
from lambda_streaming.function_url.invoker import InvocationRequest, Throttled
from lambda_streaming.streaming import LambdaHandler
from support import functions


class TestInProcessInvoker(InvokerContract):
    @pytest.fixture
    def invoker_of(self) -> InvokerFactory:
        @asynccontextmanager
        async def make(name: str, timeout_s: float) -> AsyncIterator[InProcessInvoker]:
            invoker = InProcessInvoker(getattr(functions, name), timeout_s=timeout_s)
            try:
                yield invoker
            finally:
                await invoker.aclose(1.0)

        return make


def request() -> InvocationRequest:
    return InvocationRequest(payload=b"{}", request_id=str(uuid.uuid4()), trace_id="Root=1-0-0")


class Saving:
    """A handler that waits and, when cancelled, saves; the test decides when the saving ends."""

    def __init__(self) -> None:
        self.has_begun, self.is_saving, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.has_saved = False

    @property
    def handler(self) -> LambdaHandler:
        @streamify_response
        async def handler(event: object, stream: ResponseStream, context: LambdaContext) -> None:  # noqa: ARG001
            self.has_begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.is_saving.set()
                await self.may_end.wait()
                self.has_saved = True

        return handler

    async def invoked_by(self, invoker: InProcessInvoker) -> asyncio.Task[object]:
        """Start an invocation and return it once the handler runs."""
        invocation: asyncio.Task[object] = asyncio.ensure_future(invoker.invoke(request()))
        await self.has_begun.wait()
        return invocation


async def test_closing_waits_for_the_cleanup_of_a_cancelled_handler() -> None:
    """The handler's resources are closed only after its cleanup."""
    saving = Saving()
    invoker = InProcessInvoker(saving.handler)
    invocation = await saving.invoked_by(invoker)
    closing = asyncio.create_task(invoker.aclose())
    await saving.is_saving.wait()
    assert not closing.done()
    saving.may_end.set()
    await closing
    assert saving.has_saved
    await asyncio.gather(invocation, return_exceptions=True)


async def test_a_cancelled_close_still_cancels_the_handlers() -> None:
    """A caller that stops waiting still has the replies saved."""
    saving = Saving()
    invoker = InProcessInvoker(saving.handler)
    invocation = await saving.invoked_by(invoker)
    closing = asyncio.create_task(invoker.aclose(60.0))
    await asyncio.sleep(0)
    closing.cancel()
    await saving.is_saving.wait()
    saving.may_end.set()
    await asyncio.gather(invocation, closing, return_exceptions=True)
    assert saving.has_saved


async def test_a_close_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """The handler is left running, with a log message."""
    saving = Saving()
    invoker = InProcessInvoker(saving.handler)
    invocation = await saving.invoked_by(invoker)
    await invoker.aclose(cleanup_s=0.0)
    assert "1 handlers have not ended 0 s after their cancellation" in caplog.text
    saving.may_end.set()
    await asyncio.gather(invocation, return_exceptions=True)


async def test_a_closed_invoker_starts_nothing() -> None:
    """A request may still arrive on an open connection."""
    invoker = InProcessInvoker(Saving().handler)
    await invoker.aclose()
    with pytest.raises(Throttled):
        await invoker.invoke(request())
