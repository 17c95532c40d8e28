"""The client of a model's service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient


class Response(Protocol):
    """A response whose body is read in pieces."""

    def close(self) -> None:
        """Close the connection, unless the response was read to its end and the connection can be reused."""
        ...


class Body(Protocol):
    """The body of a response."""

    async def readany(self) -> bytes:
        """Wait for data, and return all that has arrived; nothing at the end."""
        ...


class UndecodedResponse(Response, Body, Protocol):
    """A response that is its own body."""


@runtime_checkable
class ModelRequests(Protocol):
    """A client that leaves the decoding of a stream to its caller."""

    async def converse(self, **request: object) -> dict[str, Any]:
        """Like the SDK's client."""
        ...

    async def open_converse_stream(self, **request: object) -> UndecodedResponse:
        """Like the SDK's client, but returns the response."""
        ...


OpenClient = Callable[[], Awaitable["BedrockRuntimeClient | ModelRequests"]]
"""Returns the open client, for example an `AwsClient`."""
