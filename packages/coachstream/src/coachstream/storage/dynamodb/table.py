"""The table (existing system, section 1.1): keys, indexes, expiry, and creation.

The existing one has provisioned capacity; one that we create is billed per request, which needs no tuning.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from coachstream.storage.dynamodb.errors import UnusableTable, storage_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        AttributeDefinitionTypeDef,
        GlobalSecondaryIndexTypeDef,
        KeySchemaElementTypeDef,
        TableDescriptionTypeDef,
    )

    OpenClient = Callable[[], Awaitable[DynamoDBClient]]

KEYS = ("pk", "sk")

INDEXES = {"gsi1": ("gsi1pk", "gsi1sk"), "gsi2": ("gsi2pk", "gsi2sk"), "gsi3": ("entityType", "pk")}
"""Hash and range keys; all project every attribute. Only the existing functions use them, not the store."""

EXPIRY = "ttl"
"""Seconds since the epoch after which DynamoDB may delete an item."""

READY_WITHIN_S = 120.0

_LOOK_AGAIN_AFTER_S = 0.5
_USABLE = frozenset({"ACTIVE", "UPDATING"})


async def create_table(client: OpenClient, name: str) -> bool:
    """Create the table and wait until it is usable; an existing one keeps its keys and indexes.

    Returns:
        Whether this call created the table.

    Raises:
        UnusableTable: a table of this name has other keys, or may not be created.
        StorageUnavailable: as named.
    """
    with storage_errors("CreateTable", name):
        dynamodb = await client()
        is_new = False
        table = await _describe(dynamodb, name)
        if table is None:
            is_new = await _create(dynamodb, name)
        await _wait_until_usable(dynamodb, name)
        await _let_items_expire(dynamodb, name)
    return is_new


async def _describe(dynamodb: DynamoDBClient, name: str) -> TableDescriptionTypeDef | None:
    from botocore.exceptions import ClientError

    try:
        return (await dynamodb.describe_table(TableName=name))["Table"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return None


async def _create(dynamodb: DynamoDBClient, name: str) -> bool:
    from botocore.exceptions import ClientError

    attributes = sorted({*KEYS, *(key for keys in INDEXES.values() for key in keys)})
    try:
        await dynamodb.create_table(
            TableName=name,
            KeySchema=_key_schema(KEYS),
            AttributeDefinitions=cast(
                "list[AttributeDefinitionTypeDef]",
                [{"AttributeName": attribute, "AttributeType": "S"} for attribute in attributes],
            ),
            GlobalSecondaryIndexes=cast(
                "list[GlobalSecondaryIndexTypeDef]",
                [
                    {
                        "IndexName": index,
                        "KeySchema": _key_schema(keys),
                        "Projection": {"ProjectionType": "ALL"},
                    }
                    for index, keys in INDEXES.items()
                ],
            ),
            BillingMode="PAY_PER_REQUEST",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
        return False  # another process is creating it
    return True


def _key_schema(keys: tuple[str, str]) -> list[KeySchemaElementTypeDef]:
    return [
        {"AttributeName": keys[0], "KeyType": "HASH"},
        {"AttributeName": keys[1], "KeyType": "RANGE"},
    ]


async def _wait_until_usable(dynamodb: DynamoDBClient, name: str) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while True:
                table = await _describe(dynamodb, name)
                if table is not None:
                    _check_keys(table, name)
                    if table.get("TableStatus") in _USABLE:
                        return
                await asyncio.sleep(_LOOK_AGAIN_AFTER_S)
    except TimeoutError:
        raise UnusableTable(f"table {name!r} was not ready within {READY_WITHIN_S:.0f} s") from None


def _check_keys(table: TableDescriptionTypeDef, name: str) -> None:
    schema = {key["KeyType"]: key["AttributeName"] for key in table.get("KeySchema", [])}
    types = {each["AttributeName"]: each["AttributeType"] for each in table.get("AttributeDefinitions", [])}
    found = tuple(schema.get(kind, "none") for kind in ("HASH", "RANGE"))
    if found != KEYS or any(types.get(key) != "S" for key in KEYS):
        raise UnusableTable(
            f"table {name!r} exists with the keys {' and '.join(found)}; it must have pk and sk, both strings"
        )


async def _let_items_expire(dynamodb: DynamoDBClient, name: str) -> None:
    """Enable expiry; a table that already has it on another attribute keeps that."""
    from botocore.exceptions import ClientError

    if not await _keeps_items_for_ever(dynamodb, name):
        return
    try:
        await dynamodb.update_time_to_live(
            TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRY}
        )
    except ClientError:
        # DynamoDB rejects the call if another process has just made it.
        if await _keeps_items_for_ever(dynamodb, name):
            raise


async def _keeps_items_for_ever(dynamodb: DynamoDBClient, name: str) -> bool:
    response = await dynamodb.describe_time_to_live(TableName=name)
    return response["TimeToLiveDescription"].get("TimeToLiveStatus") == "DISABLED"
