"""A Runtime API behind an invoker; the test plays the runtime, and its process group is the environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator

from lambda_streaming.emulator.invocation import RunningInvocation
from lambda_streaming.emulator.peer import Ends, is_held_by_group
from lambda_streaming.emulator.runtime_api import Event
from lambda_streaming.emulator.runtime_api_server import RuntimeApiServer
from lambda_streaming.function_url.invoker import InvocationRequest, InvocationResponse
from support.patience import PATIENCE_S

ARN = "arn:aws:lambda:us-east-1:123456789012:function:fn"


class OneEnvironment:
    """An invoker that gives each event to the runtime that the test plays."""

    def __init__(self, api: RuntimeApiServer) -> None:
        self.api = api

    async def invoke(self, request: InvocationRequest) -> InvocationResponse:
        """Deliver the event as soon as the runtime polls for it."""
        await self.api.ready()
        invocation = RunningInvocation(request, environment="env")
        self.api.deliver(event_of(request), invocation)
        return await invocation.response()


def request_of(payload: bytes = b'{"a":1}', *, buffered: bool = False) -> InvocationRequest:
    """Return a new invocation request."""
    return InvocationRequest(
        payload=payload,
        request_id=str(uuid.uuid4()),
        trace_id="Root=1-67e0a000-0123456789abcdef01234567",
        buffered=buffered,
    )


def event_of(request: InvocationRequest) -> Event:
    """Return the event that carries a request."""
    return Event(
        payload=request.payload,
        request_id=request.request_id,
        invocation_id=str(uuid.uuid4()),
        deadline_ms=int(time.time() * 1000) + 30_000,
        function_arn=ARN,
        trace_id=request.trace_id,
        client_context=request.client_context,
    )


@contextlib.asynccontextmanager
async def one_environment(concurrency: int = 1) -> AsyncIterator[OneEnvironment]:
    """Serve a Runtime API during the block, to a runtime that runs several invocations at once."""

    async def is_own(ends: Ends) -> bool:
        return await asyncio.to_thread(is_held_by_group, ends, os.getpgrp())

    api = RuntimeApiServer(
        "env", function_name="fn", handler="app.handler", is_own=is_own, concurrency=concurrency
    )
    await api.listen()
    try:
        yield OneEnvironment(api)
    finally:
        async with asyncio.timeout(PATIENCE_S):
            await api.close()
