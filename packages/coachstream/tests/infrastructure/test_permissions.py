"""What each function may do, statement by statement, in every variant of the stack."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.templates import Statement, Template

TemplateOf = Callable[[str], Template]
Allowed = dict[str, tuple[set[str], set[str]]]

STREAM, SEND, CONVERSATIONS = (
    "StreamCoachConversation",
    "SendCoachConversationMessage",
    "CoachConversations",
)
FUNCTIONS = (STREAM, SEND, CONVERSATIONS)
VARIANTS = ("New", "Imported", "Mixed", "SnapStart", "Quiet", "Unmeasured")
POST_TURN = "ProcessPostTurn"
OWN_POST_TURN = ("New", "Mixed", "SnapStart", "Quiet")
"""The variants with a function of our own that summarizes."""

TABLE_ACTIONS = {
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
}
MODEL_ACTIONS = {
    STREAM: {"bedrock:InvokeModelWithResponseStream"},
    SEND: {"bedrock:InvokeModel"},
    CONVERSATIONS: {"bedrock:InvokeModelWithResponseStream"},
}
CLAUDE = "anthropic.claude-sonnet-4-6"
PROFILE = f"arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.{CLAUDE}"
BEHIND_IT = {
    f"arn:aws:bedrock:{region}::foundation-model/{CLAUDE}"
    for region in ("us-east-1", "us-east-2", "us-west-2")
}
ANALYSIS = "amazon.nova-2-lite-v1:0"
ANALYSIS_PROFILE = f"arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.{ANALYSIS}"
BEHIND_ANALYSIS = {each.replace(CLAUDE, ANALYSIS) for each in BEHIND_IT}
HAIKU = "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-3-5-haiku-20241022-v1:0"
NOVA = {
    region: f"arn:aws:bedrock:{region}::foundation-model/amazon.nova-pro-v1:0"
    for region in ("us-west-2", "us-east-1")
}
TABLES = {
    "Imported": "Proto-AllItems-V2",
    "Mixed": "Proto-AllItems-V2",
}
SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret"
FUNCTION = "arn:aws:lambda:us-west-2:123456789012:function"


def expected(template: Template, variant: str, construct: str) -> Allowed:
    """Actions and resources, by statement id."""
    log = template.within(construct, "AWS::Logs::LogGroup").name
    table = TABLES.get(variant) or template.only("AWS::DynamoDB::Table").name
    models = MODEL_ACTIONS[construct]
    statements: Allowed = {
        "Log": (
            {"logs:CreateLogStream", "logs:PutLogEvents"},
            {f"arn:aws:logs:us-west-2:123456789012:log-group:{log}:*"},
        ),
        "Table": (TABLE_ACTIONS, {f"arn:aws:dynamodb:us-west-2:123456789012:table/{table}"}),
        "": ({"xray:PutTraceSegments", "xray:PutTelemetryRecords"}, {"*"}),
    }
    match variant:
        case "Mixed":
            statements["Models"] = (models, {NOVA["us-west-2"]})
        case _:
            statements["Models"] = (models, {PROFILE})
            statements["ModelsBehindProfile1"] = (models, BEHIND_IT)
    if variant != "Mixed":  # whose model has no geography
        statements["AnalysisModel"] = ({"bedrock:InvokeModel"}, {ANALYSIS_PROFILE})
        statements["AnalysisModelBehindProfile1"] = ({"bedrock:InvokeModel"}, BEHIND_ANALYSIS)
    if construct != SEND:  # which has no fallback: a whole reply cannot break off
        fallback = {"Imported": {HAIKU}, "Mixed": {NOVA["us-east-1"]}}.get(variant, set())
        statements["Models"] = (models, statements["Models"][1] | fallback)
    secrets = expected_secrets(template, variant, construct)
    if secrets:
        statements["Secrets"] = ({"secretsmanager:GetSecretValue"}, secrets)
    if variant == "Imported":
        statements["Guardrail"] = (
            {"bedrock:ApplyGuardrail"},
            {"arn:aws:bedrock:us-west-2:123456789012:guardrail/gr1abc"},
        )
        taken = {"build-workout", "build-conversation-summary"}
        if construct == CONVERSATIONS:
            taken = {"build-workout"}
        statements["HandOffs"] = ({"lambda:InvokeFunction"}, {f"{FUNCTION}:{name}" for name in taken})
    if variant in OWN_POST_TURN:
        own = template.within(POST_TURN, "AWS::Lambda::Function").name
        statements["HandOffs"] = ({"lambda:InvokeFunction"}, {f"{FUNCTION}:{own}"})
    return statements


def expected_secrets(template: Template, variant: str, construct: str) -> set[str]:
    """Pinecone's key if there is an index, and the ticket key for the one function that uses it."""
    made = {
        each.name.startswith("PineconeKey"): f"{SECRET}:{each.name}-a1B2c3"
        for each in template.resources("AWS::SecretsManager::Secret")
    }
    pinecone = {"New": {made.get(True, "")}, "Imported": {f"{SECRET}:pinecone-a1B2c3"}}
    pinecone["Mixed"] = pinecone["Imported"]
    tickets = {f"{SECRET}:tickets-d4E5f6" if variant == "Imported" else made[False]}
    return pinecone.get(variant, set()) | (tickets if construct == STREAM else set())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("construct", FUNCTIONS)
def test_a_function_may_do_exactly_what_it_does(
    template_of: TemplateOf, variant: str, construct: str
) -> None:
    """Statement by statement: its own log, table, model, secrets, hand-offs and traces."""
    template = template_of(variant)
    found = template.statements(construct)
    assert {each.sid or "": (set(each.actions), set(each.resources)) for each in found} == expected(
        template, variant, construct
    )
    assert len({each.sid for each in found}) == len(found)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("construct", FUNCTIONS)
def test_models_behind_a_profile_are_called_through_it_alone(
    template_of: TemplateOf, variant: str, construct: str
) -> None:
    """Each through its own profile; these are the only conditions in the policies."""
    conditions = {
        each.sid: each.conditions for each in template_of(variant).statements(construct) if each.conditions
    }
    through = {
        "ModelsBehindProfile1": {"StringEquals": {"bedrock:InferenceProfileArn": PROFILE}},
        "AnalysisModelBehindProfile1": {"StringEquals": {"bedrock:InferenceProfileArn": ANALYSIS_PROFILE}},
    }
    assert conditions == ({} if variant == "Mixed" else through)


@pytest.mark.parametrize("variant", OWN_POST_TURN)
def test_the_work_after_turns_may_touch_users_items_one_model_and_the_index_s_key(
    template_of: TemplateOf, variant: str
) -> None:
    """It deletes nothing, calls no other model and no function; the key only if there is an index."""
    template = template_of(variant)
    log = template.within(POST_TURN, "AWS::Logs::LogGroup").name
    queue = template.within(POST_TURN, "AWS::SQS::Queue").name
    table = TABLES.get(variant) or template.only("AWS::DynamoDB::Table").name
    invoke = {"bedrock:InvokeModel"}
    expected: Allowed = {
        "Log": (
            {"logs:CreateLogStream", "logs:PutLogEvents"},
            {f"arn:aws:logs:us-west-2:123456789012:log-group:{log}:*"},
        ),
        "Table": (
            TABLE_ACTIONS - {"dynamodb:BatchWriteItem", "dynamodb:DeleteItem"},
            {f"arn:aws:dynamodb:us-west-2:123456789012:table/{table}"},
        ),
    }
    if variant == "Mixed":  # nothing analyses messages, so the model of the replies summarizes
        expected["SummaryModel"] = (invoke, {NOVA["us-west-2"]})
    else:
        expected["SummaryModel"] = (invoke, {ANALYSIS_PROFILE})
        expected["SummaryModelBehindProfile1"] = (invoke, BEHIND_ANALYSIS)
    if secrets := expected_secrets(template, variant, POST_TURN):
        expected["Secrets"] = ({"secretsmanager:GetSecretValue"}, secrets)
    found = template.statements(POST_TURN)
    named = {each.sid: (set(each.actions), set(each.resources)) for each in found if each.sid}
    assert named == expected
    others = [(set(each.actions), set(each.resources)) for each in found if not each.sid]
    traces = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
    [failed] = [resources for actions, resources in others if actions != traces]
    assert [actions for actions, _ in others if actions != traces] == [
        {"sqs:SendMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"}
    ]
    assert queue in str(failed)
    conditions = {each.sid: each.conditions for each in found if each.conditions}
    assert conditions.pop("Table") == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["user#*"]}}
    through = {"StringEquals": {"bedrock:InferenceProfileArn": ANALYSIS_PROFILE}}
    assert conditions == ({} if variant == "Mixed" else {"SummaryModelBehindProfile1": through})


def test_the_work_after_turns_may_use_the_backend_s_kms_keys(template_of: TemplateOf) -> None:
    """Through DynamoDB and Secrets Manager, like the other functions."""
    for construct in (STREAM, POST_TURN):
        [keys] = [each for each in template_of("Encrypted").statements(construct) if each.sid == "Keys"]
        assert keys.conditions == {
            "StringLike": {"kms:ViaService": ["dynamodb.*.amazonaws.com", "secretsmanager.*.amazonaws.com"]}
        }


@pytest.mark.parametrize("construct", FUNCTIONS)
def test_the_backends_kms_keys_are_used_only_for_its_data(template_of: TemplateOf, construct: str) -> None:
    """Through DynamoDB and Secrets Manager on the function's behalf, and only if configured."""
    (keys,) = [each for each in template_of("Encrypted").statements(construct) if each.sid == "Keys"]
    assert keys.actions == {
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
    }
    assert keys.resources == {"arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"}
    assert keys.conditions == {
        "StringLike": {"kms:ViaService": ["dynamodb.*.amazonaws.com", "secretsmanager.*.amazonaws.com"]}
    }


@pytest.mark.parametrize("construct", FUNCTIONS)
def test_a_guardrail_may_be_applied_wherever_its_profile_goes(
    template_of: TemplateOf, construct: str
) -> None:
    """Bedrock user guide, "Permissions for using cross-Region inference with Amazon Bedrock Guardrails"."""
    (guardrail,) = [
        each for each in template_of("Encrypted").statements(construct) if each.sid == "Guardrail"
    ]
    assert guardrail.actions == {"bedrock:ApplyGuardrail"}
    assert guardrail.resources == {
        "arn:aws:bedrock:us-west-2:123456789012:guardrail/gr1abc",
        "arn:aws:bedrock:us-east-1:123456789012:guardrail-profile/us.guardrail.v1:0",
        "arn:aws:bedrock:us-east-2:123456789012:guardrail-profile/us.guardrail.v1:0",
        "arn:aws:bedrock:us-west-2:123456789012:guardrail-profile/us.guardrail.v1:0",
    }


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("construct", FUNCTIONS)
def test_a_role_is_lambdas_and_has_one_policy(template_of: TemplateOf, variant: str, construct: str) -> None:
    """There is no managed policy, which would allow more, and only Lambda can assume the role."""
    template = template_of(variant)
    role = template.within(construct, "AWS::IAM::Role")
    assert "ManagedPolicyArns" not in role.properties
    assert "Policies" not in role.properties
    (trust,) = role.properties["AssumeRolePolicyDocument"]["Statement"]
    assert trust == {
        "Action": "sts:AssumeRole",
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
    }
    assert template.within(construct, "AWS::IAM::Policy").properties["Roles"] == [role.name]
    assert template.within(construct, "AWS::Lambda::Function").raw["Properties"]["Role"] == {
        "Fn::GetAtt": [role.name, "Arn"]
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_has_a_wildcard_but_traces_and_the_streams_of_a_log(
    template_of: TemplateOf, variant: str
) -> None:
    """X-Ray has no resource-level permissions; a log group's ARN ends in `:*` for its streams."""
    template = template_of(variant)

    def wide(statement: Statement) -> bool:
        return any("*" in text for text in statement.actions | statement.resources)

    sids = {each.sid for construct in FUNCTIONS for each in template.statements(construct) if wide(each)}
    assert sids == {None, "Log"}
    policies = template.resources("AWS::IAM::Policy")
    assert len(policies) == len(FUNCTIONS) + (variant in OWN_POST_TURN)
