"""A Function URL as an ASGI application in front of an `Invoker`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from enum import StrEnum
from typing import Any

from lambda_streaming.function_url.cors import CorsConfiguration
from lambda_streaming.function_url.invoker import Invoker
from lambda_streaming.function_url.limits import ResponseLimits

Message = MutableMapping[str, Any]


class InvokeMode(StrEnum):
    """How a Function URL reads what the function returns."""

    RESPONSE_STREAM = "RESPONSE_STREAM"
    BUFFERED = "BUFFERED"


class FunctionUrlApp:
    """Turns HTTP requests into invocations and their responses back into HTTP."""

    def __init__(
        self,
        invoker: Invoker,
        *,
        cors: CorsConfiguration | None = None,
        invoke_mode: InvokeMode = InvokeMode.RESPONSE_STREAM,
        limits: ResponseLimits | None = None,
        url_id: str = "local",
        drain_timeout_s: float = 30.0,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        raise NotImplementedError

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one ASGI connection: `http` or `lifespan`."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Wait for running invocations, at most `drain_timeout_s`; the lifespan's shutdown does this."""
        raise NotImplementedError
