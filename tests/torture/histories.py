"""Histories of the stores themselves, which several processes use at the same time, must be linearizable."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from support.dynamodb import a_table
from support.histories import History, check
from support.history_recording import Campaign, losing_responses, record, record_in_turn
from support.places import CACHE
from torture.tally import Tally

FOLDER = CACHE / "histories"
"""Where a history that is not linearizable is kept, with its picture."""

CAMPAIGN = Campaign(seed=0, processes=4, clients=2, steps=100, kills=2)


def run_histories(*, seed: int, count: int, dynamodb: str | None) -> Iterator[Tally]:
    """Record and check histories.

    Args:
        seed: of the first history; each of the others has the next one.
        count: on each store, and in each way.
        dynamodb: the address of DynamoDB Local, for which this process has credentials; None to leave it out.
    """
    ways: dict[str, Callable[[Campaign], History]] = {"SQLite": _on_sqlite}
    if dynamodb is not None:
        ways["DynamoDB Local"] = lambda campaign: asyncio.run(_on_dynamodb(campaign, dynamodb))
        ways["requests in turn"] = partial(record_in_turn, url=dynamodb)
    for way, recorded in ways.items():
        tally = Tally(f"histories, {way}")
        for number in range(seed, seed + count):
            campaign = msgspec.structs.replace(CAMPAIGN, seed=number)
            history = recorded(campaign)
            tally.messages += sum(each.name == "begin" for each in history.operations)
            tally.faults["kill"] += history.kills
            _check(history, f"{way} {number}", tally)
        yield tally


def _on_sqlite(campaign: Campaign) -> History:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(record(campaign, str(Path(folder) / "coachstream.db")))


async def _on_dynamodb(campaign: Campaign, url: str) -> History:
    async with a_table(url) as table, losing_responses(table.connection, seed=campaign.seed) as through:
        return await record(campaign, table.name, connection=table.connection, through=through)


def _check(history: History, name: str, tally: Tally) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{name}.json".replace(" ", "-")
    try:
        refused = check(history, picture=file.with_suffix(".html"))
    except AssertionError as error:  # undecided
        refused = str(error)
    if refused is not None:
        file.write_bytes(msgspec.json.encode(history))
        tally.add("order", f"{name} (see {file}, and its picture next to it): {refused}")
