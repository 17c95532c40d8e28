"""Pinecone's SDK, loaded at the first use and kept open until the process ends or the API key changes.

Importing it takes 160 ms and creating a TLS context 25 ms. Both happen in a thread, so that they do not block
running streams. The SDK itself would create one context per host on the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

from coachstream.recall.pinecone.options import PineconeOptions

if TYPE_CHECKING:
    from pinecone import AsyncIndex, AsyncPinecone
    from pinecone.async_client.inference import AsyncInference


class PineconeClient:
    """The SDK's clients for one index and for inference; nothing is loaded or opened before the first use."""

    def __init__(self, options: PineconeOptions) -> None:
        """Store the options."""
        self._options = options
        self._opening = asyncio.Lock()
        self._client: AsyncPinecone | None = None
        self._index: AsyncIndex | None = None
        self._api_key: str | None = None
        self._refused_key: str | None = None
        self._replaced: list[AsyncIndex | AsyncPinecone] = []

    def refuse_key(self) -> None:
        """Record that Pinecone rejected the API key: the next use reads it again."""
        self._refused_key = self._api_key

    async def index(self) -> AsyncIndex:
        """The index client; its calls are not retried."""
        async with self._opening:
            client = await self._loaded()
            if self._index is None:
                index = await client.index(host=self._options.index_url)
                _try_once(index)
                self._index = index
        return self._index

    async def inference(self) -> AsyncInference:
        """The inference client; its calls are not retried."""
        async with self._opening:
            return (await self._loaded()).inference

    async def aclose(self) -> None:
        """Close the connections; safe to call when there are none. Later use opens them again."""
        async with self._opening:
            index, self._index = self._index, None
            client, self._client = self._client, None
            replaced, self._replaced = self._replaced, []
            for each in (index, client, *replaced):
                if each is not None:
                    await each.close()

    async def _loaded(self) -> AsyncPinecone:
        api_key = await self._options.read_api_key(instead_of=self._refused_key)
        if api_key != self._api_key:
            # Calls with the old key may still be in flight, so its clients are closed at the end. Rotations
            # are rare.
            self._replaced += [each for each in (self._index, self._client) if each is not None]
            self._index = self._client = self._refused_key = None
        if self._client is None:
            self._client = await asyncio.to_thread(_load, self._options, api_key)
            self._api_key = api_key
        return self._client


def import_sdk() -> None:
    """Import everything that a call needs; these packages import their submodules lazily."""
    import anyio
    import httpx
    import pinecone

    _ = (pinecone.AsyncIndex, pinecone.AsyncPinecone, pinecone.RetryConfig)
    _ = (httpx.AsyncHTTPTransport, anyio.connect_tcp, anyio.create_memory_object_stream)
    # In an empty context: a thread has a copy of its caller's, in which anyio finds the caller's event loop
    # if sniffio is installed, and refuses to start one.
    contextvars.Context().run(anyio.run, anyio.sleep, 0)


def _load(options: PineconeOptions, api_key: str) -> AsyncPinecone:
    """Create a client that has not connected yet; all imports happen here, not on the event loop."""
    import_sdk()
    import httpx
    from pinecone import AsyncPinecone, RetryConfig

    tls = httpx.create_ssl_context()
    httpx.AsyncHTTPTransport(verify=tls)
    client = AsyncPinecone(
        api_key,
        host=options.api_host,
        timeout=options.timeout_s,
        # Declared as a flag, but passed unchanged to httpx, which also accepts a context.
        ssl_verify=tls,  # type: ignore[arg-type]
        retry_config=RetryConfig(max_retries=0),
    )
    _ = client.inference
    return client


def _try_once(index: AsyncIndex) -> None:
    """Switch off the SDK's three retries: the caller's time limit leaves no room for them.

    They cannot be configured for an index: `retry_config` "does not reach data-plane REST" (`AsyncPinecone`).
    The index's HTTP client is created from its configuration at the first call, so it is changed before that.
    """
    from pinecone import RetryConfig

    object.__setattr__(index._config, "retry_config", RetryConfig(max_retries=0))  # noqa: SLF001
