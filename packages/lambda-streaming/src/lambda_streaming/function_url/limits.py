"""Lambda's limits on payloads: sizes as constants, bandwidth as a token bucket.

Sources: "Lambda quotas" and "Response streaming for Lambda functions" in the developer guide; where those say
MB, the source of the runtime interface emulator counts MiB, and so does this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

MIB = 1024 * 1024

MAX_REQUEST_PAYLOAD_BYTES = 6 * MIB
"""The largest event, as JSON. A body that is base64 in the event may have at most 4.5 MiB."""

MAX_ASYNCHRONOUS_PAYLOAD_BYTES = MIB
"""The largest event of an asynchronous invocation (since October 2025; 256 KB before)."""

MAX_BUFFERED_RESPONSE_BYTES = 6 * MIB
"""The largest response in one piece: in the BUFFERED invoke mode, and for `Invoke`."""

MAX_STREAMED_RESPONSE_BYTES = 200 * MIB
"""The largest streamed response, prelude included (since July 2025; 20 MB before)."""


class Bandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """The bandwidth of a response: a burst of `burst_bytes` at any speed, then `bytes_per_s`."""

    burst_bytes: int = 6 * MIB
    bytes_per_s: int = 2 * MIB

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            ValueError: a value is not positive.
        """
        if self.burst_bytes <= 0 or self.bytes_per_s <= 0:
            raise ValueError("burst_bytes and bytes_per_s must be positive")


class ResponseLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a response.

    Attributes:
        max_bytes: a longer response is cut off.
        bandwidth: None does not limit it.
    """

    max_bytes: int = MAX_STREAMED_RESPONSE_BYTES
    bandwidth: Bandwidth | None = None


class TokenBucket:
    """A token bucket of bytes, refilled by the clock up to the burst.

    Args:
        bandwidth: the burst, which is also the initial fill, and the rate.
        clock: monotonic seconds.
    """

    def __init__(self, bandwidth: Bandwidth, clock: Callable[[], float]) -> None:
        self._bandwidth = bandwidth
        self.piece_bytes = max(1, bandwidth.bytes_per_s // 8)
        self._clock = clock
        self._tokens = float(bandwidth.burst_bytes)
        self._refilled_at = clock()

    def take(self, size: int) -> float:
        """Take `size` tokens, on credit if necessary, and return the seconds until the credit is repaid."""
        now = self._clock()
        refilled = self._tokens + (now - self._refilled_at) * self._bandwidth.bytes_per_s
        self._refilled_at = now
        self._tokens = min(refilled, self._bandwidth.burst_bytes) - size
        return max(0.0, -self._tokens / self._bandwidth.bytes_per_s)


class ResponseTooLarge(Exception):
    """Raised when a response exceeds its size limit."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"it is larger than {max_bytes} bytes")


class ResponseMeter:
    """Applies limits to the chunks of one response.

    Args:
        limits: the maximum size, and the bandwidth if limited.
        clock: monotonic seconds.
    """

    def __init__(self, limits: ResponseLimits, clock: Callable[[], float]) -> None:
        self._max_bytes = limits.max_bytes
        self._passed = 0
        self._bucket = None if limits.bandwidth is None else TokenBucket(limits.bandwidth, clock)

    def pieces(self, chunk: bytes) -> Iterator[tuple[bytes, float]]:
        """Yield a chunk, split into pieces of an eighth of a second if bandwidth is limited.

        Each piece comes with the seconds to wait before sending it.

        Raises:
            ResponseTooLarge: the response exceeds its limit with this chunk, none of which is yielded.
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
