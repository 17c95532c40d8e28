"""Runs one turn under the emulator, and takes its times, its processor time and its memory."""

from __future__ import annotations

import asyncio
import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import msgspec

from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.emulator.environment import EnvironmentState
from lambda_streaming.function_url.invoker import InvocationRequest
from measuring.model import STAMP
from measuring.processes import cpu_s, forget_peak, peak_mb, processes_of_group

PRELUDE_ENDS = b"\0" * 8
_POLL_S = 0.002


class TurnFailed(Exception):
    """A contender did not stream a whole reply; the message says how it ended."""


class Turn(msgspec.Struct, frozen=True):
    """One turn, as its client and the operating system saw it.

    Attributes:
        start_ms: from the request to the event `start`.
        first_chunk_ms: from the request to the first `chunk`.
        chunk_p50_ms: from a chunk's sending by the model to its arrival at the client, the median.
        chunk_p99_ms: the same, the 99th percentile.
        chunk_events: the events `chunk` that the client got; fewer than chunks, if some were joined.
        total_ms: from the request to the end of the response.
        cpu_ms: processor time of the function's processes, until they are ready for the next request. In a
            cold turn, from their start.
        memory_mb: the peak resident memory of the function's processes during the turn.
    """

    start_ms: float
    first_chunk_ms: float
    chunk_p50_ms: float
    chunk_p99_ms: float
    chunk_events: int
    total_ms: float
    cpu_ms: float
    memory_mb: float


class Seen(msgspec.Struct, frozen=True):
    """When a client saw a turn's events; all times are of `time.monotonic`.

    Attributes:
        began_at: of the request.
        start_at: of the event `start`.
        sent_at: of each chunk, by the model.
        chunk_at: of each chunk, at the client.
        chunk_events: the number of events that carried them.
        ended_at: of the response's end.
    """

    began_at: float
    start_at: float
    sent_at: Sequence[float]
    chunk_at: Sequence[float]
    chunk_events: int
    ended_at: float


async def see_turn(
    pool: ExecutionEnvironments,
    request: InvocationRequest,
    *,
    chunks: int,
    on_piece: Callable[[], None] = lambda: None,
) -> Seen:
    """Run a turn, and wait until its environment is idle.

    Args:
        pool: the contender's environments.
        request: the request.
        chunks: the number of chunks of the reply.
        on_piece: called whenever a piece of the response has arrived.

    Raises:
        TurnFailed: it did not end with `complete`, or chunks are missing.
    """
    pieces: list[bytes] = []
    times: list[float] = []
    began_at = time.monotonic()
    response = await pool.invoke(request)
    async for piece in response.body:
        times.append(time.monotonic())
        pieces.append(piece)
        on_piece()
    ended_at = time.monotonic()
    await response.body.aclose()
    await _idle(pool)
    ends = list(accumulate(map(len, pieces)))
    start_at: float | None = None
    sent_at: list[float] = []
    chunk_at: list[float] = []
    chunk_events = 0
    last: dict[str, object] = {}
    for end, last in _events(b"".join(pieces)):
        at = times[bisect_left(ends, end)]
        if last["type"] == "start" and start_at is None:
            start_at = at
        elif last["type"] == "chunk":
            stamps = STAMP.findall(str(last["content"]))
            sent_at += map(float, stamps)
            chunk_at += [at] * len(stamps)
            chunk_events += 1
    if start_at is None or last.get("type") != "complete" or len(sent_at) != chunks:
        ending = b"".join(pieces)[-500:].decode(errors="replace")
        raise TurnFailed(f"{len(sent_at)} of {chunks} chunks arrived; the response ends with\n{ending}")
    return Seen(began_at, start_at, sent_at, chunk_at, chunk_events, ended_at)


async def measure_turn(pool: ExecutionEnvironments, request: InvocationRequest, *, chunks: int) -> Turn:
    """Run a turn and measure it; in a new environment, if the pool has none.

    Raises:
        TurnFailed: it did not end with `complete`, or chunks are missing.
    """
    before_s = 0.0
    for process in _processes(pool):
        forget_peak(process)
        before_s += cpu_s(process)
    seen = await see_turn(pool, request, chunks=chunks)
    processes = _processes(pool)
    late = [(at - sent) * 1000 for sent, at in zip(seen.sent_at, seen.chunk_at, strict=True)]
    return Turn(
        start_ms=(seen.start_at - seen.began_at) * 1000,
        first_chunk_ms=(seen.chunk_at[0] - seen.began_at) * 1000,
        chunk_p50_ms=statistics.median(late),
        chunk_p99_ms=statistics.quantiles(late, n=100)[-1],
        chunk_events=seen.chunk_events,
        total_ms=(seen.ended_at - seen.began_at) * 1000,
        cpu_ms=(sum(map(cpu_s, processes)) - before_s) * 1000,
        memory_mb=sum(map(peak_mb, processes)),
    )


async def end_environments(pool: ExecutionEnvironments) -> None:
    """Kill the pool's environments, so that its next turn starts cold."""
    for environment in pool.environments:
        environment.kill()
        await asyncio.wait((environment.process.ended,))


def _processes(pool: ExecutionEnvironments) -> tuple[int, ...]:
    return tuple(
        process
        for environment in pool.environments
        if environment.alive
        for process in processes_of_group(environment.process.id)
    )


async def _idle(pool: ExecutionEnvironments) -> None:
    def is_busy() -> bool:
        return any(each.alive and each.state is not EnvironmentState.IDLE for each in pool.environments)

    while is_busy():  # noqa: ASYNC110 (nothing announces it)
        await asyncio.sleep(_POLL_S)


def _events(body: bytes) -> Iterator[tuple[int, dict[str, object]]]:
    """The events of a response, each with the number of bytes up to its end."""
    at = body.find(PRELUDE_ENDS)
    at = 0 if at < 0 else at + len(PRELUDE_ENDS)
    while (end := body.find(b"\n\n", at)) >= 0:
        data = b"".join(line[6:] for line in body[at:end].split(b"\n") if line.startswith(b"data: "))
        at = end + 2
        if data:
            yield at, msgspec.json.decode(data)
