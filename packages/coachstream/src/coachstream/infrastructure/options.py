"""What a deployment may be told, by CDK's context (`-c tableName=…`) or by the environment; needs no CDK.

The environment's names are made of the context's: `tableName` is COACHSTREAM_DEPLOY_TABLE_NAME. The context
wins. A name that nobody reads is an error, and not a deployment that lacks what was asked for.
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
    """What a deployment was told is wrong; the message says what it should be."""


class Option(msgspec.Struct, frozen=True):
    """One thing that a deployment may be told.

    Attributes:
        name: in CDK's context.
        meaning: what it says, in half a sentence.
        default: what holds when it is not set; None where that is nothing at all.
        rule: what its text, or each one of its texts, must be; None where the service's settings say it.
        setting: the functions' variable that it becomes, if there is one, whose rules hold.
        is_list: whether it is several texts, comma-separated.
        without: the option without which it means nothing.
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
PACKAGE = Option("package", "the zip that `coachstream package` made", "dist/coachstream.zip")
CORS_ORIGINS = Option(
    "corsOrigins",
    "the origins of the pages that may call, comma-separated; required",
    rule=Origin(),
    is_list=True,
)
ALLOW_ANY_ORIGIN = Option("allowAnyOrigin", "the origin may be `*`", "false")
TABLE_NAME = Option("tableName", "an existing table; by default a new one", setting=v.TABLE)
USER_POOL_ID = Option(
    "userPoolId",
    "an existing user pool, with `clientIds`; by default a new one",
    setting=v.USER_POOL,
    without="clientIds",
)
CLIENT_IDS = Option(
    "clientIds",
    "its app clients whose ID tokens are accepted, comma-separated",
    setting=v.APP_CLIENTS,
    without="userPoolId",
)
PINECONE_SECRET_ARN = Option(
    "pineconeSecretArn",
    "the secret that is Pinecone's API key; by default a new one, where there is an index",
    rule=SECRET_ARN,
    without="pineconeIndexHost",
)
TICKET_KEY_SECRET_ARN = Option(
    "ticketKeySecretArn", "the secret that signs tickets; by default a new one", rule=SECRET_ARN
)
KMS_KEY_ARNS = Option(
    "kmsKeyArns",
    "customer managed keys that encrypt the existing table and secrets, comma-separated; none by default",
    rule=KEY_ARN,
    is_list=True,
)
MODEL_ID = Option(
    "modelId",
    "id or ARN of a model or of an inference profile; by default the service's own",
    setting=v.MODEL_ID,
)
MODEL_REGION = Option(
    "modelRegion", "where it is called; by default the stack's region", setting=v.MODEL_REGION
)
FALLBACK_MODEL_ID = Option(
    "fallbackModelId",
    "model that continues when a reply breaks off; by default the same model",
    setting=v.FALLBACK_MODEL,
)
FALLBACK_REGION = Option(
    "fallbackRegion",
    "where that one is called; by default where the model is",
    setting=v.FALLBACK_REGION,
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
    "its version: a number, or `DRAFT`",
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
    "name or ARN of the function that takes workouts; none by default",
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
MEMORY_MB = Option("memoryMb", "memory of each function", "2048", rule=WholeNumber(128, 10_240))
TIMEOUT_S = Option(
    "timeoutS", "the longest invocation, in seconds, up to 900", "300", rule=WholeNumber(10, 900)
)
LOG_LEVEL = Option("logLevel", "the least severe records that are logged", "info", setting=v.LOG_LEVEL)
LOG_RETENTION_DAYS = Option(
    "logRetentionDays",
    "how long logs are kept, as CloudWatch offers it",
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
ALARMS = Option("alarms", "alarms of errors, throttles, slow first words and interrupted turns", "true")
ALARM_TOPIC_ARN = Option(
    "alarmTopicArn",
    "SNS topic to notify of alarms; none by default",
    rule=TOPIC_ARN,
)
DASHBOARD = Option("dashboard", "a dashboard of what the functions measure", "true")

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
"""All of them, in the order in which a person decides."""
