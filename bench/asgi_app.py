"""A FastAPI app on our runtime, behind the Lambda Web Adapter, and on Mangum.

    make test-peers
    .venv/bin/python bench/asgi_app.py [--quick] [--rounds N] [--json FILE]

The same app, unchanged, answers plain JSON, a stream of 200 events and a download of 10 MiB; Mangum buffers,
so it answers the first only. All run from this environment with byte code, under the same emulator, and take
turns, so that the machine's load affects all of them equally. The processor time and the memory are those of
the function's processes alone: app and adapter, without the emulator. "A chunk" is an event of the stream.

The import times are those of a process that imports the module and exits, less those of a bare interpreter.

Machines differ: look at the ratios, ours to the other's. Below 1, ours is better.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import msgspec

from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.invoker import InvocationRequest
from measuring.command_line import INTERRUPTED, at_least_one, new_file, say, write_json
from measuring.machine import load, machine, machine_line
from measuring.processes import cpu_s, free_port, processes_of_group, program_ms, proportional_mb

ROOT = Path(__file__).parents[1]
FUNCTIONS = ROOT / "bench" / "functions"
WEB_ADAPTER = ROOT / ".cache" / "web-adapter"
OURS, ADAPTER, MANGUM = "lambda-streaming", "web-adapter", "mangum"
WITHIN_S = 120.0
WARM_UP = 20
DOWNLOADS = 3
"""In a round, because their times vary most."""
EVENTS = 200
DOWNLOAD_BYTES = 160 * 65_536


class Contender(msgspec.Struct, frozen=True):
    """A way to run the app.

    Attributes:
        what: on one line.
        command: starts an execution environment.
        paths: what it can answer.
        variables: its environment variables.
    """

    what: str
    command: Sequence[str]
    paths: Sequence[str] = ("/json", "/events", "/download")
    variables: Mapping[str, str] = {}


class Measure(msgspec.Struct, frozen=True):
    """A row of the table.

    Attributes:
        name: with the unit.
        is_better_above: whether more of it is better.
    """

    name: str
    is_better_above: bool = False


class Report(msgspec.Struct, frozen=True):
    """What a run found.

    Attributes:
        machine: what it ran on.
        contenders: what each is.
        samples: the figures by row and contender, in the order they were taken.
        imports_ms: the import times by module, in the order they were taken.
    """

    machine: Mapping[str, str]
    contenders: Mapping[str, str]
    samples: Mapping[str, Mapping[str, Sequence[float]]]
    imports_ms: Mapping[str, Sequence[float]]


COLD = Measure("cold start to the first byte of JSON, ms")
JSON_MS = Measure("warm JSON, ms")
FIRST_EVENT = Measure("warm first event, ms")
CHUNKS = Measure("chunks a second", is_better_above=True)
DOWNLOAD = Measure("download, MiB a second", is_better_above=True)
CPU_JSON = Measure("CPU a JSON request, ms")
CPU_CHUNK = Measure("CPU a chunk, us")
CPU_DOWNLOAD = Measure("CPU a download, ms")
MEMORY = Measure("memory (PSS), MiB")
MEASURES = (COLD, JSON_MS, FIRST_EVENT, CHUNKS, DOWNLOAD, CPU_JSON, CPU_CHUNK, CPU_DOWNLOAD, MEMORY)
MODULES = (
    "asyncio",
    "lambda_streaming",
    "lambda_streaming.runtime",
    "lambda_streaming.asgi_app",
    "lambda_streaming.emulator.cli",
)
"""Each extra's entry is among them: `emulator` is the only one."""


class Unusable(Exception):
    """A contender cannot run, or answered wrongly; the message says why."""


def contenders() -> dict[str, Contender]:
    """All of them; the first is ours.

    Raises:
        Unusable: one is not installed.
    """
    if not sys.platform.startswith("linux"):
        raise Unusable("The processor time of another process is read as on Linux only.")
    if not (WEB_ADAPTER / "bin" / "lambda-adapter").exists():
        raise Unusable("The Lambda Web Adapter is not installed: run `make test-peers`.")
    uvicorn = (
        f"'{sys.executable}' -m uvicorn --log-level warning --no-access-log --port $AWS_LWA_PORT web_app:app"
    )
    adapter = (WEB_ADAPTER / "version").read_text().strip()
    return {
        OURS: Contender(
            "python -m lambda_streaming web_app.app",
            (sys.executable, "-m", "lambda_streaming", "web_app.app"),
        ),
        ADAPTER: Contender(
            f"uvicorn {version('uvicorn')} behind the Lambda Web Adapter {adapter}",
            ("sh", "-c", f"{uvicorn} & exec '{WEB_ADAPTER}/bin/lambda-adapter'"),
            variables={
                "AWS_LWA_INVOKE_MODE": "response_stream",
                "AWS_LWA_READINESS_CHECK_PATH": "/json",
            },
        ),
        MANGUM: Contender(
            f"Mangum {version('mangum')} on awslambdaric {version('awslambdaric')}, JSON only",
            (sys.executable, "-m", "awslambdaric", "web_app_on_mangum.handler"),
            paths=("/json",),
        ),
    }


class Timing(msgspec.Struct, frozen=True):
    """One request: milliseconds to its first byte of the body and to its end, and the processor time."""

    first_ms: float
    total_ms: float
    cpu_ms: float


class Bench:
    """Warm and cold environments of each contender."""

    def __init__(self, found: Mapping[str, Contender]) -> None:
        self._contenders = found
        self._warm: dict[str, ExecutionEnvironments] = {}
        self._cold: dict[str, ExecutionEnvironments] = {}
        self.samples: dict[str, dict[str, list[float]]] = {each.name: {} for each in MEASURES}

    async def run(self, rounds: int, requests: int, warm_up: int) -> None:
        """Measure.

        Args:
            rounds: how often each contender is measured.
            requests: small requests of each in a round.
            warm_up: small requests before the first round.
        """
        async with AsyncExitStack() as stack:
            for name, contender in self._contenders.items():
                for pools in (self._warm, self._cold):
                    pools[name] = await stack.enter_async_context(_environments(contender))
                await self._request(name, self._cold[name], "/json")  # also starts the emulator's guard
                for path in contender.paths:
                    for _ in range(warm_up):
                        await self._request(name, self._warm[name], path)
                        if path == "/download":
                            break
            names = list(self._contenders)
            for number in range(rounds):
                say(f"round {number + 1} of {rounds}")
                order = names[number % len(names) :] + names[: number % len(names)]
                for _ in range(requests):
                    for name in order:
                        await self._measure_small(name)
                for name in order:
                    await self._measure_large(name)

    async def _measure_small(self, name: str) -> None:
        got = await self._request(name, self._warm[name], "/json")
        self._add(JSON_MS, name, got.first_ms)
        self._add(CPU_JSON, name, got.cpu_ms)
        if "/events" in self._contenders[name].paths:
            got = await self._request(name, self._warm[name], "/events")
            self._add(FIRST_EVENT, name, got.first_ms)
            self._add(CHUNKS, name, EVENTS / got.total_ms * 1000)
            self._add(CPU_CHUNK, name, got.cpu_ms / EVENTS * 1000)

    async def _measure_large(self, name: str) -> None:
        if "/download" in self._contenders[name].paths:
            for _ in range(DOWNLOADS):
                got = await self._request(name, self._warm[name], "/download")
                self._add(DOWNLOAD, name, DOWNLOAD_BYTES / 2**20 / got.total_ms * 1000)
                self._add(CPU_DOWNLOAD, name, got.cpu_ms)
        self._add(MEMORY, name, sum(map(proportional_mb, _processes(self._warm[name]))))
        pool = self._cold[name]
        for environment in pool.environments:
            environment.kill()
            await asyncio.wait((environment.process.ended,))
        self._add(COLD, name, (await self._request(name, pool, "/json")).first_ms)

    def _add(self, measure: Measure, name: str, figure: float) -> None:
        self.samples[measure.name].setdefault(name, []).append(figure)

    async def _request(self, name: str, pool: ExecutionEnvironments, path: str) -> Timing:
        processes = _processes(pool)
        before = sum(map(cpu_s, processes))
        began = time.perf_counter()
        response = await pool.invoke(_event(path))
        head = b""
        first_at = 0.0
        size = 0
        async for chunk in response.body:
            if not size:
                head += chunk
                # The prelude ends with eight NULs. Mangum's result, and the body itself, have none.
                prelude, mark, rest = head.partition(bytes(8))
                if name != MANGUM and not rest:
                    continue
                first_at = time.perf_counter()
                size = len(rest) if mark else len(prelude)
            else:
                size += len(chunk)
        ended = time.perf_counter()
        await response.body.aclose()
        expected = {"/download": DOWNLOAD_BYTES, "/events": EVENTS * 30, "/json": 40}[path]
        if size < expected:
            raise Unusable(f"{name} answered {path} with {size} bytes: {head[:200]!r}")
        await _settled(pool)
        cpu = sum(map(cpu_s, processes)) - before if processes else 0.0
        return Timing((first_at - began) * 1000, (ended - began) * 1000, cpu * 1000)


def _environments(contender: Contender) -> ExecutionEnvironments:
    return ExecutionEnvironments(
        contender.command,
        env={"PYTHONPATH": "", "AWS_LWA_PORT": str(free_port()), **contender.variables},
        cwd=FUNCTIONS,
        timeout_s=WITHIN_S,
        init_timeout_s=WITHIN_S,
        max_concurrency=1,
        memory_size_mb=1769,  # one vCPU
        grace_s=1.0,
    )


async def _settled(pool: ExecutionEnvironments) -> None:
    """Wait until the runtime has asked for the next event: until then it works for the request."""
    while any(environment.running for environment in pool.environments):  # noqa: ASYNC110 (nothing announces it)
        await asyncio.sleep(0.0005)


def _processes(pool: ExecutionEnvironments) -> tuple[int, ...]:
    return tuple(
        process
        for environment in pool.environments
        if environment.alive
        for process in processes_of_group(environment.process.id)
    )


def _event(path: str) -> InvocationRequest:
    request_id = str(uuid.uuid4())
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "accept": "*/*",
            "host": "bench.lambda-url.us-east-1.on.aws",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "bench",
            "domainName": "bench.lambda-url.us-east-1.on.aws",
            "domainPrefix": "bench",
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "bench",
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": "28/Nov/2026:00:00:00 +0000",
            "timeEpoch": 1_795_824_000_000,
        },
        "isBase64Encoded": False,
    }
    return InvocationRequest(
        payload=msgspec.json.encode(event),
        request_id=request_id,
        trace_id="Root=1-67e0a000-0123456789abcdef01234567",
    )


def import_times(runs: int) -> dict[str, list[float]]:
    """The import time of each module, in milliseconds."""
    taken: dict[str, list[float]] = {module: [] for module in MODULES}
    variables = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}
    for _ in range(runs):
        bare = program_ms("pass", variables)
        for module in MODULES:
            taken[module].append(program_ms(f"import {module}", variables) - bare)
    return taken


def table(report: Report) -> str:
    """The medians, and how ours compare, as Markdown."""
    names = list(report.contenders)
    peers = names[1:]
    head = ["", *names, *(f"/ {peer}" for peer in peers)]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for measure in MEASURES:
        medians = {name: statistics.median(figures) for name, figures in report.samples[measure.name].items()}
        row = [measure.name, *(f"{medians[name]:.2f}" if name in medians else "-" for name in names)]
        for peer in peers:
            if peer not in medians:
                row.append("-")
                continue
            ours, other = medians[OURS], medians[peer]
            row.append(f"{(other / ours if measure.is_better_above else ours / other):.2f}")
        rows.append(row)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "| import | ms | best, ms |", "| --- | ---: | ---: |"]
    lines += [
        f"| {module} | {statistics.median(taken):.0f} | {min(taken):.0f} |"
        for module, taken in report.imports_ms.items()
    ]
    lines += ["", *(f"{name}: {what}" for name, what in report.contenders.items())]
    lines += ["Ratios: ours to the other's, below 1 is better.", ""]
    lines.append(machine_line(report.machine))
    return "\n".join(lines)


async def measure(*, rounds: int, requests: int, warm_up: int, import_runs: int) -> Report:
    """Run the benchmark.

    Raises:
        Unusable: a contender cannot run, or answered wrongly.
    """
    found = contenders()
    load_before = load()
    bench = Bench(found)
    await bench.run(rounds, requests, warm_up)
    return Report(
        machine=machine(load_before) | {"FastAPI": version("fastapi"), "rounds": str(rounds)},
        contenders={name: contender.what for name, contender in found.items()},
        samples=bench.samples,
        imports_ms=await asyncio.to_thread(import_times, import_runs),
    )


def _run(function: Callable[[], Report]) -> Report:
    logging.getLogger("lambda_streaming.emulator").setLevel(logging.CRITICAL)
    try:
        return function()
    except Unusable as unusable:
        sys.exit(str(unusable))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def main() -> None:
    """Run the benchmark and print its results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round, to see that everything works")
    parser.add_argument("--rounds", type=at_least_one, metavar="N", help="of each (default: 10)")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="also write every figure to a file")
    arguments = parser.parse_args()
    quick: bool = arguments.quick
    found = _run(
        lambda: asyncio.run(
            measure(
                rounds=arguments.rounds or (1 if quick else 10),
                requests=3 if quick else 10,
                warm_up=2 if quick else WARM_UP,
                import_runs=1 if quick else 10,
            )
        )
    )
    if arguments.json:
        write_json(found, arguments.json)
    print(table(found))


if __name__ == "__main__":
    main()
