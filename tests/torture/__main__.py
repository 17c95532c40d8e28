"""The fault campaign: `make torture ARGS="--seed 7"`.

Clients talk to real servers while processes are killed and stopped, connections cut, stores throttled, locked
and broken, and servers interrupted. Afterwards every message must be stored once, with one reply, and with
the text that its reader saw. Other processes use the stores directly, and their histories must be
linearizable (`support.histories`). The seed decides which faults come and when; the machine decides what they
hit.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from support.dynamodb import dynamodb_local, missing_for_dynamodb_local
from support.histories import missing_for_checker
from torture.histories import run_histories
from torture.interrupts import SIGNALS, run_interrupts
from torture.system import NO_SERVICE, run_system
from torture.tally import Tally, table

MESSAGES_A_CONVERSATION = 5


def main() -> int:
    """Run the campaign, print its table, and return 1 if anything is wrong."""
    options = _options()
    # A campaign that is stopped stops its child processes; and those must not inherit ignored signals,
    # as they would in the background or under `nohup`.
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    missing = None if options.without_dynamodb else missing_for_dynamodb_local()
    if missing is not None:
        sys.exit(f"The campaign {missing}; --without-dynamodb leaves that part out.")
    if options.histories and (missing := missing_for_checker()):
        sys.exit(f"The campaign {missing}; --histories 0 leaves that part out.")
    began, tallies = time.monotonic(), []
    print(f"Seed {options.seed}. See the details of each part as it ends.", flush=True)  # noqa: T201
    for tally in _parts(options):
        tallies.append(tally)
        print("\n".join(tally.details()), flush=True)  # noqa: T201
        if time.monotonic() - began > options.minutes * 60:
            print("The time is up; what is left is not run.")  # noqa: T201
            break
    print(f"\n{table(tallies)}\n\n{time.monotonic() - began:.0f} s, seed {options.seed}")  # noqa: T201
    return 0 if all(tally.is_clean for tally in tallies) else 1


def _parts(options: argparse.Namespace) -> Iterator[Tally]:
    system = partial(
        run_system,
        seed=options.seed,
        conversations=max(1, options.messages // MESSAGES_A_CONVERSATION),
        messages=min(options.messages, MESSAGES_A_CONVERSATION),
        faults=options.faults,
    )
    yield asyncio.run(system())
    histories = partial(run_histories, seed=options.seed, count=options.histories)
    if options.without_dynamodb:
        yield from histories(dynamodb=None)
    else:
        os.environ.update(NO_SERVICE)
        with tempfile.TemporaryDirectory() as folder, dynamodb_local(Path(folder) / "log") as address:
            yield from histories(dynamodb=address)
            yield asyncio.run(system(dynamodb=address))
    for in_process in (True, False):
        yield asyncio.run(run_interrupts(seed=options.seed, count=options.interrupts, in_process=in_process))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the time by default")
    parser.add_argument("--messages", type=int, default=50, help="on each store (%(default)s)")
    parser.add_argument("--faults", type=int, default=50, help="on each store (%(default)s)")
    parser.add_argument("--interrupts", type=int, default=25, help="in each mode (%(default)s)")
    parser.add_argument("--histories", type=int, default=20, help="on each store, in each way (%(default)s)")
    parser.add_argument("--without-dynamodb", action="store_true", help="leave DynamoDB Local out")
    parser.add_argument(
        "--minutes", type=float, default=15.0, help="after which no further part begins (%(default)g)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
