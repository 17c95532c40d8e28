"""Many streams at once: in one ASGI process, and in one environment of a Managed Instance.

    .venv/bin/python bench/concurrent_streams.py [STREAMS] [--quick] [--json FILE]

Each stream carries 20 timestamped events a second for 10 seconds.

One ASGI process serves STREAMS: prints the latency from the handler's write to the client's read, and the
growth of the server's resident memory per stream. The budgets for 500 streams are a p99 under 100 ms and
under 100 KB.

Under the emulator, one environment serves 1, 16 and 64 streams at once: in one asyncio process
(`LAMBDA_STREAMING_CONCURRENCY=asyncio`), and in a process for each as with the stock runtime. Prints, for
each stream, the memory of all the environment's processes (PSS, which divides what they share) and their
processor time without start and imports. The environment of a single stream has room for two. Below 1, one
process is better.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import statistics
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.invoker import InvocationRequest, InvocationResponse
from measuring.command_line import INTERRUPTED, at_least_one, new_file, say, write_json
from measuring.machine import load, machine, machine_line
from measuring.processes import cpu_s, processes_of_group, proportional_mb

FUNCTIONS = Path(__file__).parent / "functions"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STAMP = re.compile(rb'"at":([0-9.]+)')
AT_ONCE = (1, 16, 64)
MODES = ("asyncio", "processes")
WITHIN_S = 300.0


class OneProcess(msgspec.Struct, frozen=True):
    """What one ASGI process needs for its streams."""

    streams: int
    events: int
    median_ms: float
    p99_ms: float
    kb_a_stream: float


class OneEnvironment(msgspec.Struct, frozen=True):
    """What one environment needs for its streams, in a mode of concurrency."""

    streams: int
    mode: str
    processes: int
    memory_mb: float
    cpu_ms: float
    median_ms: float
    p99_ms: float


class Report(msgspec.Struct, frozen=True):
    """What a run found; several rounds of each environment."""

    machine: Mapping[str, str]
    process: OneProcess
    environments: Sequence[OneEnvironment]


def _resident_kb(process: int) -> int:
    """Resident memory of a process (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


async def _read(port: int) -> list[float]:
    taken = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    while line := await reader.readline():
        if stamp := STAMP.search(line):
            taken.append(time.monotonic() - float(stamp[1]))
    writer.close()
    return taken


async def one_process(streams: int, stream_s: float) -> OneProcess:
    """Measure an ASGI server."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--port", "0", "--no-access-log", "ticking:app"),
        cwd=FUNCTIONS,
        env={**os.environ, "TICKING_S": str(stream_s)},
        stderr=asyncio.subprocess.PIPE,
    )
    assert server.stderr is not None  # noqa: S101 (it is a pipe)
    try:
        while not (address := re.search(rb"http://127.0.0.1:(\d+)", await server.stderr.readline())):
            pass
        port = int(address[1])
        idle_kb = _resident_kb(server.pid)
        reading = [asyncio.create_task(_read(port)) for _ in range(streams)]
        await asyncio.sleep(stream_s / 2)
        busy_kb = _resident_kb(server.pid)
        taken = [latency for stream in await asyncio.gather(*reading) for latency in stream]
    finally:
        server.terminate()
        await server.wait()
    return OneProcess(streams, len(taken), *_percentiles_ms(taken), kb_a_stream=(busy_kb - idle_kb) / streams)


async def one_environment(streams: int, mode: str, stream_s: float) -> OneEnvironment:
    """Measure an environment of a Managed Instance that has room for exactly these streams."""
    # With room for one only, it would be no Managed Instance.
    concurrency = max(streams, 2)
    async with ExecutionEnvironments(
        (sys.executable, "-m", "lambda_streaming", "ticking.handler"),
        env={"PYTHONPATH": "", "LAMBDA_STREAMING_CONCURRENCY": mode, "TICKING_S": str(stream_s)},
        cwd=FUNCTIONS,
        timeout_s=WITHIN_S,
        init_timeout_s=WITHIN_S,
        max_concurrency=1,
        environment_concurrency=concurrency,
        grace_s=1.0,
    ) as pool:
        # Every worker has started when all of them stream at once.
        for response in await _begun(pool, concurrency):
            await response.body.aclose()
        (environment,) = pool.environments
        while environment.running:  # noqa: ASYNC110 (nothing announces it)
            await asyncio.sleep(0.05)
        group = environment.process.id
        processes = processes_of_group(group)
        before = sum(map(cpu_s, processes))
        reading = [asyncio.create_task(_timed(response)) for response in await _begun(pool, streams)]
        await asyncio.sleep(stream_s / 2)
        memory_mb = sum(map(proportional_mb, processes_of_group(group)))
        taken = [latency for stream in await asyncio.gather(*reading) for latency in stream]
        cpu = sum(map(cpu_s, processes)) - before
    return OneEnvironment(
        streams, mode, len(processes), memory_mb / streams, cpu / streams * 1000, *_percentiles_ms(taken)
    )


async def _begun(pool: ExecutionEnvironments, streams: int) -> Sequence[InvocationResponse]:
    return await asyncio.gather(*(pool.invoke(_request()) for _ in range(streams)))


async def _timed(response: InvocationResponse) -> list[float]:
    taken = []
    async for piece in response.body:
        now = time.monotonic()
        taken += [now - float(stamp) for stamp in STAMP.findall(piece)]
    await response.body.aclose()
    return taken


def _request() -> InvocationRequest:
    return InvocationRequest(
        payload=b'{"version": "2.0", "rawPath": "/"}',
        request_id=str(uuid.uuid4()),
        trace_id="Root=1-67e0a000-0123456789abcdef01234567",
    )


def _percentiles_ms(taken: Sequence[float]) -> tuple[float, float]:
    return statistics.median(taken) * 1000, statistics.quantiles(taken, n=100)[-1] * 1000


def table(report: Report) -> str:
    """The figures as Markdown."""
    process = report.process
    lines = [
        f"One ASGI process, {process.streams} streams, {process.events} events:",
        f"latency median {process.median_ms:.2f} ms, p99 {process.p99_ms:.2f} ms;",
        f"memory {process.kb_a_stream:.0f} KB a stream",
        "",
        "| streams at once | | asyncio | processes | ratio |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for streams in sorted({each.streams for each in report.environments}):
        for label, field in (
            ("processes", "processes"),
            ("memory a stream, MiB", "memory_mb"),
            ("CPU a stream, ms", "cpu_ms"),
            ("latency median, ms", "median_ms"),
            ("latency p99, ms", "p99_ms"),
        ):
            one, each_its_own = (
                statistics.median(
                    getattr(found, field)
                    for found in report.environments
                    if (found.streams, found.mode) == (streams, mode)
                )
                for mode in MODES
            )
            lines.append(
                f"| {streams} | {label} | {one:.2f} | {each_its_own:.2f} | {one / each_its_own:.2f} |"
            )
    lines += ["", machine_line(report.machine)]
    return "\n".join(lines)


async def measure(streams: int, *, rounds: int, stream_s: float) -> Report:
    """Run the benchmark."""
    load_before = load()
    found = []
    for number in range(rounds):
        for at_once in AT_ONCE:
            for mode in MODES if number % 2 == 0 else MODES[::-1]:
                say(f"round {number + 1} of {rounds}: {at_once} in {mode}")
                found.append(await one_environment(at_once, mode, stream_s))
    process = await one_process(streams, stream_s)
    return Report(
        machine=machine(load_before) | {"rounds": str(rounds)},
        process=process,
        environments=found,
    )


def main() -> None:
    """Run the benchmark and print its results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "streams", type=at_least_one, nargs="?", default=500, help="of one process (default: 500)"
    )
    parser.add_argument("--quick", action="store_true", help="one round of short streams")
    parser.add_argument("--rounds", type=at_least_one, metavar="N", help="of each environment (default: 3)")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="also write every figure to a file")
    arguments = parser.parse_args()
    logging.getLogger("lambda_streaming.emulator").setLevel(logging.CRITICAL)
    quick: bool = arguments.quick
    try:
        report = asyncio.run(
            measure(
                arguments.streams,
                rounds=arguments.rounds or (1 if quick else 3),
                stream_s=2.0 if quick else 10.0,
            )
        )
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if arguments.json:
        write_json(report, arguments.json)
    print(table(report))


if __name__ == "__main__":
    main()
