"""The functions in every variant of the stack."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coachstream.infrastructure.target import PYTHON
from coachstream.settings import (
    BedrockSettings,
    CognitoSettings,
    DynamoDbSettings,
    Guardrail,
    HandOffs,
    LogLevel,
    Settings,
    SettingsError,
)
from support.templates import Template

VARIANTS = ("New", "Imported", "Mixed", "SnapStart", "Quiet", "Encrypted", "Unmeasured")
FUNCTIONS = {
    "StreamCoachConversation": "stream_coach_conversation",
    "SendCoachConversationMessage": "send_coach_conversation_message",
    "CoachConversations": "coach_conversations",
}
METHODS = {
    "StreamCoachConversation": ["GET", "POST", "DELETE"],
    "SendCoachConversationMessage": ["POST"],
    "CoachConversations": ["GET", "POST", "PUT", "DELETE"],
}

POST_TURN = "ProcessPostTurn"
WITHOUT_POST_TURN = ("Imported", "Unmeasured")
"""The variants with a function of the existing system for summaries, and without either."""

TemplateOf = Callable[[str], Template]

in_every_variant = pytest.mark.parametrize("variant", VARIANTS)
of_every_function = pytest.mark.parametrize("construct", FUNCTIONS)


@in_every_variant
def test_there_are_exactly_these_functions(template_of: TemplateOf, variant: str) -> None:
    """CDK adds no functions of its own, such as custom resources or log retention."""
    constructs = [*FUNCTIONS, *([] if variant in WITHOUT_POST_TURN else [POST_TURN])]
    template = template_of(variant)
    found = {each.name for each in template.resources("AWS::Lambda::Function")}
    assert found == {template.within(each, "AWS::Lambda::Function").name for each in constructs}


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each not in WITHOUT_POST_TURN])
def test_the_function_for_the_work_after_turns_is_small_and_private(
    template_of: TemplateOf, variant: str
) -> None:
    """Nothing from outside can invoke it, and it hands nothing off; the others know its name."""
    template = template_of(variant)
    function = template.within(POST_TURN, "AWS::Lambda::Function")
    properties = function.properties
    assert properties["Handler"] == "coachstream.functions.process_post_turn.handler.handler"
    assert properties["Runtime"] == f"python{PYTHON}"
    assert properties["Architectures"] == ["arm64"]
    assert (properties["MemorySize"], properties["Timeout"]) == (512, 120)
    assert "SnapStart" not in properties
    assert "ReservedConcurrentExecutions" not in properties
    for kind in ("AWS::Lambda::Url", "AWS::Lambda::Permission", "AWS::Lambda::Alias"):
        assert template.all_within(POST_TURN, kind) == []
    environment = template.environment(POST_TURN)
    settings = Settings.from_environment({**environment, "AWS_REGION": "us-west-2"})
    assert settings.hand_offs == HandOffs()
    assert "COACHSTREAM_TICKET_KEY_SECRET_ARN" not in environment
    assert environment["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/lambda_streaming/exec-wrapper"
    for construct in FUNCTIONS:
        assert template.environment(construct)["COACHSTREAM_POST_TURN_FUNCTION_NAME"] == function.name


def test_work_that_fails_is_repeated_twice_and_then_kept(template_of: TemplateOf) -> None:
    """In an encrypted queue, which takes only encrypted connections, for two weeks."""
    template = template_of("New")
    queue = template.within(POST_TURN, "AWS::SQS::Queue")
    assert queue.properties["SqsManagedSseEnabled"] is True
    assert queue.properties["MessageRetentionPeriod"] == 14 * 24 * 3600
    [policy] = template.within(POST_TURN, "AWS::SQS::QueuePolicy").properties["PolicyDocument"]["Statement"]
    assert (policy["Effect"], policy["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    config = template.within(POST_TURN, "AWS::Lambda::EventInvokeConfig").properties
    assert config["MaximumRetryAttempts"] == 2
    assert config["MaximumEventAgeInSeconds"] == 3600
    assert queue.name in str(config["DestinationConfig"]["OnFailure"]["Destination"])


@pytest.mark.parametrize("variant", WITHOUT_POST_TURN)
def test_there_is_no_function_of_our_own_where_another_one_summarizes_or_none_should(
    template_of: TemplateOf, variant: str
) -> None:
    """Nor a queue, nor a variable that names it."""
    template = template_of(variant)
    assert template.resources("AWS::SQS::Queue") == []
    for construct in FUNCTIONS:
        assert "COACHSTREAM_POST_TURN_FUNCTION_NAME" not in template.environment(construct)


@in_every_variant
@of_every_function
def test_a_function_has_the_required_runtime_configuration(
    template_of: TemplateOf, variant: str, construct: str
) -> None:
    """Graviton, the newest runtime, the streaming wrapper, tracing and its own log group."""
    template = template_of(variant)
    function = template.within(construct, "AWS::Lambda::Function").properties
    assert function["Runtime"] == f"python{PYTHON}" == "python3.14"
    assert function["Architectures"] == ["arm64"]
    assert function["Handler"] == f"coachstream.functions.{FUNCTIONS[construct]}.handler.handler"
    assert function["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"] == (
        "/var/task/lambda_streaming/exec-wrapper"
    )
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    log = template.within(construct, "AWS::Logs::LogGroup")
    assert function["LoggingConfig"]["LogGroup"] == log.name
    assert log.properties["RetentionInDays"] == 30


@of_every_function
def test_size_and_time_are_the_existing_system_s_unless_set(template_of: TemplateOf, construct: str) -> None:
    """2048 MB and 300 s, unless the deployment sets them."""
    usual = template_of("New").within(construct, "AWS::Lambda::Function").properties
    assert (usual["MemorySize"], usual["Timeout"]) == (2048, 300)
    other = template_of("Imported").within(construct, "AWS::Lambda::Function").properties
    assert (other["MemorySize"], other["Timeout"]) == (3008, 900)


def test_concurrency_is_reserved_only_where_it_is_asked_for(template_of: TemplateOf) -> None:
    """In these variants, only for streams."""
    reserved = {
        (variant, construct): function.get("ReservedConcurrentExecutions")
        for variant in VARIANTS
        for construct in FUNCTIONS
        for function in [template_of(variant).within(construct, "AWS::Lambda::Function").properties]
    }
    assert {key: value for key, value in reserved.items() if value is not None} == {
        ("Imported", "StreamCoachConversation"): 50
    }


def test_logs_go_with_the_stack_unless_they_are_kept(template_of: TemplateOf) -> None:
    """The table, the users and Pinecone's key stay in any case."""
    assert {log.raw["DeletionPolicy"] for log in template_of("New").resources("AWS::Logs::LogGroup")} == {
        "Delete"
    }
    assert {
        log.raw["DeletionPolicy"] for log in template_of("Imported").resources("AWS::Logs::LogGroup")
    } == {"Retain"}


def test_lambdas_log_level_passes_the_lines_of_the_function(template_of: TemplateOf) -> None:
    """Lines without a level, such as metrics, count as INFO, so the level is never above INFO."""
    levels = {
        variant: {
            function.properties["LoggingConfig"]["ApplicationLogLevel"]
            for function in template_of(variant).resources("AWS::Lambda::Function")
        }
        for variant in ("New", "Imported")
    }
    assert levels == {"New": {"INFO"}, "Imported": {"DEBUG"}}


@in_every_variant
@of_every_function
def test_a_url_streams_and_leaves_identity_to_the_function(
    template_of: TemplateOf, variant: str, construct: str
) -> None:
    """RESPONSE_STREAM, no authorization by Lambda, and the handler's methods."""
    url = template_of(variant).within(construct, "AWS::Lambda::Url").properties
    assert url["InvokeMode"] == "RESPONSE_STREAM"
    assert url["AuthType"] == "NONE"
    assert url["Cors"]["AllowMethods"] == METHODS[construct]
    assert url["Cors"]["AllowHeaders"] == [
        "authorization",
        "content-type",
        "accept",
        "last-event-id",
        "cache-control",
    ]
    assert url["Cors"]["ExposeHeaders"] == ["location", "retry-after", "ratelimit", "ratelimit-policy"]
    assert "AllowCredentials" not in url["Cors"]


@of_every_function
def test_origins_are_those_of_the_deployment(template_of: TemplateOf, construct: str) -> None:
    """As given, with the time that browsers may cache a preflight."""
    cors = {
        variant: template_of(variant).within(construct, "AWS::Lambda::Url").properties["Cors"]
        for variant in ("New", "Imported", "Unmeasured")
    }
    assert cors["New"]["AllowOrigins"] == ["https://app.example.com", "http://localhost:5173"]
    assert cors["New"]["MaxAge"] == 86_400
    assert cors["Imported"]["AllowOrigins"] == ["https://app.example.com"]
    assert cors["Imported"]["MaxAge"] == 600
    assert cors["Unmeasured"]["AllowOrigins"] == ["*"]


@in_every_variant
@of_every_function
def test_only_the_url_is_public(template_of: TemplateOf, variant: str, construct: str) -> None:
    """Both permissions that Function URLs need since October 2025, each limited to the URL."""
    template = template_of(variant)
    called = (
        template.within(construct, "AWS::Lambda::Alias").name
        if variant == "SnapStart"
        else _arn(template, construct)
    )
    permissions = [each.properties for each in template.all_within(construct, "AWS::Lambda::Permission")]
    assert permissions == [
        {
            "Action": "lambda:InvokeFunctionUrl",
            "FunctionName": called,
            "FunctionUrlAuthType": "NONE",
            "Principal": "*",
        },
        {
            "Action": "lambda:InvokeFunction",
            "FunctionName": called,
            "InvokedViaFunctionUrl": True,
            "Principal": "*",
        },
    ]


@of_every_function
def test_snapshots_are_of_a_version_behind_an_alias_with_the_url(
    template_of: TemplateOf, construct: str
) -> None:
    """The unpublished function has no snapshot, so its URL would start cold."""
    template = template_of("SnapStart")
    function = template.within(construct, "AWS::Lambda::Function")
    assert function.properties["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    version = template.within(construct, "AWS::Lambda::Version")
    assert version.properties["FunctionName"] == function.name
    alias = template.within(construct, "AWS::Lambda::Alias").properties
    assert alias == {
        "FunctionName": function.name,
        "FunctionVersion": f"{version.name}.Version",
        "Name": "live",
    }
    assert template.within(construct, "AWS::Lambda::Url").properties["Qualifier"] == "live"


def test_without_snapshots_there_are_no_versions(template_of: TemplateOf) -> None:
    """The URL belongs to the function itself."""
    template = template_of("New")
    assert template.resources("AWS::Lambda::Version") == template.resources("AWS::Lambda::Alias") == []
    assert all("Qualifier" not in url.properties for url in template.resources("AWS::Lambda::Url"))


@in_every_variant
@of_every_function
def test_the_functions_start_with_their_environment(
    template_of: TemplateOf, variant: str, construct: str
) -> None:
    """The settings accept it; it sets no variable of Lambda's own and has no secret's value."""
    environment = template_of(variant).environment(construct)
    assert {name for name in environment if name.startswith("AWS_")} == {"AWS_LAMBDA_EXEC_WRAPPER"}
    assert not {"PINECONE_API_KEY", "COACHSTREAM_TICKET_KEY", "COACHSTREAM_DATA_DIR"} & set(environment)
    settings = Settings.from_environment({**environment, "AWS_REGION": "us-west-2"})
    assert isinstance(settings.store, DynamoDbSettings)
    assert isinstance(settings.model, BedrockSettings)
    assert isinstance(settings.identity, CognitoSettings)


@of_every_function
def test_what_a_deployment_says_reaches_the_functions(template_of: TemplateOf, construct: str) -> None:
    """Every name and switch is in the variable that the settings read."""
    environment = template_of("Imported").environment(construct)
    settings = Settings.from_environment({**environment, "AWS_REGION": "us-west-2"})
    assert settings.store == DynamoDbSettings("Proto-AllItems-V2", mirror_messages=True)
    assert settings.identity == CognitoSettings("us-west-2_Existing1", ("web1client", "ios2client"))
    assert settings.hand_offs == HandOffs(
        workout_function="build-workout",
        summary_function="arn:aws:lambda:us-west-2:123456789012:function:build-conversation-summary",
    )
    assert isinstance(settings.model, BedrockSettings)
    assert settings.model.model_id == "us.anthropic.claude-sonnet-4-6"
    assert settings.model.guardrail == Guardrail("gr1abc", "3")
    assert settings.logs.level is LogLevel.DEBUG
    assert settings.logs.metrics_namespace == "coach/prod"
    assert settings.keep_alive_s == 10
    expected = {
        "COACHSTREAM_FALLBACK_MODEL_ID": "anthropic.claude-3-5-haiku-20241022-v1:0",
        "COACHSTREAM_RECALL": "pinecone",
        "PINECONE_INDEX_HOST": "coach-abc123.svc.pinecone.io",
        "COACHSTREAM_RECALL_RERANK_MODEL": "pinecone-rerank-v0",
        "COACHSTREAM_RECALL_TIMEOUT_S": "0.9",
        "PINECONE_API_KEY_SECRET_ARN": (
            "arn:aws:secretsmanager:us-west-2:123456789012:secret:pinecone-a1B2c3"
        ),
    }
    assert {name: environment.get(name) for name in expected} == expected


@in_every_variant
def test_only_the_function_with_tickets_knows_their_key(template_of: TemplateOf, variant: str) -> None:
    """The others neither issue nor accept tickets."""
    template = template_of(variant)
    knowing = {
        construct
        for construct in FUNCTIONS
        if "COACHSTREAM_TICKET_KEY_SECRET_ARN" in template.environment(construct)
    }
    assert knowing == {"StreamCoachConversation"}


def test_an_environment_that_would_not_start_is_refused() -> None:
    """With the settings' own message, before anything is deployed."""
    from coachstream.infrastructure.backend import Backend
    from coachstream.infrastructure.service import Service

    backend = Backend(table="t!", user_pool_id="us-west-2_Existing1", client_ids=("web1client",))
    with pytest.raises(SettingsError, match="DYNAMODB_TABLE_NAME"):
        Service().environment(backend, region="us-west-2", with_tickets=False)


def _arn(template: Template, construct: str) -> str:
    name = template.within(construct, "AWS::Lambda::Function").name
    return f"arn:aws:lambda:us-west-2:123456789012:function:{name}"
