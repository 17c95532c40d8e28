"""Retries with exponential backoff, within one deadline for all attempts at a call.

The SDK's own retries are not observable and do not respect a deadline; they are switched off
(`Connection.attempts`), and this is the only place that retries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from coachstream.conversation.errors import ModelError

Sleep = Callable[[float], Awaitable[None]]


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often a call is attempted, and how long the pauses are.

    Attributes:
        attempts: the maximum number of attempts, including the first one.
        first_pause_s: the pause before the second attempt; it doubles after each attempt. Jitter shortens it
            by up to half, so that callers that failed together do not retry together.
        longest_pause_s: the upper limit of a pause.
        least_s: the minimum time for an attempt to be useful; with less time left, none starts.
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
            policy: the number of attempts and the pauses.
            deadline: when all attempts must be over, on the scale of `monotonic`.
            monotonic: the clock, in seconds.
            sleep: sleeps for a number of seconds.
            chance: a random number from 0 to 1.
        """
        self._policy = policy
        self._deadline = deadline
        self._monotonic = monotonic
        self._sleep = sleep
        self._chance = chance
        self._begun = 1

    def seconds_left(self) -> float:
        """Seconds until the deadline; 0 if it has passed."""
        return max(0.0, self._deadline - self._monotonic())

    async def pause_after(self, failure: ModelError) -> None:
        """Wait before the next attempt.

        Raises:
            ModelError: the failure itself, if it is not retryable, or no attempts or not enough time is left.
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
