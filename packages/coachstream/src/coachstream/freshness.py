"""How long keys and secrets that were read elsewhere are used: the one schedule for all of them.

They are read again after `REFRESH_AFTER_S`, so that a revoked key or a rotated secret is noticed. A service
that cannot be asked then does not end what works. But after `USABLE_FOR_S` nothing is trusted any more: an
attacker who keeps us from asking must not keep a revoked key alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

REFRESH_AFTER_S = 3600.0
USABLE_FOR_S = 24 * 3600.0

REREAD_AT_MOST_EVERY_S = 10.0
"""How soon after one reading another is worth it, for a value or a key id that did not work: it may have been
rotated since, or be a forger's."""


class Instant(msgspec.Struct, frozen=True):
    """A point in time by two clocks: the monotonic one and the wall clock, in seconds."""

    monotonic: float
    wall: float


class AgeClock:
    """Measures how old something is, also across a freeze of the environment.

    Lambda freezes an environment between invocations, and a monotonic clock may stand still meanwhile. The
    wall clock does not, but can be set. The larger of the two ages counts: at worst, a value is read early.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def now(self) -> Instant:
        """This instant."""
        return Instant(self._monotonic(), self._wall())

    def seconds_since(self, earlier: Instant) -> float:
        """How long ago that was; never negative."""
        return max(self._monotonic() - earlier.monotonic, self._wall() - earlier.wall, 0.0)
