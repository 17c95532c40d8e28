"""Writes an SSE response: events as they arrive, and a keep-alive comment after a pause."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol, Self

from coachstream.web.sse import KEEP_ALIVE
from lambda_streaming.response_stream import ResponseBroken


class ByteWriter(Protocol):
    """The method used from a response stream."""

    async def write(self, data: bytes, /) -> None:
        """Write bytes; returns when more can be accepted (backpressure)."""


class EventStream:
    """Sends encoded events, and keep-alive comments between them, while the `async with` lasts.

    A reader that disconnects is not an error here: the first failed write sets `is_broken_off`, later events
    are discarded, and the turn behind the stream runs to its end.
    """

    def __init__(self, response: ByteWriter, *, keep_alive_after_s: float) -> None:
        self.is_broken_off = False
        self._response = response
        self._keep_alive_after_s = keep_alive_after_s
        self._writing = asyncio.Lock()
        self._last_write = asyncio.get_running_loop().time()
        self._keeping_alive: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeping_alive = asyncio.create_task(self._keep_alive(), name="keep-alive")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeping_alive is None:
            return
        # Under the lock, so that a comment is not truncated while it is being written.
        async with self._writing:
            self._keeping_alive.cancel()
        await asyncio.gather(self._keeping_alive, return_exceptions=True)

    async def send(self, events: bytes) -> None:
        """Write whole events, as an encoder returns them; waits while the reader is slow."""
        if events:
            await self._write(events)

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            if self.is_broken_off:
                return
            try:
                await self._response.write(data)
            except ResponseBroken:
                self.is_broken_off = True
            self._last_write = asyncio.get_running_loop().time()

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.is_broken_off:
            quiet_until = self._last_write + self._keep_alive_after_s
            if (wait := quiet_until - loop.time()) > 0:
                await asyncio.sleep(wait)
            else:
                await self._write(KEEP_ALIVE)
