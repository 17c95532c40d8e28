"""`PineconeRecall`: semantic search over the user's own records and the shared methodology.

The two namespaces are searched concurrently, each with the text itself: the index computes the embedding.
Both belong to one index, so their scores are comparable, and the results are merged by score.

A reranker, if configured, reads the best of both in one call. (Reranking within each search would save the
round trip. But it needs two model calls, and a failing model fails its search; so it is called afterwards,
and if it fails or is late, the search order is used.) Its scores have a different scale, around 0.005, so
there is no score threshold: only the limit applies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain

import msgspec

from coachstream.conversation.errors import StorageUnavailable
from coachstream.conversation.model import ConversationKey, Match, Memory
from coachstream.conversation.prompt.user import ConversationSummary
from coachstream.conversation.text import encodable
from coachstream.recall.pinecone.client import PineconeClient
from coachstream.recall.pinecone.errors import failure_of, is_missing_namespace, is_refused_key
from coachstream.recall.pinecone.options import PineconeOptions
from coachstream.recall.pinecone.records import (
    FIELDS,
    OWN_RECORDS,
    WRITTEN_RECORDS,
    match_of,
    own_namespace,
    record_of,
    summaries_of,
    summary_record,
)
from coachstream.recall.records import METHODOLOGY

logger = logging.getLogger("coachstream.recall")

REMEMBER_WITHIN_S = 3.0
"""The time limit for indexing a record: a turn may wait for it, and the store has its content in any case."""

FORGET_WITHIN_S = 3.0
"""The time limit for removing records: the client waits for it."""

MAX_QUERY_CHARS = 8_000
"""The index's embedding model reads 2048 tokens and ignores the rest of a longer message."""

MAX_RERANK_QUERY_CHARS = 1_000
"""A reranker reads 256 tokens of the query (bge-reranker-v2-m3), or 512 of query and passage together."""

MAX_RERANK_PASSAGE_CHARS = 4_000
"""A reranker reads at most 1024 tokens of a passage."""


class PineconeRecall:
    """A `SemanticMemory` in Pinecone; nothing is loaded or opened before the first use."""

    def __init__(self, options: PineconeOptions) -> None:
        """Store the options; open nothing yet."""
        self._options = options
        self._client = PineconeClient(options)

    async def search(self, user_id: str, text: str, *, limit: int) -> Sequence[Match]:
        """The best `limit` matches, best first, within `timeout_s`.

        The failure of one namespace is logged, and its results are left out. A user whose id cannot name a
        namespace has no records.

        Raises:
            StorageUnavailable: no namespace could be searched.
        """
        query = encodable(text).strip()[:MAX_QUERY_CHARS]
        if not query or limit <= 0:
            return ()
        gives_up_at = asyncio.get_running_loop().time() + self._options.timeout_s
        namespaces = [name for name in (own_namespace(user_id), METHODOLOGY) if name is not None]
        ends = await asyncio.gather(
            *(self._find(name, query, limit, gives_up_at) for name in namespaces), return_exceptions=True
        )
        found = _merged(chain.from_iterable(_successes(ends)))[: self._candidates(limit)]
        if self._options.rerank_model is not None and len(found) > 1:
            found = await self._reranked(found, query, limit, gives_up_at, self._options.rerank_model)
        return found[:limit]

    async def remember(self, user_id: str, memory: Memory) -> None:
        """Store a memory in the user's namespace, where it can be found some seconds later.

        Raises:
            StorageUnavailable: it could not be stored, or the user's id cannot name a namespace.
        """
        await self._store(user_id, record_of(user_id, memory))

    async def remember_summary(self, key: ConversationKey, summary: ConversationSummary) -> None:
        """Store the summary of a conversation in the user's namespace, in place of its earlier one.

        Raises:
            StorageUnavailable: it could not be stored, or the user's id cannot name a namespace.
        """
        await self._store(key.user_id, summary_record(key, summary))

    async def _store(self, user_id: str, record: dict[str, object]) -> None:
        namespace = own_namespace(user_id)
        if namespace is None:
            raise StorageUnavailable("a user id like this cannot name a namespace")
        async with self._calling(asyncio.get_running_loop().time() + REMEMBER_WITHIN_S):
            index = await self._client.index()
            await index.upsert_records(records=[record], namespace=namespace, timeout=REMEMBER_WITHIN_S)

    async def forget_conversation(self, user_id: str, conversation_id: str) -> None:
        """Remove the summaries of a conversation, whichever generation stored them.

        Raises:
            StorageUnavailable: they could not be removed.
        """
        await self._delete(user_id, summaries_of(conversation_id))

    async def forget_user(self, user_id: str) -> None:
        """Remove a user's memories and summaries of conversations, whichever generation stored them.

        Raises:
            StorageUnavailable: they could not be removed.
        """
        await self._delete(user_id, WRITTEN_RECORDS)

    async def _delete(self, user_id: str, which: Mapping[str, object]) -> None:
        namespace = own_namespace(user_id)
        if namespace is None:
            return
        async with self._calling(asyncio.get_running_loop().time() + FORGET_WITHIN_S):
            index = await self._client.index()
            try:
                await index.delete(filter=which, namespace=namespace, timeout=FORGET_WITHIN_S)
            except Exception as error:
                if not is_missing_namespace(error):
                    raise

    async def aclose(self) -> None:
        """Close the connections; later use opens them again."""
        await self._client.aclose()

    @asynccontextmanager
    async def _calling(self, gives_up_at: float) -> AsyncIterator[None]:
        """Limit the time of a call to Pinecone, and map its exceptions.

        Raises:
            StorageUnavailable: the call failed, or did not end by `gives_up_at` on the loop's clock.
        """
        try:
            async with asyncio.timeout_at(gives_up_at):
                yield
        except StorageUnavailable:
            raise
        except Exception as error:
            if is_refused_key(error):
                self._client.refuse_key()
            raise failure_of(error) from error

    def _candidates(self, limit: int) -> int:
        """How many records to fetch: more than the limit, because some are duplicates."""
        return 2 * limit if self._options.rerank_model is None else self._options.rerank_candidates

    async def _find(self, namespace: str, query: str, limit: int, gives_up_at: float) -> list[Match]:
        async with self._calling(gives_up_at):
            index = await self._client.index()
            response = await index.search(
                namespace=namespace,
                top_k=self._candidates(limit),
                inputs={"text": query},
                # Inside the query, where the API expects it. (The JavaScript SDK drops it elsewhere.)
                filter=None if namespace == METHODOLOGY else OWN_RECORDS,
                fields=FIELDS,
            )
        hits = (match_of(hit.id, hit.score, hit.fields, namespace=namespace) for hit in response.result.hits)
        return [match for match in hits if match is not None]

    async def _reranked(
        self, found: list[Match], query: str, limit: int, gives_up_at: float, model: str
    ) -> list[Match]:
        """The best `limit` matches by the model's scores; all matches in search order if the model fails."""
        try:
            scores = await self._scores(found, query, min(limit, len(found)), gives_up_at, model)
        except StorageUnavailable as error:
            logger.warning("Reranking failed, so the search order is kept: %s", error)
            return found
        return _merged([msgspec.structs.replace(found[index], score=scores[index]) for index in scores])

    async def _scores(
        self, found: list[Match], query: str, top_n: int, gives_up_at: float, model: str
    ) -> dict[int, float]:
        """The model's scores for the best `top_n`, by their indexes in `found`."""
        async with self._calling(gives_up_at):
            inference = await self._client.inference()
            response = await inference.rerank(
                model=model,
                query=query[:MAX_RERANK_QUERY_CHARS],
                documents=[{"text": match.content[:MAX_RERANK_PASSAGE_CHARS]} for match in found],
                rank_fields=["text"],
                return_documents=False,
                top_n=top_n,
                parameters={"truncate": "END"},
            )
        scores = {ranked.index: ranked.score for ranked in response.data}
        if not scores or not scores.keys() <= set(range(len(found))):
            raise StorageUnavailable("Pinecone: the ranking does not match the passages that were sent")
        return scores


def _successes(ends: Iterable[list[Match] | BaseException]) -> Iterable[list[Match]]:
    """The results of the searches that succeeded.

    Raises:
        StorageUnavailable: all searches failed.
    """
    found: list[list[Match]] = []
    failures: list[StorageUnavailable] = []
    for end in ends:
        if isinstance(end, StorageUnavailable):
            failures.append(end)
        elif isinstance(end, BaseException):
            raise end
        else:
            found.append(end)
    if failures:
        causes = "; ".join(dict.fromkeys(map(str, failures)))
        if not found:
            raise StorageUnavailable(causes) from failures[0]
        logger.warning("One of two searches failed and is left out: %s", causes)
    return found


def _merged(matches: Iterable[Match]) -> list[Match]:
    """Best first and deduplicated: the existing functions stored some records repeatedly, under new ids."""
    merged: dict[tuple[str, str], Match] = {}
    for match in sorted(matches, key=lambda match: -match.score):
        merged.setdefault((match.record_type, match.content), match)
    return list(merged.values())
