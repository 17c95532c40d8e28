"""A whole turn of the stream function, compared with what one would use instead of it.

    make test-peers
    make bench [ARGS="--rounds 20 --json turn.json --plot turn.svg"]

Four functions stream the reply of the same model (the tests' Bedrock, whose chunks carry the moment they
were sent) to the same client, with the same DynamoDB Local, under the same emulator:

    coachstream  the stream function, from its built package; it verifies the token, and keeps a log of the
                 run with which another process can continue the reply
    node         a reference function on Node's official runtime client and the AWS SDK v3, bundled with
                 esbuild; it makes the existing system's reads and writes, and decodes the token unverified
    boto3        FastAPI and boto3 behind the Lambda Web Adapter: a put, a query, the stream, a put; no token
    aiobotocore  the same in coroutines

The last two run from this checkout's environment, with byte code. Analysis and recall are off in ours.

The contenders take turns, each turn in a new conversation with ten messages, so that the machine's load
affects all of them equally. The processor time is that of the function's processes alone, without the
emulator's. DynamoDB requests are counted in one more turn of each, through a proxy. Machines differ: look at
the ratios. Below 1, coachstream is better.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from coachstream.conversation.model import format_timestamp
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.invoker import FunctionFailed
from measuring import report
from measuring.command_line import INTERRUPTED, at_least_one, new_file, say, write_json
from measuring.contenders import CONTENDERS, OURS, Contender, MissingPeer, check
from measuring.conversations import new_conversation, seed_records
from measuring.machine import machine
from measuring.model import Pace
from measuring.surroundings import (
    CREDENTIALS,
    PackageUnusable,
    Surroundings,
    build_package,
    environments_of,
    existing_package,
    set_up,
)
from measuring.turns import Turn, TurnFailed, end_environments, measure_turn
from measuring.wire import tapped

WARM_UP = 8
"""Turns after which V8 and the Java of DynamoDB Local have compiled what they run most."""

WARM_UP_PACE = Pace(300, 0)
SCENARIOS: Mapping[str, tuple[Pace, report.Scenario]] = {
    scenario.name: (pace, scenario)
    for pace, scenario in (
        (Pace(300, 10), report.Scenario("paced", "300 chunks, 10 ms apart", is_cold=False)),
        (Pace(300, 0), report.Scenario("300", "300 chunks at once", is_cold=False)),
        (Pace(3000, 0), report.Scenario("3000", "3,000 chunks at once", is_cold=False)),
        (Pace(20, 0), report.Scenario("cold", "a new environment, 20 chunks at once", is_cold=True)),
    )
}


class Options(msgspec.Struct, frozen=True):
    """What to measure, and how often.

    Attributes:
        package: the folder with the unzipped package; None runs our function from the checkout.
    """

    contenders: Sequence[Contender]
    scenarios: Sequence[str]
    rounds: int
    warm_up: int
    counts_requests: bool
    pool_s: float
    package: Path | None


class Bench:
    """The servers, and an execution environment of each contender."""

    def __init__(self, options: Options, surroundings: Surroundings) -> None:
        self._options = options
        self._surroundings = surroundings
        self._turns: dict[tuple[str, str], list[Turn]] = {}
        self._requests: dict[tuple[str, str], Mapping[str, int]] = {}

    async def run(self) -> Sequence[report.Result]:
        """Measure everything.

        Raises:
            TurnFailed: a contender did not stream a whole reply.
        """
        if self._options.counts_requests:
            await self._count_requests()
        await self._measure()
        return [
            report.Result(scenario, contender, turns, self._requests.get((scenario, contender)))
            for (scenario, contender), turns in self._turns.items()
        ]

    async def _measure(self) -> None:
        options = self._options
        async with AsyncExitStack() as stack:
            warm, cold = [
                {
                    each.name: await stack.enter_async_context(
                        environments_of(each.command(self._surroundings))
                    )
                    for each in options.contenders
                }
                for _ in range(2)
            ]
            for contender, pool in warm.items():
                say(f"warming up {contender}")
                for _ in range(options.warm_up):
                    await self._turn(contender, pool, WARM_UP_PACE)
            if any(SCENARIOS[name][1].is_cold for name in options.scenarios):
                # Also starts the emulator's guard, which is not a part of a function's cold start.
                for contender, pool in cold.items():
                    await self._turn(contender, pool, WARM_UP_PACE)
            names = list(warm)
            for number in range(options.rounds):
                say(f"round {number + 1} of {options.rounds}")
                for scenario in options.scenarios:
                    pace, details = SCENARIOS[scenario]
                    for contender in names[number % len(names) :] + names[: number % len(names)]:
                        pool = (cold if details.is_cold else warm)[contender]
                        if details.is_cold:
                            await end_environments(pool)
                        turn = await self._turn(contender, pool, pace)
                        self._turns.setdefault((scenario, contender), []).append(turn)

    async def _environments_of_all(self, stack: AsyncExitStack) -> dict[str, ExecutionEnvironments]:
        return {
            each.name: await stack.enter_async_context(environments_of(each.command(self._surroundings)))
            for each in self._options.contenders
        }

    async def _count_requests(self) -> None:
        """Count in a turn of a warm environment, because a proxy would add to the times."""
        url = self._surroundings.urls["dynamodb"]
        async with tapped(url) as wire:
            urls = {**self._surroundings.urls, "dynamodb": wire.url}
            surroundings = msgspec.structs.replace(self._surroundings, urls=urls)
            for contender in self._options.contenders:
                say(f"counting the requests of {contender.name}")
                async with environments_of(contender.command(surroundings)) as pool:
                    await self._turn(contender.name, pool, WARM_UP_PACE)
                    for scenario in self._options.scenarios:
                        wire.counted()
                        await self._turn(contender.name, pool, SCENARIOS[scenario][0])
                        self._requests[scenario, contender.name] = wire.counted()

    async def _turn(self, contender: str, pool: ExecutionEnvironments, pace: Pace) -> Turn:
        conversation = await new_conversation(self._surroundings.table, contender)
        request = self._surroundings.user_pool.message(pace.message, conversation=conversation)
        try:
            return await measure_turn(pool, request, chunks=pace.chunks)
        except (TurnFailed, FunctionFailed) as error:
            raise TurnFailed(f"{contender}: {error}") from error


async def measure(options: Options) -> report.Report:
    """Start the servers, run the benchmark, and return what it found.

    Raises:
        TurnFailed: a contender did not stream a whole reply.
    """
    async with set_up(options.package, pool_s=options.pool_s) as surroundings:
        await seed_records(surroundings.table)
        results = await Bench(options, surroundings).run()
    return report.Report(
        measured_at=format_timestamp(datetime.now(UTC)),
        machine=_machine(options),
        rounds=options.rounds,
        contenders={each.name: each.what for each in options.contenders},
        scenarios=[SCENARIOS[name][1] for name in options.scenarios],
        results=results,
    )


def _machine(options: Options) -> Mapping[str, str]:
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)  # noqa: S607 (of the PATH, like the contender's)
    return {
        **machine(),
        "Node": node.stdout.strip().removeprefix("v"),
        OURS: "checkout" if options.package is None else "package",
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    peers = [each.name for each in CONTENDERS if each.name != OURS]
    parser.add_argument("--rounds", type=at_least_one, metavar="N", help="turns of each (default: 10)")
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="repeatable (default: all of them)"
    )
    parser.add_argument("--against", action="append", choices=peers, help="repeatable (default: all of them)")
    parser.add_argument("--quick", action="store_true", help="one round from the checkout, less warm")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkout", action="store_true", help="run coachstream from the checkout")
    source.add_argument(
        "--package",
        type=Path,
        metavar="DIR",
        help="run coachstream from here, where `coachstream package --here --unpacked DIR` has put it"
        " (default: built for the run)",
    )
    parser.add_argument(
        "--pool-ms", type=float, default=50, metavar="MS", help="the user pool's response time (default: 50)"
    )
    parser.add_argument("--json", type=new_file, metavar="FILE", help="also write every turn to a file")
    parser.add_argument("--plot", type=_new_plot, metavar="FILE", help="also draw the ratios: .svg or .png")
    parser.add_argument(
        "--read", type=Path, metavar="FILE", help="measure nothing; show what --json wrote to a file"
    )
    return parser.parse_args()


def _new_plot(text: str) -> Path:
    if not text.endswith((".svg", ".png")):
        raise argparse.ArgumentTypeError("must end with .svg or .png")
    return new_file(text)


def _measured(arguments: argparse.Namespace) -> report.Report:
    against = arguments.against or [each.name for each in CONTENDERS]
    contenders = [each for each in CONTENDERS if each.name in (OURS, *against)]
    try:
        check(contenders)
    except MissingPeer as missing:
        sys.exit(str(missing))
    os.environ |= CREDENTIALS
    last_lines: deque[str] = deque(maxlen=20)
    log = logging.getLogger("lambda_streaming.emulator")
    log.addHandler(_Kept(last_lines))
    log.propagate = False
    log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        package: Path | None = None
        try:
            if arguments.package is not None:
                package = existing_package(arguments.package)
            elif not (arguments.checkout or arguments.quick):
                say("building the package (--checkout does without)")
                package = build_package(Path(folder))
        except PackageUnusable as unusable:
            sys.exit(str(unusable))
        options = Options(
            contenders=contenders,
            scenarios=[name for name in SCENARIOS if name in (arguments.scenario or SCENARIOS)],
            rounds=arguments.rounds or (1 if arguments.quick else 10),
            warm_up=1 if arguments.quick else WARM_UP,
            counts_requests=not arguments.quick,
            pool_s=arguments.pool_ms / 1000,
            package=package,
        )
        try:
            return asyncio.run(measure(options))
        except TurnFailed as failed:
            sys.exit(f"{failed}\nThe emulator's last lines:\n" + "\n".join(last_lines))
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


class _Kept(logging.Handler):
    """Keeps the last lines, to explain a failure."""

    def __init__(self, lines: deque[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def main() -> None:
    """Run the benchmark, or read an earlier one, and print its results."""
    arguments = _arguments()
    if arguments.read is None:
        found = _measured(arguments)
    else:
        try:
            found = report.read_json(arguments.read)
        except (OSError, msgspec.DecodeError) as error:
            sys.exit(f"{arguments.read} cannot be read: {error}")
    if arguments.json:
        write_json(found, arguments.json)
    if arguments.plot:
        report.plot(found, arguments.plot)
    print(report.table(found))


if __name__ == "__main__":
    main()
