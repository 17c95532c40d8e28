"""The options of the search in Pinecone."""

from __future__ import annotations

import re
from typing import Any, Protocol

import msgspec
from msgspec import structs

from coachstream.conversation.errors import StorageUnavailable
from coachstream.endpoint import checked_endpoint

_VISIBLE = re.compile(r"[!-~]+")


class ReadApiKey(Protocol):
    """Reads the API key from where it is stored."""

    async def __call__(self, *, instead_of: str | None = None) -> str:
        """Return the key; called for each search, so implementations cache it.

        Args:
            instead_of: a key that Pinecone rejected, which may have been rotated.

        Raises:
            StorageUnavailable: the key cannot be read.
        """


class PineconeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of an index. Its `repr` redacts the key.

    Attributes:
        api_key: the project's API key, or a function that reads it.
        index_host: the index's host, as the console shows it; or a URL, which may be plain http on loopback.
        timeout_s: the time limit of a search: both namespaces, reranking, and loading the SDK the first time.
        rerank_model: the model that reranks the results, for example `pinecone-rerank-v0` or
            `bge-reranker-v2-m3`; `None` keeps the search order.
        rerank_candidates: the maximum number of passages to rerank; Pinecone's models accept 100.
        api_host: the host for reranking; by default PINECONE_CONTROLLER_HOST, or Pinecone's own.

    Raises:
        ValueError: key or host is missing or invalid. The message never includes the key.
    """

    api_key: str | ReadApiKey
    index_host: str
    timeout_s: float
    rerank_model: str | None = None
    rerank_candidates: int = 30
    api_host: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.api_key, str):
            _check_key(self.api_key)
        for host in filter(None, (self.index_host or " ", self.api_host)):
            _check(host)

    async def read_api_key(self, *, instead_of: str | None = None) -> str:
        """The API key; `instead_of` is one that Pinecone rejected.

        Raises:
            StorageUnavailable: the key cannot be read, or is invalid.
        """
        if isinstance(self.api_key, str):
            return self.api_key
        key = await self.api_key(instead_of=instead_of)
        try:
            _check_key(key)
        except ValueError as error:
            raise StorageUnavailable(f"Pinecone: {error}") from error
        return key

    @property
    def index_url(self) -> str:
        """The index's host with its scheme."""
        return self.index_host if "://" in self.index_host else f"https://{self.index_host}"

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        fields = structs.asdict(self) | {"api_key": "***"}
        return list(fields.items())


def _check_key(key: str) -> None:
    if not _VISIBLE.fullmatch(key):
        raise ValueError("the API key is empty, or holds blanks or characters that no key has")


def _check(host: str) -> None:
    try:
        url = checked_endpoint(host if "://" in host else f"https://{host}")
    except ValueError as error:
        raise ValueError(f"{host.strip()!r} is not the host of an index: {error}") from None
    if url.path.strip("/"):
        raise ValueError(f"{host!r} is not the host of an index: it has a path")
    if "." not in url.netloc and url.hostname != "localhost":
        raise ValueError(f"{host!r} is not the host of an index: it has no dot")
