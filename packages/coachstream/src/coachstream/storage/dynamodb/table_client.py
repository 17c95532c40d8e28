"""A client for one DynamoDB table: the calls that the store makes, with retries and mapped failures."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from coachstream.conversation.errors import StorageUnavailable
from coachstream.storage.dynamodb.attribute_values import Item, from_item
from coachstream.storage.dynamodb.errors import (
    Cancelled,
    Contended,
    NotSent,
    OutcomeUnknown,
    storage_errors,
)
from coachstream.storage.dynamodb.keys import ItemKey, end_of
from coachstream.storage.dynamodb.requests import (
    Delete,
    Put,
    Update,
    Write,
    key_of,
    parameters_of,
    placeholders,
    transaction_item,
)

OpenClient = Callable[[], Awaitable[object]]
"""Returns the SDK's client, or one that has those of its methods that are called here, opened at the first
call (`coachstream.aws.clients.AwsClient`)."""

StoredItem = dict[str, object]

ATTEMPTS = 7
"""The maximum number of attempts at a write under contention, or at a partially executed batch."""

FIRST_PAUSE_S = 0.02
"""Exponential backoff with jitter, so that conflicting writers do not collide again; under 3 s in all."""

ATTEMPTS_OUTCOME_UNKNOWN = 3
"""The maximum number of attempts at a call whose response was lost, or when DynamoDB is busy."""

CONNECTED_WITHIN_S = 10.0
"""How long a call is retried while no connection can be made: enough for a process that starts many calls
concurrently, or whose network is still coming up. A caller's deadline may end it earlier."""

BATCH = 25
"""Writes in one BatchWriteItem."""

MAX_SORT_KEY_BYTES = 1024
"""DynamoDB's limit (Developer Guide, "Constraints in Amazon DynamoDB", seen 2026-11-28)."""

PROOF_OF_ORIGIN = "x-amzn-requestid"
"""DynamoDB's responses have this header. A response without it comes from an intermediary, and the SDK would
treat its unknown content as an empty response: as a missing item, for example."""


class Step(StrEnum):
    """The writes of our transactions, by their subject."""

    CONVERSATION = "conversation"
    COACH = "coach"
    MESSAGE = "message"
    CLAIM = "claim"
    REPLY_INDEX = "reply index"
    REPLACED = "replaced"
    UNFINISHED_RUN = "unfinished run"
    ENTRY = "entry"
    QUOTA = "quota"
    SUMMARY = "summary"


class TransactionCancelled(Exception):
    """Nothing of a transaction was written.

    Attributes:
        failed: the steps whose conditions did not hold.
        refused: the steps that do not fit the stored item, for example because a path is missing.
        existing: the existing items, for failed steps that requested them.
    """

    def __init__(self, failed: frozenset[str], refused: frozenset[str], existing: Mapping[str, Item]) -> None:
        super().__init__(f"failed: {sorted(failed)}, refused: {sorted(refused)}")
        self.failed = failed
        self.refused = refused
        self.existing = existing


class Range(msgspec.Struct, frozen=True):
    """Items of one partition with sort keys from `first` to `last`, in ascending or descending order."""

    pk: str
    first: str
    last: str
    newest_first: bool = False

    @classmethod
    def of(cls, pk: str, prefix: str, *, newest_first: bool = False) -> Range:
        """The items whose sort key begins with a prefix, which must end with the separator."""
        return cls(pk, prefix, end_of(prefix), newest_first)

    @classmethod
    def whole(cls, pk: str) -> Range:
        """All items of the partition: from the least possible sort key, which has a byte, to the greatest."""
        return cls(pk, "\0", chr(sys.maxunicode) * (MAX_SORT_KEY_BYTES // 4))


class TableClient:
    """A DynamoDB client limited to one table and to the store's operations."""

    def __init__(self, client: OpenClient, table: str) -> None:
        self._client = client
        self._table = table

    async def get(
        self, key: ItemKey, *, only: str | None = None, consistent: bool = True
    ) -> StoredItem | None:
        """One item, or only the attributes that an expression names."""
        response = await self._call(
            "get_item", Key=key_of(key), ConsistentRead=consistent, **_projection(only, {})
        )
        return from_item(response["Item"]) if "Item" in response else None

    async def query(
        self,
        items: Range,
        *,
        only: str | None = None,
        where: str | None = None,
        values: Mapping[str, object] | None = None,
        consistent: bool = False,
    ) -> AsyncIterator[StoredItem]:
        """All items of a range, page by page.

        Args:
            items: the range.
            only: a projection of the attributes to return; it does not reduce read capacity.
            where: a filter; it does not reduce read capacity.
            values: the filter's values.
            consistent: whether the read is strongly consistent, which costs twice as much.
        """
        start: object = None
        while True:
            page, start = await self._page(items, only, where, values or {}, consistent, start, None)
            for item in page:
                yield item
            if start is None:
                return

    async def query_page(
        self, items: Range, *, limit: int, start: object = None
    ) -> tuple[list[StoredItem], object]:
        """At most `limit` items of a range, strongly consistent, and the start of the next page.

        Fewer items do not mean the end, because a page ends at 1 MB; a start of `None` does.
        """
        return await self._page(items, None, None, {}, True, start, limit)

    async def put(self, put: Put) -> None:
        """Write a whole item. Raises `ConditionFailed`."""
        await self._uncontended(lambda: self._call("put_item", **parameters_of(put)))

    async def update(self, update: Update) -> StoredItem:
        """Change an item and return it whole. Raises `ConditionFailed`."""
        response = await self._uncontended(
            lambda: self._call("update_item", ReturnValues="ALL_NEW", **parameters_of(update))
        )
        return from_item(response["Attributes"])

    async def change(self, update: Update, *, is_repeatable: bool = True) -> None:
        """Change an item; a change that is not repeatable is not retried after a lost response.

        Raises:
            ConditionFailed: as named.
        """
        await self._uncontended(
            lambda: self._call("update_item", is_repeatable=is_repeatable, **parameters_of(update))
        )

    async def delete(self, delete: Delete) -> None:
        """Delete an item. Raises `ConditionFailed`."""
        await self._uncontended(lambda: self._call("delete_item", **parameters_of(delete)))

    async def transact(self, writes: Mapping[str, Write]) -> None:
        """Do all writes or none; each has a name, by which its failure is reported.

        Raises:
            TransactionCancelled: a condition did not hold, or a write does not fit what is stored.
            StorageUnavailable: as named; unless it is `Contended`, the writes may have been executed.
        """
        items = [transaction_item(write, self._table) for write in writes.values()]
        codes: Sequence[str] = ()
        existing: Sequence[Item | None] = ()
        for attempt in range(ATTEMPTS):
            cancelled = await self._try_transaction(items)
            if cancelled is None:
                return
            codes, existing = cancelled.codes, cancelled.existing
            if "TransactionConflict" not in codes:
                break
            await _pause(attempt)
        by_step = dict(zip(writes, codes, strict=False))
        failed = frozenset(step for step, code in by_step.items() if code == "ConditionalCheckFailed")
        refused = frozenset(step for step, code in by_step.items() if code == "ValidationError")
        if failed or refused:
            found = zip(writes, existing, strict=False)
            raise TransactionCancelled(
                failed, refused, {step: item for step, item in found if item is not None}
            )
        detail = f"a transaction on table {self._table!r} was cancelled: {', '.join(sorted(set(codes)))}"
        raise Contended(detail) if "TransactionConflict" in codes else StorageUnavailable(detail)

    async def delete_all(self, keys: AsyncIterator[ItemKey]) -> None:
        """Delete items in batches; missing ones are ignored."""
        batch: list[ItemKey] = []
        async for key in keys:
            batch.append(key)
            if len(batch) == BATCH:
                await self._delete_batch(batch)
                batch = []
        if batch:
            await self._delete_batch(batch)

    async def _try_transaction(self, items: Sequence[object]) -> Cancelled | None:
        """Try a transaction once; return None on success, else the reasons for its cancellation."""
        try:
            # The idempotency token makes all attempts at one call one transaction.
            await self._call(
                "transact_write_items",
                on_table=False,
                TransactItems=items,
                ClientRequestToken=secrets.token_hex(16),
            )
        except Cancelled as cancelled:
            return cancelled
        return None

    async def _delete_batch(self, keys: Sequence[ItemKey]) -> None:
        left: Mapping[str, object] = {self._table: [{"DeleteRequest": {"Key": key_of(key)}} for key in keys]}
        for attempt in range(ATTEMPTS):
            response = await self._call("batch_write_item", on_table=False, RequestItems=left)
            left = response.get("UnprocessedItems", {})
            if not left:
                return
            await _pause(attempt)
        raise StorageUnavailable(f"BatchWriteItem on table {self._table!r} is throttled")

    async def _page(
        self,
        items: Range,
        only: str | None,
        where: str | None,
        values: Mapping[str, object],
        consistent: bool,
        start: object,
        limit: int | None,
    ) -> tuple[list[StoredItem], object]:
        condition = "#pk = :pk AND #sk BETWEEN :first AND :last"
        parameters: dict[str, Any] = {
            "KeyConditionExpression": condition,
            "ConsistentRead": consistent,
            "ScanIndexForward": not items.newest_first,
        }
        if where is not None:
            parameters["FilterExpression"] = where
        if only is not None:
            parameters["ProjectionExpression"] = only
        if start is not None:
            parameters["ExclusiveStartKey"] = start
        if limit is not None:
            parameters["Limit"] = limit
        span = {":pk": items.pk, ":first": items.first, ":last": items.last}
        parameters |= placeholders(condition, where, only, values={**span, **values})
        response = await self._call("query", **parameters)
        return [from_item(item) for item in response.get("Items", [])], response.get("LastEvaluatedKey")

    async def _uncontended(self, call: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 (the SDK's response)
        """Make a write, and retry it with backoff when it conflicts with a transaction."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return await call()
            except Contended:
                await _pause(attempt)
        return await call()

    async def _call(
        self,
        operation: str,
        *,
        on_table: bool = True,
        is_repeatable: bool = True,
        **parameters: Any,  # noqa: ANN401 (the SDK's)
    ) -> Any:  # noqa: ANN401
        """Make one call, retried with exponential backoff where that is safe and useful.

        Reads, whole-item puts and conditional writes are idempotent, and a transaction has a token. The SDK's
        own retries are switched off, because their waits are not observable.
        """
        began = time.monotonic()
        for attempt in itertools.count():
            try:
                return await self._try(operation, on_table=on_table, **parameters)
            except NotSent:
                if time.monotonic() - began > CONNECTED_WITHIN_S or attempt + 1 >= ATTEMPTS:
                    raise
            except OutcomeUnknown:
                if not is_repeatable or attempt + 1 >= ATTEMPTS_OUTCOME_UNKNOWN:
                    raise
            await _pause(attempt)
        raise AssertionError("unreachable")

    async def _try(self, operation: str, *, on_table: bool, **parameters: Any) -> Any:  # noqa: ANN401
        """Make one attempt; the SDK's data formats stay inside this module."""
        name = "".join(word.title() for word in operation.split("_"))
        if on_table:
            parameters["TableName"] = self._table
        with storage_errors(name, self._table):
            response = await getattr(await self._client(), operation)(**parameters)
        if PROOF_OF_ORIGIN not in response["ResponseMetadata"]["HTTPHeaders"]:
            raise StorageUnavailable(f"{name} on table {self._table!r}: the response is not from DynamoDB")
        return response


def _projection(only: str | None, values: Mapping[str, object]) -> dict[str, Any]:
    if only is None:
        return {}
    return {"ProjectionExpression": only, **placeholders(only, values=values)}


async def _pause(attempt: int) -> None:
    await asyncio.sleep(FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
