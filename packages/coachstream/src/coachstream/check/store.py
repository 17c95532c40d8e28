"""The store: can it be read and written?"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from coachstream.check.aws import aws_facts, aws_trouble, code_of, unexpected
from coachstream.check.report import Check, Trouble
from coachstream.extras import missing_aws
from coachstream.services import Services
from coachstream.settings import DynamoDbSettings, SqliteStoreSettings
from coachstream.sqlite_file import error_name

_KEY = {"pk": {"S": "user#coachstream-check"}, "sk": {"S": "check"}}
"""The key of an item that never exists: user ids have 21 characters."""


async def store_check(services: Services) -> Check:
    """Return the configuration and its checks."""
    match services.settings.store:
        case SqliteStoreSettings() as file:
            return Check(
                part="store",
                choice=file.kind,
                facts={"file": str(file.path)},
                connect=lambda: database_opens(file.path),
                look=lambda: database_opens(file.path),
            )
        case DynamoDbSettings() as table:
            return await _dynamodb_check(services, table)


async def database_opens(path: Path) -> str:
    """Open a database read-only. Raises `Trouble`."""
    return await asyncio.to_thread(_open, path)


def _open(path: Path) -> str:
    if not path.exists():
        existing = next(folder for folder in (path.parent, *path.parent.parents) if folder.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise Trouble(f"{path} cannot be created.", "Set another folder with COACHSTREAM_DATA_DIR.")
        return "It will be created at the first use."
    if not os.access(path, os.R_OK | os.W_OK):
        raise Trouble(f"{path} cannot be read and written.", "Check the file's owner and permissions.")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (tables,) = connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
            ).fetchone()
    except sqlite3.Error as error:
        raise Trouble(
            f"{path} is not a database ({error_name(error)}).", "Move it away; a new one is created."
        ) from error
    return f"It can be opened, and has {tables} tables."


async def _dynamodb_check(services: Services, settings: DynamoDbSettings) -> Check:
    where = await aws_facts("dynamodb", services.settings.region)
    return Check(
        part="store",
        choice=settings.kind,
        facts={
            "table": settings.table,
            "mirror": "on" if settings.mirror_messages else "off",
            **where,
        },
        connect=lambda: _use_table(services, settings.table, where),
    )


async def _use_table(services: Services, table: str, where: dict[str, str]) -> str:
    """Make the requests of a turn, with a key and a condition that match no item."""
    if (missing := missing_aws("DynamoDB")) is not None:
        raise Trouble(missing.problem, missing.remedy)
    from botocore.exceptions import ClientError

    endpoint = where.get("endpoint", "DynamoDB")
    action = "dynamodb:GetItem"
    try:
        with aws_trouble(action, endpoint):
            client = await services.dynamodb()
            await client.get_item(TableName=table, Key=_KEY)
        action = "dynamodb:Query"
        with aws_trouble(action, endpoint):
            await client.query(
                TableName=table,
                KeyConditionExpression="pk = :pk AND sk = :sk",
                ExpressionAttributeValues={":pk": _KEY["pk"], ":sk": _KEY["sk"]},
                Limit=1,
            )
        action = "dynamodb:UpdateItem"
        with aws_trouble(action, endpoint):
            await client.update_item(
                TableName=table,
                Key=_KEY,
                UpdateExpression="SET seen = :yes",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={":yes": {"BOOL": True}},
            )
    except ClientError as error:
        match code_of(error):
            case "ConditionalCheckFailedException":
                return "The table can be read and written (checked with a condition that always fails)."
            case "ResourceNotFoundException":
                region = where.get("region", "")
                raise Trouble(
                    f"There is no table {table} in {region}.",
                    f"`coachstream table create --table {table} --region {region}` creates it. Or is it in "
                    "another region or account?",
                ) from None
            case "ValidationException":
                raise Trouble(
                    f"The table {table} does not have the keys pk and sk.", "Set the coaches' table."
                ) from None
            case _:
                raise unexpected(error, action) from None
    raise Trouble("A write succeeded although its condition failed.", "The endpoint is not DynamoDB.")
