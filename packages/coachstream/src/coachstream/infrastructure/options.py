"""The options of a deployment, from CDK's context (`-c tableName=…`) or the environment; needs no CDK.

The variables' names are derived from the context's: `tableName` is COACHSTREAM_DEPLOY_TABLE_NAME. The context
overrides the environment. An unknown name is an error, so that a misspelled option is never ignored.
"""

from __future__ import annotations

import re

import msgspec

from coachstream.infrastructure.option_rules import (
    KEY_ARN,
    SECRET_ARN,
    TOPIC_ARN,
    OneOf,
    Origin,
    Rule,
    WholeNumber,
)
from coachstream.infrastructure.option_rules import STACK_NAME as STACK_NAME_RULE
from coachstream.settings import variables as v

PREFIX = "COACHSTREAM_DEPLOY_"


class OptionsError(ValueError):
    """Raised for invalid options; the message has the valid values."""


class Option(msgspec.Struct, frozen=True):
    """One option of a deployment.

    Attributes:
        name: its name in CDK's context.
        meaning: its description, a phrase without a full stop.
        default: the value if it is not set; None if there is none.
        rule: validates its text, or each of its texts; None if the service's settings validate it.
        setting: the functions' variable that it sets, if any, whose rules apply.
        is_list: whether it is a comma-separated list.
        without: the option without which it has no effect.
    """

    name: str
    meaning: str
    default: str | None = None
    rule: Rule | None = None
    setting: v.Variable | None = None
    is_list: bool = False
    without: str | None = None

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", self.name).upper()

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.variable.removeprefix(PREFIX).lower().replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return self.default in {"true", "false"}


_RETENTION_DAYS = ("1", "3", "5", "7", "14", "30", "60", "90", "180", "365", "731", "3653")

STACK_NAME = Option(
    "stackName",
    "the stack's name",
    "CoachStream",
    rule=STACK_NAME_RULE,
)
PACKAGE = Option("package", "the zip file built by `coachstream package`", "dist/coachstream.zip")
CORS_ORIGINS = Option(
    "corsOrigins",
    "the allowed origins of pages, comma-separated; required",
    rule=Origin(),
    is_list=True,
)
ALLOW_ANY_ORIGIN = Option("allowAnyOrigin", "allow `*` as an origin", "false")
TABLE_NAME = Option("tableName", "existing table; by default a new one", setting=v.TABLE)
USER_POOL_ID = Option(
    "userPoolId",
    "existing user pool, with `clientIds`; by default a new one",
    setting=v.USER_POOL,
    without="clientIds",
)
CLIENT_IDS = Option(
    "clientIds",
    "app clients of the existing user pool whose ID tokens are accepted, comma-separated",
    setting=v.APP_CLIENTS,
    without="userPoolId",
)
PINECONE_SECRET_ARN = Option(
    "pineconeSecretArn",
    "secret with Pinecone's API key; by default a new one, if there is an index",
    rule=SECRET_ARN,
    without="pineconeIndexHost",
)
TICKET_KEY_SECRET_ARN = Option(
    "ticketKeySecretArn", "secret with the key of tickets; by default a new one", rule=SECRET_ARN
)
KMS_KEY_ARNS = Option(
    "kmsKeyArns",
    "customer managed keys that encrypt the existing table and secrets, comma-separated; none by default",
    rule=KEY_ARN,
    is_list=True,
)
MODEL_ID = Option(
    "modelId",
    "id or ARN of a model or of an inference profile; by default the service's default",
    setting=v.MODEL_ID,
)
MODEL_REGION = Option(
    "modelRegion", "region of the model; by default the stack's region", setting=v.MODEL_REGION
)
FALLBACK_MODEL_ID = Option(
    "fallbackModelId",
    "model that continues when a reply fails; by default the same model",
    setting=v.FALLBACK_MODEL,
)
FALLBACK_REGION = Option(
    "fallbackRegion",
    "region of the fallback model; by default the model's region",
    setting=v.FALLBACK_REGION,
)
ANALYSIS_MODEL_ID = Option(
    "analysisModelId",
    "small model that finds workouts and requests to remember something in messages, or `off`; by default "
    "the service's default",
    setting=v.ANALYSIS_MODEL,
)
FOUNDATION_MODELS = Option(
    "foundationModels",
    "ARNs of the models behind an inference profile whose id does not reveal its models, comma-separated",
    is_list=True,
)
GUARDRAIL_ID = Option(
    "guardrailId",
    "id or ARN of the guardrail that checks the newest message and the reply; none by default",
    setting=v.GUARDRAIL_ID,
)
GUARDRAIL_VERSION = Option(
    "guardrailVersion",
    "version of the guardrail: a number, or `DRAFT`",
    "DRAFT",
    setting=v.GUARDRAIL_VERSION,
    without="guardrailId",
)
GUARDRAIL_PROFILES = Option(
    "guardrailProfiles",
    "ARNs of the guardrail's cross-region profile in all of its regions, comma-separated; none by default",
    is_list=True,
    without="guardrailId",
)
PINECONE_INDEX_HOST = Option(
    "pineconeIndexHost",
    "index for semantic search; off without one",
    setting=v.PINECONE_HOST,
)
RERANK_MODEL = Option(
    "rerankModel",
    "Pinecone's model that reranks the results; none by default",
    setting=v.RERANK_MODEL,
    without="pineconeIndexHost",
)
WORKOUT_FUNCTION = Option(
    "workoutFunction",
    "name or ARN of the function that builds workouts; none by default",
    setting=v.WORKOUT_FUNCTION,
)
SUMMARY_FUNCTION = Option(
    "summaryFunction",
    "name or ARN of the function that summarizes conversations; none by default",
    setting=v.SUMMARY_FUNCTION,
)
MIRROR_MESSAGES = Option(
    "mirrorMessages", "turns also appear in the list that the existing functions read", "false"
)
MEMORY_MB = Option("memoryMb", "memory of each function in MB", "2048", rule=WholeNumber(128, 10_240))
TIMEOUT_S = Option("timeoutS", "invocation timeout in seconds, up to 900", "300", rule=WholeNumber(10, 900))
LOG_LEVEL = Option("logLevel", "minimum level of logged records", "info", setting=v.LOG_LEVEL)
LOG_RETENTION_DAYS = Option(
    "logRetentionDays",
    "log retention in days, one of CloudWatch's choices",
    "30",
    rule=OneOf(_RETENTION_DAYS),
)
KEEP_LOGS = Option("keepLogs", "keep the logs when the stack is deleted", "false")
METRICS_NAMESPACE = Option(
    "metricsNamespace",
    "CloudWatch namespace of the metrics",
    "coachstream",
    setting=v.METRICS_NAMESPACE,
)
RESERVED_CONCURRENCY = Option(
    "reservedConcurrency",
    "reserved concurrency of the stream function: guaranteed, and also the maximum; none by default",
    rule=WholeNumber(0, 1_000_000),
)
SNAP_START = Option("snapStart", "start from snapshots, behind an alias", "false")
ALARMS = Option("alarms", "alarms on errors, throttles, slow first chunks and interrupted turns", "true")
ALARM_TOPIC_ARN = Option(
    "alarmTopicArn",
    "SNS topic to notify of alarms; none by default",
    rule=TOPIC_ARN,
)
DASHBOARD = Option("dashboard", "a dashboard of the functions' metrics", "true")

OPTIONS = (
    STACK_NAME,
    PACKAGE,
    CORS_ORIGINS,
    ALLOW_ANY_ORIGIN,
    TABLE_NAME,
    USER_POOL_ID,
    CLIENT_IDS,
    PINECONE_SECRET_ARN,
    TICKET_KEY_SECRET_ARN,
    KMS_KEY_ARNS,
    MODEL_ID,
    MODEL_REGION,
    FALLBACK_MODEL_ID,
    FALLBACK_REGION,
    ANALYSIS_MODEL_ID,
    FOUNDATION_MODELS,
    GUARDRAIL_ID,
    GUARDRAIL_VERSION,
    GUARDRAIL_PROFILES,
    PINECONE_INDEX_HOST,
    RERANK_MODEL,
    WORKOUT_FUNCTION,
    SUMMARY_FUNCTION,
    MIRROR_MESSAGES,
    MEMORY_MB,
    TIMEOUT_S,
    LOG_LEVEL,
    LOG_RETENTION_DAYS,
    KEEP_LOGS,
    METRICS_NAMESPACE,
    RESERVED_CONCURRENCY,
    SNAP_START,
    ALARMS,
    ALARM_TOPIC_ARN,
    DASHBOARD,
)
"""All options, in the order of decisions."""
