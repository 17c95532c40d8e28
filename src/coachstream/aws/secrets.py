"""Secrets in AWS Secrets Manager, each read once a process, when it is first needed.

A secret is read in the region that its ARN names, wherever everything else is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypedDict

from coachstream.aws.clients import AwsClient, AwsSession, Connection

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

ATTEMPTS = 3
ANSWERS_IN_S = 3.0
"""It answers within some 10 ms; who waits that long is better off with another attempt."""

CONNECTIONS = 2


class SecretUnavailable(Exception):
    """A secret cannot be read; the message says why, and holds nothing of it.

    Attributes:
        code: the service's name for its refusal; None where there was no answer.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        """Say why."""
        super().__init__(message)
        self.code = code


class SecretValue(TypedDict, total=False):
    """The answer of GetSecretValue (API reference), as far as it is read; binary secrets have no string."""

    SecretString: str


class SecretsManagerClient(Protocol):
    """The part of the SDK's client that is used. Its own types are a package that nothing else needs."""

    async def get_secret_value(self, *, SecretId: str) -> SecretValue:  # noqa: N803 (the API's name)
        """Raises `ClientError`."""


class Secrets:
    """The secrets of one process."""

    def __init__(self, session: AwsSession) -> None:
        """Remember the session; nothing is opened yet."""
        self._session = session
        self._clients: dict[str, AwsClient[SecretsManagerClient]] = {}
        self._readings: dict[str, asyncio.Task[str]] = {}

    async def read(self, arn: str) -> str:
        """The secret's string; whoever asks while it is read waits for the same answer.

        Raises:
            SecretUnavailable: it cannot be read, or is binary. The next call tries again.
        """
        reading = self._readings.get(arn)
        if reading is None:
            reading = self._readings[arn] = asyncio.create_task(self._read(arn), name="read a secret")
            reading.add_done_callback(lambda done: self._forget_failure(arn, done))
        # Whoever is cancelled leaves the reading to those who still wait, and to those who come later.
        return await asyncio.shield(reading)

    async def aclose(self) -> None:
        """Close the connections; what was read stays known."""
        for reading in self._readings.values():
            reading.cancel()
        await asyncio.gather(*self._readings.values(), return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()

    def _forget_failure(self, arn: str, done: asyncio.Task[str]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._readings.pop(arn, None)

    async def _read(self, arn: str) -> str:
        name = arn.rpartition(":secret:")[2]
        try:
            client = await self._client(_region_of(arn))()
            answer = await client.get_secret_value(SecretId=arn)
        except Exception as error:
            raise _failure_of(name, error) from error
        value = answer.get("SecretString", "").strip()
        if not value:
            raise SecretUnavailable(f"the secret {name} is empty or binary")
        return value

    def _client(self, region: str) -> AwsClient[SecretsManagerClient]:
        if region not in self._clients:
            self._clients[region] = self._session.secrets_manager(
                Connection(
                    region=region, attempts=ATTEMPTS, read_timeout_s=ANSWERS_IN_S, connections=CONNECTIONS
                )
            )
        return self._clients[region]


def _region_of(arn: str) -> str:
    """`arn:<partition>:secretsmanager:<region>:<account>:secret:<name>` (IAM user guide, "ARNs")."""
    return arn.split(":")[3]


def _failure_of(name: str, error: Exception) -> SecretUnavailable:
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        code = _code_of(error)
        return SecretUnavailable(f"the secret {name} cannot be read ({code})", code=code)
    return SecretUnavailable(f"the secret {name} cannot be read ({type(error).__qualname__})")


def _code_of(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "no code")
