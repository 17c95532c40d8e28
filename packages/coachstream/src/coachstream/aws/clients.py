"""AWS clients, opened at their first use and kept for as long as the process.

Importing the SDK, reading its service models and looking for credentials takes 0.3 to 0.5 s of computing and
reading files. Nearly all of it happens in threads, so that a stream that has begun goes on meanwhile; only a
credentials file, which no Lambda function has, is read on the event loop.

The calls that every turn makes need only a small part of the SDK in a plain environment, such as Lambda's
(`plain_environment`): `signed_calls` makes them. Everything else is left to the SDK's clients.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import msgspec

from coachstream.aws.plain_environment import Endpoint, Keys, plain_endpoint, plain_keys

if TYPE_CHECKING:
    from aiobotocore.session import AioSession
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_lambda.client import LambdaClient

    from coachstream.aws.bedrock_control import BedrockControlClient
    from coachstream.aws.bedrock_runtime import BedrockRequests
    from coachstream.aws.dynamodb import DynamoDbRequests
    from coachstream.aws.secrets_client import SecretsManagerClient
    from coachstream.aws.signed_calls import CurrentKeys, SignedCalls

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
        by_sdk: whether the SDK's client makes even those calls that need none.
    """

    region: str | None = None
    endpoint_url: str | None = None
    attempts: int = 1
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 10.0
    connections: int = 50
    validates: bool = True
    by_sdk: bool = False


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


def prepare_calls(services: Collection[str], *, region: str | None = None) -> bool:
    """Import what calls of these services need, ahead of the first one.

    What it keeps may be in a snapshot: no credentials, and no connections.

    Returns:
        Whether they need nothing else; otherwise they need a session (`prepare_session`).
    """
    endpoints = [plain_endpoint(service, os.environ, region=region, url=None) for service in services]
    if not all(service in _WITHOUT_SDK for service in services) or None in endpoints:
        return False
    from coachstream.aws import bedrock_runtime, dynamodb  # noqa: F401 (only imported)
    from coachstream.aws.tls import make_tls_context

    with suppress(OSError):  # a file that cannot be read: the first call reports it
        for endpoint in endpoints:
            if endpoint is not None and endpoint.url.startswith("https:"):
                make_tls_context(endpoint.ca_bundle)
    return plain_keys(os.environ) is not None


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

    def dynamodb_requests(self, connection: Connection) -> AwsClient[DynamoDBClient | DynamoDbRequests]:
        """Like `dynamodb`, for the requests of a turn only: without the SDK's client if it is not needed."""
        return AwsClient(self, "dynamodb", connection, without_sdk=_dynamodb_requests)

    def bedrock_requests(self, connection: Connection) -> AwsClient[BedrockRuntimeClient | BedrockRequests]:
        """Like `bedrock_runtime`, for the requests of a turn only; see `dynamodb_requests`."""
        return AwsClient(self, "bedrock-runtime", connection, without_sdk=_bedrock_requests)

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

    async def plain_endpoint(self, service: str, connection: Connection) -> Endpoint | None:
        """The endpoint of a service that can be called without the SDK's client."""
        if connection.by_sdk or connection.attempts != 1 or self._profile is not None:
            return None
        return await asyncio.to_thread(
            plain_endpoint, service, os.environ, region=connection.region, url=connection.endpoint_url
        )

    async def keys(self) -> CurrentKeys:
        """What gives the credentials of each request: the environment, or whatever the SDK finds."""
        known = plain_keys(os.environ)
        if known is not None:
            return partial(_same, known)
        credentials = await (await self.load()).get_credentials()

        async def refreshed() -> Keys:
            from botocore.exceptions import NoCredentialsError

            now = None if credentials is None else await credentials.get_frozen_credentials()
            if now is None or now.access_key is None or now.secret_key is None:
                raise NoCredentialsError
            return Keys(now.access_key, now.secret_key, now.token)

        return refreshed


class AwsClient(Generic[C]):
    """One service's client: `await client()` opens it at the first call and gives the same one afterwards."""

    def __init__(
        self,
        session: AwsSession,
        service: str,
        connection: Connection,
        *,
        without_sdk: Callable[[SignedCalls], C] | None = None,
    ) -> None:
        self._session = session
        self._service = service
        self._connection = connection
        self._without_sdk = without_sdk
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
        if self._without_sdk is not None:
            endpoint = await self._session.plain_endpoint(self._service, self._connection)
            if endpoint is not None:
                return await self._open_without_sdk(endpoint, self._without_sdk)
        return await self._open_by_sdk()

    async def _open_without_sdk(self, endpoint: Endpoint, requests: Callable[[SignedCalls], C]) -> C:
        keys = await self._session.keys()

        def connect() -> tuple[SignedCalls, C]:
            calls = _signed_calls(self._service, endpoint, self._connection, keys)
            return calls, requests(calls)

        # In a thread, because it imports what is needed.
        calls, client = await asyncio.to_thread(connect)
        self._opened.push_async_callback(calls.aclose)
        return client

    async def _open_by_sdk(self) -> C:
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


_WITHOUT_SDK = {"bedrock-runtime": "bedrock", "dynamodb": "dynamodb"}
"""Services that can be called without the SDK's client, with their names in signatures."""


def _signed_calls(service: str, endpoint: Endpoint, how: Connection, keys: CurrentKeys) -> SignedCalls:
    from coachstream.aws.http_client import HttpClient
    from coachstream.aws.signed_calls import SignedCalls
    from coachstream.aws.tls import tls_context

    client = HttpClient(
        endpoint.url,
        partial(tls_context, endpoint.ca_bundle),
        connections=how.connections,
        connect_timeout_s=how.connect_timeout_s,
        read_timeout_s=how.read_timeout_s,
    )
    return SignedCalls(endpoint, _WITHOUT_SDK[service], keys, client)


def _dynamodb_requests(calls: SignedCalls) -> DynamoDbRequests:
    from coachstream.aws.dynamodb import DynamoDbRequests

    return DynamoDbRequests(calls)


def _bedrock_requests(calls: SignedCalls) -> BedrockRequests:
    from coachstream.aws.bedrock_runtime import BedrockRequests

    return BedrockRequests(calls)


async def _same(keys: Keys) -> Keys:
    return keys


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
