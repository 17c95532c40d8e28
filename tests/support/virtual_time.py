"""An event loop whose time passes only when everything waits, so that deadlines do not depend on the machine.

It is for code that waits only for its own tasks and timers. Code that waits for a thread, a process or a
socket needs real time: here the clock would jump to the next timer while the other side is still working.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping

TICK_S = 1e-6
"""How far each reading of the clock advances it, so that code that never waits still reaches its deadline."""


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.now_s += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds since an arbitrary moment."""
        self._clock.now_s += TICK_S
        return self._clock.now_s


VIRTUAL_TIME: tuple[str, Mapping[str, object]] = ("asyncio", {"loop_factory": VirtualTimeLoop})
"""An `anyio_backend` for tests that need no real time."""
