"""The options of a deployment, from CDK's context (`-c tableName=…`) or the environment; needs no CDK.

The variables' names are derived from the context's: `tableName` is COACHSTREAM_DEPLOY_TABLE_NAME. The context
overrides the environment. An unknown name is an error, so that a misspelled option is never ignored.

Each option is declared once. One that sets a variable of the functions has that variable's kind and default.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from coachstream.endpoint import normalized_origin
from coachstream.settings import Guardrail
from coachstream.settings import variables as v
from coachstream.settings.invocation import INVOCATION_TIMEOUT_S, LONGEST_INVOCATION_S
from coachstream.settings.kinds import (
    Boolean,
    Folder,
    InvalidValue,
    Kind,
    ListOf,
    Matching,
    OneOf,
    Text,
    WholeNumber,
    default_text,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PREFIX = "COACHSTREAM_DEPLOY_"

ANY_ORIGIN = "*"

# Secrets Manager, KMS, SNS and CloudFormation API references. Without the last six characters of a secret's
# ARN, a policy would allow another secret, or none.
SECRET_ARN = Matching(
    r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+-[A-Za-z0-9]{6}",
    "the full ARN of a secret, as shown in the console",
)
KEY_ARN = Matching(
    r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+", "the ARN of a KMS key (not of an alias)"
)
TOPIC_ARN = Matching(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]{1,256}", "the ARN of an SNS topic")


class OptionsError(ValueError):
    """Raised for invalid options; the message has the valid values."""


class Origin(msgspec.Struct, frozen=True):
    """The origin of a page, or `*`."""

    form: str = "an origin, such as https://app.example.com"

    def parse(self, text: str) -> str:
        """Return the origin as a browser sends it."""
        if text == ANY_ORIGIN:
            return text
        try:
            return normalized_origin(text)
        except ValueError as error:
            raise InvalidValue(f"cannot be used: {error}") from None


class Origins(msgspec.Struct, frozen=True):
    """Comma-separated origins."""

    form: str = Origin().form

    def parse(self, text: str) -> tuple[str, ...]:
        """Return the origins, each once: differently written ones can be the same."""
        return tuple(dict.fromkeys(ListOf(Origin()).parse(text)))


class Option(msgspec.Struct, Generic[T_co], frozen=True, eq=False):
    """One option of a deployment.

    Attributes:
        name: its name in CDK's context.
        meaning: its description, a phrase without a full stop.
        kind: its type and bounds.
        default: the value if it is not set; None if there is none.
        setting: the functions' variable that it sets, if any; the service's settings then validate it.
        without: the option without which it has no effect.
    """

    name: str
    meaning: str
    kind: Kind[T_co]
    default: T_co
    setting: v.Variable[object] | None = None
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
        return isinstance(self.kind, Boolean)

    @property
    def default_text(self) -> str | None:
        """The default as a text; None if there is none."""
        return default_text(self.default)


def _setting(variable: v.Variable[T], name: str, meaning: str, *, without: str | None = None) -> Option[T]:
    """An option that sets a variable of the functions."""
    return Option(name, meaning, variable.kind, variable.default, variable, without)


STACK_NAME = Option(
    "stackName",
    "the stack's name",
    Matching(r"[A-Za-z][A-Za-z0-9-]{0,127}", "a letter, then letters, digits and dashes"),
    "CoachStream",
)
PACKAGE = Option(
    "package", "the zip file built by `coachstream package`", Folder(), Path("dist/coachstream.zip")
)
CORS_ORIGINS = Option("corsOrigins", "the allowed origins of pages, comma-separated; required", Origins(), ())
ALLOW_ANY_ORIGIN = Option("allowAnyOrigin", "allow `*` as an origin", Boolean(), default=False)
TABLE_NAME = _setting(v.TABLE, "tableName", "existing table; by default a new one")
USER_POOL_ID = _setting(
    v.USER_POOL,
    "userPoolId",
    "existing user pool, with `clientIds`; by default a new one",
    without="clientIds",
)
CLIENT_IDS = _setting(
    v.APP_CLIENTS,
    "clientIds",
    "app clients of the existing user pool whose ID tokens are accepted, comma-separated",
    without="userPoolId",
)
PINECONE_SECRET_ARN = Option(
    "pineconeSecretArn",
    "secret with Pinecone's API key; by default a new one, if there is an index",
    SECRET_ARN,
    None,
    without="pineconeIndexHost",
)
TICKET_KEY_SECRET_ARN = Option(
    "ticketKeySecretArn", "secret with the key of tickets; by default a new one", SECRET_ARN, None
)
KMS_KEY_ARNS = Option(
    "kmsKeyArns",
    "customer managed keys that encrypt the existing table and secrets, comma-separated; none by default",
    ListOf(KEY_ARN),
    (),
)
MODEL_ID = _setting(v.MODEL_ID, "modelId", v.MODEL_ID.meaning)
MODEL_REGION = _setting(v.MODEL_REGION, "modelRegion", "region of the model; by default the stack's region")
FALLBACK_MODEL_ID = _setting(
    v.FALLBACK_MODEL, "fallbackModelId", "model that continues when a reply fails; by default the same model"
)
FALLBACK_REGION = _setting(
    v.FALLBACK_REGION, "fallbackRegion", "region of the fallback model; by default the model's region"
)
ANALYSIS_MODEL_ID = _setting(
    v.ANALYSIS_MODEL,
    "analysisModelId",
    f"small model that finds workouts and requests to remember something in messages, or `{v.OFF}`; by "
    "default the service's default",
)
SUMMARY_MODEL_ID = _setting(
    v.SUMMARY_MODEL,
    "summaryModelId",
    "small model that writes summaries and titles of conversations; by default the one that analyses "
    "messages",
)
FOUNDATION_MODELS = Option(
    "foundationModels",
    "ARNs of the models behind an inference profile whose id does not reveal its models, comma-separated",
    ListOf(Text()),
    (),
)
GUARDRAIL_ID = _setting(v.GUARDRAIL_ID, "guardrailId", v.GUARDRAIL_ID.meaning)
GUARDRAIL_VERSION = Option(
    "guardrailVersion",
    "version of the guardrail: a number, or `DRAFT`",
    v.GUARDRAIL_VERSION_KIND,
    Guardrail("any").version,
    v.GUARDRAIL_VERSION,
    without="guardrailId",
)
GUARDRAIL_MODE = _setting(
    v.GUARDRAIL_MODE, "guardrailMode", v.GUARDRAIL_MODE.description, without="guardrailId"
)
GUARDRAIL_PROFILES = Option(
    "guardrailProfiles",
    "ARNs of the guardrail's cross-region profile in all of its regions, comma-separated; none by default",
    ListOf(Text()),
    (),
    without="guardrailId",
)
PINECONE_INDEX_HOST = _setting(
    v.PINECONE_HOST, "pineconeIndexHost", "index for semantic search; off without one"
)
RERANK_MODEL = _setting(
    v.RERANK_MODEL,
    "rerankModel",
    "Pinecone's model that reranks the results; none by default",
    without="pineconeIndexHost",
)
WORKOUT_FUNCTION = _setting(
    v.WORKOUT_FUNCTION, "workoutFunction", "name or ARN of the function that builds workouts; none by default"
)
SUMMARY_FUNCTION = _setting(
    v.SUMMARY_FUNCTION,
    "summaryFunction",
    "name or ARN of the existing system's function that summarizes conversations; by default the stack's own "
    "function does",
)
POST_TURN: Option[bool | None] = Option(
    "postTurn",
    "create the function that writes titles, and summaries unless `summaryFunction` does; by default if "
    "there is no `summaryFunction`",
    Boolean(),
    None,
)
MIRROR_MESSAGES = _setting(
    v.MIRROR, "mirrorMessages", "turns also appear in the list that the existing functions read"
)
MEMORY_MB = Option("memoryMb", "memory of each function in MB", WholeNumber(128, 10_240), 2048)
TIMEOUT_S = Option(
    "timeoutS",
    f"invocation timeout in seconds, up to {LONGEST_INVOCATION_S}",
    WholeNumber(10, LONGEST_INVOCATION_S),
    INVOCATION_TIMEOUT_S,
)
LOG_LEVEL = _setting(v.LOG_LEVEL, "logLevel", v.LOG_LEVEL.meaning)
RETENTION_DAYS = OneOf((1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 731, 3653))
LOG_RETENTION_DAYS = Option(
    "logRetentionDays", "log retention in days, one of CloudWatch's choices", RETENTION_DAYS, 30
)
KEEP_LOGS = Option("keepLogs", "keep the logs when the stack is deleted", Boolean(), default=False)
METRICS_NAMESPACE = _setting(
    v.METRICS_NAMESPACE,
    "metricsNamespace",
    "CloudWatch namespace of the metrics; `off` for no metrics, no alarms and no dashboard",
)
RESERVED_CONCURRENCY = Option(
    "reservedConcurrency",
    "reserved concurrency of the stream function: guaranteed, and also the maximum; none by default",
    WholeNumber(0, 1_000_000),
    None,
)
SNAP_START = Option("snapStart", "start from snapshots, behind an alias", Boolean(), default=False)
ALARMS = Option(
    "alarms",
    "alarms on errors, throttles, slow first chunks, interrupted turns and lost work",
    Boolean(),
    default=True,
)
ALARM_TOPIC_ARN = Option("alarmTopicArn", "SNS topic to notify of alarms; none by default", TOPIC_ARN, None)
DASHBOARD = Option("dashboard", "a dashboard of the functions' metrics", Boolean(), default=True)

OPTIONS: tuple[Option[object], ...] = tuple(
    each for each in list(globals().values()) if isinstance(each, Option)
)
"""All options, in the order of decisions."""
