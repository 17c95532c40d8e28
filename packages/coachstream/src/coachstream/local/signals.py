"""The signals that stop `coachstream serve`.

The first one starts a graceful shutdown, the second one does not wait for it, the third one kills. None of
them raises `KeyboardInterrupt` at an arbitrary point: that could leave processes behind, or end a graceful
shutdown with a traceback. Once the server has stopped, further signals are ignored.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from lambda_streaming.emulator.serving import stop_signals


class Interrupts:
    """Handles the signals from entering the context until the process exits."""

    def __init__(self) -> None:
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[object] | None = None
        self._interrupted = asyncio.Event()

    def __enter__(self) -> Self:
        self._taken = stop_signals()
        self._handle_with(self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle_with(signal.SIG_IGN)

    async def wait(self) -> None:
        """Wait for the first signal, which may have arrived already; the second one cancels the task."""
        await self._interrupted.wait()

    def watch(self) -> None:
        """Let signals wake this task's loop, and the second one cancel this task."""
        self._serving = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._notify()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (as signal calls it)
        self._count += 1
        if self._count > 2:  # noqa: PLR2004 (as the module says)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._notify)

    def _notify(self) -> None:
        if self._count > 0:
            self._interrupted.set()
        if self._count > 1 and self._serving is not None:
            self._serving.cancel()

    def _handle_with(self, handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
        for number in self._taken:
            signal.signal(number, handler)
