"""`coachstream table create`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from coachstream.aws.clients import AwsSession, Connection
from coachstream.check.aws import aws_facts, aws_trouble
from coachstream.check.report import Trouble
from coachstream.conversation.errors import StorageUnavailable
from coachstream.extras import missing_aws
from coachstream.settings import SettingsError, read_region, read_table
from coachstream.storage.dynamodb import create_table as create

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

    from coachstream.aws.clients import AwsClient


class TableNotCreated(Exception):
    """Raised when the table was not created; the message has the reason and the remedy."""


async def create_table(environment: Mapping[str, str], *, name: str | None, region: str | None) -> str:
    """Create the table, and return a sentence about the outcome.

    Args:
        environment: has the table and the region if the arguments are None.
        name: the table's name.
        region: the table's region.

    Raises:
        TableNotCreated: the message has the reason and the remedy.
    """
    if (missing := missing_aws("DynamoDB")) is not None:
        raise TableNotCreated(str(missing))
    asked = {"DYNAMODB_TABLE_NAME": name, "AWS_REGION": region}
    merged = {**environment, **{key: value for key, value in asked.items() if value is not None}}
    try:
        name, region = read_table(merged), read_region(merged)
    except SettingsError as error:
        raise TableNotCreated("\n".join(f"{problem}." for problem in error.problems)) from error
    where = await aws_facts("dynamodb", region)
    client = AwsSession().dynamodb(Connection(region=region, attempts=3))
    try:
        await _reach(client, name, where["endpoint"])
        is_new = await create(client, name)
    except Trouble as trouble:
        raise TableNotCreated(f"{trouble} {trouble.remedy}") from trouble
    except StorageUnavailable as error:
        raise TableNotCreated(f"The table was not created: {error}.") from error
    finally:
        await client.aclose()
    place = f"{where['region']} ({where['endpoint']})"
    return f"Table {name} is ready in {place}." if is_new else f"Table {name} already exists in {place}."


async def _reach(client: AwsClient[DynamoDBClient], name: str, endpoint: str) -> None:
    """Raise `Trouble`, which has a remedy, if DynamoDB cannot be used at all."""
    from botocore.exceptions import ClientError

    with suppress(ClientError), aws_trouble("dynamodb:DescribeTable", endpoint):
        await (await client()).describe_table(TableName=name)
