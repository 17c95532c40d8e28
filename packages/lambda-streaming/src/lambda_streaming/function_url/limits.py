"""Lambda's limits on payloads: sizes as constants, bandwidth as a token bucket.

Figures: facts of the service as documented in "Lambda quotas" and "Response streaming for Lambda functions";
where those say MB, the runtime interface emulator's source counts MiB, and so does this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

MIB = 1024 * 1024

MAX_REQUEST_PAYLOAD_BYTES = 6 * MIB
"""The largest event, as JSON. A body that has to be base64 in it may be 4.5 MiB at most."""

MAX_BUFFERED_RESPONSE_BYTES = 6 * MIB
"""The largest response in the BUFFERED invoke mode."""

MAX_STREAMED_RESPONSE_BYTES = 200 * MIB
"""The largest streamed response, prelude included (since July 2025; 20 MB before)."""


class Bandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a response may flow: `burst_bytes` at any speed, then `bytes_per_s`."""

    burst_bytes: int = 6 * MIB
    bytes_per_s: int = 2 * MIB

    def __post_init__(self) -> None:
        """Refuse what would never let a byte pass.

        Raises:
            ValueError: a figure is not positive.
        """
        if self.burst_bytes <= 0 or self.bytes_per_s <= 0:
            raise ValueError("burst_bytes and bytes_per_s must be positive")


class ResponseLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a response may take.

    Attributes:
        max_bytes: one byte more, and the response breaks off.
        bandwidth: None lets bytes pass as fast as they come.
    """

    max_bytes: int = MAX_STREAMED_RESPONSE_BYTES
    bandwidth: Bandwidth | None = None


class TokenBucket:
    """Tokens are bytes that may pass; the clock refills them up to the burst.

    Args:
        bandwidth: the burst, with which the bucket starts, and the rate.
        clock: monotonic seconds.
    """

    def __init__(self, bandwidth: Bandwidth, clock: Callable[[], float]) -> None:
        self._bandwidth = bandwidth
        self.piece_bytes = max(1, bandwidth.bytes_per_s // 8)
        self._clock = clock
        self._tokens = float(bandwidth.burst_bytes)
        self._refilled_at = clock()

    def take(self, size: int) -> float:
        """Take `size` tokens, on credit if need be, and return the seconds until the credit is paid back."""
        now = self._clock()
        refilled = self._tokens + (now - self._refilled_at) * self._bandwidth.bytes_per_s
        self._refilled_at = now
        self._tokens = min(refilled, self._bandwidth.burst_bytes) - size
        return max(0.0, -self._tokens / self._bandwidth.bytes_per_s)


class ResponseTooLarge(Exception):
    """Raised when a response outgrows a limit of its size."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"it is larger than {max_bytes} bytes")


class ResponseMeter:
    """Applies limits to the chunks of one response.

    Args:
        limits: the size, and the bandwidth if that is limited.
        clock: monotonic seconds.
    """

    def __init__(self, limits: ResponseLimits, clock: Callable[[], float]) -> None:
        self._max_bytes = limits.max_bytes
        self._passed = 0
        self._bucket = None if limits.bandwidth is None else TokenBucket(limits.bandwidth, clock)

    def pieces(self, chunk: bytes) -> Iterator[tuple[bytes, float]]:
        """Yield a chunk, in pieces of an eighth of a second where bandwidth is limited.

        Each comes with the seconds to wait before it goes out.

        Raises:
            ResponseTooLarge: with this chunk the response is; nothing of the chunk is yielded.
        """
        self._passed += len(chunk)
        if self._passed > self._max_bytes:
            raise ResponseTooLarge(self._max_bytes)
        if self._bucket is None:
            yield chunk, 0.0
            return
        for piece in _pieces(chunk, self._bucket.piece_bytes):
            yield piece, self._bucket.take(len(piece))


def _pieces(chunk: bytes, size: int) -> Iterator[bytes]:
    if len(chunk) <= size:
        yield chunk
        return
    view = memoryview(chunk)
    for start in range(0, len(chunk), size):
        yield bytes(view[start : start + size])
