"""The steps of a turn before its first chunk, as a client and proxies see them."""

from __future__ import annotations

import statistics
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from lambda_streaming.emulator import ExecutionEnvironments
from measuring.processes import cpu_s
from measuring.turns import Seen
from measuring.wire import Call


class Step(msgspec.Struct, frozen=True):
    """Something on the way to the first chunk; all in milliseconds, medians.

    Attributes:
        name: `start`, an operation with the kind of item that it is about, or `first chunk`.
        at_ms: from the request until it happened, or until the call was made.
        took_ms: until its response began; None if it is not a call.
        cpu_ms: processor time from the request until `at_ms`.
    """

    name: str
    at_ms: float
    took_ms: float | None
    cpu_ms: float


class Marks:
    """The processor time of a function at known moments."""

    def __init__(self, pool: ExecutionEnvironments) -> None:
        self._pool = pool
        self._at: list[float] = []
        self._cpu_s: list[float] = []
        self._base_s = 0.0

    def note(self) -> None:
        """Note the processor time of now; nothing while the environment is being created."""
        for environment in self._pool.environments:
            if environment.alive:
                self._at.append(time.monotonic())
                self._cpu_s.append(cpu_s(environment.process.id))

    def restart(self) -> None:
        """Count from now on, or from the start of the environment's process if there is none."""
        self._at.clear()
        self._cpu_s.clear()
        self.note()
        self._base_s = self._cpu_s[0] if self._cpu_s else 0.0

    def cpu_ms(self, at: float) -> float:
        """Processor time up to the first mark that is not before a moment."""
        return (self._cpu_s[min(bisect_left(self._at, at), len(self._at) - 1)] - self._base_s) * 1000


def steps_of(seen: Seen, calls: Iterable[Call], cpu_ms: Callable[[float], float]) -> Iterable[Step]:
    """The steps of one turn up to its first chunk."""
    first_at = seen.chunk_at[0]
    yield Step("start", (seen.start_at - seen.began_at) * 1000, None, cpu_ms(seen.start_at))
    numbers: Counter[str] = Counter()
    for call in sorted(calls, key=lambda call: call.asked_at):
        if call.asked_at < first_at:
            name = f"{call.operation} {call.item}".rstrip()
            numbers[name] += 1
            yield Step(
                name if numbers[name] == 1 else f"{name} {numbers[name]}",
                (call.asked_at - seen.began_at) * 1000,
                (call.answered_at - call.asked_at) * 1000,
                cpu_ms(call.asked_at),
            )
    yield Step("first chunk", (first_at - seen.began_at) * 1000, None, cpu_ms(first_at))


def median_step(steps: Sequence[Step]) -> Step:
    """The median of the same step of several turns."""
    took_ms = [step.took_ms for step in steps if step.took_ms is not None]
    return Step(
        steps[0].name,
        statistics.median(step.at_ms for step in steps),
        statistics.median(took_ms) if took_ms else None,
        statistics.median(step.cpu_ms for step in steps),
    )
