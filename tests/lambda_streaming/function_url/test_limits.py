"""The bandwidth of a response."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

import pytest

from lambda_streaming.function_url.limits import MIB, Bandwidth, TokenBucket, throttled


class Clock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def chunks(sizes: Iterable[int]) -> AsyncGenerator[bytes, None]:
    """Yield a chunk of each size."""
    for size in sizes:
        yield bytes(size)


def test_the_burst_is_free_and_the_rest_is_not() -> None:
    """Six MiB pass at once; the next MiB takes half a second."""
    bucket = TokenBucket(Bandwidth(), Clock())
    assert bucket.take(6 * MIB) == 0.0
    assert bucket.take(MIB) == pytest.approx(0.5)


def test_a_pause_refills_the_burst_and_never_more() -> None:
    """An hour of silence earns six MiB."""
    clock = Clock()
    bucket = TokenBucket(Bandwidth(), clock)
    bucket.take(6 * MIB)
    clock.now += 3600
    assert bucket.take(6 * MIB) == 0.0
    assert bucket.take(2 * MIB) == pytest.approx(1.0)


@pytest.mark.parametrize("sizes", [[7 * MIB], [MIB] * 7, [MIB // 16] * 112])
async def test_seven_mib_take_half_a_second_in_any_chunks(sizes: list[int]) -> None:
    """Every byte arrives, in pieces that never hold more than an eighth of a second."""
    clock = Clock()
    received = [
        len(piece) async for piece in throttled(chunks(sizes), Bandwidth(), clock=clock, sleep=clock.sleep)
    ]
    assert sum(received) == 7 * MIB
    assert max(received) <= 2 * MIB // 8
    assert clock.now - 100.0 == pytest.approx(0.5, abs=0.01)


def test_no_bandwidth_at_all_is_refused() -> None:
    """It would wait for ever."""
    with pytest.raises(ValueError, match="positive"):
        Bandwidth(bytes_per_s=0)
