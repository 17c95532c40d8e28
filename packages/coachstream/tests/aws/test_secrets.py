"""Secrets in AWS Secrets Manager: read once per process for all callers, in the region of their ARN."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import botocore.session
import pytest

from coachstream.aws.clients import AwsSession
from coachstream.aws.secrets import ATTEMPTS, Secrets, SecretUnavailable
from coachstream.freshness import REFRESH_AFTER_S, REREAD_AT_MOST_EVERY_S, USABLE_FOR_S, AgeClock
from support.faulty_proxy import AWS_THROTTLED, Fault, FaultyProxy, proxied

pytestmark = pytest.mark.usefixtures("aws_credentials")
REGION = "ap-south-1"
VALUE = "open-sesame-" * 4

Put = Callable[[dict[str, object]], str]
Rotate = Callable[[str, str], None]


@pytest.fixture
def put(moto_url: str) -> Put:
    """Create a secret in moto and return its ARN."""

    def put(content: dict[str, object]) -> str:
        client: Any = botocore.session.Session().create_client(
            "secretsmanager",
            region_name=REGION,
            endpoint_url=moto_url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        arn: str = client.create_secret(Name=f"coach/{uuid.uuid4().hex}", **content)["ARN"]
        client.close()
        return arn

    return put


@pytest.fixture
async def service(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultyProxy]:
    """The service at the URL in the SDK's own variable."""
    async with proxied(int(moto_url.rpartition(":")[2]), throttled=AWS_THROTTLED) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", proxy.url)
        yield proxy


class Watch:
    """The clock that ages secrets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = AgeClock(monotonic=lambda: self.now, wall=lambda: 0.0)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def secrets(service: FaultyProxy, watch: Watch) -> AsyncIterator[Secrets]:  # noqa: ARG001 (must be there first)
    async with aclosing(Secrets(AwsSession(), clock=watch.clock)) as secrets:
        yield secrets


@pytest.fixture
def rotate(moto_url: str) -> Rotate:
    """Give a secret in moto another value."""

    def rotate(arn: str, value: str) -> None:
        client: Any = botocore.session.Session().create_client(
            "secretsmanager",
            region_name=REGION,
            endpoint_url=moto_url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.put_secret_value(SecretId=arn, SecretString=value)
        client.close()

    return rotate


class Requests:
    """Counts the requests that pass through a proxy."""

    def __init__(self, proxy: FaultyProxy) -> None:
        self.regions: list[str] = []
        proxy.fault = Fault.REFUSED
        proxy.applies_to = self._look

    def _look(self, _: str, headers: Any, __: bytes) -> bool:  # noqa: ANN401
        self.regions.append(headers["authorization"].split("/")[2])
        return False


async def test_a_secret_is_read_once_for_all_who_ask(
    secrets: Secrets, service: FaultyProxy, put: Put
) -> None:
    """Ten concurrent callers and a later one share one read, in the region that the ARN names."""
    arn = await asyncio.to_thread(put, {"SecretString": VALUE})
    requests = Requests(service)
    assert set(await asyncio.gather(*(secrets.read(arn) for _ in range(10)))) == {VALUE}
    assert await secrets.read(arn) == VALUE
    assert requests.regions == [REGION]


async def test_two_secrets_are_two(secrets: Secrets, put: Put) -> None:
    """Each has its own value; a trailing line break, which editors add, is stripped."""
    first = await asyncio.to_thread(put, {"SecretString": VALUE})
    second = await asyncio.to_thread(put, {"SecretString": "other\n"})
    assert await secrets.read(first) == VALUE
    assert await secrets.read(second) == "other"


@pytest.mark.parametrize("content", [{"SecretBinary": b"\x00\x01"}, {"SecretString": " \n"}, {}])
async def test_what_is_no_text_is_no_secret(secrets: Secrets, put: Put, content: dict[str, object]) -> None:
    """Binary, blank, or still without a value."""
    arn = await asyncio.to_thread(put, content)
    with pytest.raises(SecretUnavailable, match="the secret coach/"):
        await secrets.read(arn)


async def test_a_secret_that_is_not_there_says_so(secrets: Secrets) -> None:
    """The error has the service's error code, but not its message."""
    arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:nothing-a1B2c3"
    with pytest.raises(
        SecretUnavailable, match=r"nothing-a1B2c3 cannot be read \(ResourceNotFound"
    ) as refused:
        await secrets.read(arn)
    assert refused.value.code == "ResourceNotFoundException"


async def test_a_failure_is_not_remembered(secrets: Secrets, service: FaultyProxy, put: Put) -> None:
    """The service is called a few times, and again for the next caller."""
    arn = await asyncio.to_thread(put, {"SecretString": VALUE})
    service.fault = Fault.ERROR
    ends = await asyncio.gather(*(secrets.read(arn) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(end, SecretUnavailable) for end in ends)
    assert service.met == ATTEMPTS
    service.fault = None
    assert await secrets.read(arn) == VALUE


async def test_a_rotated_secret_is_noticed_by_a_warm_environment(
    secrets: Secrets, put: Put, rotate: Rotate, watch: Watch
) -> None:
    """Within the refresh interval, without blocking: the cached value is used until the new one arrives."""
    arn = await asyncio.to_thread(put, {"SecretString": VALUE})
    assert await secrets.read(arn) == VALUE
    await asyncio.to_thread(rotate, arn, "rotated")
    watch.now += REFRESH_AFTER_S - 1
    assert await secrets.read(arn) == VALUE
    watch.now += 1
    assert await secrets.read(arn) == VALUE
    (reading,) = (task for task in asyncio.all_tasks() if task.get_name() == "read a secret")
    await reading
    assert await secrets.read(arn) == "rotated"


async def test_a_rejected_value_is_read_again_at_once_but_rate_limited(
    secrets: Secrets, service: FaultyProxy, put: Put, rotate: Rotate, watch: Watch
) -> None:
    """The first failure detects a rotation; a flood of forgeries costs one request every ten seconds."""
    arn = await asyncio.to_thread(put, {"SecretString": VALUE})
    requests = Requests(service)
    assert await secrets.read(arn) == VALUE
    await asyncio.to_thread(rotate, arn, "rotated")
    watch.now += REREAD_AT_MOST_EVERY_S
    assert await secrets.read(arn, instead_of="what nobody has") == VALUE
    assert await secrets.read(arn, instead_of=VALUE) == "rotated"
    for _ in range(20):
        assert await secrets.read(arn, instead_of="rotated") == "rotated"
    assert len(requests.regions) == 2


async def test_a_known_secret_is_not_used_for_ever_when_the_service_is_away(
    secrets: Secrets, service: FaultyProxy, put: Put, watch: Watch
) -> None:
    """It is used for a day; then reads fail closed until the service responds again."""
    arn = await asyncio.to_thread(put, {"SecretString": VALUE})
    assert await secrets.read(arn) == VALUE
    service.fault = Fault.ERROR
    watch.now += USABLE_FOR_S - 1
    assert await secrets.read(arn, instead_of=VALUE) == VALUE
    watch.now += 1
    with pytest.raises(SecretUnavailable):
        await secrets.read(arn)
    service.fault = None
    assert await secrets.read(arn) == VALUE


async def test_a_cancelled_caller_does_not_cancel_the_shared_read(
    secrets: Secrets, service: FaultyProxy, put: Put
) -> None:
    """Current and later callers still get the value."""
    arn = await asyncio.to_thread(put, {"SecretString": VALUE})
    requests = Requests(service)
    leaving = asyncio.create_task(secrets.read(arn))
    staying = asyncio.create_task(secrets.read(arn))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await staying == VALUE
    assert requests.regions == [REGION]


async def test_closing_leaves_nothing_running(service: FaultyProxy, put: Put) -> None:
    """Even while the service is silent; cached values stay available."""
    arn = await asyncio.to_thread(put, {"SecretString": VALUE})
    before = asyncio.all_tasks()
    secrets = Secrets(AwsSession())
    assert await secrets.read(arn) == VALUE
    silent = await asyncio.to_thread(put, {"SecretString": VALUE})
    has_asked = asyncio.Event()

    def note(*_: object) -> bool:
        has_asked.set()
        return True

    service.fault = Fault.SLOW
    service.applies_to = note
    reading = asyncio.create_task(secrets.read(silent))
    await has_asked.wait()
    await secrets.aclose()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await secrets.read(arn) == VALUE
    service_tasks = {task for task in asyncio.all_tasks() if "read a secret" in task.get_name()}
    assert not service_tasks - before


def test_importing_secrets_imports_no_sdk() -> None:
    """The SDK is loaded when the first secret is read."""
    check = (
        "import sys, coachstream.aws.secrets; print('aiobotocore' in sys.modules, 'botocore' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["False", "False"]
