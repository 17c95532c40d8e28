"""The bandwidth of a response."""

from __future__ import annotations

import pytest

from lambda_streaming.function_url.limits import (
    MIB,
    Bandwidth,
    ResponseLimits,
    ResponseMeter,
    ResponseTooLarge,
    TokenBucket,
)


class Clock:
    """A clock that advances only when the code under test sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_burst_is_free_and_the_rest_is_not() -> None:
    """The first 6 MiB pass at once; the next MiB takes half a second."""
    bucket = TokenBucket(Bandwidth(), Clock())
    assert bucket.take(6 * MIB) == 0.0
    assert bucket.take(MIB) == pytest.approx(0.5)


def test_a_pause_refills_the_burst_and_never_more() -> None:
    """Even an hour of silence allows no more than 6 MiB at once."""
    clock = Clock()
    bucket = TokenBucket(Bandwidth(), clock)
    bucket.take(6 * MIB)
    clock.now += 3600
    assert bucket.take(6 * MIB) == 0.0
    assert bucket.take(2 * MIB) == pytest.approx(1.0)


@pytest.mark.parametrize("sizes", [[7 * MIB], [MIB] * 7, [MIB // 16] * 112])
def test_seven_mib_take_half_a_second_in_any_chunks(sizes: list[int]) -> None:
    """Every byte passes, in pieces of at most an eighth of a second each."""
    clock = Clock()
    meter = ResponseMeter(ResponseLimits(bandwidth=Bandwidth()), clock)
    passed = []
    for size in sizes:
        for piece, delay_s in meter.pieces(bytes(size)):
            clock.now += delay_s
            passed.append(len(piece))
    assert sum(passed) == 7 * MIB
    assert max(passed) <= 2 * MIB // 8
    assert clock.now - 100.0 == pytest.approx(0.5, abs=0.01)


def test_a_response_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    """200 MB are allowed, and no part of the chunk that exceeds them is passed on."""
    meter = ResponseMeter(ResponseLimits(), Clock())
    chunk = bytes(MIB)
    for _ in range(200):
        assert list(meter.pieces(chunk)) == [(chunk, 0.0)]
    with pytest.raises(ResponseTooLarge):
        list(meter.pieces(b"x"))


def test_a_bandwidth_of_zero_is_refused() -> None:
    """A response would never complete."""
    with pytest.raises(ValueError, match="positive"):
        Bandwidth(bytes_per_s=0)
