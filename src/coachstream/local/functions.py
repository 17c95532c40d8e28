"""The functions behind their Function URLs: in execution environments, or in this process."""

from __future__ import annotations

import asyncio
import logging
import sys
from types import ModuleType

import httpx

from coachstream.functions.coach_conversations import handler as coach_conversations
from coachstream.functions.send_coach_conversation_message import (
    handler as send_coach_conversation_message,
)
from coachstream.functions.stream_coach_conversation import handler as stream_coach_conversation
from coachstream.local.options import ServeOptions
from coachstream.services import Services
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url import CorsConfiguration, FunctionUrlApp, InProcessInvoker

DRAIN_S = 1.0
"""How long an interrupt waits for answers that are being given."""

logger = logging.getLogger("coachstream.local")


class Functions:
    """The function URLs, each in front of its environments or of this process."""

    def __init__(self, options: ServeOptions, services: Services, cors: CorsConfiguration | None) -> None:
        self._options = options
        self._services = services
        self._invokers: list[InProcessInvoker | ExecutionEnvironments] = []
        self.stream = self._url(stream_coach_conversation, options, services, cors)
        self.conversations = self._url(coach_conversations, options, services, cors)
        self.send_message = self._url(send_coach_conversation_message, options, services, cors)

    def _url(
        self, function: ModuleType, options: ServeOptions, services: Services, cors: CorsConfiguration | None
    ) -> FunctionUrlApp:
        name = function.__name__.split(".")[-2].replace("_", "-")
        invoker: InProcessInvoker | ExecutionEnvironments
        if options.in_process:
            handler = function.handler_for(lambda: services)
            invoker = InProcessInvoker(handler, timeout_s=options.timeout_s, function_name=name)
        else:
            invoker = ExecutionEnvironments(
                [sys.executable, "-m", "lambda_streaming", f"{function.__name__}.handler"],
                env=services.settings.to_environment(),
                timeout_s=options.timeout_s,
                max_concurrency=options.max_concurrency,
                freeze=options.freeze,
                init_timeout_s=30.0,
                grace_s=0.0,
                function_name=name,
            )
        self._invokers.append(invoker)
        return FunctionUrlApp(invoker, cors=cors, drain_timeout_s=DRAIN_S)

    async def warm_up(self, origin: str) -> None:
        """Start environments ahead by requests that are refused before they touch anything.

        Not those of the function that answers in one piece, which the page does not use.
        """
        if self._options.in_process or self._options.warm == 0:
            return
        path = f"{origin}users/nobody/coaches/none/conversations"
        async with httpx.AsyncClient(timeout=60, trust_env=False, limits=httpx.Limits()) as client:
            requests = [client.get(path) for _ in range(self._options.warm)]
            requests += [client.post(f"{path}/none/stream") for _ in range(self._options.warm)]
            for response in await asyncio.gather(*requests):
                if response.status_code != httpx.codes.UNAUTHORIZED:
                    logger.warning("A function did not start (%d); its log says why.", response.status_code)

    async def aclose(self) -> None:
        """End all at once: answers get a moment to end, then their processes are ended."""
        try:
            await asyncio.gather(
                *(url.aclose() for url in (self.stream, self.conversations, self.send_message))
            )
        finally:
            # Also when nobody wants to wait for the answers: no process is left behind.
            await asyncio.gather(*(invoker.aclose() for invoker in self._invokers))
            await self._services.aclose()
