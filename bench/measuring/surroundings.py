"""What all measured functions share: the servers, the table, the user pool and the emulator."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from lambda_streaming.emulator import ExecutionEnvironments
from measuring.model import MODEL_ID, serving_model
from measuring.user_pool import REGION, UserPool
from support.dynamodb import Table, a_table, dynamodb_local

WITHIN_S = 120.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}


class PackageUnusable(Exception):
    """There is no package to run; the message says why."""


class Command(msgspec.Struct, frozen=True):
    """How to start an execution environment."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path


class Surroundings(msgspec.Struct, frozen=True):
    """What all functions use.

    Attributes:
        folder: a temporary folder of the run.
        table: the one table.
        user_pool: the users.
        urls: the endpoints of `dynamodb`, `bedrock-runtime` and `cognito-idp`.
        packaged_keys: the file with the user pool's keys.
        package: the unzipped package of our function; None runs it from the checkout.
    """

    folder: Path
    table: Table
    user_pool: UserPool
    urls: Mapping[str, str]
    packaged_keys: Path
    package: Path | None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every function gets."""
        return {
            **CREDENTIALS,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_DYNAMODB": self.urls["dynamodb"],
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.urls["bedrock-runtime"],
            "DYNAMODB_TABLE_NAME": self.table.name,
            "BEDROCK_MODEL_ID": MODEL_ID,
            "PYTHONPATH": "",
        }


@asynccontextmanager
async def set_up(package: Path | None, *, pool_s: float) -> AsyncIterator[Surroundings]:
    """Start the servers and create the table, which is empty.

    Args:
        package: the unzipped package of our function; None runs it from the checkout.
        pool_s: the user pool's response time, in seconds.
    """
    pool = UserPool()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keys = folder / "jwks.json"
        keys.write_bytes(pool.packaged_keys)
        dynamodb = stack.enter_context(dynamodb_local(folder / "dynamodb-local.log"))
        table = await stack.enter_async_context(a_table(dynamodb))
        urls = {
            "dynamodb": dynamodb,
            "bedrock-runtime": stack.enter_context(serving_model()),
            "cognito-idp": await stack.enter_async_context(pool.serving(pool_s)),
        }
        yield Surroundings(folder, table, pool, urls, keys, package)


@asynccontextmanager
async def environments_of(command: Command) -> AsyncIterator[ExecutionEnvironments]:
    """The execution environments of a function: one at a time, frozen between its turns."""
    async with ExecutionEnvironments(
        command.arguments,
        env=command.environment,
        cwd=command.cwd,
        timeout_s=WITHIN_S,
        init_timeout_s=WITHIN_S,
        max_concurrency=1,
        settling_s=WITHIN_S,
        memory_size_mb=2048,
        grace_s=1.0,
    ) as pool:
        yield pool


def build_package(folder: Path) -> Path:
    """Build our package for this machine, and return the folder with its content.

    Raises:
        PackageUnusable: it could not be built.
    """
    task = folder / "task"
    command = (sys.executable, "-m", "coachstream.cli", "package", "--here")
    built = subprocess.run(  # noqa: S603 (our own program)
        [*command, "--output", str(folder / "coachstream.zip"), "--unpacked", str(task)],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise PackageUnusable(f"The package could not be built:\n{built.stderr}")
    return task


def existing_package(folder: Path) -> Path:
    """The absolute path of an unzipped package.

    Raises:
        PackageUnusable: there is none.
    """
    if not (folder / "lambda_streaming" / "exec-wrapper").exists():
        raise PackageUnusable(
            f"{folder} holds no package: run `coachstream package --here --unpacked {folder}`."
        )
    return folder.absolute()
