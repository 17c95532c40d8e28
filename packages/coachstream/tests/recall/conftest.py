"""Pinecone's test server, for the tests of the Pinecone adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from coachstream.recall.pinecone import PineconeOptions, PineconeRecall
from support.pinecone_server import API_KEY, PineconeServer, pinecone_server


@pytest.fixture
async def server() -> AsyncIterator[PineconeServer]:
    """An empty server, which must not have refused any request in the end."""
    async with pinecone_server() as server:
        yield server
        assert server.refused == []


@pytest.fixture
def options(server: PineconeServer) -> PineconeOptions:
    """Options with a timeout long enough for a busy machine, and no reranking."""
    return PineconeOptions(
        api_key=API_KEY, index_host=server.url, api_host=server.url, timeout_s=20, rerank_model=None
    )


@pytest.fixture
async def recall(options: PineconeOptions) -> AsyncIterator[PineconeRecall]:
    """The Pinecone adapter."""
    recall = PineconeRecall(options)
    yield recall
    await recall.aclose()
