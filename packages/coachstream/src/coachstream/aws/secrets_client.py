"""The part of the SDK's client of Secrets Manager that is used. Its own types are a package of their own."""

from __future__ import annotations

from typing import Protocol, TypedDict


class SecretValue(TypedDict, total=False):
    """The answer of GetSecretValue (API reference), as far as it is read; binary secrets have no string."""

    SecretString: str


class SecretsManagerClient(Protocol):
    """The SDK's client."""

    async def get_secret_value(self, *, SecretId: str) -> SecretValue:  # noqa: N803 (the API's name)
        """Raises `ClientError`."""
