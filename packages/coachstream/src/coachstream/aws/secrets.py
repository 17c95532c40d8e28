"""Secrets in AWS Secrets Manager, each read when it is first needed, and again as `freshness` schedules it.

A secret is read in the region that its ARN names, wherever everything else is. No call waits for a value that
is read again because of its age: the known one serves meanwhile, and for a while if it cannot be read.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import msgspec

from coachstream.aws.clients import AwsClient, AwsSession, Connection
from coachstream.aws.credential_faults import CredentialFault, credential_fault
from coachstream.aws.secrets_client import SecretsManagerClient
from coachstream.freshness import (
    REFRESH_AFTER_S,
    REREAD_AT_MOST_EVERY_S,
    USABLE_FOR_S,
    AgeClock,
    Instant,
)

logger = logging.getLogger("coachstream.aws")

ATTEMPTS = 3
ANSWERS_IN_S = 3.0
"""It answers within some 10 ms; who waits that long is better off with another attempt."""

CONNECTIONS = 2


class SecretUnavailable(Exception):
    """A secret cannot be read; the message says why, and holds nothing of it.

    Attributes:
        code: the service's name for its refusal; None where there was no answer.
        credentials: what is wrong with the credentials; None where they are not to blame.
    """

    def __init__(
        self, message: str, *, code: str | None = None, credentials: CredentialFault | None = None
    ) -> None:
        """Say why."""
        super().__init__(message)
        self.code = code
        self.credentials = credentials

    @property
    def remedy(self) -> str:
        """What an operator can do; empty where nothing is known."""
        return "" if self.credentials is None else self.credentials.remedy


class _Known(msgspec.Struct, frozen=True):
    """A value, and when it was read."""

    value: str
    read_at: Instant


class Secrets:
    """The secrets of one process."""

    def __init__(self, session: AwsSession, *, clock: AgeClock | None = None) -> None:
        """Remember the session; nothing is opened yet.

        Args:
            session: what clients are made with.
            clock: says how old a value is; the machine's by default.
        """
        self._session = session
        self._clock = clock or AgeClock()
        self._clients: dict[str, AwsClient[SecretsManagerClient]] = {}
        self._known: dict[str, _Known] = {}
        self._tried_at: dict[str, Instant] = {}
        self._readings: dict[str, asyncio.Task[str]] = {}

    async def read(self, arn: str, *, instead_of: str | None = None) -> str:
        """The secret's string; callers that ask during the first read share its response.

        Args:
            arn: whole.
            instead_of: a value that did not work. If it is the known one, the secret is read again first,
                though at most every `REREAD_AT_MOST_EVERY_S`.

        Raises:
            SecretUnavailable: it cannot be read, or is binary, and no value is known, or only one that is too
                old. The next call tries again.
        """
        known = self._known.get(arn)
        if known is None or (age := self._clock.seconds_since(known.read_at)) >= USABLE_FOR_S:
            # A cancelled caller leaves the reading to the callers that still wait, and to later ones.
            return await asyncio.shield(self._begin_reading(arn))
        if not self._may_read_again(arn):
            return known.value
        if known.value == instead_of:
            with suppress(SecretUnavailable):
                return await asyncio.shield(self._begin_reading(arn))
        elif age >= REFRESH_AFTER_S:
            self._begin_reading(arn)
        return known.value

    async def aclose(self) -> None:
        """Close the connections; what was read stays known."""
        readings = list(self._readings.values())
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()

    def _may_read_again(self, arn: str) -> bool:
        tried_at = self._tried_at.get(arn)
        return tried_at is None or self._clock.seconds_since(tried_at) >= REREAD_AT_MOST_EVERY_S

    def _begin_reading(self, arn: str) -> asyncio.Task[str]:
        reading = self._readings.get(arn)
        if reading is None:
            reading = self._readings[arn] = asyncio.create_task(self._read(arn), name="read a secret")
            reading.add_done_callback(lambda done: self._end_reading(arn, done))
        return reading

    def _end_reading(self, arn: str, done: asyncio.Task[str]) -> None:
        self._readings.pop(arn, None)
        self._tried_at[arn] = self._clock.now()
        if done.cancelled():
            return
        failure = done.exception()
        if failure is None:
            self._known[arn] = _Known(done.result(), self._clock.now())
        elif arn in self._known:
            logger.warning("The known value is used on: %s", failure)

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

    code = error.response.get("Error", {}).get("Code", "no code") if isinstance(error, ClientError) else None
    return SecretUnavailable(
        f"the secret {name} cannot be read ({code or type(error).__qualname__})",
        code=code,
        credentials=credential_fault(error),
    )
