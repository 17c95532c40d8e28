"""CloudFormation templates, read as CloudFormation reads them, with references resolved.

The values are invented, but look like real ones, so that they pass the functions' checks of their settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

REGION = "us-west-2"
ACCOUNT = "123456789012"

QUIET = {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20"}
"""Environment variables that silence CDK's warning about this version of Node.js, which still works."""

_PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "CoachStream",
}
_ARNS = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{{}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{}}:*",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{}}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{}}",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{}}",
    "AWS::Cognito::UserPool": f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}:userpool/{{}}",
}
_REFERENCES = {
    "AWS::Cognito::UserPool": f"{REGION}_aBcDeFgHi",
    "AWS::Cognito::UserPoolClient": "1example23456789",
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{{}}-a1B2c3",
}


@dataclass(frozen=True)
class Resource:
    """One resource; its properties have values in place of references.

    Attributes:
        raw: the resource as written in the template.
    """

    name: str
    type: str
    properties: dict[str, Any]
    raw: dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """A statement of a policy that allows something."""

    sid: str | None
    actions: frozenset[str]
    resources: frozenset[str]
    conditions: Mapping[str, Mapping[str, str | list[str]]]

    def allows(self, action: str, resource: str, context: Mapping[str, str]) -> bool:
        """Whether it allows one action on one resource."""
        for operator, expected in self.conditions.items():
            assert operator in {"StringEquals", "ForAllValues:StringLike"}, operator
            for key, wanted in expected.items():
                found = context.get(key)
                if found is None and operator.startswith("ForAllValues:"):
                    continue  # there are no values
                if found is None or not any(fnmatchcase(found, each) for each in _listed(wanted)):
                    return False
        return action in self.actions and any(fnmatchcase(resource, pattern) for pattern in self.resources)


class Template:
    """A synthesized stack."""

    def __init__(self, template: dict[str, Any]) -> None:
        self.template = template

    @property
    def text(self) -> str:
        """The template as JSON."""
        return json.dumps(self.template)

    def resources(self, type_: str) -> list[Resource]:
        """All resources of a type, in the order of the template."""
        return [
            self._resource(name) for name, raw in self.template["Resources"].items() if raw["Type"] == type_
        ]

    def only(self, type_: str) -> Resource:
        """The only resource of its type."""
        (resource,) = self.resources(type_)
        return resource

    def within(self, construct: str, type_: str) -> Resource:
        """The only resource of its type in a construct of the stack."""
        (resource,) = [each for each in self.resources(type_) if each.name.startswith(construct)]
        return resource

    def all_within(self, construct: str, type_: str) -> list[Resource]:
        """All resources of a type in a construct of the stack."""
        return [each for each in self.resources(type_) if each.name.startswith(construct)]

    def environment(self, construct: str) -> dict[str, str]:
        """The environment variables of a construct's function."""
        function = self.within(construct, "AWS::Lambda::Function")
        variables: dict[str, str] = function.properties["Environment"]["Variables"]
        return variables

    def statements(self, construct: str) -> list[Statement]:
        """The permissions of a construct's function."""
        policy = self.within(construct, "AWS::IAM::Policy").properties
        return list(map(_statement, policy["PolicyDocument"]["Statement"]))

    def outputs(self) -> dict[str, str]:
        """The outputs' values."""
        return {name: self.resolve(output["Value"]) for name, output in self.template["Outputs"].items()}

    def resolve(self, value: Any) -> Any:  # noqa: ANN401, PLR0911 (JSON has that many)
        """A value with its references resolved."""
        match value:
            case {"Ref": str(name)} if len(value) == 1:
                return self._reference(name)
            case {"Fn::GetAtt": [str(name), str(attribute)]}:
                return self._attribute(name, attribute)
            case {"Fn::Join": [str(separator), list(parts)]}:
                return separator.join(map(str, map(self.resolve, parts)))
            case {"Fn::Sub": str(text)}:
                for name, known in _PSEUDO.items():
                    text = text.replace(f"${{{name}}}", known)
                return text
            case dict():
                return {key: self.resolve(each) for key, each in value.items()}
            case list():
                return list(map(self.resolve, value))
        return value

    def _resource(self, name: str) -> Resource:
        raw = self.template["Resources"][name]
        return Resource(name, raw["Type"], self.resolve(raw.get("Properties", {})), raw)

    def _reference(self, name: str) -> str:
        if name in _PSEUDO:
            return _PSEUDO[name]
        type_ = self.template["Resources"][name]["Type"]
        return _REFERENCES.get(type_, "{}").format(name)

    def _attribute(self, name: str, attribute: str) -> str:
        type_ = self.template["Resources"][name]["Type"]
        if attribute == "Arn":
            return _ARNS[type_].format(name)
        if attribute == "FunctionUrl":
            return f"https://{name.lower()}.lambda-url.{REGION}.on.aws/"
        return f"{name}.{attribute}"


def _statement(document: Mapping[str, Any]) -> Statement:
    assert document["Effect"] == "Allow"
    assert set(document) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
    return Statement(
        document.get("Sid"),
        frozenset(_listed(document["Action"])),
        frozenset(_listed(document["Resource"])),
        document.get("Condition", {}),
    )


def _listed(value: str | list[str]) -> Iterator[str]:
    yield from [value] if isinstance(value, str) else value
