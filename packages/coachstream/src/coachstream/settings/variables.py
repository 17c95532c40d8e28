"""The environment variables: name, default, meaning. `docs/reference/settings.md` is generated from them.

Variables that the existing system also has keep its names; all others begin with COACHSTREAM_.
"""

from __future__ import annotations

from enum import Enum, StrEnum

import msgspec

from coachstream.settings.choices import (
    Choice,
    IdentityProvider,
    LogFormat,
    LogLevel,
    Model,
    Recall,
    Store,
    TurnPolicy,
)
from coachstream.time_zone import DEFAULT_TIME_ZONE


class Part(Enum):
    """The section of a variable; the value is its heading."""

    STORE = "Store"
    MODEL = "Model"
    IDENTITY = "Identity"
    RECALL = "Recall"
    HAND_OFFS = "Hand-offs"
    TURN = "Turns and streams"
    LOGS = "Logs and metrics"
    DATA = "Data on this machine"
    AWS = "AWS"


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One environment variable; unset and empty are the same.

    Attributes:
        name: its name.
        part: its section.
        meaning: its description, a phrase without a full stop.
        default: the value if it is not set; None if there is none.
        of: the choice to which it applies; None if it always applies.
        is_required: whether nothing starts without it (if it applies).
        is_secret: whether its value must not be shown.
        reader: the program that reads it, if not coachstream.
    """

    name: str
    part: Part
    meaning: str
    default: str | None = None
    of: Choice | None = None
    is_required: bool = False
    is_secret: bool = False
    reader: str | None = None


def _one_of(choices: type[StrEnum]) -> str:
    *most, last = (f"`{choice}`" for choice in choices)
    return f"{', '.join(most)} or {last}"


STORE = Variable(
    name="COACHSTREAM_STORE",
    part=Part.STORE,
    meaning=f"where conversations are stored: {_one_of(Store)}",
    is_required=True,
)
TABLE = Variable(
    name="DYNAMODB_TABLE_NAME",
    part=Part.STORE,
    meaning="name or ARN of the table; or set `DYNAMODB_BASE_TABLE_NAME` and `BRANCH_NAME`",
    of=Store.DYNAMODB,
    is_required=True,
)
BASE_TABLE = Variable(
    name="DYNAMODB_BASE_TABLE_NAME",
    part=Part.STORE,
    meaning="the table's name without the branch, if `DYNAMODB_TABLE_NAME` is not set",
    of=Store.DYNAMODB,
)
BRANCH = Variable(
    name="BRANCH_NAME",
    part=Part.STORE,
    meaning="the branch to append to `DYNAMODB_BASE_TABLE_NAME` after a `-`; `main` appends nothing",
    of=Store.DYNAMODB,
)
MIRROR = Variable(
    name="MIRROR_MESSAGES",
    part=Part.STORE,
    meaning="`true`: turns also appear in the list of messages that the existing functions read",
    default="false",
    of=Store.DYNAMODB,
)

STORE_TIMEOUT = Variable(
    name="COACHSTREAM_STORE_TIMEOUT_S",
    part=Part.STORE,
    meaning="timeout in seconds for one attempt of a request to DynamoDB; there are up to three",
    default="5",
    of=Store.DYNAMODB,
)

MODEL = Variable(
    name="COACHSTREAM_MODEL",
    part=Part.MODEL,
    meaning=f"what generates the replies: {_one_of(Model)} (`demo` is not a language model, and labels its "
    "replies)",
    is_required=True,
)
MODEL_DELAY = Variable(
    name="COACHSTREAM_MODEL_DELAY",
    part=Part.MODEL,
    meaning="seconds between two chunks of the demo model's reply",
    default="0.03",
    of=Model.DEMO,
)
MODEL_ID = Variable(
    name="COACHSTREAM_MODEL_ID",
    part=Part.MODEL,
    meaning="id or ARN of a model or of an inference profile",
    default="us.anthropic.claude-sonnet-4-6",
    of=Model.BEDROCK,
)
MODEL_REGION = Variable(
    name="COACHSTREAM_MODEL_REGION",
    part=Part.MODEL,
    meaning="region in which the model is called; `AWS_REGION` by default",
    of=Model.BEDROCK,
)
MODEL_TEMPERATURE = Variable(
    name="COACHSTREAM_MODEL_TEMPERATURE",
    part=Part.MODEL,
    meaning="from 0 to 1, or `none`; omitted for models that do not accept it",
    default="0.7",
    of=Model.BEDROCK,
)
MODEL_MAX_TOKENS = Variable(
    name="COACHSTREAM_MODEL_MAX_TOKENS",
    part=Part.MODEL,
    meaning="maximum tokens of a reply; Bedrock deducts them from the quota while it generates",
    default="8192",
    of=Model.BEDROCK,
)
MODEL_PROMPT_CACHING = Variable(
    name="COACHSTREAM_MODEL_PROMPT_CACHING",
    part=Part.MODEL,
    meaning="`true`: the constant part of a prompt is cached, if the model supports it",
    default="true",
    of=Model.BEDROCK,
)
MODEL_STALL = Variable(
    name="COACHSTREAM_MODEL_STALL_S",
    part=Part.MODEL,
    meaning="seconds without data after which a model's stream is abandoned",
    default="30",
    of=Model.BEDROCK,
)
MODEL_CAN_CONTINUE = Variable(
    name="COACHSTREAM_MODEL_CAN_CONTINUE",
    part=Part.MODEL,
    meaning="whether the model can continue a partial reply, `true` or `false`; by default decided by its "
    "id. A model that cannot starts the reply again",
    of=Model.BEDROCK,
)
FALLBACK_MODEL = Variable(
    name="COACHSTREAM_FALLBACK_MODEL_ID",
    part=Part.MODEL,
    meaning="id or ARN of the model to call when a reply fails; by default the same model, once more",
    of=Model.BEDROCK,
)
FALLBACK_REGION = Variable(
    name="COACHSTREAM_FALLBACK_REGION",
    part=Part.MODEL,
    meaning="region of the model to call when a reply fails; by default the same",
    of=Model.BEDROCK,
)
GUARDRAIL_ID = Variable(
    name="BEDROCK_GUARDRAIL_ID",
    part=Part.MODEL,
    meaning="id or ARN of the guardrail that checks the newest message and the reply; none by default",
    of=Model.BEDROCK,
)
GUARDRAIL_VERSION = Variable(
    name="BEDROCK_GUARDRAIL_VERSION",
    part=Part.MODEL,
    meaning="version of the guardrail: a number, or `DRAFT` (the default)",
    of=Model.BEDROCK,
)

IDENTITY = Variable(
    name="COACHSTREAM_IDENTITY",
    part=Part.IDENTITY,
    meaning=f"issuer of the accepted tokens: {_one_of(IdentityProvider)} (`local` is for `coachstream "
    "serve`)",
    is_required=True,
)
USER_POOL = Variable(
    name="USER_POOL_ID",
    part=Part.IDENTITY,
    meaning="id of the user pool, such as `us-west-2_aBcDeFgHi`, which includes its region",
    of=IdentityProvider.COGNITO,
    is_required=True,
)
APP_CLIENTS = Variable(
    name="APP_CLIENT_ID",
    part=Part.IDENTITY,
    meaning="app client whose ID tokens are accepted; several are comma-separated",
    of=IdentityProvider.COGNITO,
    is_required=True,
)
JWKS_FILE = Variable(
    name="COACHSTREAM_JWKS_FILE",
    part=Part.IDENTITY,
    meaning="file with the pool's keys, which `coachstream package --jwks-of` adds to the package: a cold "
    "start then sends `start` without fetching them first. A file of another pool is refused",
    of=IdentityProvider.COGNITO,
)
TICKET_KEY = Variable(
    name="COACHSTREAM_TICKET_KEY",
    part=Part.IDENTITY,
    meaning="key of the tickets in the URLs that `EventSource` opens, at least 32 characters; `local` "
    "generates one. Without a key there are no tickets",
    is_secret=True,
)
TICKET_KEY_ARN = Variable(
    name="COACHSTREAM_TICKET_KEY_SECRET_ARN",
    part=Part.IDENTITY,
    meaning="alternatively, ARN of the secret in AWS Secrets Manager whose whole string is this key",
)

RECALL = Variable(
    name="COACHSTREAM_RECALL",
    part=Part.RECALL,
    meaning=f"semantic search backend: {_one_of(Recall)}",
    default="off",
)
PINECONE_KEY = Variable(
    name="PINECONE_API_KEY",
    part=Part.RECALL,
    meaning="API key; without it recall is off, which is logged once",
    of=Recall.PINECONE,
    is_secret=True,
)
PINECONE_KEY_ARN = Variable(
    name="PINECONE_API_KEY_SECRET_ARN",
    part=Part.RECALL,
    meaning="alternatively, ARN of the secret in AWS Secrets Manager whose whole string is the API key",
    of=Recall.PINECONE,
)
PINECONE_HOST = Variable(
    name="PINECONE_INDEX_HOST",
    part=Part.RECALL,
    meaning="host of the index, as shown in Pinecone's console",
    of=Recall.PINECONE,
    is_required=True,
)
RERANK_MODEL = Variable(
    name="COACHSTREAM_RECALL_RERANK_MODEL",
    part=Part.RECALL,
    meaning="model that reranks the results, such as `pinecone-rerank-v0`; none by default",
    of=Recall.PINECONE,
)
RECALL_TIMEOUT = Variable(
    name="COACHSTREAM_RECALL_TIMEOUT_S",
    part=Part.RECALL,
    meaning="timeout in seconds for a search in Pinecone with all its calls",
    default="1.2",
    of=Recall.PINECONE,
)

WORKOUT_FUNCTION = Variable(
    name="BUILD_WORKOUT_FUNCTION_NAME",
    part=Part.HAND_OFFS,
    meaning="name or ARN of the function that builds workouts; if unset, they are not handed off",
)
SUMMARY_FUNCTION = Variable(
    name="BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME",
    part=Part.HAND_OFFS,
    meaning="name or ARN of the function that summarizes conversations; if unset, they are not handed off",
)

HISTORY_BUDGET = Variable(
    name="COACHSTREAM_HISTORY_BUDGET_CHARS",
    part=Part.TURN,
    meaning="maximum characters of earlier messages in a prompt",
    default="60000",
)
OPTIONAL_CONTEXT_BUDGET = Variable(
    name="COACHSTREAM_OPTIONAL_CONTEXT_BUDGET_S",
    part=Part.TURN,
    meaning="seconds to wait for optional context before the prompt is built without it",
    default="1.5",
)
TIME_ZONE = Variable(
    name="COACHSTREAM_TIME_ZONE",
    part=Part.TURN,
    meaning="IANA name of the time zone of users whose client and profile do not tell theirs",
    default=DEFAULT_TIME_ZONE,
)
TURN_POLICY = Variable(
    name="COACHSTREAM_TURN_POLICY",
    part=Part.TURN,
    meaning=f"what happens to a message that arrives during a reply: {_one_of(TurnPolicy)}. `reject` refuses "
    "it; `interrupt` stops the reply, keeps its text and replies to the new message",
    default="reject",
)
LEASE = Variable(
    name="COACHSTREAM_LEASE_S",
    part=Part.TURN,
    meaning="lease duration in seconds, more than 1: without a heartbeat for that long, a reply counts as "
    "failed",
    default="15",
)
REPLY_INVOCATIONS = Variable(
    name="COACHSTREAM_REPLY_INVOCATIONS",
    part=Part.TURN,
    meaning="maximum invocations for one reply: each continues where the function's timeout ended the "
    "previous one. If the last one does not finish the reply, the partial reply is kept and ends with "
    "`DEADLINE_EXCEEDED`",
    default="5",
)
KEEP_ALIVE = Variable(
    name="COACHSTREAM_KEEP_ALIVE_S",
    part=Part.TURN,
    meaning="seconds of silence before a stream sends a keep-alive comment",
    default="15",
)

LOG_LEVEL = Variable(
    name="COACHSTREAM_LOG_LEVEL",
    part=Part.LOGS,
    meaning=f"minimum level of logged records: {_one_of(LogLevel)}",
    default="info",
)
LOG_FORMAT = Variable(
    name="COACHSTREAM_LOG_FORMAT",
    part=Part.LOGS,
    meaning=f"format of log records: {_one_of(LogFormat)}",
    default="json",
)
METRICS_NAMESPACE = Variable(
    name="COACHSTREAM_METRICS_NAMESPACE",
    part=Part.LOGS,
    meaning="CloudWatch namespace of the metrics, or `off`",
    default="coachstream",
)

DATA_DIR = Variable(
    name="COACHSTREAM_DATA_DIR",
    part=Part.DATA,
    meaning="folder for the data of `sqlite` and `local`; required if one of them is selected",
    is_required=True,
)

REGION = Variable(
    name="AWS_REGION",
    part=Part.AWS,
    meaning="region of the table, the model and the functions; by default `AWS_DEFAULT_REGION`, or the "
    "region in the shared configuration",
)
DEFAULT_REGION = Variable(
    name="AWS_DEFAULT_REGION", part=Part.AWS, meaning="the region, if `AWS_REGION` is not set"
)
COGNITO_ENDPOINT = Variable(
    name="AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
    part=Part.AWS,
    meaning="endpoint for the user pool's keys, instead of Cognito's own",
    of=IdentityProvider.COGNITO,
)
ENDPOINT = Variable(
    name="AWS_ENDPOINT_URL",
    part=Part.AWS,
    meaning="endpoint of all AWS services without one of their own",
)

_SDK = "the AWS SDK"

ID_TOKEN = Variable(
    name="COACHSTREAM_ID_TOKEN",
    part=Part.IDENTITY,
    meaning="ID token of the user pool, for a server with `--identity cognito`",
    of=IdentityProvider.COGNITO,
    is_secret=True,
    reader="`coachstream chat`",
)

READ_BY_OTHERS = (
    ID_TOKEN,
    Variable(
        name="PINECONE_CONTROLLER_HOST",
        part=Part.RECALL,
        meaning="endpoint of the reranking model, instead of Pinecone's own",
        of=Recall.PINECONE,
        reader="Pinecone's SDK",
    ),
    Variable(
        name="AWS_ENDPOINT_URL_DYNAMODB",
        part=Part.AWS,
        meaning="endpoint of DynamoDB, such as DynamoDB Local's",
        reader=_SDK,
    ),
    Variable(
        name="AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        part=Part.AWS,
        meaning="endpoint of Bedrock's models",
        reader=_SDK,
    ),
    Variable(
        name="AWS_ENDPOINT_URL_LAMBDA",
        part=Part.AWS,
        meaning="endpoint of Lambda, for hand-offs",
        reader=_SDK,
    ),
    Variable(
        name="AWS_ENDPOINT_URL_SECRETS_MANAGER",
        part=Part.AWS,
        meaning="endpoint of Secrets Manager",
        reader=_SDK,
    ),
    Variable(
        name="AWS_PROFILE",
        part=Part.AWS,
        meaning="profile of the shared configuration (`~/.aws`) with credentials and region",
        reader=_SDK,
    ),
    Variable(
        name="AWS_ACCESS_KEY_ID",
        part=Part.AWS,
        meaning="credentials, if no profile or role provides them",
        reader=_SDK,
    ),
    Variable(name="AWS_SECRET_ACCESS_KEY", part=Part.AWS, meaning="likewise", reader=_SDK, is_secret=True),
    Variable(name="AWS_SESSION_TOKEN", part=Part.AWS, meaning="likewise", reader=_SDK, is_secret=True),
)

VARIABLES = (
    STORE,
    TABLE,
    BASE_TABLE,
    BRANCH,
    MIRROR,
    STORE_TIMEOUT,
    MODEL,
    MODEL_DELAY,
    MODEL_ID,
    MODEL_REGION,
    MODEL_TEMPERATURE,
    MODEL_MAX_TOKENS,
    MODEL_PROMPT_CACHING,
    MODEL_STALL,
    MODEL_CAN_CONTINUE,
    FALLBACK_MODEL,
    FALLBACK_REGION,
    GUARDRAIL_ID,
    GUARDRAIL_VERSION,
    IDENTITY,
    USER_POOL,
    APP_CLIENTS,
    JWKS_FILE,
    TICKET_KEY,
    TICKET_KEY_ARN,
    RECALL,
    PINECONE_KEY,
    PINECONE_KEY_ARN,
    PINECONE_HOST,
    RERANK_MODEL,
    RECALL_TIMEOUT,
    WORKOUT_FUNCTION,
    SUMMARY_FUNCTION,
    HISTORY_BUDGET,
    OPTIONAL_CONTEXT_BUDGET,
    TIME_ZONE,
    TURN_POLICY,
    LEASE,
    REPLY_INVOCATIONS,
    KEEP_ALIVE,
    LOG_LEVEL,
    LOG_FORMAT,
    METRICS_NAMESPACE,
    DATA_DIR,
    REGION,
    DEFAULT_REGION,
    ENDPOINT,
    COGNITO_ENDPOINT,
)
"""The variables that coachstream itself reads."""
