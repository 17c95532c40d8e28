"""`coachstream table create`."""

from __future__ import annotations

from collections.abc import Mapping

from coachstream.packages import missing_aws
from coachstream.settings import SettingsError, read_region, read_table


class TableNotCreated(Exception):
    """The message says why, and what to do."""


async def create_table(environment: Mapping[str, str], *, name: str | None, region: str | None) -> str:
    """Make the table, and say whether it was made now.

    Args:
        environment: names the table and the region where the arguments do not.
        name: of the table.
        region: of the table.

    Raises:
        TableNotCreated: as named.
    """
    if (missing := missing_aws("DynamoDB")) is not None:
        raise TableNotCreated(missing)
    asked = {"DYNAMODB_TABLE_NAME": name, "AWS_REGION": region}
    merged = {**environment, **{key: value for key, value in asked.items() if value is not None}}
    try:
        name, region = read_table(merged), read_region(merged)
    except SettingsError as error:
        raise TableNotCreated("\n".join(f"{problem}." for problem in error.problems)) from error
    from coachstream.aws.clients import AwsSession, Connection
    from coachstream.conversation.errors import StorageUnavailable
    from coachstream.storage.dynamodb import create_table as create

    client = AwsSession().dynamodb(Connection(region=region, attempts=3))
    try:
        is_new = await create(client, name)
        where = (await client()).meta
    except StorageUnavailable as error:
        raise TableNotCreated(f"The table was not created: {error}.") from error
    finally:
        await client.aclose()
    place = f"{where.region_name} ({where.endpoint_url})"
    return f"Table {name} is ready in {place}." if is_new else f"Table {name} was there already in {place}."
