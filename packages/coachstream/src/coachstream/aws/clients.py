"""AWS clients, opened at their first use and kept for as long as the process.

Importing the SDK, reading its service models and looking for credentials takes 0.3 to 0.5 s of computing and
reading files. Nearly all of it happens in threads, so that a stream that has begun goes on meanwhile; only a
credentials file, which no Lambda function has, is read on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import msgspec

if TYPE_CHECKING:
    from aiobotocore.session import AioSession
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_lambda.client import LambdaClient

    from coachstream.aws.bedrock_control import BedrockControlClient
    from coachstream.aws.secrets_client import SecretsManagerClient

C = TypeVar("C")


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How one service is called.

    Attributes:
        region: AWS region; by default what the SDK finds (AWS_REGION, the shared configuration).
        endpoint_url: instead of the service's own; by default what the SDK finds (AWS_ENDPOINT_URL_<SERVICE>,
            AWS_ENDPOINT_URL).
        attempts: of each call, the first one included. The SDK waits between them, out of sight of whoever
            keeps a deadline.
        connect_timeout_s: until a connection stands.
        read_timeout_s: between two pieces of an answer.
        connections: at once.
        validates: whether the SDK checks parameters before it sends them, as the service does anyway.
    """

    region: str | None = None
    endpoint_url: str | None = None
    attempts: int = 1
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 10.0
    connections: int = 50
    validates: bool = True


_prepared: AioSession | None = None
"""Waits for the first `AwsSession` of the process; holds service models, and no credentials yet."""


def prepare_session(services: Collection[str] = ()) -> None:
    """Import the SDK and read the models of these services, ahead of the first call.

    What it keeps may be in a snapshot: credentials are looked for when a client is made, connections are made
    by its first call.
    """
    global _prepared  # noqa: PLW0603 (of the process)
    session = _prepared or _new_session()
    for service in services:
        session.warm_up_loader_caches(service)  # type: ignore[attr-defined]  # not in its stubs
    _prepared = session


class AwsSession:
    """The SDK's session of one process: its credentials and service models; loaded at the first use."""

    def __init__(self, profile: str | None = None) -> None:
        """Remember the profile; by default the one that the process's environment names."""
        self._profile = profile
        self._session: AioSession | None = None
        self._lock = asyncio.Lock()

    def dynamodb(self, connection: Connection) -> AwsClient[DynamoDBClient]:
        """A client of DynamoDB; not opened yet."""
        return AwsClient(self, "dynamodb", connection)

    def bedrock_runtime(self, connection: Connection) -> AwsClient[BedrockRuntimeClient]:
        """A client of Bedrock's models; not opened yet."""
        return AwsClient(self, "bedrock-runtime", connection)

    def bedrock(self, connection: Connection) -> AwsClient[BedrockControlClient]:
        """A client of Bedrock's control plane; not opened yet."""
        return AwsClient(self, "bedrock", connection)

    def functions(self, connection: Connection) -> AwsClient[LambdaClient]:
        """A client of AWS Lambda; not opened yet."""
        return AwsClient(self, "lambda", connection)

    def secrets_manager(self, connection: Connection) -> AwsClient[SecretsManagerClient]:
        """A client of AWS Secrets Manager; not opened yet."""
        return AwsClient(self, "secretsmanager", connection)

    async def load(self) -> AioSession:
        """The SDK's session; its import and the shared configuration (~/.aws) are read in a thread."""
        async with self._lock:
            session = self._session or (_take_prepared() if self._profile is None else None)
            if session is None:
                session = await asyncio.to_thread(_new_session, self._profile)
            self._session = session
        return session


class AwsClient(Generic[C]):
    """One service's client: `await client()` opens it at the first call and gives the same one afterwards."""

    def __init__(self, session: AwsSession, service: str, connection: Connection) -> None:
        self._session = session
        self._service = service
        self._connection = connection
        self._opening: asyncio.Lock = asyncio.Lock()
        self._client: C | None = None
        self._opened = AsyncExitStack()

    async def __call__(self) -> C:
        """The open client.

        Raises:
            botocore.exceptions.BotoCoreError: it cannot be made, for want of a region for example.
        """
        async with self._opening:
            if self._client is None:
                self._client = await self._open()
        return self._client

    async def aclose(self) -> None:
        """Close the connections; harmless when there are none. Later use opens them again."""
        async with self._opening:
            self._client = None
            await self._opened.aclose()

    async def _open(self) -> C:
        session = await self._session.load()
        from aiobotocore import __version__
        from aiobotocore.config import AioConfig

        from coachstream.aws.http_session import SharedTlsSession

        how = self._connection
        config = AioConfig(
            connect_timeout=how.connect_timeout_s,
            read_timeout=how.read_timeout_s,
            max_pool_connections=how.connections,
            retries={"mode": "standard", "total_max_attempts": how.attempts},
            tcp_keepalive=True,
            http_session_cls=SharedTlsSession,
            parameter_validation=how.validates,
            user_agent=f"coachstream aiobotocore/{__version__}",  # the SDK would assemble one for each call
            warm_up_loader_caches=True,  # reads the service's model in a thread
        )
        opening = session.create_client(
            self._service,  # type: ignore[call-overload]
            region_name=how.region,
            endpoint_url=how.endpoint_url,
            config=config,
        )
        return cast("C", await self._opened.enter_async_context(opening))


def _take_prepared() -> AioSession | None:
    """Another event loop gets a session of its own: credentials are refreshed on one loop only."""
    global _prepared
    session, _prepared = _prepared, None
    return session


def _new_session(profile: str | None = None) -> AioSession:
    from aiobotocore.session import get_session

    session = get_session()
    if profile is not None:
        session.set_config_variable("profile", profile)
    session.full_config  # noqa: B018 (reads the files)
    return session
