"""The options of a deployment: how they are read, and how invalid ones are refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from coachstream.infrastructure import options as o
from coachstream.infrastructure.deploy_options import DeployOptions
from support.templates import QUIET, Template

pytestmark = pytest.mark.usefixtures("node")

OTHER_SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret:other-Xy12Zw"
PINECONE_SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret:pinecone-a1B2c3"
TOPIC = "arn:aws:sns:us-west-2:123456789012:night-watch"
BASE_MODEL = "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-opus-4-1-20250805-v1:0"
KEY = "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GUARDRAIL_PROFILE = "arn:aws:bedrock:us-east-1:123456789012:guardrail-profile/us.guardrail.v1:0"
NOVA = "amazon.nova-lite-v1:0"
INDEX = "other-abc.svc.pinecone.io"
APPLICATION_PROFILE = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc123"

HERE = {"CDK_DEFAULT_ACCOUNT": "123456789012", "CDK_DEFAULT_REGION": "us-west-2"}

PAGES = {o.CORS_ORIGINS.variable: "https://a.example.com"}

#: Every option with a value other than its default, and a text that the template must then contain.
OTHER: dict[o.Option[object], tuple[str, str]] = {
    o.CORS_ORIGINS: ("https://one.example.com, https://two.example.com", "https://two.example.com"),
    o.ALLOW_ANY_ORIGIN: ("true", ""),
    o.TABLE_NAME: ("Other-Table", '"DYNAMODB_TABLE_NAME": "Other-Table"'),
    o.USER_POOL_ID: ("us-west-2_Other1", '"USER_POOL_ID": "us-west-2_Other1"'),
    o.CLIENT_IDS: ("other1, other2", '"APP_CLIENT_ID": "other1,other2"'),
    o.PINECONE_SECRET_ARN: (PINECONE_SECRET, f'"PINECONE_API_KEY_SECRET_ARN": "{PINECONE_SECRET}"'),
    o.TICKET_KEY_SECRET_ARN: (OTHER_SECRET, f'"COACHSTREAM_TICKET_KEY_SECRET_ARN": "{OTHER_SECRET}"'),
    o.KMS_KEY_ARNS: (KEY, f'"Resource": "{KEY}"'),
    o.MODEL_ID: (APPLICATION_PROFILE, f'"COACHSTREAM_MODEL_ID": "{APPLICATION_PROFILE}"'),
    o.MODEL_REGION: ("us-west-2", '"COACHSTREAM_MODEL_REGION": "us-west-2"'),
    o.FALLBACK_MODEL_ID: (
        "amazon.nova-lite-v1:0",
        '"COACHSTREAM_FALLBACK_MODEL_ID": "amazon.nova-lite-v1:0"',
    ),
    o.ANALYSIS_MODEL_ID: ("amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0"),
    o.FALLBACK_REGION: ("us-west-2", '"COACHSTREAM_FALLBACK_REGION": "us-west-2"'),
    o.FOUNDATION_MODELS: (BASE_MODEL, f'"Resource": "{BASE_MODEL}"'),
    o.GUARDRAIL_ID: ("gr9", '"BEDROCK_GUARDRAIL_ID": "gr9"'),
    o.GUARDRAIL_VERSION: ("7", '"BEDROCK_GUARDRAIL_VERSION": "7"'),
    o.GUARDRAIL_MODE: ("warn", '"COACHSTREAM_GUARDRAIL_MODE": "warn"'),
    o.GUARDRAIL_PROFILES: (GUARDRAIL_PROFILE, f'"{GUARDRAIL_PROFILE}"'),
    o.PINECONE_INDEX_HOST: (
        "other-abc.svc.pinecone.io",
        '"PINECONE_INDEX_HOST": "other-abc.svc.pinecone.io"',
    ),
    o.RERANK_MODEL: ("bge-reranker-v2-m3", '"COACHSTREAM_RECALL_RERANK_MODEL": "bge-reranker-v2-m3"'),
    o.WORKOUT_FUNCTION: ("other-workout", '"BUILD_WORKOUT_FUNCTION_NAME": "other-workout"'),
    o.SUMMARY_FUNCTION: ("other-summary", '"BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME": "other-summary"'),
    o.SUMMARY_MODEL_ID: (
        "amazon.nova-micro-v1:0",
        '"COACHSTREAM_SUMMARY_MODEL_ID": "amazon.nova-micro-v1:0"',
    ),
    o.POST_TURN: ("true", '"COACHSTREAM_POST_TURN_FUNCTION_NAME": {"Ref": "ProcessPostTurn'),
    o.MIRROR_MESSAGES: ("true", '"MIRROR_MESSAGES": "true"'),
    o.MEMORY_MB: ("1769", '"MemorySize": 1769'),
    o.TIMEOUT_S: ("600", '"Timeout": 600'),
    o.LOG_LEVEL: ("warning", '"COACHSTREAM_LOG_LEVEL": "warning"'),
    o.LOG_RETENTION_DAYS: ("90", '"RetentionInDays": 90'),
    o.KEEP_LOGS: ("true", '"DeletionPolicy": "Retain"'),
    o.METRICS_NAMESPACE: ("other/space", '"COACHSTREAM_METRICS_NAMESPACE": "other/space"'),
    o.RESERVED_CONCURRENCY: ("12", '"ReservedConcurrentExecutions": 12'),
    o.SNAP_START: ("true", '"SnapStart": {"ApplyOn": "PublishedVersions"}'),
    o.ALARMS: ("true", "AWS::CloudWatch::Alarm"),
    o.ALARM_TOPIC_ARN: (TOPIC, TOPIC),
    o.DASHBOARD: ("true", "AWS::CloudWatch::Dashboard"),
}

WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no origin": ({"corsOrigins": ""}, "corsOrigins must name the allowed origins"),
    "any origin": ({"corsOrigins": "*"}, "corsOrigins has *, which allows every page"),
    "any origin among others": (
        {"corsOrigins": "https://a.example.com,*"},
        "corsOrigins has *, which allows every page",
    ),
    "a path": ({"corsOrigins": "https://a.example.com/x"}, "'https://a.example.com/x' is not an origin"),
    "no scheme": ({"corsOrigins": "a.example.com"}, "'a.example.com' is not an origin"),
    "no package": ({"package": "nowhere.zip"}, "there is no package at nowhere.zip"),
    "an unknown name": ({"corsOrigin": "https://a.example.com"}, "there is no option corsOrigin"),
    "another unknown name": ({"tablename": "t"}, "there is no option tablename"),
    "a pool alone": ({"userPoolId": "us-west-2_A"}, "userPoolId has no effect without clientIds"),
    "clients alone": ({"clientIds": "abc"}, "clientIds has no effect without userPoolId"),
    "no pool": ({"userPoolId": "pool", "clientIds": "abc"}, "userPoolId must be a user pool's id"),
    "no table": ({"tableName": "a b"}, "tableName must be a table's name or ARN, not 'a b'"),
    "a secret's name": (
        {"ticketKeySecretArn": "tickets"},
        "ticketKeySecretArn must be the full ARN of a secret",
    ),
    "half an ARN": ({"ticketKeySecretArn": OTHER_SECRET[:-7]}, "must be the full ARN of a secret"),
    "no switch": ({"snapStart": "maybe"}, "snapStart must be true or false, not 'maybe'"),
    "no number": ({"memoryMb": "2 GB"}, "memoryMb must be a whole number from 128 to 10240"),
    "too little memory": ({"memoryMb": "64"}, "memoryMb"),
    "too much time": ({"timeoutS": "901"}, "timeoutS"),
    "too little time": ({"timeoutS": "1"}, "timeoutS"),
    "no level": ({"logLevel": "loud"}, "logLevel must be debug, info, warning or error"),
    "no retention": ({"logRetentionDays": "31"}, "logRetentionDays must be 1, 3, 5, "),
    "an opaque profile": ({"modelId": APPLICATION_PROFILE}, "foundationModels"),
    "an unknown profile": ({"modelId": "xx.anthropic.claude-9"}, "the regions of xx.anthropic.claude-9"),
    "a profile of elsewhere": ({"modelId": "eu.anthropic.claude-9"}, "cannot be called in us-west-2"),
    "a guardrail's version alone": ({"guardrailVersion": "3"}, "guardrailId"),
    "a guardrail's mode alone": ({"guardrailMode": "warn"}, "guardrailId"),
    "a mode that a guardrail does not have": ({"guardrailId": "g", "guardrailMode": "mask"}, "guardrailMode"),
    "a guardrail elsewhere": (
        {"guardrailId": "g", "fallbackRegion": "us-east-1"},
        "fallbackRegion cannot be another region if guardrailId is set",
    ),
    "a guardrail's profile alone": ({"guardrailProfiles": GUARDRAIL_PROFILE}, "guardrailId"),
    "a key's alias": (
        {"kmsKeyArns": KEY.replace("key/", "alias/")},
        "kmsKeyArns must be the ARN of a KMS key",
    ),
    "a table elsewhere": (
        {"tableName": "arn:aws:dynamodb:us-east-1:123456789012:table/There"},
        "is in us-east-1, but is called in us-west-2",
    ),
    "a function elsewhere": (
        {"workoutFunction": "arn:aws:lambda:us-east-1:123456789012:function:there"},
        "is in us-east-1, but is called in us-west-2",
    ),
    "a guardrail where the model is not": (
        {"guardrailId": "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1"},
        "is in us-east-1, but is called in us-west-2",
    ),
    "no topic": ({"alarmTopicArn": "night-watch"}, "alarmTopicArn"),
    "a secret without an index": ({"pineconeSecretArn": PINECONE_SECRET}, "pineconeIndexHost"),
    "a ranking without an index": ({"rerankModel": "pinecone-rerank-v0"}, "pineconeIndexHost"),
    "no stack's name": ({"stackName": "1 stack"}, "stackName"),
    "an empty namespace": (
        {"metricsNamespace": ""},
        "metricsNamespace is empty; leave it out for its default",
    ),
    "an empty table": ({"tableName": " "}, "tableName is empty; leave it out for its default"),
    "a topic without alarms": (
        {"alarmTopicArn": TOPIC, "alarms": "false"},
        "alarmTopicArn has no effect without alarms",
    ),
    "a topic without metrics": (
        {"alarmTopicArn": TOPIC, "metricsNamespace": "off"},
        "alarmTopicArn has no effect without alarms, and with metricsNamespace off",
    ),
}


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands in for the package's zip file."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "handler.py").write_text("")
    return folder


def run(
    context: Mapping[str, str], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the app as `cdk` does: context and output folder in the environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(o.PREFIX)}
    return subprocess.run(
        [sys.executable, "-m", "coachstream.deployment.app"],
        cwd=folder,
        env={
            **inherited,
            **QUIET,
            "CDK_CONTEXT_JSON": json.dumps(context),
            "CDK_OUTDIR": str(folder / "cdk.out"),
            **HERE,
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def define(context: Mapping[str, str], folder: Path) -> None:
    """Do what the app does, in this process, whose CDK kernel is already running."""
    from aws_cdk import App

    from coachstream.deployment.app import stack_of

    app = App(context=context, outdir=str(folder / "cdk.out"))
    stack_of(app, HERE)
    app.synth()


def written(folder: Path, name: str = "CoachStream") -> str:
    """The template that the app has written."""
    template: str = json.dumps(json.loads((folder / "cdk.out" / f"{name}.template.json").read_text()))
    return template


def test_every_option_is_tried() -> None:
    """The tests of the stack's name and of the package cover the others."""
    assert set(o.OPTIONS) - set(OTHER) == {o.STACK_NAME, o.PACKAGE}


def test_every_option_reaches_the_stack(tmp_path: Path, package: Path) -> None:
    """All options at once, under their names in CDK's context."""
    told = {option.name: value for option, (value, _) in OTHER.items()}
    define({"package": str(package), "stackName": "Other", **told}, tmp_path)
    template = written(tmp_path, "Other")
    missing = {option.name for option, (_, text) in OTHER.items() if text not in template}
    assert not missing


def test_the_environment_sets_the_same_options_and_the_context_wins(tmp_path: Path, package: Path) -> None:
    """The variables' names are derived from the context's."""
    environment = {option.variable: value for option, (value, _) in OTHER.items()}
    environment |= {o.PACKAGE.variable: str(package), o.TABLE_NAME.variable: "Not-This-Table"}
    done = run({"tableName": "Other-Table"}, tmp_path, environment)
    assert (done.returncode, done.stderr) == (0, "")
    template = written(tmp_path)
    missing = {option.name for option, (_, text) in OTHER.items() if text not in template}
    assert not missing


def test_only_origins_and_a_package_must_be_told(
    tmp_path: Path, package: Path, templates: Mapping[str, Template]
) -> None:
    """All other options have the stack's defaults."""
    define({"package": str(package), "corsOrigins": "https://app.example.com"}, tmp_path)
    template = Template(json.loads(written(tmp_path)))
    kinds = {each["Type"] for each in template.template["Resources"].values()}
    assert kinds - {"AWS::CDK::Metadata"} == {
        each["Type"] for each in templates["New"].template["Resources"].values()
    }
    function = template.within("StreamCoachConversation", "AWS::Lambda::Function").properties
    assert (function["MemorySize"], function["Timeout"]) == (2048, 300)


def test_what_is_wrong_is_one_line_and_status_2(tmp_path: Path) -> None:
    """Without origins there is no stack, and no traceback."""
    done = run({}, tmp_path, {o.PACKAGE.variable: str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"coachstream: corsOrigins must name the allowed origins[^\n]+\n", done.stderr)
    assert list((tmp_path / "cdk.out").iterdir()) == []


@pytest.mark.parametrize("what", WRONG)
def test_what_would_not_work_is_refused(package: Path, what: str) -> None:
    """It is refused before anything is deployed, and the error names the option."""
    from aws_cdk import App

    from coachstream.deployment.app import REFUSALS, stack_of

    told, sentence = WRONG[what]
    app = App(context={"package": str(package), "corsOrigins": "https://a.example.com", **told})
    with pytest.raises(REFUSALS, match=re.escape(sentence)) as refused:
        stack_of(app, HERE)
    assert "\n" not in str(refused.value)


def test_without_metrics_the_stack_has_no_alarms_and_no_dashboard(tmp_path: Path, package: Path) -> None:
    """The functions write no metrics, so there is nothing to watch."""
    context = {"corsOrigins": "https://app.example.com", "metricsNamespace": "Off"}
    define({"package": str(package), **context}, tmp_path)
    template = written(tmp_path)
    assert '"COACHSTREAM_METRICS_NAMESPACE": "off"' in template
    assert "AWS::CloudWatch" not in template


def test_an_unknown_variable_is_refused() -> None:
    """Otherwise a misspelt option would be missing from the deployment."""
    with pytest.raises(o.OptionsError, match="there is no option COACHSTREAM_DEPLOY_TABEL_NAME"):
        DeployOptions({}, {**PAGES, "COACHSTREAM_DEPLOY_TABEL_NAME": "t"}).check()


def test_the_context_of_cdk_itself_is_left_alone() -> None:
    """CDK's own names contain dashes, colons and slashes."""
    context = {"aws:cdk:enable-path-metadata": True, "@aws-cdk/core:x": True, "cli-telemetry": False}
    DeployOptions(context, PAGES).check()


def test_all_errors_are_reported_together_under_the_names_that_were_typed() -> None:
    """One attempt reveals every error, and users need not know CDK's name of an option."""
    environment = {
        o.CORS_ORIGINS.variable: "https://a.example.com/coach",
        o.MEMORY_MB.variable: "2GB",
        o.LOG_LEVEL.variable: "loud",
        o.GUARDRAIL_ID.variable: "g",
        o.MODEL_REGION.variable: "us-west-2",
        o.FALLBACK_REGION.variable: "us-east-1",
        o.USER_POOL_ID.variable: "us-west-2_A",
    }
    with pytest.raises(o.OptionsError) as refused:
        DeployOptions({}, environment, name_of=lambda option: option.flag).check()
    said = str(refused.value).splitlines()
    assert {line.split()[0] for line in said} == {
        "--cors-origins",
        "--memory-mb",
        "--log-level",
        "--fallback-region",
        "--user-pool-id",
    }
    assert len(said) == 5


def test_origins_are_normalized_and_deduplicated() -> None:
    """A trailing slash, capitals or a default port would never match."""
    written = "https://App.example.com/, https://app.example.com:443,http://localhost:5173/"
    options = DeployOptions({}, {o.CORS_ORIGINS.variable: written})
    options.check()
    assert options.value(o.CORS_ORIGINS) == ("https://app.example.com", "http://localhost:5173")


def test_logs_are_kept_for_the_days_that_cdk_knows() -> None:
    """The option is checked without CDK, which has an enum member for each value."""
    from coachstream.deployment.app import RETENTION

    assert list(o.RETENTION_DAYS.choices) == list(RETENTION)


def test_names_and_variables_are_all_different() -> None:
    """They are unique and follow one pattern."""
    assert (
        len({each.name for each in o.OPTIONS}) == len({each.variable for each in o.OPTIONS}) == len(o.OPTIONS)
    )
    assert o.TABLE_NAME.variable == "COACHSTREAM_DEPLOY_TABLE_NAME"
    assert o.MEMORY_MB.variable == "COACHSTREAM_DEPLOY_MEMORY_MB"
    assert o.TIMEOUT_S.variable == "COACHSTREAM_DEPLOY_TIMEOUT_S"
