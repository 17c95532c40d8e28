"""How a shutdown divides the time that Lambda gives it.

SIGTERM begins it. On a shared loop, invocations may first end; those that have not are cancelled and may save
their state. Then the lifespans are left, and at last the tasks of the process are cancelled.
"""

from __future__ import annotations

import time
from typing import Final

SHUTDOWN_PHASE_S: Final = 2.0
"""Lambda's limit for the whole Shutdown phase, after which it sends SIGKILL. Source: Lambda developer guide,
"Understanding the Lambda execution environment lifecycle", section "Shutdown phase", looked up on 2026-11-28.
An ordinary runtime's own share is shorter: 300 ms, or 500 ms with an internal extension."""

DRAINED_BY_S: Final = SHUTDOWN_PHASE_S / 2
"""When invocations that still run are cancelled; this and the others are in seconds after SIGTERM."""

CANCELLED_BY_S: Final = SHUTDOWN_PHASE_S * 3 / 4
"""When cancelled invocations are no longer waited for."""

LEFT_BY_S: Final = SHUTDOWN_PHASE_S * 7 / 8
"""When the lifespans must have been left."""

ENDED_BY_S: Final = SHUTDOWN_PHASE_S
"""When the tasks of the process must have ended."""

MIN_STAGE_S: Final = SHUTDOWN_PHASE_S / 20
"""What each stage may take in any case: an earlier one may have overrun, and not every host is as strict."""


class Shutdown:
    """A shutdown that begins now."""

    def __init__(self) -> None:
        self._begun_s = time.monotonic()

    def drain_s(self) -> float:
        """How long invocations may still go on, in seconds."""
        return self._remaining_s(DRAINED_BY_S)

    def clean_up_s(self) -> float:
        """How long cancelled invocations may still take, in seconds."""
        return self._remaining_s(CANCELLED_BY_S)

    def leave_s(self) -> float:
        """How long the lifespans may still take, in seconds."""
        return self._remaining_s(LEFT_BY_S)

    def end_s(self) -> float:
        """How long the tasks of the process may still take, in seconds."""
        return self._remaining_s(ENDED_BY_S)

    def _remaining_s(self, by_s: float) -> float:
        return max(self._begun_s + by_s - time.monotonic(), MIN_STAGE_S)
