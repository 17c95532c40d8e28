"""An app's lifespan as a context manager (ASGI's lifespan specification, version 2.0).

An app that raises when it is called for its lifespan does not support it, and is served without; one that
wants its start-up to fail says so with `lifespan.startup.failed`. Then the function's initialization fails,
with the app's own exception where it raises that as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

from lambda_streaming.asgi_app.protocol import VERSION, AsgiApp, AsgiProtocolError, Message

logger = logging.getLogger("lambda_streaming")


class LifespanMode(StrEnum):
    """Whether to run an app's lifespan.

    Attributes:
        AUTO: if the app supports it.
        ON: always; an app that does not support it fails to start.
        OFF: never.
    """

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class AppStartupFailed(RuntimeError):
    """Raised when an app reports that its start-up failed and raises nothing; has the app's message."""


class AppShutdownFailed(RuntimeError):
    """Raised when an app reports that its shutdown failed."""


class AppLifespan:
    """Makes the context manager: entered when the app has started up, left when it has shut down.

    It yields the lifespan's state, or None for an app that does not support lifespans.
    """

    def __init__(self, app: AsgiApp, mode: LifespanMode) -> None:
        self._app = app
        self._mode = mode

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[dict[str, Any] | None]:
        """Run the app in a task of its own while the block runs."""
        conversation = _Conversation()
        state: dict[str, Any] = {}
        scope = {"type": "lifespan", "asgi": {"version": VERSION, "spec_version": "2.0"}, "state": state}
        running = asyncio.ensure_future(self._app(scope, conversation.receive, conversation.send))
        try:
            supported = await self._start(running, conversation)
            yield state if supported else None
            if supported:
                await _shut_down(running, conversation)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _start(self, running: asyncio.Future[None], conversation: _Conversation) -> bool:
        """Return whether the app supports lifespans."""
        await _first_of(running, conversation.started)
        if conversation.started.done():
            failure = conversation.started.result()
            if failure is None:
                return True
            await asyncio.wait({running})
            if (error := running.exception()) is not None:
                raise error
            raise AppStartupFailed(failure)
        error = running.exception()
        if self._mode is LifespanMode.ON:
            if error is not None:
                raise error
            raise AppStartupFailed("The app returned without having started up")
        if error is not None and conversation.was_asked:
            logger.warning(
                "The app raised during its start-up, and is served without a lifespan", exc_info=error
            )
        return False


class _Conversation:
    """The messages of one lifespan."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[str | None] = loop.create_future()
        self.ended: asyncio.Future[str | None] = loop.create_future()
        self.stopping = asyncio.Event()
        self.was_asked = False

    async def receive(self) -> Message:
        if not self.was_asked:
            self.was_asked = True
            return {"type": "lifespan.startup"}
        await self.stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "lifespan.startup.complete" if not self.started.done():
                self.started.set_result(None)
            case "lifespan.startup.failed" if not self.started.done():
                self.started.set_result(message.get("message") or "The app reported that its start-up failed")
            case "lifespan.shutdown.complete" if self._may_end():
                self.ended.set_result(None)
            case "lifespan.shutdown.failed" if self._may_end():
                self.ended.set_result(message.get("message") or "The app reported that its shutdown failed")
            case other:
                raise AsgiProtocolError(f"The app sent {other!r}, which is not allowed now")

    def _may_end(self) -> bool:
        return self.started.done() and not self.ended.done()


async def _shut_down(running: asyncio.Future[None], conversation: _Conversation) -> None:
    conversation.stopping.set()
    await _first_of(running, conversation.ended)
    failure = conversation.ended.result() if conversation.ended.done() else None
    if failure is not None or not conversation.ended.done():
        await asyncio.wait({running})
        if (error := running.exception()) is not None:
            raise error
    if failure is not None:
        raise AppShutdownFailed(failure)


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
