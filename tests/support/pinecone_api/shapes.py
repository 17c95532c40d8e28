"""The project's requests to Pinecone's REST API, and the responses, as documented by Pinecone.

Written down from Pinecone's published OpenAPI descriptions of the API version 2026-04 (repository
pinecone-io/pinecone-api): `db_data_2026-04.oas.yaml`, components SearchRecordsRequest, SearchRecordsResponse,
Hit, SearchUsage, UpsertRecord; `inference_2026-04.oas.yaml`, components RerankRequest, RerankResult,
RankedDocument, ErrorResponse. The SDK asks for the version 2026-07, which has no published description; the
pages of its API reference ("Search with text", "Upsert text") show the same paths, headers and bodies.

Stricter than those in one respect: an undocumented member is refused, because a server that ignores it (as it
ignored a `filter` next to the `query`) hides an error.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

API_VERSION = "2026-07"

JsonObject = dict[str, Any]

Int32 = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request body, or a part of one."""


class EmbedInputs(_Request, frozen=True):
    """The text that the index embeds; the guide "Semantic search" uses `text` only."""

    text: Annotated[str, Meta(min_length=1)]


class SearchQuery(_Request, frozen=True):
    """SearchRecordsRequest.query, for an index with integrated embedding."""

    top_k: Int32
    inputs: EmbedInputs
    filter: JsonObject | None = None


class SearchRerank(_Request, frozen=True):
    """SearchRecordsRequest.rerank."""

    model: str
    rank_fields: list[str]
    top_n: Int32 | None = None
    parameters: JsonObject | None = None
    query: str | None = None


class SearchRecordsRequest(_Request, frozen=True):
    """POST /records/namespaces/{namespace}/search."""

    query: SearchQuery
    fields: Annotated[list[str], Meta(max_length=100)] | None = None
    rerank: SearchRerank | None = None


class DeleteRequest(_Request, frozen=True):
    """POST /vectors/delete, by a filter."""

    namespace: str
    filter: JsonObject


class RerankRequest(_Request, frozen=True):
    """POST /rerank."""

    model: str
    query: str
    documents: list[JsonObject]
    top_n: Int32 | None = None
    return_documents: bool = True
    rank_fields: tuple[str, ...] = ("text",)
    parameters: JsonObject | None = None


class Hit(msgspec.Struct, frozen=True):
    """One matching record."""

    id: str = msgspec.field(name="_id")
    score: float = msgspec.field(name="_score")
    fields: JsonObject


class SearchResult(msgspec.Struct, frozen=True):
    """SearchRecordsResponse.result."""

    hits: list[Hit]


class SearchUsage(msgspec.Struct, frozen=True):
    """The billed usage of a search."""

    read_units: int
    embed_total_tokens: int


class SearchRecordsResponse(msgspec.Struct, frozen=True):
    """The response to a search."""

    result: SearchResult
    usage: SearchUsage


class RankedDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document's index in the request, and its score from 0 to 1."""

    index: int
    score: float
    document: JsonObject | None = None


class RerankUsage(msgspec.Struct, frozen=True):
    """The billed usage of a reranking."""

    rerank_units: int


class RerankResult(msgspec.Struct, frozen=True):
    """The response to a reranking, best first."""

    model: str
    data: list[RankedDocument]
    usage: RerankUsage


class ErrorDetail(msgspec.Struct, frozen=True):
    """ErrorResponse.error."""

    code: str
    message: str


class ErrorResponse(msgspec.Struct, frozen=True):
    """The response to a refused request."""

    error: ErrorDetail
    status: int
