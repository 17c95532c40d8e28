"""The functions behind their Function URLs, in execution environments or in this process."""

from __future__ import annotations

import asyncio
import logging
import sys
from types import ModuleType

from coachstream.functions.coach_conversations import handler as coach_conversations
from coachstream.functions.send_coach_conversation_message import (
    handler as send_coach_conversation_message,
)
from coachstream.functions.stream_coach_conversation import handler as stream_coach_conversation
from coachstream.local.options import ServeOptions
from coachstream.services import Services
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url import CorsConfiguration, FunctionUrlApp, InProcessInvoker
from lambda_streaming.function_url.invoker import FunctionFailed

DRAIN_S = 1.0
"""How long a shutdown waits for running responses to drain."""

logger = logging.getLogger("coachstream.local")


class Functions:
    """The Function URLs and their invokers."""

    def __init__(self, options: ServeOptions, services: Services, cors: CorsConfiguration | None) -> None:
        self._options = options
        self._services = services
        stream, conversations, send_message = self._invokers = (
            self._invoker_of(stream_coach_conversation),
            self._invoker_of(coach_conversations),
            self._invoker_of(send_coach_conversation_message),
        )
        self.stream = FunctionUrlApp(stream, cors=cors, drain_timeout_s=DRAIN_S)
        self.conversations = FunctionUrlApp(conversations, cors=cors, drain_timeout_s=DRAIN_S)
        self.send_message = FunctionUrlApp(send_message, cors=cors, drain_timeout_s=DRAIN_S)
        self._used_by_page = (stream, conversations)

    def _invoker_of(self, function: ModuleType) -> InProcessInvoker | ExecutionEnvironments:
        name = function.__name__.split(".")[-2].replace("_", "-")
        if self._options.in_process:
            handler = function.handler_for(lambda: self._services)
            return InProcessInvoker(handler, timeout_s=self._options.timeout_s, function_name=name)
        return ExecutionEnvironments(
            [sys.executable, "-m", "lambda_streaming", f"{function.__name__}.handler"],
            env=self._services.settings.to_environment(),
            timeout_s=self._options.timeout_s,
            max_concurrency=self._options.max_concurrency,
            freeze=self._options.freeze,
            init_timeout_s=30.0,
            grace_s=0.0,
            function_name=name,
        )

    async def start_ahead(self) -> None:
        """Start the environments for the page's first requests; failures are logged."""
        starting = [
            invoker.start_ahead(self._options.warm)
            for invoker in self._used_by_page
            if isinstance(invoker, ExecutionEnvironments)
        ]
        for outcome in await asyncio.gather(*starting, return_exceptions=True):
            match outcome:
                case FunctionFailed():
                    logger.warning("A function did not start: %s", outcome)
                case BaseException():
                    raise outcome

    async def aclose(self) -> None:
        """Shut down gracefully: turns get a moment to finish, then are interrupted and store their text."""
        try:
            await asyncio.gather(
                *(url.aclose() for url in (self.stream, self.conversations, self.send_message))
            )
        finally:
            # Also when the caller is cancelled: no process may be left behind.
            await asyncio.gather(*(invoker.aclose() for invoker in self._invokers))
