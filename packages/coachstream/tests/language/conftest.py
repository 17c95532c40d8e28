"""A Bedrock server on localhost, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from support.bedrock_server import BedrockServer, bedrock_client, bedrock_server

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient


@pytest.fixture
async def bedrock() -> AsyncIterator[BedrockServer]:
    """The local Bedrock server."""
    async with bedrock_server() as server:
        yield server


@pytest.fixture
async def client(
    bedrock: BedrockServer,
    aws_credentials: None,  # noqa: ARG001
) -> AsyncIterator[AwsClient[BedrockRuntimeClient]]:
    """A client for the local server."""
    async with bedrock_client(bedrock.url) as client:
        yield client


@pytest.fixture
async def sdk_client(
    bedrock: BedrockServer,
    aws_credentials: None,  # noqa: ARG001
) -> AsyncIterator[AwsClient[BedrockRuntimeClient]]:
    """The SDK's client for the local server."""
    async with bedrock_client(bedrock.url, by_sdk=True) as client:
        yield client
