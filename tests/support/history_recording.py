"""Records what several processes do to one store at the same time, while some of them are killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import random as random_of_retries
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from urllib.parse import urlsplit

import msgspec
from botocore.exceptions import ClientError, ConnectionClosedError

from coachstream.aws.clients import Connection
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.quotas import NO_LIMIT, OwnLimits, QuotaLimits
from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.dynamodb.table_client import ATTEMPTS_OUTCOME_UNKNOWN
from contracts.store_records import COACH, NOW, SeedableStore, conversation
from support.calls_in_turn import CallsInTurnLoop, in_turn
from support.dynamodb import a_table
from support.faulty_proxy import Fault, proxied
from support.histories import History, Limits, Operation, RecordedStore, Sink, bounded
from support.history_worker import RandomClient, Work, opened_store
from support.patience import PATIENCE_S
from support.places import TESTS

USERS = ("user-1", "user-2")

KEYS = tuple(
    ConversationKey(user, "coach-1", f"conv-{user}-{number}") for user in USERS for number in range(4)
)
"""More conversations of each user than they may have concurrent runs."""

AT = milliseconds_of(NOW.replace(hour=12, minute=30, second=0, microsecond=0))
"""The time of a history, far from midnight."""

OWN_LIMITS = OwnLimits(turns_per_minute=NO_LIMIT, tokens_per_day=NO_LIMIT)
"""Those of the second user, who can begin runs until the end."""

READER = 1_000
"""The client that reads everything in the end."""

MOST_BYTES = 2**20
"""Of one operation as a line."""


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """How much is done.

    Attributes:
        seed: decides what the clients do, and which processes are killed when.
        processes: at the same time.
        clients: of each process.
        steps: of each client.
        kills: the processes that are killed. Each is replaced by another one, with half of the steps.
    """

    seed: int
    processes: int = 4
    clients: int = 2
    steps: int = 50
    kills: int = 2

    @property
    def limits(self) -> QuotaLimits:
        """The quotas of the first user: each of them refuses runs after a while."""
        turns = self.processes * self.clients * self.steps // 40
        return QuotaLimits(concurrent_runs=2, turns_per_minute=turns, tokens_per_day=25 * turns)


async def record(
    campaign: Campaign,
    store: str,
    *,
    connection: Connection | None = None,
    through: Connection | None = None,
) -> History:
    """Record a history on an empty store.

    Args:
        campaign: what is done.
        store: the SQLite file, or DynamoDB's table.
        connection: how to reach DynamoDB; None for SQLite.
        through: likewise for the clients, if their network is not that of the reader in the end.
    """
    sink = Sink()
    async with opened_store(store, connection) as direct:
        await _prepare(direct)
        await _run_all(campaign, store, through or connection, sink)
        await _read_everything(direct, campaign, sink, time.monotonic_ns)
    return _history(campaign, sink, is_exact=connection is None)


def record_in_turn(campaign: Campaign, url: str) -> History:
    """Record a history on DynamoDB in one process, whose requests are sent one by one in a random order.

    The seed decides which request is next, and which response is lost. So the history is the same each time,
    and operations that consist of several requests are interrupted by others at any point.

    Args:
        campaign: what is done; no process is killed.
        url: the server.
    """
    random = Random(campaign.seed)  # noqa: S311 (no secret)
    random_of_retries.seed(campaign.seed)  # of the store's pauses before a retry
    loop = CallsInTurnLoop(random)
    sink, clock = Sink(), itertools.count(1)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            table = await loop.calls.look(lambda: stack.enter_async_context(a_table(url)))
            client = await table.client()
            direct = table.store()
            await loop.calls.look(lambda: _prepare(direct))
            work = Work(
                seed=campaign.seed,
                clients=(),
                steps=campaign.steps,
                at=AT,
                keys=KEYS,
                limits=campaign.limits,
                store=table.name,
            )
            async with asyncio.TaskGroup() as all_clients:
                for number in range(campaign.processes * campaign.clients):
                    network = _LosingResponses(in_turn(client, loop.calls), random)
                    store = DynamoDbStore(network.client, table.name)
                    recorded = RecordedStore(store, number, sink, at=AT, clock=clock.__next__)
                    all_clients.create_task(RandomClient(recorded, work, number).run())
            await loop.calls.look(lambda: _read_everything(direct, campaign, sink, clock.__next__))
            await loop.calls.look(stack.aclose)

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return _history(campaign, sink, is_exact=False)


class _LosingResponses:
    """An SDK client on a network that loses a response now and then, sometimes several in a row."""

    def __init__(self, client: object, random: Random) -> None:
        self._client = client
        self._random = random
        self._to_lose = 0

    async def client(self) -> object:
        """Itself; an `OpenClient`."""
        return self

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        request = getattr(self._client, name)

        async def call(**parameters: object) -> object:
            if not self._to_lose and self._random.random() < 0.02:
                self._to_lose = self._random.choice([1, 1, 2, 2 * ATTEMPTS_OUTCOME_UNKNOWN])
            if not self._to_lose:
                return await request(**parameters)
            self._to_lose -= 1
            if self._random.random() < 0.7:
                with suppress(ClientError):
                    await request(**parameters)
            raise ConnectionClosedError(endpoint_url="http://dynamodb")

        return call


@asynccontextmanager
async def losing_responses(connection: Connection, *, seed: int) -> AsyncIterator[Connection]:
    """A connection whose network loses a response now and then, sometimes several in a row.

    Args:
        connection: how to reach a server on the loopback.
        seed: decides which responses are lost.
    """
    port = urlsplit(connection.endpoint_url).port
    assert port is not None
    random = Random(seed)  # noqa: S311 (no secret)
    to_lose = 0

    def is_lost(*_: object) -> bool:
        nonlocal to_lose
        if not to_lose and random.random() < 0.02:
            to_lose = random.choice([1, 1, 4 * ATTEMPTS_OUTCOME_UNKNOWN])
        to_lose = max(0, to_lose - 1)
        return to_lose > 0

    async with proxied(port) as network:
        network.fault, network.applies_to = Fault.LOST, is_lost
        yield msgspec.structs.replace(connection, endpoint_url=network.url)


async def _prepare(store: SeedableStore) -> None:
    for user in USERS:
        await store.put_coach(user, KEYS[0].coach_id, COACH)
    await store.set_own_limits(USERS[1], OWN_LIMITS)
    for key in KEYS:
        await store.create_conversation(conversation(key))


def _history(campaign: Campaign, sink: Sink, *, is_exact: bool) -> History:
    own = campaign.limits.overridden_by(OWN_LIMITS)
    return History(
        {user: _limits(of) for user, of in zip(USERS, (campaign.limits, own), strict=True)},
        tokens="exact" if is_exact else "late",
        use="exact" if is_exact else "late",
        operations=bounded(sink.operations),
        kills=sink.kills,
    )


async def _run_all(campaign: Campaign, store: str, connection: Connection | None, sink: Sink) -> None:
    random = Random(campaign.seed)  # noqa: S311 (no secret)
    killed = random.sample(range(campaign.processes), campaign.kills)
    started = asyncio.Barrier(campaign.processes)

    def work(number: int, steps: int) -> Work:
        first = campaign.clients * number
        return Work(
            seed=campaign.seed,
            clients=tuple(range(first, first + campaign.clients)),
            steps=steps,
            at=AT,
            keys=KEYS,
            limits=campaign.limits,
            store=store,
            connection=connection,
        )

    async def run(number: int, kill_after: int | None) -> None:
        await _run(work(number, campaign.steps), sink, started, kill_after)
        if kill_after is not None:
            alone = asyncio.Barrier(1)
            await _run(work(campaign.processes + number, campaign.steps // 2), sink, alone, None)

    async with asyncio.TaskGroup() as all_processes:
        for number in range(campaign.processes):
            calls = campaign.clients * campaign.steps
            kill_after = random.randrange(calls // 2, 2 * calls) if number in killed else None
            all_processes.create_task(run(number, kill_after))


async def _run(work: Work, sink: Sink, started: asyncio.Barrier, kill_after: int | None) -> None:
    """Run a process until its end, or kill it after a number of calls and returns."""
    async with _process(work) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        async with asyncio.timeout(PATIENCE_S):
            assert await process.stdout.readline() == b"ready\n"
            await started.wait()
        process.stdin.write(b"\n")
        seen = 0
        # The last line of a killed process may be cut off; then its call has not begun, or has no result.
        while (line := await process.stdout.readline()).endswith(b"\n"):
            sink(msgspec.json.decode(line, type=Operation))
            seen += 1
            if seen == kill_after:
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    process.kill()
        is_killed = kill_after is not None and seen >= kill_after
        status = await process.wait()
        assert status in ({0, -signal.SIGKILL} if is_killed else {0})
        sink.kills += status == -signal.SIGKILL


@asynccontextmanager
async def _process(work: Work) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.history_worker", msgspec.json.encode(work).decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MOST_BYTES,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _read_everything(
    store: SeedableStore, campaign: Campaign, sink: Sink, clock: Callable[[], int]
) -> None:
    runs = {
        (each.conversation, each.run): None
        for each in sink.operations
        if each.name in {"begin", "enqueue"}
        and (each.result is None or each.result.kind in {"begun", "queued"})
    }
    reader = RecordedStore(store, READER, sink, at=AT, clock=clock)
    for key in KEYS:
        await reader.read_queue(key)
        await reader.load_messages(key)
        for conversation_id, run in runs:
            if conversation_id == key.conversation_id:
                await reader.read_log(key, run)
    for user in USERS:
        await reader.quota_use(user, campaign.limits, at=AT, is_alone=True)


def _limits(limits: QuotaLimits) -> Limits:
    return Limits(limits.concurrent_runs, limits.turns_per_minute, limits.tokens_per_day)
