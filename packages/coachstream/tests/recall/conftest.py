"""Pinecone's test server, for the tests of its adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from coachstream.recall.pinecone import PineconeOptions, PineconeRecall
from support.pinecone_server import API_KEY, PineconeServer, pinecone_server


@pytest.fixture
async def server() -> AsyncIterator[PineconeServer]:
    """A server that holds nothing yet, and that must have no reason to refuse anything."""
    async with pinecone_server() as server:
        yield server
        assert server.refused == []


@pytest.fixture
def options(server: PineconeServer) -> PineconeOptions:
    """Time enough for a busy machine; no reranking."""
    return PineconeOptions(
        api_key=API_KEY, index_host=server.url, api_host=server.url, timeout_s=20, rerank_model=None
    )


@pytest.fixture
async def recall(options: PineconeOptions) -> AsyncIterator[PineconeRecall]:
    """The adapter."""
    recall = PineconeRecall(options)
    yield recall
    await recall.aclose()
