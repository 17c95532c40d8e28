"""AWS services for functions that run in their own processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.aws_stack import AwsStack, aws_stack
from support.patience import PATIENT


@pytest.fixture
async def services(
    dynamodb_local_url: str,
    moto_url: str,
    aws_credentials: None,  # noqa: ARG001 (sets the credentials for all processes)
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[AwsStack]:
    """DynamoDB, Bedrock, Cognito and Pinecone on this machine; child processes inherit their addresses."""
    async with aws_stack(dynamodb_local_url, moto_url) as running:
        for name, value in {**running.environment, **PATIENT}.items():
            monkeypatch.setenv(name, value)
        yield running
