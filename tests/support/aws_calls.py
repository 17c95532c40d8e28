"""The permissions that a request to AWS needs, derived from the request itself, as AWS does.

Service and region are those that the request is signed for; action and resource follow from the Service
Authorization Reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

ACCOUNT = "123456789012"

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
_MODEL_CALL = re.compile(r"/model/(?P<model>[^/]+)/(?P<operation>converse|converse-stream)")
_INVOCATION = re.compile(r"/2015-03-31/functions/(?P<function>[^/]+)/invocations")

_MODEL_ACTIONS = {
    "converse": "bedrock:InvokeModel",
    "converse-stream": "bedrock:InvokeModelWithResponseStream",
}
_PARTS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
"""Parts of a transaction; DynamoDB developer guide, "Using IAM with DynamoDB transactions"."""

_GEOGRAPHIES = {"us": ("us-east-1", "us-east-2", "us-west-2")}
"""The destinations of the US profile of Claude Sonnet; Bedrock user guide, "Supported Regions and models for
inference profiles"."""


class AwsCall(msgspec.Struct, frozen=True, order=True):
    """One action on one resource, both as policies name them; `context` is a request's condition keys."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


def calls_of(target: str, headers: Mapping[str, str], body: bytes) -> Iterator[AwsCall]:
    """The actions that one request needs; none for an unsigned request.

    Args:
        target: path and query.
        headers: lower case.
        body: whole.
    """
    scope = _SCOPE.search(headers.get("authorization", ""))
    if scope is None:
        return
    region, service = scope["region"], scope["service"]
    match service:
        case "dynamodb":
            operation = headers["x-amz-target"].partition(".")[2]
            yield from _of_table(operation, json.loads(body), region)
        case "bedrock":
            found = _MODEL_CALL.fullmatch(target)
            assert found is not None, target
            yield from _of_model(found["operation"], unquote(found["model"]), json.loads(body), region)
        case "secretsmanager":
            assert headers["x-amz-target"] == "secretsmanager.GetSecretValue"
            yield AwsCall("secretsmanager:GetSecretValue", json.loads(body)["SecretId"])
        case "lambda":
            found = _INVOCATION.fullmatch(target)
            assert found is not None, target
            function = unquote(found["function"])
            known = (
                function if function.startswith("arn:") else _arn("lambda", region, f"function:{function}")
            )
            yield AwsCall("lambda:InvokeFunction", known)
        case _:
            raise AssertionError(f"a call of {service}, whose actions are not known here")


def _of_table(operation: str, body: dict[str, Any], region: str) -> Iterator[AwsCall]:
    match operation:
        case "TransactWriteItems":
            for write in body["TransactItems"]:
                [(part, what)] = write.items()
                resource = _table(what["TableName"], region)
                yield AwsCall(f"dynamodb:{_PARTS[part]}", resource, _leading_key(what))
        case "TransactGetItems":
            for read in body["TransactItems"]:
                yield AwsCall("dynamodb:GetItem", _table(read["Get"]["TableName"], region))
        case "BatchWriteItem" | "BatchGetItem":
            for table in body["RequestItems"]:
                yield AwsCall(f"dynamodb:{operation}", _table(table, region))
        case _:
            resource = _table(body["TableName"], region)
            if index := body.get("IndexName"):
                resource += f"/index/{index}"
            yield AwsCall(f"dynamodb:{operation}", resource, _leading_key(body))


def _leading_key(request: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The condition key with the partition that a request is about, as far as one names it."""
    named = request.get("Key") or request.get("Item") or {}
    values = request.get("ExpressionAttributeValues", {}) if "KeyConditionExpression" in request else {}
    partition = named.get("pk") or values.get(":pk")
    return () if partition is None else (("dynamodb:LeadingKeys", partition["S"]),)


def _of_model(operation: str, model: str, body: dict[str, Any], region: str) -> Iterator[AwsCall]:
    action = _MODEL_ACTIONS[operation]
    geography, _, name = model.partition(".")
    if geography in _GEOGRAPHIES:
        profile = _arn("bedrock", region, f"inference-profile/{model}")
        yield AwsCall(action, profile)
        for destination in _GEOGRAPHIES[geography]:
            behind = f"arn:aws:bedrock:{destination}::foundation-model/{name}"
            yield AwsCall(action, behind, (("bedrock:InferenceProfileArn", profile),))
    else:
        yield AwsCall(action, f"arn:aws:bedrock:{region}::foundation-model/{model}")
    if guardrail := body.get("guardrailConfig"):
        resource = _arn("bedrock", region, f"guardrail/{guardrail['guardrailIdentifier']}")
        yield AwsCall("bedrock:ApplyGuardrail", resource)


def _table(name: str, region: str) -> str:
    return _arn("dynamodb", region, f"table/{name}")


def _arn(service: str, region: str, resource: str) -> str:
    return f"arn:aws:{service}:{region}:{ACCOUNT}:{resource}"
