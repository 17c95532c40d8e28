"""Where a turn of the stream function spends its time: by layer, before the first chunk, and in imports.

    make test-peers
    PYTHONPATH=tests .venv/bin/python bench/profile_turn.py [--turns N] [--json FILE]

The real function runs under the emulator, with the tests' Bedrock and DynamoDB Local, as in `whole_turn.py`.

A chunk by layer: the processor time of a turn with many chunks, less that of a turn with one, for each
further chunk; at once, and 10 ms apart. It is divided like the samples that the function takes of its own
stack, at intervals of its processor time, between the first and the last chunk. `measuring/sampler.py` has
the modules of each layer; `log` includes the store, and `transport` is everything from a frame to the
socket.

The steps before the first chunk: proxies in front of DynamoDB and Bedrock note when a request arrives and
when its response begins, which makes each call about a millisecond longer. CPU is what the function's
process has used since the request, or since its start.

Imports: what `-X importtime` reports in cold turns, each module without those that it imports, added up by
top-level package. The report itself takes time, and its lines arrive late: `before start` is approximate.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import statistics
import sys
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import msgspec

from lambda_streaming.emulator import ExecutionEnvironments
from measuring import sampler
from measuring.command_line import INTERRUPTED, at_least_one, new_file
from measuring.contenders import CONTENDERS, OURS, MissingPeer, check
from measuring.conversations import new_conversation, seed_records
from measuring.model import Pace
from measuring.processes import cpu_s
from measuring.surroundings import (
    CREDENTIALS,
    Command,
    PackageUnusable,
    Surroundings,
    environments_of,
    existing_package,
    set_up,
)
from measuring.turns import Seen, TurnFailed, end_environments, see_turn
from measuring.wire import Call, Wire, tapped

PACES = (Pace(3000, 0), Pace(300, 10))
WARM_UP = 5
ONE_CHUNK = Pace(1, 0)
_OUTPUT = logging.getLogger("lambda_streaming.emulator.output")
_STANDARD_LIBRARY = "standard library"
_LEAST_MS = 1.0
"""Packages whose imports take less are summed up."""


class Layers(msgspec.Struct, frozen=True):
    """The processor time of a chunk.

    Attributes:
        pace: how the model sent them.
        chunk_us: microseconds of processor time a chunk.
        layer_us: the part of each layer.
        samples: the number of samples that divide it.
    """

    pace: Pace
    chunk_us: float
    layer_us: Mapping[str, float]
    samples: int


class Step(msgspec.Struct, frozen=True):
    """Something on the way to the first chunk; all in milliseconds, medians.

    Attributes:
        name: `start`, an operation with its number, or `first chunk`.
        at_ms: from the request until it happened, or until the call was made.
        took_ms: until its response began; None if it is not a call.
        cpu_ms: processor time from the request until `at_ms`.
    """

    name: str
    at_ms: float
    took_ms: float | None
    cpu_ms: float


class Imports(msgspec.Struct, frozen=True):
    """The modules of a top-level package that a cold turn imports.

    Attributes:
        package: its name.
        modules: how many.
        before_ms: for those imported before `start`, the median.
        after_ms: for the others, the median.
    """

    package: str
    modules: int
    before_ms: float
    after_ms: float


class Profile(msgspec.Struct, frozen=True):
    """Everything that was found; `runs_from` is `package` or `checkout`."""

    runs_from: str
    layers: Sequence[Layers]
    warm: Sequence[Step]
    cold: Sequence[Step]
    imports: Sequence[Imports]


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


class Profiler:
    """Runs turns of the stream function in the same surroundings."""

    def __init__(self, surroundings: Surroundings, turns: int) -> None:
        self._surroundings = surroundings
        self._turns = turns
        [self._ours] = (each for each in CONTENDERS if each.name == OURS)

    async def layers(self) -> Sequence[Layers]:
        """Divide the processor time of a chunk; from the checkout, which has the sampler."""
        found = []
        log = self._surroundings.folder / "samples"
        checkout = self._ours.command(msgspec.structs.replace(self._surroundings, package=None))
        arguments = (sys.executable, sampler.__file__, str(log), checkout.arguments[-1])
        sampled = Command(arguments, checkout.environment, checkout.cwd)
        async with environments_of(sampled) as pool:
            await self._warm_up(pool)
            one_cpu_ms = statistics.median(
                [(await self._cpu(pool, ONE_CHUNK))[0] for _ in range(self._turns)]
            )
            for pace in PACES:
                turns = self._turns if pace.pause_ms == 0 else max(self._turns // 3, 1)
                measured = [await self._cpu(pool, pace) for _ in range(turns)]
                more_cpu_ms = statistics.median([cpu_ms for cpu_ms, _ in measured]) - one_cpu_ms
                samples = _samples(
                    log.read_text(), [(seen.chunk_at[0], seen.chunk_at[-1]) for _, seen in measured]
                )
                chunk_us = more_cpu_ms * 1000 / (pace.chunks - 1)
                together = samples.total() or 1
                parts = {name: chunk_us * samples[name] / together for name in sampler.NAMES}
                found.append(Layers(pace, chunk_us, parts, samples.total()))
        return found

    async def warm_steps(self) -> Sequence[Step]:
        """The steps of turns in a warm environment."""
        async with self._tapped() as (pool, wires, marks):
            await self._warm_up(pool)
            return await self._steps(pool, wires, marks, self._turns)

    async def cold_steps(self) -> Sequence[Step]:
        """The steps of turns that start an environment."""
        async with self._tapped() as (pool, wires, marks):
            await self._turn(pool, ONE_CHUNK)
            return await self._steps(pool, wires, marks, max(self._turns // 3, 1), is_cold=True)

    async def imports(self) -> Sequence[Imports]:
        """What cold turns import."""
        command = self._ours.command(self._surroundings)
        verbose = Command(
            command.arguments, {**command.environment, "PYTHONPROFILEIMPORTTIME": "1"}, command.cwd
        )
        reports: list[dict[str, list[tuple[float, bool]]]] = []
        async with environments_of(verbose) as pool:
            await self._turn(pool, ONE_CHUNK)
            for _ in range(max(self._turns // 3, 1)):
                await end_environments(pool)
                with _Lines() as lines:
                    began_at = time.monotonic()
                    seen = await self._turn(pool, ONE_CHUNK)
                before_s = seen.start_at - began_at
                reports.append(_imported(lines.of_imports, before_s=before_s, began_at=began_at))
        return _by_package(reports)

    @asynccontextmanager
    async def _tapped(self) -> AsyncIterator[tuple[ExecutionEnvironments, Sequence[Wire], Marks]]:
        async with AsyncExitStack() as stack:
            wires = {
                name: await stack.enter_async_context(tapped(self._surroundings.urls[name]))
                for name in ("dynamodb", "bedrock-runtime")
            }
            urls = {**self._surroundings.urls, **{name: wire.url for name, wire in wires.items()}}
            command = self._ours.command(msgspec.structs.replace(self._surroundings, urls=urls))
            pool = await stack.enter_async_context(environments_of(command))
            marks = Marks(pool)
            for wire in wires.values():
                wire.on_event = marks.note
            yield pool, tuple(wires.values()), marks

    async def _steps(
        self,
        pool: ExecutionEnvironments,
        wires: Sequence[Wire],
        marks: Marks,
        turns: int,
        *,
        is_cold: bool = False,
    ) -> Sequence[Step]:
        taken: defaultdict[str, list[Step]] = defaultdict(list)
        for _ in range(turns):
            if is_cold:
                await end_environments(pool)
            for wire in wires:
                wire.calls.clear()
            marks.restart()
            seen = await self._turn(pool, ONE_CHUNK, on_piece=marks.note)
            calls = [call for wire in wires for call in wire.calls]
            for step in _steps_of(seen, calls, marks.cpu_ms):
                taken[step.name].append(step)
        # A step that only few turns had is no step of the turn.
        usual = [steps for steps in taken.values() if len(steps) * 2 > turns]
        return sorted(map(_median_step, usual), key=lambda step: step.at_ms)

    async def _warm_up(self, pool: ExecutionEnvironments) -> None:
        for _ in range(WARM_UP):
            await self._turn(pool, Pace(300, 0))

    async def _cpu(self, pool: ExecutionEnvironments, pace: Pace) -> tuple[float, Seen]:
        [environment] = pool.environments
        before_s = cpu_s(environment.process.id)
        seen = await self._turn(pool, pace)
        return (cpu_s(environment.process.id) - before_s) * 1000, seen

    async def _turn(
        self, pool: ExecutionEnvironments, pace: Pace, *, on_piece: Callable[[], None] = lambda: None
    ) -> Seen:
        conversation = await new_conversation(self._surroundings.table, OURS)
        request = self._surroundings.user_pool.message(pace.message, conversation=conversation)
        return await see_turn(pool, request, chunks=pace.chunks, on_piece=on_piece)


class _Lines(logging.Handler):
    """Collects what the function prints, with the time."""

    def __init__(self) -> None:
        super().__init__()
        self.of_imports: list[tuple[float, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        _, mark, report = record.getMessage().partition("import time:")
        if mark:
            self.of_imports.append((time.monotonic(), report))

    def __enter__(self) -> Self:
        _OUTPUT.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        _OUTPUT.removeHandler(self)


def _samples(log: str, windows: Iterable[tuple[float, float]]) -> Counter[str]:
    """The number of samples of each layer within the windows."""
    samples = [(float(at), layer) for at, _, layer in (line.partition(" ") for line in log.splitlines())]
    moments = [at for at, _ in samples]
    return Counter(
        layer
        for began, ended in windows
        for _, layer in samples[bisect_left(moments, began) : bisect_left(moments, ended)]
    )


def _steps_of(seen: Seen, calls: Iterable[Call], cpu_ms: Callable[[float], float]) -> Iterable[Step]:
    """The steps of one turn up to its first chunk."""
    first_at = seen.chunk_at[0]
    yield Step("start", (seen.start_at - seen.began_at) * 1000, None, cpu_ms(seen.start_at))
    numbers: Counter[str] = Counter()
    for call in sorted(calls, key=lambda call: call.asked_at):
        if call.asked_at < first_at:
            numbers[call.operation] += 1
            number = numbers[call.operation]
            yield Step(
                call.operation if number == 1 else f"{call.operation} {number}",
                (call.asked_at - seen.began_at) * 1000,
                (call.answered_at - call.asked_at) * 1000,
                cpu_ms(call.asked_at),
            )
    yield Step("first chunk", (first_at - seen.began_at) * 1000, None, cpu_ms(first_at))


def _median_step(steps: Sequence[Step]) -> Step:
    took_ms = [step.took_ms for step in steps if step.took_ms is not None]
    return Step(
        steps[0].name,
        statistics.median(step.at_ms for step in steps),
        statistics.median(took_ms) if took_ms else None,
        statistics.median(step.cpu_ms for step in steps),
    )


def _imported(
    lines: Iterable[tuple[float, str]], *, before_s: float, began_at: float
) -> dict[str, list[tuple[float, bool]]]:
    """By package, for each imported module: milliseconds, and whether that was before `start`."""
    found: dict[str, list[tuple[float, bool]]] = {}
    for at, line in lines:
        own_us, _, module = (part.strip() for part in line.split("|"))
        if own_us.isdecimal():
            package = module.partition(".")[0]
            if package in sys.stdlib_module_names or package in {"encodings", "site", "zipimport"}:
                package = _STANDARD_LIBRARY
            found.setdefault(package, []).append((int(own_us) / 1000, at - began_at <= before_s))
    return found


def _by_package(reports: Sequence[dict[str, list[tuple[float, bool]]]]) -> Sequence[Imports]:
    imports = []
    for package in {package for report in reports for package in report}:
        halves = [
            statistics.median(
                sum(ms for ms, is_before in report.get(package, ()) if is_before is wanted)
                for report in reports
            )
            for wanted in (True, False)
        ]
        modules = int(statistics.median(len(report.get(package, ())) for report in reports))
        imports.append(Imports(package, modules, *halves))
    return sorted(imports, key=lambda each: -(each.before_ms + each.after_ms))


async def profile(package: Path | None, turns: int) -> Profile:
    """Take all the measurements.

    Raises:
        TurnFailed: the function did not stream a whole reply.
    """
    async with set_up(package, pool_s=0.05) as surroundings:
        await seed_records(surroundings.table)
        profiler = Profiler(surroundings, turns)
        return Profile(
            runs_from="checkout" if package is None else "package",
            layers=await profiler.layers(),
            warm=await profiler.warm_steps(),
            cold=await profiler.cold_steps(),
            imports=await profiler.imports(),
        )


def show(found: Profile) -> None:
    """Print a profile."""
    print("microseconds of processor time a chunk")
    print(f"{'':24}{'together':>12}" + "".join(f"{name:>12}" for name in sampler.NAMES))
    for layers in found.layers:
        pace = (
            f"{layers.pace.chunks:,} at once"
            if layers.pace.pause_ms == 0
            else f"{layers.pace.pause_ms} ms apart"
        )
        parts = "".join(f"{layers.layer_us[name]:12.1f}" for name in sampler.NAMES)
        print(f"{pace:24}{layers.chunk_us:12.1f}{parts}   {layers.samples} samples")
    for name, steps in (("warm", found.warm), (f"cold, from the {found.runs_from}", found.cold)):
        print(f"\nbefore the first chunk, {name}: milliseconds from the request")
        print(f"{'':24}{'at':>12}{'took':>12}{'CPU so far':>12}")
        for step in steps:
            took = "" if step.took_ms is None else f"{step.took_ms:.1f}"
            print(f"{step.name:24}{step.at_ms:12.1f}{took:>12}{step.cpu_ms:12.1f}")
    print(f"\nimports of a cold turn, from the {found.runs_from}, measured: milliseconds")
    print(f"{'':24}{'modules':>12}{'before start':>14}{'after':>12}")
    shown = [each for each in found.imports if each.before_ms + each.after_ms >= _LEAST_MS]
    rest = [each for each in found.imports if each not in shown]
    for each in (*shown, _sum(f"{len(rest)} more", rest), _sum("together", found.imports)):
        print(f"{each.package:24}{each.modules:12}{each.before_ms:14.1f}{each.after_ms:12.1f}")


def _sum(name: str, imports: Sequence[Imports]) -> Imports:
    return Imports(
        name,
        sum(each.modules for each in imports),
        sum(each.before_ms for each in imports),
        sum(each.after_ms for each in imports),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--turns",
        type=at_least_one,
        default=15,
        metavar="N",
        help="of each kind; a third of slow ones (default: 15)",
    )
    parser.add_argument(
        "--package",
        type=Path,
        metavar="DIR",
        help="take steps and imports from here, where `coachstream package --here --unpacked DIR` has put it"
        " (default: from the checkout, like the layers)",
    )
    parser.add_argument("--json", type=new_file, metavar="FILE", help="also write everything to a file")
    return parser.parse_args()


def main() -> None:
    """Profile, and print the results."""
    arguments = _arguments()
    try:
        check([each for each in CONTENDERS if each.name == OURS])
        package = None if arguments.package is None else existing_package(arguments.package)
    except (MissingPeer, PackageUnusable) as error:
        sys.exit(str(error))
    os.environ |= CREDENTIALS
    _OUTPUT.propagate = False
    _OUTPUT.setLevel(logging.INFO)
    logging.getLogger("lambda_streaming.emulator").setLevel(logging.CRITICAL)
    try:
        found = asyncio.run(profile(package, arguments.turns))
    except TurnFailed as failed:
        sys.exit(str(failed))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    show(found)


if __name__ == "__main__":
    main()
