"""DynamoDB on this machine: moto's server and AWS's own DynamoDB Local, with an empty table for each test.

Session fixtures `moto_url` and `dynamodb_local_url` start a server once in each test process, but one
DynamoDB Local serves all workers of a run (`share_dynamodb_local`); the suite's conftest imports them.
DynamoDB Local counts capacity and refuses invalid requests as the service does.
"""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from coachstream.aws.clients import AwsClient, Connection
from coachstream.storage.dynamodb import DynamoDbStore, create_table
from coachstream.storage.dynamodb.attribute_values import from_item, to_item
from coachstream.storage.dynamodb.item_size import KIB, item_bytes
from support.aws_session import SESSION
from support.patience import PATIENCE_S
from support.places import CACHE

REGION = "us-west-2"
INSTALLED = CACHE / "dynamodb-local"
INSTALL = "tests/support/dynamodb_local/install.sh"
STARTS = 3

SHARED_DYNAMODB_LOCAL = "dynamodb_local_url"
"""The key of its address in what the run's controller tells its workers."""

_shared = ExitStack()
_shared_url: str | None = None


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """Moto's server, in a thread of this process.

    It serves one request at a time: moto's transactions restore a copy of the table, without a lock.
    """
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            pass

    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=False, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, name="moto")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def dynamodb_local_url(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """DynamoDB Local, for all tests of this process, or of all workers."""
    if missing := missing_for_dynamodb_local():
        pytest.skip(missing)
    if shared := getattr(pytestconfig, "workerinput", {}).get(SHARED_DYNAMODB_LOCAL):
        yield shared
        return
    with dynamodb_local(tmp_path_factory.mktemp("dynamodb-local") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def dynamodb_url(request: pytest.FixtureRequest, moto_url: str) -> str:
    """DynamoDB Local, or moto's server where that is missing.

    Moto's server waits for the requests of each connection in turn, so a process that is stopped in the
    middle of one holds up all others.
    """
    if missing_for_dynamodb_local():
        return moto_url
    return str(request.getfixturevalue("dynamodb_local_url"))


def share_dynamodb_local(workerinput: dict[str, object]) -> None:
    """Tell a worker the address of a server that serves all of them; the first call starts it."""
    global _shared_url  # noqa: PLW0603 (of the run)
    if missing_for_dynamodb_local():
        return
    if _shared_url is None:
        folder = Path(_shared.enter_context(TemporaryDirectory(prefix="coachstream-dynamodb-")))
        _shared_url = _shared.enter_context(dynamodb_local(folder / "log"))
    workerinput[SHARED_DYNAMODB_LOCAL] = _shared_url


def stop_sharing_dynamodb_local() -> None:
    """Stop the server, if there is one."""
    _shared.close()


def missing_for_dynamodb_local() -> str | None:
    """What DynamoDB Local still needs on this machine, or None."""
    if shutil.which("java") is None:
        return "needs java"
    return None if (INSTALLED / "installed.xml").exists() else f"needs DynamoDB Local: run {INSTALL}"


@contextmanager
def dynamodb_local(log: Path) -> Iterator[str]:
    """Run DynamoDB Local, in memory, in its own Java process; yields its address."""
    for _ in range(STARTS):
        url = f"http://127.0.0.1:{_free_port()}"
        process = _start_dynamodb_local(url.rpartition(":")[2], log)
        try:
            if _answers(url, process):
                yield url
                return
        finally:
            process.terminate()
            process.wait()
    raise AssertionError(f"DynamoDB Local does not start: {log.read_text()}")


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set credentials that no real service accepts, and clear this machine's AWS settings."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"):
        monkeypatch.delenv(name, raising=False)


_PATIENT: Mapping[str, Any] = {"connect_timeout_s": PATIENCE_S, "read_timeout_s": PATIENCE_S}


@dataclass
class Spent:
    """The capacity units of the metered calls, and the number of calls by operation.

    Attributes:
        reads: as the server counts them.
        writes: as the server counts them, with their indexes. Transactions are counted here, because DynamoDB
            Local omits some of their items: two units for each started KiB of each item (Developer Guide,
            "Amazon DynamoDB Transactions: How it works", capacity management), without indexes.
        calls: the number of calls by operation.
    """

    reads: float = 0.0
    writes: float = 0.0
    calls: dict[str, int] = field(default_factory=dict)


@dataclass
class Table:
    """An empty table with the store's schema, and access to its items as the existing functions see them.

    Attributes:
        client: the client to pass to stores.
        name: its name.
        url: its server's.
    """

    client: AwsClient[Any]
    name: str
    url: str

    @property
    def connection(self) -> Connection:
        """How to open another client of its server."""
        return Connection(region=REGION, endpoint_url=self.url, **_PATIENT)

    def store(self, **options: Any) -> DynamoDbStore:  # noqa: ANN401 (the store's own)
        """A store over this table."""
        return DynamoDbStore(self.client, self.name, **options)

    async def put(self, item: Mapping[str, object]) -> None:
        """Write an item, bypassing the store."""
        await (await self.client()).put_item(TableName=self.name, Item=to_item(item))

    async def put_all(self, items: Iterable[Mapping[str, object]]) -> None:
        """Write many items, bypassing the store."""
        client = await self.client()
        requests = ({"PutRequest": {"Item": to_item(item)}} for item in items)
        while batch := list(islice(requests, 25)):
            response = await client.batch_write_item(RequestItems={self.name: batch})
            assert not response["UnprocessedItems"]

    async def get(self, pk: str, sk: str) -> dict[str, Any]:
        """Read an item that must be there."""
        item = await self.find(pk, sk)
        assert item is not None
        return item

    async def find(self, pk: str, sk: str) -> dict[str, Any] | None:
        """Read an item, if it is there."""
        response = await (await self.client()).get_item(
            TableName=self.name, Key=to_item({"pk": pk, "sk": sk}), ConsistentRead=True
        )
        return from_item(response["Item"]) if "Item" in response else None

    async def items(self) -> list[dict[str, Any]]:
        """Every item, in the order of its keys."""
        items: list[dict[str, Any]] = []
        async for page in (await self.client()).get_paginator("scan").paginate(TableName=self.name):
            items += map(from_item, page["Items"])
        return sorted(items, key=lambda item: (item["pk"], item["sk"]))

    async def was_emptied(self) -> bool:
        """Delete every item, unless there are so many that a new table is cheaper; return whether it did."""
        client = await self.client()
        found = await client.scan(
            TableName=self.name, ProjectionExpression="pk, sk", Limit=100, ConsistentRead=True
        )
        if "LastEvaluatedKey" in found:
            return False
        requests = ({"DeleteRequest": {"Key": key}} for key in found["Items"])
        while batch := list(islice(requests, 25)):
            response = await client.batch_write_item(RequestItems={self.name: batch})
            assert not response["UnprocessedItems"]
        return True

    async def raw(self, operation: str, **parameters: Any) -> Any:  # noqa: ANN401 (the SDK's response)
        """Any call of the SDK on this table."""
        return await getattr(await self.client(), operation)(TableName=self.name, **parameters)

    @asynccontextmanager
    async def metered(self) -> AsyncIterator[Spent]:
        """Count the capacity that this table's client consumes; complete once the block has ended."""
        client = await self.client()
        spent = Spent()
        in_transactions: list[dict[str, Any]] = []

        def ask(params: dict[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401
            for write in params.get("TransactItems", ()):
                [part] = write.values()
                in_transactions.append(from_item(part.get("Key") or part["Item"]))
            if "ReturnConsumedCapacity" in model.input_shape.members:
                params.setdefault("ReturnConsumedCapacity", "TOTAL")

        def note(parsed: dict[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401
            consumed = parsed.get("ConsumedCapacity", [])
            consumed = [consumed] if isinstance(consumed, dict) else consumed
            units = sum(each["CapacityUnits"] for each in consumed)
            if model.name in {"GetItem", "Query", "BatchGetItem", "Scan"}:
                spent.reads += units
            elif model.name != "TransactWriteItems":
                spent.writes += units
            spent.calls[model.name] = spent.calls.get(model.name, 0) + 1

        client.meta.events.register("provide-client-params.dynamodb", ask)
        client.meta.events.register("after-call.dynamodb", note)
        try:
            yield spent
        finally:
            client.meta.events.unregister("provide-client-params.dynamodb", ask)
            client.meta.events.unregister("after-call.dynamodb", note)
        for written in in_transactions:
            # Deleted items were small.
            item = await self.find(written["pk"], written["sk"]) or {}
            spent.writes += 2 * max(1, math.ceil(item_bytes(item) / KIB))


@asynccontextmanager
async def a_table(url: str, **connection: Any) -> AsyncIterator[Table]:  # noqa: ANN401 (of `Connection`)
    """Create a table on a server and delete it afterwards."""
    async with _client(url, **connection) as client:
        table = await _new_table(client, url)
        yield table
        await table.raw("delete_table")


@asynccontextmanager
async def an_emptied_table(url: str) -> AsyncIterator[Table]:
    """Give an empty table on a server, reused from an earlier test if possible: creating one takes six calls.

    It is for tests that leave no call in progress; such a call would write into the next test's table.
    """
    free = _emptied.setdefault(url, [])
    async with _client(url) as client:
        table = Table(client, free.pop(), url) if free else await _new_table(client, url)
        yield table
        if await table.was_emptied():
            free.append(table.name)
        else:
            await table.raw("delete_table")


@asynccontextmanager
async def a_kept_table(url: str, name: str) -> AsyncIterator[tuple[Table, bool]]:
    """Give the table of this name, and whether it is new; it exists as long as the server."""
    async with _client(url) as client:
        is_new = await create_table(client, name)
        yield Table(client, name, url), is_new


_emptied: dict[str, list[str]] = {}
"""Names of the tables not in use by any test, by server."""


@asynccontextmanager
async def _client(url: str, **connection: Any) -> AsyncIterator[AwsClient[Any]]:  # noqa: ANN401
    patient = {**_PATIENT, **connection}
    client = SESSION.dynamodb(Connection(region=REGION, endpoint_url=url, **patient))
    try:
        yield client
    finally:
        await client.aclose()


async def _new_table(client: AwsClient[Any], url: str) -> Table:
    table = Table(client, f"coachstream-{uuid.uuid4().hex}", url)
    await create_table(client, table.name)
    return table


def _start_dynamodb_local(port: str, log: Path) -> subprocess.Popen[bytes]:
    lib = INSTALLED / "lib"
    with log.open("ab") as output:
        return subprocess.Popen(
            [
                shutil.which("java") or "java",
                "-Xmx512m",
                "-XX:TieredStopAtLevel=1",  # starts in half the time
                f"-Dsqlite4java.library.path={lib}",
                "-classpath",
                f"{lib}/*",
                "software.amazon.dynamodb.services.local.main.ServerRunner",
                "-inMemory",
                "-sharedDb",
                "-disableTelemetry",
                "-port",
                port,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the server responds before the process ends, as it does if the port is in use."""
    gives_up_at = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < gives_up_at:
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
            return True  # an error response still means that it is up
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
