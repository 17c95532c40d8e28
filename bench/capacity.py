"""What a number of users needs: environments, table throughput and money; checked against a simulated day.

    .venv/bin/python bench/capacity.py [--users N ...] [--turns-a-user N] [--turn-s S] [--peak N] [--json]

The model is Little's law. Turns arrive at random, `--peak` times as often in the busiest hour as on average,
and each occupies an execution environment for `--turn-s` seconds; the number of turns at the same time then
has a Poisson distribution, and the environments are its 99.9th percentile. The table's throughput is that of
the busiest hour. Prices and quotas are those of `coachstream/infrastructure`, capacity units those of
docs/explanation/cost.md. A container takes at most `COACHSTREAM_MAX_TURNS` turns.

The check simulates a day of the first number of users, with turns of different lengths, and compares the
99.9th percentile of its busiest hour with the model's.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from coachstream.infrastructure.prices import PRICES
from coachstream.infrastructure.quotas import QUOTAS
from coachstream.settings.variables import MAX_TURNS

DAY_S, HOUR_S = 86_400, 3_600
MEMORY_GB = 2
WRITES_A_TURN, READS_A_TURN = 37, 32
TOKENS_IN, TOKENS_OUT = 3_000, 300

WRITES_OF_A_PARTITION, READS_OF_A_PARTITION = 1_000, 3_000
"""Units a second (DynamoDB developer guide, "Designing partition keys to distribute your workload")."""

NORMAL_999 = 3.09
"""The 99.9th percentile of the normal distribution, which the Poisson distribution approaches."""


class Load(msgspec.Struct, frozen=True):
    """What users do: turns of a mean length, in seconds, and how much busier the busiest hour is."""

    users: int
    turns_a_user: float
    turn_s: float
    peak: float

    @property
    def turns(self) -> float:
        """Turns a day."""
        return self.users * self.turns_a_user

    @property
    def turns_a_second(self) -> float:
        """In the busiest hour."""
        return self.turns / DAY_S * self.peak


class Needs(msgspec.Struct, frozen=True):
    """What a load needs in its busiest hour, and costs a day, in US dollars."""

    users: int
    turns_a_second: float
    environments: int
    times_the_account_limit: float
    containers: int
    write_units_a_second: int
    read_units_a_second: int
    partitions: int
    lambda_dollars: float
    dynamodb_dollars: float
    model_dollars: float


def needs_of(load: Load) -> Needs:
    """Calculate what a load needs."""
    at_once = load.turns_a_second * load.turn_s
    environments = math.ceil(at_once + NORMAL_999 * math.sqrt(at_once))
    writes, reads = load.turns_a_second * WRITES_A_TURN, load.turns_a_second * READS_A_TURN
    seconds = _price("Lambda, 2048 MB on Graviton") * load.turns * load.turn_s * MEMORY_GB
    requests = _price("Lambda, requests") * load.turns
    table = load.turns * (
        _price("DynamoDB, writes") * WRITES_A_TURN + _price("DynamoDB, reads") * READS_A_TURN
    )
    model = load.turns * (
        _price("Claude Sonnet, input") * TOKENS_IN + _price("Claude Sonnet, output") * TOKENS_OUT
    )
    return Needs(
        users=load.users,
        turns_a_second=round(load.turns_a_second, 2),
        environments=environments,
        times_the_account_limit=round(environments / _account_limit(), 2),
        containers=math.ceil(environments / MAX_TURNS.default),
        write_units_a_second=math.ceil(writes),
        read_units_a_second=math.ceil(reads),
        partitions=max(1, math.ceil(writes / WRITES_OF_A_PARTITION + reads / READS_OF_A_PARTITION)),
        lambda_dollars=round(seconds + requests, 2),
        dynamodb_dollars=round(table, 2),
        model_dollars=round(model, 2),
    )


def simulated_environments(load: Load, *, seed: int = 1) -> int:
    """Simulate a day, and return the 99.9th percentile of turns at the same time in its busiest hour.

    Turns arrive as a Poisson process whose rate follows the hour; their lengths have an exponential
    distribution, so some are many times as long as the mean.
    """
    chance = random.Random(seed)  # noqa: S311 (the same day each time)
    ends: list[float] = []
    seconds_with: dict[int, float] = {}
    before = 0.0
    busiest = range(19 * HOUR_S, 20 * HOUR_S)
    for now in _arrivals(load, chance):
        while ends and ends[0] <= now:
            before = _note(seconds_with, len(ends), before, ends[0], busiest)
            heapq.heappop(ends)
        before = _note(seconds_with, len(ends), before, now, busiest)
        heapq.heappush(ends, now + chance.expovariate(1 / load.turn_s))
    left = sum(seconds_with.values()) * 0.001
    for count in sorted(seconds_with, reverse=True):
        left -= seconds_with[count]
        if left <= 0:
            return count
    return 0


def _arrivals(load: Load, chance: random.Random) -> Iterator[float]:
    highest = load.turns_a_second
    now = 0.0
    while (now := now + chance.expovariate(highest)) < DAY_S:
        if chance.random() < _share_of_the_peak(now / HOUR_S, load.peak):
            yield now


def _share_of_the_peak(hour: float, peak: float) -> float:
    """One from 19 to 20 o'clock; as much in the other hours as the day's mean asks for."""
    return 1.0 if int(hour) == 19 else (24 / peak - 1) / 23  # noqa: PLR2004 (hours of a day)


def _note(seconds_with: dict[int, float], count: int, begin: float, end: float, within: range) -> float:
    overlap = min(end, within.stop) - max(begin, within.start)
    if overlap > 0:
        seconds_with[count] = seconds_with.get(count, 0.0) + overlap
    return end


def _price(name: str) -> float:
    price = PRICES[name]
    return float(Decimal(price.dollars) / (1_000_000 if price.per == "million" else 1))


def _account_limit() -> float:
    return QUOTAS["concurrent invocations of an account, until raised"].value


def main() -> None:
    """Print what each number of users needs, and the check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--turns-a-user", type=float, default=6)
    parser.add_argument("--turn-s", type=float, default=10)
    parser.add_argument("--peak", type=float, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if min(*given.users, given.turns_a_user, given.turn_s) <= 0 or not 1 <= given.peak <= 24:  # noqa: PLR2004
        parser.error("users, turns and seconds must be positive, and the peak from 1 to 24")
    loads = [Load(users, given.turns_a_user, given.turn_s, given.peak) for users in given.users]
    needs = [needs_of(load) for load in loads]
    simulated = simulated_environments(loads[0])
    if given.json:
        check = {"users": loads[0].users, "model": needs[0].environments, "simulated": simulated}
        print(json.dumps({"needs": msgspec.to_builtins(needs), "check": check}))
        return
    for field in msgspec.structs.fields(Needs):
        values = (f"{getattr(each, field.name):>14,}" for each in needs)
        print(f"{field.name.replace('_', ' '):26}", *values)
    print(f"\nA simulated day of {loads[0].users:,} users: {simulated} environments; the model says", end=" ")
    print(f"{needs[0].environments}.")


if __name__ == "__main__":
    main()
