"""How long fetched keys and secrets are cached: one schedule for all of them.

They are refreshed after `REFRESH_AFTER_S`, so that a revoked key or a rotated secret is noticed. If the
refresh fails, the cached value remains in use, but no longer than `USABLE_FOR_S`: an attacker who blocks the
refresh must not keep a revoked key alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

REFRESH_AFTER_S = 3600.0
USABLE_FOR_S = 24 * 3600.0

REREAD_AT_MOST_EVERY_S = 10.0
"""Minimum time between two refreshes that are caused by a value or key id that did not work: the value may
have been rotated, or the key id may be an attacker's."""


class Instant(msgspec.Struct, frozen=True):
    """A point in time on two clocks, monotonic and wall, in seconds."""

    monotonic: float
    wall: float


class AgeClock:
    """Measures ages, even while the environment is frozen.

    Lambda freezes an environment between invocations, which may stop the monotonic clock. The wall clock
    continues, but can be set. The larger of the two ages counts: at worst, a value is refreshed early.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def now(self) -> Instant:
        """The current instant."""
        return Instant(self._monotonic(), self._wall())

    def seconds_since(self, earlier: Instant) -> float:
        """The age of an instant; never negative."""
        return max(self._monotonic() - earlier.monotonic, self._wall() - earlier.wall, 0.0)
