"""The retry budget: pauses, and no attempt that there is no time for."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import ModelRejected, ModelThrottled
from coachstream.language.bedrock.attempts import Attempts, RetryPolicy


class Clock:
    """A clock that advances only while a task sleeps or works."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


async def fail_until_given_up(
    policy: RetryPolicy, clock: Clock, *, time_s: float, chance: float = 0, attempt_s: float = 0
) -> int:
    """Let every attempt fail; return how many there were."""
    attempts = Attempts(
        policy,
        deadline=clock.now + time_s,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        chance=lambda: chance,
    )
    number = 1
    clock.now += attempt_s
    with suppress(ModelThrottled):
        while number < 100:
            await attempts.pause_after(ModelThrottled())
            number += 1
            clock.now += attempt_s
    return number


async def test_pauses_double_up_to_a_limit() -> None:
    """Exponential backoff, as long as there is time."""
    clock = Clock()
    policy = RetryPolicy(attempts=7, first_pause_s=0.5, longest_pause_s=8)
    assert await fail_until_given_up(policy, clock, time_s=600) == 7
    assert clock.pauses == [0.5, 1, 2, 4, 8, 8]


async def test_a_pause_is_shortened_by_chance_by_up_to_half() -> None:
    """Jitter spreads out callers that failed together."""
    clock = Clock()
    await fail_until_given_up(RetryPolicy(attempts=3), clock, time_s=600, chance=1)
    assert clock.pauses == [0.25, 0.5]


@pytest.mark.parametrize(("time_s", "attempts"), [(3.49, 1), (3.5, 2), (4.49, 2), (4.5, 3)])
async def test_no_pause_begins_that_leaves_too_little_time(time_s: float, attempts: int) -> None:
    """At the limit there is one more attempt; just before it there is none."""
    policy = RetryPolicy(attempts=3, first_pause_s=0.5, least_s=3)
    clock = Clock()
    assert await fail_until_given_up(policy, clock, time_s=time_s) == attempts
    assert len(clock.pauses) == attempts - 1


async def test_a_permanent_failure_is_not_retried() -> None:
    """A rejected request would be rejected again."""
    clock = Clock()
    attempts = Attempts(
        RetryPolicy(), deadline=2_000, monotonic=clock.monotonic, sleep=clock.sleep, chance=lambda: 0
    )
    failure = ModelRejected()
    with pytest.raises(ModelRejected) as caught:
        await attempts.pause_after(failure)
    assert caught.value is failure
    assert clock.pauses == []


@given(
    policy=st.builds(
        RetryPolicy,
        attempts=st.integers(1, 10),
        first_pause_s=st.floats(0, 5),
        longest_pause_s=st.floats(0, 20),
        least_s=st.floats(0, 10),
    ),
    time_s=st.floats(0, 60),
    chance=st.floats(0, 1),
    attempt_s=st.floats(0, 10),
)
async def test_every_attempt_but_the_first_has_the_time_it_needs(
    policy: RetryPolicy, time_s: float, chance: float, attempt_s: float
) -> None:
    """However long the attempts take, no retry starts too late or exceeds the limit."""
    clock = Clock()
    began = clock.now
    attempts = await fail_until_given_up(policy, clock, time_s=time_s, chance=chance, attempt_s=attempt_s)
    assert attempts <= policy.attempts
    assert len(clock.pauses) == attempts - 1
    if attempts > 1:
        last_began = clock.now - attempt_s
        assert last_began + policy.least_s <= began + time_s + 1e-6
