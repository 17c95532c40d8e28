"""The whole service under faults: real processes, real HTTP, and clients that do not give up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from support.dynamodb import a_table
from support.faulty_proxy import AWS_THROTTLED, FaultyProxy, proxied
from support.patience import PATIENCE_S
from support.serving import Serving, create_conversation, serving, stored_messages
from support.unsteady_network import unsteady_network
from torture.clients import Client, Progress
from torture.faults import LEASE_S, Faults
from torture.model import known_model
from torture.tally import Tally

ENVIRONMENTS = 12

_DEATHS = re.compile(r"signal: (?!killed)[\w ]+|Traceback|Fatal Python error")
"""Matches log lines about a process that died of anything but a signal sent by the campaign."""


async def run_system(
    *, seed: int, conversations: int, messages: int, faults: int, dynamodb: str | None = None
) -> Tally:
    """Let clients talk to `coachstream serve` while faults are injected, then count what went wrong.

    Args:
        seed: decides the faults.
        conversations: the number of concurrent conversations.
        messages: the number of messages in each.
        faults: the maximum; none is injected once the clients have finished.
        dynamodb: the address of DynamoDB Local, for which this process has credentials; SQLite by default.
    """
    tally = Tally("SQLite" if dynamodb is None else "DynamoDB Local")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-")))
        model = await stack.enter_async_context(known_model())
        environment = {**_ENVIRONMENT, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url}
        options: tuple[str, ...] = ()
        proxy: FaultyProxy | None = None
        if dynamodb is not None:
            table, between = await stack.enter_async_context(_faulty_table(dynamodb))
            environment |= {"AWS_ENDPOINT_URL_DYNAMODB": between.url, "DYNAMODB_TABLE_NAME": table}
            proxy = between
            options = ("--store", "dynamodb", "--demo-data")
        server = await stack.enter_async_context(_served(folder / "data", *options, environment=environment))
        port = urlsplit(server.ready.url).port
        assert port is not None
        network = await stack.enter_async_context(unsteady_network(port))
        progress = Progress()
        clients = [
            Client(
                number,
                await asyncio.to_thread(create_conversation, server.ready),
                server.ready,
                network.url,
                tally,
                progress,
            )
            for number in range(conversations)
        ]
        injected = Faults(seed, server, network, progress, tally)
        if proxy is None:
            injected.on_sqlite(folder / "data" / "conversations.db")
        else:
            injected.on_dynamodb(proxy)
        async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False, limits=httpx.Limits()) as http:
            injecting = asyncio.create_task(injected.inject(faults))
            await asyncio.gather(*(client.talk(http, messages, injecting) for client in clients))
            injecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await injecting
        for client in clients:
            client.compare(await asyncio.to_thread(stored_messages, server.ready, client.conversation))
        tally.model_calls = model.calls.total()
        status = await asyncio.to_thread(server.stop)
        if status != 0:
            tally.add("abnormal", f"the server ended with {status}")
        for process in server.processes():
            tally.add("abnormal", f"the server left process {process} behind")
        for death in _DEATHS.findall(await asyncio.to_thread((folder / "serve.log").read_text)):
            tally.add("abnormal", death)
    return tally


NO_SERVICE = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-west-2",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
"""Credentials that no real service accepts, and none of this machine's settings."""

_ENVIRONMENT = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "COACHSTREAM_", "PINECONE_", "BEDROCK_", "DYNAMODB_"))
    },
    **NO_SERVICE,
    "COACHSTREAM_LEASE_S": f"{LEASE_S:g}",
}


@asynccontextmanager
async def _faulty_table(url: str) -> AsyncIterator[tuple[str, FaultyProxy]]:
    port = urlsplit(url).port
    assert port is not None
    async with a_table(url) as table, proxied(port, throttled=AWS_THROTTLED) as proxy:
        yield table.name, proxy


@asynccontextmanager
async def _served(data: Path, *options: str, environment: Mapping[str, str]) -> AsyncIterator[Serving]:
    """A server, started and stopped in a thread, because its model and network run on this event loop."""
    running = serving(
        data,
        *("--model", "bedrock", "--max-concurrency", str(ENVIRONMENTS), "--warm", "2", *options),
        environment=environment,
    )
    server = await asyncio.to_thread(running.__enter__)
    try:
        yield server
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
