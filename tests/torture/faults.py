"""Injects faults at random moments, one after another, while clients talk to a running server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from support.faulty_proxy import Fault, FaultyProxy
from support.serving import Serving
from support.unsteady_network import UnsteadyNetwork
from torture.clients import Progress
from torture.tally import Tally

Inject = Callable[[], Awaitable[None]]

MOST_CHUNKS_BETWEEN = 60
"""The number of chunks in one reply."""

LONGEST_PAUSE_S = 20.0
"""The longest pause between two faults if the clients make no progress."""

LEASE_S = 2.0
"""The lease duration of runs: short, so that stopped processes often lose their lease."""


class Faults:
    """Injects a campaign's faults.

    Args:
        seed: decides which faults come and when.
        server: the server whose execution environments are killed and stopped.
        network: the network between the clients and the server.
        progress: the progress of the clients.
        tally: counts the faults.
    """

    def __init__(
        self, seed: int, server: Serving, network: UnsteadyNetwork, progress: Progress, tally: Tally
    ) -> None:
        self._chance = random.Random(seed)  # noqa: S311 (repeatable, not secret)
        self._server = server
        self._network = network
        self._progress = progress
        self._tally = tally
        self._kinds: dict[str, Inject] = {
            "kill": self._kill,
            "stop": self._stop,
            "disconnect": self._disconnect,
        }

    def on_dynamodb(self, proxy: FaultyProxy) -> None:
        """Also fail some of the store's requests, in every way that a service can fail."""
        for fault in Fault:
            self._kinds[f"store {fault}"] = partial(self._fail, proxy, fault)

    def on_sqlite(self, database: Path) -> None:
        """Also let another process hold the file's lock."""
        self._kinds["store locked"] = lambda: self._lock(database)

    async def inject(self, count: int) -> None:
        """Inject this many faults, each of a random kind, while the clients make progress."""
        for _ in range(count):
            chunks = self._chance.randint(1, MOST_CHUNKS_BETWEEN)
            await self._progress.wait_for(chunks, within_s=LONGEST_PAUSE_S)
            kind = self._chance.choice(sorted(self._kinds))
            self._tally.faults[kind] += 1
            await self._kinds[kind]()

    async def _kill(self) -> None:
        for process in self._some_environments():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    async def _stop(self) -> None:
        """Stop processes, sometimes long enough for another process to take over the run."""
        stopped = self._some_environments()
        _signal(stopped, signal.SIGSTOP)
        try:
            await asyncio.sleep(self._chance.uniform(0.1, 2 * LEASE_S))
        finally:
            _signal(stopped, signal.SIGCONT)

    async def _disconnect(self) -> None:
        self._network.cut()
        try:
            await asyncio.sleep(self._chance.uniform(0.0, 0.5))
        finally:
            self._network.restore()

    async def _fail(self, proxy: FaultyProxy, fault: Fault) -> None:
        share = self._chance.uniform(0.2, 1.0)

        def meets_it(_target: str, _headers: Mapping[str, str], _body: bytes) -> bool:
            return self._chance.random() < share

        proxy.applies_to = meets_it
        proxy.fault = fault
        try:
            await asyncio.sleep(self._chance.uniform(0.1, 1.5))
        finally:
            proxy.fault = None

    async def _lock(self, database: Path) -> None:
        with closing(sqlite3.connect(database, isolation_level=None, timeout=5.0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(self._chance.uniform(0.1, 1.5))
            connection.execute("ROLLBACK")

    def _some_environments(self) -> list[int]:
        """About half of the environments."""
        found = environments(self._server)
        return [process for process in found if self._chance.random() < 0.5] or found[:1]


def environments(server: Serving) -> list[int]:
    """The server's child processes that run functions."""
    return [process for process in server.processes() if b"lambda_streaming" in _command_of(process)]


def _command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
