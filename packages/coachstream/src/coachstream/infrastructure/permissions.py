"""The permissions of the functions, each statement with its reason. Nothing else is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from aws_cdk import ArnFormat, Stack, Token
from aws_cdk import aws_iam as iam

from coachstream.infrastructure.backend import Backend
from coachstream.infrastructure.models import guardrail_arn, model_access
from coachstream.infrastructure.service import Service

TABLE_ACTIONS = (
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
)
"""The store's actions on the table; none on an index, and no scan. A transaction needs the permissions of its
individual actions (DynamoDB developer guide, "Using IAM with DynamoDB transactions")."""

POST_TURN_TABLE_ACTIONS = (
    "dynamodb:ConditionCheckItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
)
"""Reads a conversation, and writes its summary and its title; deletes nothing."""

_ITEMS_OF_USERS = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["user#*"]}}
"""Not what all users share, such as templates (DynamoDB developer guide, "Using IAM policy conditions for
fine-grained access control")."""

STREAMED_REPLY = "bedrock:InvokeModelWithResponseStream"
WHOLE_REPLY = "bedrock:InvokeModel"
"""ConverseStream and Converse have no actions of their own (Bedrock API reference)."""

_PARTIAL_FUNCTION_ARN = re.compile(r"(?P<account>\d{12}):(function:)?(?P<name>.+)")


KEY_ACTIONS = (
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
"""The actions that CDK grants on a table's customer managed key with read and write access
(`aws_dynamodb.Table.grant_read_write_data`), spelled out; a secret's key is only used to decrypt."""

_FOR_TABLE_AND_SECRETS = {
    "StringLike": {"kms:ViaService": ["dynamodb.*.amazonaws.com", "secretsmanager.*.amazonaws.com"]}
}
"""The function itself never calls KMS. The table and the secrets may be in another region."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a function needs in addition to running turns and storing conversations (least privilege).

    Attributes:
        whole_replies: requests replies in one piece, without a fallback; otherwise they are streamed.
        tickets: issues and accepts tickets.
        summaries: runs turns that may trigger a summary: the third, sixth and so on of a conversation.
    """

    whole_replies: bool = False
    tickets: bool = False
    summaries: bool = True


def statements(stack: Stack, backend: Backend, service: Service, needs: Needs) -> list[iam.PolicyStatement]:
    """Return all of a function's statements, except those for its log group and traces.

    Raises:
        ValueError: a resource is in another region, from which it cannot be called.
    """
    secrets = [service.recall and backend.pinecone_key_arn, needs.tickets and backend.ticket_key_arn]
    found = [
        _allow("Table", TABLE_ACTIONS, [table_arn(stack, backend.table)]),
        *_models(stack, service, needs),
    ]
    guardrail = service.model.guardrail
    if guardrail is not None:
        # Covers the fallback, too, which must then be in the same region (`Settings`).
        region = service.model.region or stack.region
        arn = _in_region(guardrail_arn(stack, guardrail.id, region=region), region)
        found.append(_allow("Guardrail", ["bedrock:ApplyGuardrail"], [arn, *service.guardrail_profiles]))
    if arns := {arn for arn in secrets if arn}:
        found.append(_allow("Secrets", ["secretsmanager:GetSecretValue"], sorted(arns)))
    hand_offs = (
        service.hand_offs.workout_function,
        service.hand_offs.summary_function if needs.summaries else None,
        service.hand_offs.post_turn_function,
    )
    if functions := [_function_arn(stack, name) for name in dict.fromkeys(hand_offs) if name]:
        found.append(_allow("HandOffs", ["lambda:InvokeFunction"], functions))
    return [*found, *_keys(backend)]


def post_turn_statements(stack: Stack, backend: Backend, service: Service) -> list[iam.PolicyStatement]:
    """Return the statements of the function that writes summaries and titles.

    Raises:
        ValueError: a resource is in another region, from which it cannot be called.
    """
    table, model = table_arn(stack, backend.table), service.model
    found = [
        _allow("Table", POST_TURN_TABLE_ACTIONS, [table], _ITEMS_OF_USERS),
        *_calls(stack, service, "SummaryModel", WHOLE_REPLY, [(model.summary_model, model.region)]),
    ]
    if service.recall is not None and backend.pinecone_key_arn is not None:
        found.append(_allow("Secrets", ["secretsmanager:GetSecretValue"], [backend.pinecone_key_arn]))
    return [*found, *_keys(backend)]


def _keys(backend: Backend) -> list[iam.PolicyStatement]:
    """The statement for the keys that encrypt the table or a secret, if there are any."""
    arns = list(backend.kms_key_arns)
    return [_allow("Keys", KEY_ACTIONS, arns, _FOR_TABLE_AND_SECRETS)] if arns else []


def _models(stack: Stack, service: Service, needs: Needs) -> list[iam.PolicyStatement]:
    """Statements for the model, its fallback and the analysis model."""
    model, fallback = service.model, service.model.fallback
    action = WHOLE_REPLY if needs.whole_replies else STREAMED_REPLY
    calls = [(model.model_id, model.region)]
    if fallback is not None and not needs.whole_replies:
        calls.append((fallback.model_id or model.model_id, fallback.region or model.region))
    found = _calls(stack, service, "Models", action, calls)
    if model.analysis_model is not None:
        analysis = [(model.analysis_model, model.region)]
        found += _calls(stack, service, "AnalysisModel", WHOLE_REPLY, analysis)
    return found


def _calls(
    stack: Stack, service: Service, sid: str, action: str, calls: list[tuple[str, str | None]]
) -> list[iam.PolicyStatement]:
    """Statements for calls of models; those behind a profile are allowed only through it."""
    accesses = dict.fromkeys(
        model_access(stack, model_id, region=region, foundation_models=service.foundation_models)
        for model_id, region in calls
    )
    found = [_allow(sid, [action], [access.invoked for access in accesses])]
    for number, access in enumerate((access for access in accesses if access.behind), start=1):
        through = {"StringEquals": {"bedrock:InferenceProfileArn": access.invoked}}
        found.append(_allow(f"{sid}BehindProfile{number}", [action], list(access.behind), through))
    return found


def table_arn(stack: Stack, table: str) -> str:
    """The ARN of a table, given as a name or ARN.

    Raises:
        ValueError: it is in another region than the functions use.
    """
    if table.startswith("arn:"):
        return _in_region(table, stack.region)
    return stack.format_arn(service="dynamodb", resource="table", resource_name=table)


def _function_arn(stack: Stack, name: str) -> str:
    """The ARN of a function, given in any form that Invoke accepts (Lambda API reference)."""
    if name.startswith("arn:"):
        return _in_region(name, stack.region)
    partial = _PARTIAL_FUNCTION_ARN.fullmatch(name)
    return stack.format_arn(
        service="lambda",
        account=partial["account"] if partial else None,
        resource="function",
        resource_name=partial["name"] if partial else name,
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )


def _in_region(arn: str, region: str) -> str:
    """The ARN, if its resource is in this region."""
    if not Token.is_unresolved(region) and (there := arn.split(":")[3]) != region:
        raise ValueError(f"{arn} is in {there}, but is called in {region}")
    return arn


def _allow(
    sid: str,
    actions: list[str] | tuple[str, ...],
    resources: list[str],
    conditions: Mapping[str, Mapping[str, str | list[str]]] | None = None,
) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=list(actions), resources=resources, conditions=conditions)
