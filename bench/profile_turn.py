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
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from lambda_streaming.emulator import ExecutionEnvironments
from measuring import sampler
from measuring.command_line import INTERRUPTED, at_least_one, new_file, write_json
from measuring.contenders import CONTENDERS, OURS, MissingPeer, check
from measuring.conversations import new_conversation, seed_records
from measuring.imports import OUTPUT, ImportLines, Imports, medians, modules_of
from measuring.model import Pace
from measuring.processes import cpu_s
from measuring.steps import Marks, Step, median_step, steps_of
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
from measuring.wire import Wire, tapped

PACES = (Pace(3000, 0), Pace(300, 10))
WARM_UP = 5
ONE_CHUNK = Pace(1, 0)
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


class Profile(msgspec.Struct, frozen=True):
    """Everything that was found; `runs_from` is `package` or `checkout`."""

    runs_from: str
    layers: Sequence[Layers]
    warm: Sequence[Step]
    cold: Sequence[Step]
    imports: Sequence[Imports]


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
        reports = []
        async with environments_of(verbose) as pool:
            await self._turn(pool, ONE_CHUNK)
            for _ in range(max(self._turns // 3, 1)):
                await end_environments(pool)
                with ImportLines() as report:
                    seen = await self._turn(pool, ONE_CHUNK)
                reports.append(modules_of(report.lines, start_at=seen.start_at))
        return medians(reports)

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
            for step in steps_of(seen, calls, marks.cpu_ms):
                taken[step.name].append(step)
        # A step that only few turns had is no step of the turn.
        usual = [steps for steps in taken.values() if len(steps) * 2 > turns]
        return sorted(map(median_step, usual), key=lambda step: step.at_ms)

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


def _samples(log: str, windows: Iterable[tuple[float, float]]) -> Counter[str]:
    """The number of samples of each layer within the windows."""
    samples = [(float(at), layer) for at, _, layer in (line.partition(" ") for line in log.splitlines())]
    moments = [at for at, _ in samples]
    return Counter(
        layer
        for began, ended in windows
        for _, layer in samples[bisect_left(moments, began) : bisect_left(moments, ended)]
    )


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
        print(f"{'':36}{'at':>12}{'took':>12}{'CPU so far':>12}")
        for step in steps:
            took = "" if step.took_ms is None else f"{step.took_ms:.1f}"
            print(f"{step.name:36}{step.at_ms:12.1f}{took:>12}{step.cpu_ms:12.1f}")
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
    OUTPUT.propagate = False
    OUTPUT.setLevel(logging.INFO)
    logging.getLogger("lambda_streaming.emulator").setLevel(logging.CRITICAL)
    try:
        found = asyncio.run(profile(package, arguments.turns))
    except TurnFailed as failed:
        sys.exit(str(failed))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if arguments.json:
        write_json(found, arguments.json)
    show(found)


if __name__ == "__main__":
    main()
