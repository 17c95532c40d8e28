"""What the stack creates if nothing exists yet, what it leaves alone, and its outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from coachstream.aws.clients import AwsSession, Connection
from coachstream.storage.dynamodb import create_table
from support.templates import Template

TemplateOf = Callable[[str], Template]

TABLE, POOL, CLIENT, SECRET = (
    "AWS::DynamoDB::Table",
    "AWS::Cognito::UserPool",
    "AWS::Cognito::UserPoolClient",
    "AWS::SecretsManager::Secret",
)


@pytest.mark.parametrize(
    ("variant", "made"),
    [
        ("New", {TABLE: 1, POOL: 1, CLIENT: 1, SECRET: 2}),
        ("Imported", {TABLE: 0, POOL: 0, CLIENT: 0, SECRET: 0}),
        ("Mixed", {TABLE: 0, POOL: 1, CLIENT: 1, SECRET: 1}),
        ("Quiet", {TABLE: 1, POOL: 1, CLIENT: 1, SECRET: 1}),
    ],
)
def test_only_what_is_not_there_is_made(template_of: TemplateOf, variant: str, made: dict[str, int]) -> None:
    """Without recall there is no secret for Pinecone's key."""
    template = template_of(variant)
    assert {type_: len(template.resources(type_)) for type_ in made} == made


def test_what_is_there_is_not_touched(template_of: TemplateOf) -> None:
    """Next to an existing backend, the stack has only functions and their monitoring."""
    found = {resource["Type"] for resource in template_of("Imported").template["Resources"].values()}
    assert found == {
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Lambda::Url",
        "AWS::Logs::LogGroup",
    }


def test_the_table_is_billed_on_demand_and_can_be_restored(template_of: TemplateOf) -> None:
    """Items expire, point-in-time recovery is on, and the table is protected from deletion."""
    table = template_of("New").only(TABLE)
    assert table.properties["BillingMode"] == "PAY_PER_REQUEST"
    assert "ProvisionedThroughput" not in table.properties
    assert table.properties["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table.properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table.properties["DeletionProtectionEnabled"] is True
    assert (table.raw["DeletionPolicy"], table.raw["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert "TableName" not in table.properties


async def test_the_table_is_the_one_that_the_store_makes(
    template_of: TemplateOf,
    dynamodb_local_url: str,
    aws_credentials: None,  # noqa: ARG001 (of the client)
) -> None:
    """Keys and indexes are those of `coachstream table create`, as reported by DynamoDB."""
    client = AwsSession().dynamodb(Connection(region="us-west-2", endpoint_url=dynamodb_local_url))
    try:
        await create_table(client, "as-the-store-makes-it")
        made: Any = (await (await client()).describe_table(TableName="as-the-store-makes-it"))["Table"]
        await (await client()).delete_table(TableName="as-the-store-makes-it")
    finally:
        await client.aclose()
    table = template_of("New").only(TABLE).properties
    assert table["KeySchema"] == made["KeySchema"]
    assert _by_name(table["AttributeDefinitions"]) == _by_name(made["AttributeDefinitions"])
    assert _indexes(table) == _indexes(made)


def _by_name(attributes: list[dict[str, str]]) -> dict[str, str]:
    return {each["AttributeName"]: each["AttributeType"] for each in attributes}


def _indexes(table: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    indexes = table["GlobalSecondaryIndexes"]
    return {each["IndexName"]: (each["KeySchema"], each["Projection"]) for each in indexes}


def test_users_have_an_id_of_the_application_that_they_cannot_change(template_of: TemplateOf) -> None:
    """It is in their tokens; the browser's app client may read it but never write it."""
    template = template_of("New")
    (attribute,) = [each for each in template.only(POOL).properties["Schema"] if each["Name"] == "user_id"]
    assert attribute["AttributeDataType"] == "String"
    client = template.only(CLIENT).properties
    assert "custom:user_id" in client["ReadAttributes"]
    assert client["WriteAttributes"] == ["email", "name", "preferred_username"]
    assert client["UserPoolId"] == template.resolve({"Ref": template.only(POOL).name})


def test_users_are_made_by_an_administrator_and_kept(template_of: TemplateOf) -> None:
    """A user without an application id can do nothing, and only an administrator can set it."""
    pool = template_of("New").only(POOL)
    assert pool.properties["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}
    assert pool.properties["DeletionProtection"] == "ACTIVE"
    assert pool.raw["DeletionPolicy"] == "Retain"
    assert pool.properties["UsernameConfiguration"] == {"CaseSensitive": False}
    assert pool.properties["Policies"]["PasswordPolicy"]["MinimumLength"] == 12


def test_the_client_is_one_for_browsers(template_of: TemplateOf) -> None:
    """No secret, no password sent, and no way to find out whether a user exists."""
    client = template_of("New").only(CLIENT).properties
    assert "GenerateSecret" not in client
    assert client["ExplicitAuthFlows"] == [
        "ALLOW_ADMIN_USER_PASSWORD_AUTH",
        "ALLOW_USER_SRP_AUTH",
        "ALLOW_REFRESH_TOKEN_AUTH",
    ]
    assert client["AllowedOAuthFlowsUserPoolClient"] is False
    assert client["PreventUserExistenceErrors"] == "ENABLED"
    assert client["EnableTokenRevocation"] is True


def test_secrets_are_made_without_a_value_in_the_template(template_of: TemplateOf) -> None:
    """They are random; the operator replaces Pinecone's, which outlives the stack."""
    secrets = {each.name[:8]: each for each in template_of("New").resources(SECRET)}
    assert all("SecretString" not in secret.properties for secret in secrets.values())
    assert secrets["Pinecone"].raw["DeletionPolicy"] == "Retain"
    assert secrets["TicketKe"].properties["GenerateSecretString"] == {
        "ExcludePunctuation": True,
        "PasswordLength": 64,
    }


@pytest.mark.parametrize("variant", ["New", "Imported", "SnapStart"])
def test_outputs_have_the_names_that_front_ends_read(template_of: TemplateOf, variant: str) -> None:
    """Existing system, section 9; `custom` equals the JSON that Amplify writes."""
    template = template_of(variant)
    outputs = template.outputs()
    urls = {
        api: template.resolve(
            {"Fn::GetAtt": [template.within(construct, "AWS::Lambda::Url").name, "FunctionUrl"]}
        )
        for api, construct in (
            ("coachConversationStreamingApi", "StreamCoachConversation"),
            ("coachConversationMessageApi", "SendCoachConversationMessage"),
            ("coachConversationsApi", "CoachConversations"),
        )
    }
    table = "Proto-AllItems-V2" if variant == "Imported" else template.only(TABLE).name
    table_arn = f"arn:aws:dynamodb:us-west-2:123456789012:table/{table}"
    for api, url in urls.items():
        assert (outputs[f"{api}FunctionUrl"], outputs[f"{api}Region"]) == (url, "us-west-2")
    assert outputs["dynamodbCoreTableTableName"] == table
    assert outputs["dynamodbCoreTableTableArn"] == table_arn
    assert json.loads(outputs["custom"]) == {
        **{api: {"functionUrl": url, "region": "us-west-2"} for api, url in urls.items()},
        "dynamodb": {"coreTable": {"tableName": table, "tableArn": table_arn, "region": "us-west-2"}},
    }


def test_outputs_say_whose_tokens_are_taken(template_of: TemplateOf) -> None:
    """A page needs both to sign its users in."""
    outputs = template_of("Imported").outputs()
    assert outputs["userPoolId"] == "us-west-2_Existing1"
    assert outputs["userPoolClientIds"] == "web1client,ios2client"
