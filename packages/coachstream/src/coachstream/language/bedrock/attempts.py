"""One budget for all attempts at a call: the deadline.

The SDK's own retries wait where nobody sees it, and know of no deadline; they are switched off
(`Connection.attempts`), and this is the only place that tries again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from coachstream.conversation.errors import ModelError

Sleep = Callable[[float], Awaitable[None]]


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often a call is tried, and how long the pauses are.

    Attributes:
        attempts: at most, the first one included.
        first_pause_s: before the second attempt; each pause after that is twice as long. A pause is shortened
            at random by up to half, so that callers that failed together do not come back together.
        longest_pause_s: that a pause grows to.
        least_s: that an attempt needs to make sense; with less time left, none begins.
    """

    attempts: int = 4
    first_pause_s: float = 0.5
    longest_pause_s: float = 8.0
    least_s: float = 3.0


class Attempts:
    """The attempts at one call, until its deadline."""

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        deadline: float,
        monotonic: Callable[[], float],
        sleep: Sleep,
        chance: Callable[[], float],
    ) -> None:
        """Begin the first attempt.

        Args:
            policy: how often, how long.
            deadline: when all of them must be over, on the scale of `monotonic`.
            monotonic: the clock, in seconds.
            sleep: waits for so many seconds.
            chance: a random number from 0 to 1.
        """
        self._policy = policy
        self._deadline = deadline
        self._monotonic = monotonic
        self._sleep = sleep
        self._chance = chance
        self._begun = 1

    def seconds_left(self) -> float:
        """Until the deadline; 0 when it has passed."""
        return max(0.0, self._deadline - self._monotonic())

    async def pause_after(self, failure: ModelError) -> None:
        """Wait before the next attempt.

        Raises:
            ModelError: the failure itself: the next attempt would fail alike, or be one too many, or come too
                late.
        """
        if not failure.retryable or self._begun >= self._policy.attempts:
            raise failure
        pause_s = self._next_pause_s()
        if self._monotonic() + pause_s + self._policy.least_s > self._deadline:
            raise failure
        await self._sleep(pause_s)
        self._begun += 1

    def _next_pause_s(self) -> float:
        doubled_s: float = self._policy.first_pause_s * 2 ** (self._begun - 1)
        return min(doubled_s, self._policy.longest_pause_s) * (1 - self._chance() / 2)
