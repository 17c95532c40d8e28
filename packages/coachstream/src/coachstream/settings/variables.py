"""The environment variables: name, default, meaning. `docs/reference/settings.md` is generated from it.

Where the existing system has a name for something, the name is its own; all others begin with COACHSTREAM_.
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


class Part(Enum):
    """What a variable is for; the value is a heading."""

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
        part: what it is for.
        meaning: what it says, in half a sentence.
        default: what holds when it is not set; None where that is nothing at all.
        of: what must be chosen for it to be looked at; None where it always is.
        is_required: whether nothing starts without it (if it is looked at).
        is_secret: whether its value may be shown.
        reader: who reads it, where it is not us.
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
    meaning=f"where conversations are kept: {_one_of(Store)}",
    is_required=True,
)
TABLE = Variable(
    name="DYNAMODB_TABLE_NAME",
    part=Part.STORE,
    meaning="the table; or give `DYNAMODB_BASE_TABLE_NAME` and `BRANCH_NAME`",
    of=Store.DYNAMODB,
    is_required=True,
)
BASE_TABLE = Variable(
    name="DYNAMODB_BASE_TABLE_NAME",
    part=Part.STORE,
    meaning="the table's name without the branch, where `DYNAMODB_TABLE_NAME` is not set",
    of=Store.DYNAMODB,
)
BRANCH = Variable(
    name="BRANCH_NAME",
    part=Part.STORE,
    meaning="the branch that is appended to `DYNAMODB_BASE_TABLE_NAME` after a `-`; nothing is on `main`",
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
    meaning="seconds for one attempt of a request to DynamoDB, of which there are three",
    default="5",
    of=Store.DYNAMODB,
)

MODEL = Variable(
    name="COACHSTREAM_MODEL",
    part=Part.MODEL,
    meaning=f"what writes the replies: {_one_of(Model)} (`demo` is no language model, and says so)",
    is_required=True,
)
MODEL_DELAY = Variable(
    name="COACHSTREAM_MODEL_DELAY",
    part=Part.MODEL,
    meaning="seconds between two pieces of the demo model's reply",
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
    meaning="from 0 to 1, or `none`; a model that takes none is asked without it",
    default="0.7",
    of=Model.BEDROCK,
)
MODEL_MAX_TOKENS = Variable(
    name="COACHSTREAM_MODEL_MAX_TOKENS",
    part=Part.MODEL,
    meaning="tokens at which a reply is cut; Bedrock takes them out of the quota while it writes",
    default="8192",
    of=Model.BEDROCK,
)
MODEL_PROMPT_CACHING = Variable(
    name="COACHSTREAM_MODEL_PROMPT_CACHING",
    part=Part.MODEL,
    meaning="`true`: what stays the same of a prompt is cached, where the model can",
    default="true",
    of=Model.BEDROCK,
)
MODEL_STALL = Variable(
    name="COACHSTREAM_MODEL_STALL_S",
    part=Part.MODEL,
    meaning="longest silence of a model's stream, in seconds, before it is given up",
    default="30",
    of=Model.BEDROCK,
)
MODEL_CAN_CONTINUE = Variable(
    name="COACHSTREAM_MODEL_CAN_CONTINUE",
    part=Part.MODEL,
    meaning="whether the model can continue a partial reply, `true` or `false`; by default what is known of "
    "it. A model that cannot starts again",
    of=Model.BEDROCK,
)
FALLBACK_MODEL = Variable(
    name="COACHSTREAM_FALLBACK_MODEL_ID",
    part=Part.MODEL,
    meaning="id or ARN of the model that is asked when a reply breaks off; by default the same model, once "
    "more",
    of=Model.BEDROCK,
)
FALLBACK_REGION = Variable(
    name="COACHSTREAM_FALLBACK_REGION",
    part=Part.MODEL,
    meaning="region in which a model is asked when a reply breaks off; by default the same",
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
    meaning="version of the guardrail: a number, or `DRAFT` (the default where a guardrail is named)",
    of=Model.BEDROCK,
)

IDENTITY = Variable(
    name="COACHSTREAM_IDENTITY",
    part=Part.IDENTITY,
    meaning=f"whose tokens are accepted: {_one_of(IdentityProvider)} (`local` is for `coachstream serve`)",
    is_required=True,
)
USER_POOL = Variable(
    name="USER_POOL_ID",
    part=Part.IDENTITY,
    meaning="the user pool, such as `us-west-2_aBcDeFgHi`; its id says the region",
    of=IdentityProvider.COGNITO,
    is_required=True,
)
APP_CLIENTS = Variable(
    name="APP_CLIENT_ID",
    part=Part.IDENTITY,
    meaning="the app client whose ID tokens are accepted; several are comma-separated",
    of=IdentityProvider.COGNITO,
    is_required=True,
)
JWKS_FILE = Variable(
    name="COACHSTREAM_JWKS_FILE",
    part=Part.IDENTITY,
    meaning="file with the pool's keys, which `coachstream package --jwks-of` puts into the package: a cold "
    "start then says `start` before it asks the pool. A file of another pool is refused",
    of=IdentityProvider.COGNITO,
)
TICKET_KEY = Variable(
    name="COACHSTREAM_TICKET_KEY",
    part=Part.IDENTITY,
    meaning="key of the tickets in the URLs that `EventSource` opens, at least 32 characters; `local` makes "
    "one. Without a key there are no tickets",
    is_secret=True,
)
TICKET_KEY_ARN = Variable(
    name="COACHSTREAM_TICKET_KEY_SECRET_ARN",
    part=Part.IDENTITY,
    meaning="ARN of the secret in AWS Secrets Manager that is this key, instead: all of its string",
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
    meaning="the API key; without it recall is off, and the log says so once",
    of=Recall.PINECONE,
    is_secret=True,
)
PINECONE_KEY_ARN = Variable(
    name="PINECONE_API_KEY_SECRET_ARN",
    part=Part.RECALL,
    meaning="ARN of the secret in AWS Secrets Manager that is the API key, instead: all of its string",
    of=Recall.PINECONE,
)
PINECONE_HOST = Variable(
    name="PINECONE_INDEX_HOST",
    part=Part.RECALL,
    meaning="the index's host, as Pinecone's console shows it",
    of=Recall.PINECONE,
    is_required=True,
)
RERANK_MODEL = Variable(
    name="COACHSTREAM_RECALL_RERANK_MODEL",
    part=Part.RECALL,
    meaning="the model that reranks the results, such as `pinecone-rerank-v0`; none by default",
    of=Recall.PINECONE,
)
RECALL_TIMEOUT = Variable(
    name="COACHSTREAM_RECALL_TIMEOUT_S",
    part=Part.RECALL,
    meaning="seconds for a search in Pinecone, all its calls together",
    default="1.2",
    of=Recall.PINECONE,
)

WORKOUT_FUNCTION = Variable(
    name="BUILD_WORKOUT_FUNCTION_NAME",
    part=Part.HAND_OFFS,
    meaning="name or ARN of the function that takes workouts; none: they are not handed off",
)
SUMMARY_FUNCTION = Variable(
    name="BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME",
    part=Part.HAND_OFFS,
    meaning="name or ARN of the function that summarizes conversations; none: they are not handed off",
)

HISTORY_BUDGET = Variable(
    name="COACHSTREAM_HISTORY_BUDGET_CHARS",
    part=Part.TURN,
    meaning="how many characters of earlier messages a prompt may hold",
    default="60000",
)
OPTIONAL_CONTEXT_BUDGET = Variable(
    name="COACHSTREAM_OPTIONAL_CONTEXT_BUDGET_S",
    part=Part.TURN,
    meaning="seconds until a prompt does without the optional context that has not arrived",
    default="1.5",
)
TURN_POLICY = Variable(
    name="COACHSTREAM_TURN_POLICY",
    part=Part.TURN,
    meaning=f"what becomes of a message while another one is answered: {_one_of(TurnPolicy)}. `reject` "
    "refuses it, `interrupt` stops the reply, keeps what it said and answers the new message",
    default="reject",
)
LEASE = Variable(
    name="COACHSTREAM_LEASE_S",
    part=Part.TURN,
    meaning="seconds after which a reply that nobody writes any more is taken for broken off, more than 1",
    default="15",
)
REPLY_INVOCATIONS = Variable(
    name="COACHSTREAM_REPLY_INVOCATIONS",
    part=Part.TURN,
    meaning="invocations that may write one reply, one after another: each goes on where the function's "
    "timeout ended the one before. A reply that the last one does not finish is kept as far as it came, and "
    "ends with `DEADLINE_EXCEEDED`",
    default="5",
)
KEEP_ALIVE = Variable(
    name="COACHSTREAM_KEEP_ALIVE_S",
    part=Part.TURN,
    meaning="seconds of quiet before a stream carries a comment",
    default="15",
)

LOG_LEVEL = Variable(
    name="COACHSTREAM_LOG_LEVEL",
    part=Part.LOGS,
    meaning=f"the least severe records that are logged: {_one_of(LogLevel)}",
    default="info",
)
LOG_FORMAT = Variable(
    name="COACHSTREAM_LOG_FORMAT",
    part=Part.LOGS,
    meaning=f"how records are written: {_one_of(LogFormat)}",
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
    meaning="folder of what `sqlite` and `local` keep; needed where one of them is chosen",
    is_required=True,
)

REGION = Variable(
    name="AWS_REGION",
    part=Part.AWS,
    meaning="region of the table, the model and the functions; else `AWS_DEFAULT_REGION`, else what the "
    "shared configuration says",
)
DEFAULT_REGION = Variable(
    name="AWS_DEFAULT_REGION", part=Part.AWS, meaning="the region, where `AWS_REGION` is not set"
)
COGNITO_ENDPOINT = Variable(
    name="AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
    part=Part.AWS,
    meaning="where the user pool's keys are read, instead of at Cognito's own address",
    of=IdentityProvider.COGNITO,
)
ENDPOINT = Variable(
    name="AWS_ENDPOINT_URL",
    part=Part.AWS,
    meaning="endpoint of all AWS services that have none of their own",
)

_SDK = "the AWS SDK"

ID_TOKEN = Variable(
    name="COACHSTREAM_ID_TOKEN",
    part=Part.IDENTITY,
    meaning="an ID token of the user pool, for a server with `--identity cognito`",
    of=IdentityProvider.COGNITO,
    is_secret=True,
    reader="`coachstream chat`",
)

READ_BY_OTHERS = (
    ID_TOKEN,
    Variable(
        name="PINECONE_CONTROLLER_HOST",
        part=Part.RECALL,
        meaning="where the reranking model is asked, instead of at Pinecone's own address",
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
        meaning="endpoint of the functions that take hand-offs",
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
        meaning="credentials, where no profile and no role gives them",
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
"""Those that are read here."""
