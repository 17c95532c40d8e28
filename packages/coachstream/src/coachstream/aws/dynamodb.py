"""The requests that a turn makes to DynamoDB (API reference, "DynamoDB low-level API": JSON 1.0 over HTTP).

The methods have the names, parameters, results and exceptions of the SDK's client, with one difference:
binary values are base64 text, as they are transmitted.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from botocore.exceptions import ChecksumError

from coachstream.aws.signed_calls import SignedCalls, decoded, encoded, metadata, refusal

_TYPE = "application/x-amz-json-1.0"
_API = "DynamoDB_20120810"
_FAILURE_FROM = 300


class DynamoDbRequests:
    """The part of the SDK's client that is needed, without the SDK's client."""

    def __init__(self, calls: SignedCalls) -> None:
        self._calls = calls

    async def get_item(self, **parameters: object) -> dict[str, Any]:
        """See the API reference, as for all methods."""
        return await self._call("GetItem", parameters)

    async def query(self, **parameters: object) -> dict[str, Any]:
        """Query."""
        return await self._call("Query", parameters)

    async def put_item(self, **parameters: object) -> dict[str, Any]:
        """PutItem."""
        return await self._call("PutItem", parameters)

    async def update_item(self, **parameters: object) -> dict[str, Any]:
        """UpdateItem."""
        return await self._call("UpdateItem", parameters)

    async def delete_item(self, **parameters: object) -> dict[str, Any]:
        """DeleteItem."""
        return await self._call("DeleteItem", parameters)

    async def transact_write_items(self, **parameters: object) -> dict[str, Any]:
        """TransactWriteItems."""
        return await self._call("TransactWriteItems", parameters)

    async def batch_write_item(self, **parameters: object) -> dict[str, Any]:
        """BatchWriteItem."""
        return await self._call("BatchWriteItem", parameters)

    async def _call(self, operation: str, parameters: dict[str, object]) -> dict[str, Any]:
        headers = {"Content-Type": _TYPE, "X-Amz-Target": f"{_API}.{operation}"}
        response = await self._calls.post("/", headers, encoded(parameters))
        body = await response.read()
        _check(body, response.headers.get("x-amz-crc32"))
        if response.status >= _FAILURE_FROM:
            raise refusal(operation, response, body)
        return {**decoded(operation, body), "ResponseMetadata": metadata(response)}


def _check(body: bytes, expected: str | None) -> None:
    """Compare a body with its checksum, which DynamoDB sends with every response.

    Raises:
        ChecksumError: they differ.
    """
    if expected is not None and expected != str(crc32(body)):
        raise ChecksumError(
            checksum_type="crc32", expected_checksum=expected, actual_checksum=str(crc32(body))
        )
