"""The table is created once, with the existing system's layout, and an existing table is never changed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from coachstream.aws.clients import AwsClient, AwsSession, Connection
from coachstream.storage.dynamodb import DynamoDbStore, UnusableTable, create_table
from support.dynamodb import REGION


@pytest.fixture(params=["moto_url", "dynamodb_local_url"])
async def client(request: pytest.FixtureRequest, aws_credentials: None) -> AsyncIterator[AwsClient[Any]]:  # noqa: ARG001
    """A client for each of the two servers."""
    url = request.getfixturevalue(request.param)
    client = AwsSession().dynamodb(Connection(region=REGION, endpoint_url=url))
    yield client
    await client.aclose()


@pytest.fixture
def name() -> str:
    return f"coachstream-{uuid.uuid4().hex}"


async def test_a_new_table_has_the_keys_indexes_and_expiry_of_the_existing_one(
    client: AwsClient[Any], name: str
) -> None:
    """See section 1.1 of the facts about the existing system; billing is on demand."""
    assert await create_table(client, name)
    dynamodb = await client()
    table = (await dynamodb.describe_table(TableName=name))["Table"]
    expiry = (await dynamodb.describe_time_to_live(TableName=name))["TimeToLiveDescription"]
    assert table["TableStatus"] == "ACTIVE"
    assert _keys(table) == ["pk", "sk"]
    assert {index["IndexName"]: _keys(index) for index in table["GlobalSecondaryIndexes"]} == {
        "gsi1": ["gsi1pk", "gsi1sk"],
        "gsi2": ["gsi2pk", "gsi2sk"],
        "gsi3": ["entityType", "pk"],
    }
    assert {index["Projection"]["ProjectionType"] for index in table["GlobalSecondaryIndexes"]} == {"ALL"}
    assert {each["AttributeType"] for each in table["AttributeDefinitions"]} == {"S"}
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "ttl")


async def test_making_it_again_and_at_the_same_time_changes_nothing(
    client: AwsClient[Any], name: str
) -> None:
    """One caller creates the table, the others wait until it exists; its contents stay."""
    made = await asyncio.gather(*(create_table(client, name) for _ in range(3)))
    assert sorted(made) == [False, False, True]
    store = DynamoDbStore(client, name)
    await store.put_coach("u", "c", {"coach_name": "Mara"})
    assert not await create_table(client, name)
    assert (await store.load_coach("u", "c")).name == "Mara"


async def test_a_table_of_the_team_without_our_indexes_is_accepted_as_it_is(
    client: AwsClient[Any], name: str
) -> None:
    """Only the keys must match; capacity and indexes are the team's choice."""
    await _make(client, name, "pk", "sk", "S")
    assert not await create_table(client, name)
    table = (await (await client()).describe_table(TableName=name))["Table"]
    assert table.get("GlobalSecondaryIndexes", []) == []
    assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 5


@pytest.mark.parametrize(
    ("hash_key", "range_key", "kind"), [("id", "sk", "S"), ("pk", None, "S"), ("pk", "sk", "N")]
)
async def test_a_table_with_other_keys_is_refused(
    client: AwsClient[Any], name: str, hash_key: str, range_key: str | None, kind: str
) -> None:
    """It belongs to another application; the error names it, and it stays unchanged."""
    await _make(client, name, hash_key, range_key, kind)
    with pytest.raises(UnusableTable, match=name) as caught:
        await create_table(client, name)
    assert not caught.value.retryable


def _keys(described: Any) -> list[str]:  # noqa: ANN401
    return [key["AttributeName"] for key in described["KeySchema"]]


async def _make(client: AwsClient[Any], name: str, hash_key: str, range_key: str | None, kind: str) -> None:
    keys = [key for key in (hash_key, range_key) if key is not None]
    await (await client()).create_table(
        TableName=name,
        KeySchema=[
            {"AttributeName": key, "KeyType": role}
            for key, role in zip(keys, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key in keys],
        BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
    )
