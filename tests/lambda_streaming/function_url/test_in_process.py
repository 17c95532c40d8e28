"""The in-process invoker, and `asgi`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.invoker import InvokerContract, InvokerFactory
from lambda_streaming.function_url.in_process import InProcessInvoker
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
