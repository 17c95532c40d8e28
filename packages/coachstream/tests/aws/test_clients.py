"""AWS clients: opened once, on first use, and without blocking the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from coachstream.aws.clients import AwsSession, Connection
from support.faulty_proxy import Fault, proxied
from support.patience import PATIENCE_S

pytestmark = pytest.mark.usefixtures("aws_credentials")
#: A region in which no other test creates a table.
QUIET_REGION = "ap-south-1"


async def test_a_client_is_opened_once_for_all_who_ask(moto_url: str) -> None:
    """Ten concurrent callers get the same client."""
    client = AwsSession().dynamodb(Connection(region=QUIET_REGION, endpoint_url=moto_url))
    opened = await asyncio.gather(*(client() for _ in range(10)))
    assert all(one is opened[0] for one in opened)
    assert (await opened[0].list_tables())["TableNames"] == []
    await client.aclose()


async def test_a_closed_client_opens_again(moto_url: str) -> None:
    """Closing twice, or before the first use, does no harm."""
    client = AwsSession().dynamodb(Connection(region=QUIET_REGION, endpoint_url=moto_url))
    await client.aclose()
    first = await client()
    await client.aclose()
    await client.aclose()
    second = await client()
    assert second is not first
    assert (await second.list_tables())["TableNames"] == []
    await client.aclose()


async def test_the_environment_names_the_endpoint(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`AWS_ENDPOINT_URL_<SERVICE>`, as for every AWS tool."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", moto_url)
    client = AwsSession().dynamodb(Connection(region=QUIET_REGION))
    assert (await (await client()).list_tables())["TableNames"] == []
    await client.aclose()


async def test_what_a_client_loads_is_loaded_outside_of_the_loops_thread() -> None:
    """Streams continue while the SDK is imported and reads its service models."""
    script = """
import asyncio, sys, threading
from coachstream.aws.clients import AwsSession, Connection

loaded = set()

def note(event, arguments):
    if event == "import" and arguments[0].startswith("botocore."):
        loaded.add(("import", threading.current_thread() is threading.main_thread()))
    elif event == "open" and "service-2.json" in str(arguments[0]):
        loaded.add(("open", threading.current_thread() is threading.main_thread()))

async def main():
    client = AwsSession().dynamodb(Connection(region="us-west-2"))
    sys.addaudithook(note)
    await client()
    await client.aclose()

asyncio.run(main())
print(sorted(loaded))
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    printed, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert printed.decode().strip() == "[('import', False), ('open', False)]"


@pytest.mark.parametrize(
    ("fault", "raised"),
    [(Fault.SLOW, ReadTimeoutError), (Fault.ERROR, ClientError), (Fault.THROTTLED, ClientError)],
)
async def test_a_call_is_attempted_exactly_as_often_as_configured(
    moto_url: str, fault: Fault, raised: type[Exception]
) -> None:
    """There are no hidden retries that a caller with a deadline cannot see."""
    async with proxied(int(moto_url.rpartition(":")[2])) as proxy:
        proxy.fault = fault
        for attempts in (1, 2):
            client = AwsSession().dynamodb(
                Connection(
                    region="us-west-2",
                    endpoint_url=proxy.url,
                    attempts=attempts,
                    read_timeout_s=0.1 if fault is Fault.SLOW else PATIENCE_S,
                )
            )
            before = proxy.met
            with pytest.raises(raised):
                await (await client()).list_tables()
            assert proxy.met - before == attempts
            await client.aclose()


async def test_an_unreachable_service_is_an_error_at_once() -> None:
    """Within the connection's own timeout."""
    client = AwsSession().functions(Connection(region="us-west-2", endpoint_url="http://127.0.0.1:1"))
    with pytest.raises((EndpointConnectionError, ConnectTimeoutError)):
        await (await client()).list_functions()
    await client.aclose()


def test_importing_the_clients_imports_no_sdk() -> None:
    """Importing it takes 0.3 s, spent when the first client is opened."""
    check = (
        "import sys, coachstream.aws.clients; print('aiobotocore' in sys.modules, 'botocore' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["False", "False"]
