"""What a deployment may be told, by CDK's context (`-c tableName=…`) or by the environment; needs no CDK.

The environment's names are made of the context's: `tableName` is COACHSTREAM_DEPLOY_TABLE_NAME. The context
wins. A name that nobody reads is an error, and not a deployment that lacks what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

PREFIX = "COACHSTREAM_DEPLOY_"
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


class OptionsError(ValueError):
    """What a deployment was told is wrong; the message says what it should be."""


class Option(msgspec.Struct, frozen=True):
    """One thing that a deployment may be told.

    Attributes:
        name: in CDK's context.
        meaning: what it says, in half a sentence.
        default: what holds when it is not set; None where that is nothing at all.
    """

    name: str
    meaning: str
    default: str | None = None

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", self.name).upper()

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return self.default in {"true", "false"}


STACK_NAME = Option("stackName", "the stack's name", "CoachStream")
PACKAGE = Option("package", "the zip that `coachstream package` made", "dist/coachstream.zip")
CORS_ORIGINS = Option("corsOrigins", "the origins of the pages that may call, parted by commas; required")
ALLOW_ANY_ORIGIN = Option("allowAnyOrigin", "the origin may be `*`", "false")
TABLE_NAME = Option("tableName", "an existing table; by default a new one")
USER_POOL_ID = Option("userPoolId", "an existing user pool, with `clientIds`; by default a new one")
CLIENT_IDS = Option("clientIds", "its app clients whose ID tokens are accepted, parted by commas")
PINECONE_SECRET_ARN = Option(
    "pineconeSecretArn",
    "the secret that is Pinecone's API key; by default a new one, where there is an index",
)
TICKET_KEY_SECRET_ARN = Option("ticketKeySecretArn", "the secret that signs tickets; by default a new one")
KMS_KEY_ARNS = Option(
    "kmsKeyArns",
    "customer managed keys that encrypt the existing table and secrets, parted by commas; none by default",
)
MODEL_ID = Option("modelId", "id or ARN of a model or of an inference profile; by default the service's own")
MODEL_REGION = Option("modelRegion", "where it is called; by default the stack's region")
FALLBACK_MODEL_ID = Option(
    "fallbackModelId", "who goes on when a reply breaks off; by default the same model"
)
FALLBACK_REGION = Option("fallbackRegion", "where that one is called; by default where the model is")
FOUNDATION_MODELS = Option(
    "foundationModels",
    "ARNs of the models behind an inference profile whose id does not tell, parted by commas",
)
GUARDRAIL_ID = Option("guardrailId", "id or ARN of the guardrail that checks replies; none by default")
GUARDRAIL_VERSION = Option("guardrailVersion", "its version: a number, or `DRAFT`", "DRAFT")
GUARDRAIL_PROFILES = Option(
    "guardrailProfiles",
    "ARNs of the guardrail's cross-region profile in all of its regions, parted by commas; none by default",
)
PINECONE_INDEX_HOST = Option("pineconeIndexHost", "the index that is recalled from; without one, nothing is")
RERANK_MODEL = Option("rerankModel", "Pinecone's model that ranks what was found anew; none by default")
WORKOUT_FUNCTION = Option(
    "workoutFunction", "name or ARN of the function that takes workouts; none by default"
)
SUMMARY_FUNCTION = Option(
    "summaryFunction", "name or ARN of the function that summarizes conversations; none by default"
)
MIRROR_MESSAGES = Option(
    "mirrorMessages", "turns also appear in the list that the existing functions read", "false"
)
MEMORY_MB = Option("memoryMb", "memory of each function", "2048")
TIMEOUT_S = Option("timeoutS", "the longest invocation, in seconds, up to 900", "300")
LOG_LEVEL = Option("logLevel", "the least severe records that are logged", "info")
LOG_RETENTION_DAYS = Option("logRetentionDays", "how long logs are kept, as CloudWatch offers it", "30")
KEEP_LOGS = Option("keepLogs", "logs stay when the stack goes", "false")
METRICS_NAMESPACE = Option("metricsNamespace", "CloudWatch namespace of the metrics", "coachstream")
RESERVED_CONCURRENCY = Option(
    "reservedConcurrency", "streams at once, kept free for them and no more; by default the account's"
)
SNAP_START = Option("snapStart", "start from snapshots, behind an alias", "false")
ALARMS = Option("alarms", "alarms of errors, throttles, slow first words and interrupted turns", "true")
ALARM_TOPIC_ARN = Option("alarmTopicArn", "the SNS topic that alarms tell; none by default")
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

_OURS_LOOK_LIKE = re.compile(r"[a-z]+([A-Z][A-Za-z]*)*")
"""CDK's own context has dashes, colons and slashes in its names."""


class Told:
    """The options of one deployment, read and checked one by one."""

    def __init__(self, context: Mapping[str, object], environment: Mapping[str, str]) -> None:
        """Take both.

        Raises:
            OptionsError: a name in one of them is that of no option.
        """
        self._context = context
        self._environment = environment
        names = {option.name for option in OPTIONS}
        variables = {option.variable for option in OPTIONS}
        unknown = [name for name in context if _OURS_LOOK_LIKE.fullmatch(name) and name not in names]
        unknown += [name for name in environment if name.startswith(PREFIX) and name not in variables]
        if unknown:
            raise OptionsError(f"there is no option {', '.join(sorted(unknown))}")

    def text(self, option: Option) -> str | None:
        """Its text; unset and empty are the same."""
        told = self._context.get(option.name)
        if told is None:
            told = self._environment.get(option.variable)
        return str(told).strip() or option.default if told is not None else option.default

    def texts(self, option: Option) -> tuple[str, ...]:
        """Its parts, between commas; a list in `cdk.json` is one as well."""
        told = self._context.get(option.name)
        parts = told if isinstance(told, list) else (self.text(option) or "").split(",")
        return tuple(text for part in parts if (text := str(part).strip()))

    def matching(self, option: Option, pattern: str, what: str) -> str | None:
        """Its text, which is `what`. Raises `OptionsError`."""
        text = self.text(option)
        if text is not None and not re.fullmatch(pattern, text):
            raise OptionsError(f"{option.name} is {text!r}; it is {what}")
        return text

    def whole_number(self, option: Option, *, least: int, most: int) -> int | None:
        """Its number. Raises `OptionsError`."""
        text = self.text(option)
        if text is None:
            return None
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise OptionsError(f"{option.name} is {text!r}; it is a whole number from {least} to {most}")
        return int(text)

    def needs(self, option: Option, needed: Option) -> None:
        """Refuse one that says something of another that is not there. Raises `OptionsError`."""
        if self.text(option) not in {None, option.default} and self.text(needed) is None:
            raise OptionsError(f"{option.name} says nothing without {needed.name}")

    def boolean(self, option: Option) -> bool:
        """Whether it is true. Raises `OptionsError`."""
        text = (self.text(option) or "false").lower()
        if text not in _TRUE | _FALSE:
            raise OptionsError(f"{option.name} is {text!r}; it is true or false")
        return text in _TRUE
