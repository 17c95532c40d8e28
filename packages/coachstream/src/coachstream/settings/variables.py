"""The environment variables, each declared once: name, meaning, type and bounds, default.

Everything else derives from them: how they are read and written (`reader`), the stack's environment, the
options of the commands, the Amplify function's `settings.json` and `docs/reference/settings.md`. `parts` and
`settings` say which fields they fill. A default that the domain itself has is taken from there.

Variables that the existing system also has keep its names; all others begin with COACHSTREAM_.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Generic, TypeVar

import msgspec

from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.conversation.turn.settings import TurnSettings
from coachstream.settings.choices import (
    Choice,
    GuardrailMode,
    IdentityProvider,
    LogFormat,
    LogLevel,
    Model,
    Recall,
    Store,
)
from coachstream.settings.kinds import (
    Boolean,
    Folder,
    Host,
    Key,
    KeyArn,
    Kind,
    ListOf,
    Matching,
    Number,
    OneOf,
    Or,
    Text,
    TimeZone,
    Url,
    WholeNumber,
    default_text,
)

T_co = TypeVar("T_co", covariant=True)


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


class Scope(msgspec.Struct, frozen=True):
    """Where variables apply: their section, and the choice that they belong to; None if they always apply."""

    part: Part
    of: Choice | None = None


class Variable(msgspec.Struct, Generic[T_co], frozen=True, eq=False):
    """One environment variable; unset and empty are the same.

    Attributes:
        scope: where it applies.
        name: its name.
        meaning: what it is, in a phrase without a full stop.
        kind: its type and bounds.
        default: the value if it is not set; None if there is none.
        more: what the description says after the meaning, with its punctuation.
        is_required: whether nothing starts without it (if it applies).
        is_free: whether a deployment may set it as it likes, because no resource or policy depends on it.
        reader: the program that reads it, if not coachstream.
    """

    scope: Scope
    name: str
    meaning: str
    kind: Kind[T_co]
    default: T_co
    more: str = ""
    is_required: bool = False
    is_free: bool = False
    reader: str | None = None

    @property
    def description(self) -> str:
        """The meaning, the choices and what else there is to say, without a full stop."""
        choices = ""
        if isinstance(self.kind, OneOf):
            choices = f": {_one_of(self.kind.choices)}"
        return f"{self.meaning}{choices}{self.more}"

    @property
    def is_secret(self) -> bool:
        """Whether its value must not be shown."""
        return isinstance(self.kind, Key)

    @property
    def default_text(self) -> str | None:
        """The default as a text; None if there is none."""
        return default_text(self.default)


def _one_of(choices: Iterable[object]) -> str:
    *most, last = (f"`{choice}`" for choice in choices)
    return f"{', '.join(most)} or {last}"


OFF = "off"
"""The value of a text that switches its feature off."""

# AWS API references: CreateTable, `TableName`; Invoke, `FunctionName`; CreateUserPool, `Id`;
# CreateUserPoolClient, `ClientId`; Converse, `modelId` and `guardrailIdentifier`, both of which may be ARNs.
TABLE_NAME_OR_ARN = r"[A-Za-z0-9_.-]{3,255}|arn:[A-Za-z0-9_.:/-]+"
_MODEL = r"[A-Za-z0-9_.:/-]+"
_MODEL_ID = Matching(_MODEL, "a model's id or ARN")
GUARDRAIL_VERSION_KIND = Matching(r"DRAFT|[1-9][0-9]{0,7}", "a number or DRAFT")
_FUNCTION = Matching(r"[A-Za-z0-9_.:$-]{1,170}", "a function's name or ARN")
_REGION = Matching(r"[a-z0-9-]+", "a region")

_SHORTEST_LEASE_S = 1.01
"""A shorter lease could expire during one slow write."""

DEFAULT_MAX_TURNS = 100
"""A precaution, not a measured capacity, which depends on the machine and on the model's pace."""

_TICKET_KEY_BYTES = 32
"""RFC 7518, section 3.2: a key for HS256 must be at least as long as the hash."""

_TURNS = TurnSettings()

_STORE, _DYNAMODB = Scope(Part.STORE), Scope(Part.STORE, Store.DYNAMODB)

STORE = Variable(
    _STORE, "COACHSTREAM_STORE", "where conversations are stored", OneOf(Store), None, is_required=True
)
TABLE = Variable(
    _DYNAMODB,
    "DYNAMODB_TABLE_NAME",
    "name or ARN of the table",
    Matching(TABLE_NAME_OR_ARN, "a table's name or ARN"),
    None,
    more="; or set `DYNAMODB_BASE_TABLE_NAME` and `BRANCH_NAME`",
    is_required=True,
)
BASE_TABLE = Variable(
    _DYNAMODB,
    "DYNAMODB_BASE_TABLE_NAME",
    "the table's name without the branch, if `DYNAMODB_TABLE_NAME` is not set",
    Matching(TABLE_NAME_OR_ARN, "a table's name"),
    None,
)
BRANCH = Variable(
    _DYNAMODB,
    "BRANCH_NAME",
    "the branch to append to `DYNAMODB_BASE_TABLE_NAME` after a `-`; `main` appends nothing",
    Text(),
    None,
)
MIRROR = Variable(
    _DYNAMODB,
    "MIRROR_MESSAGES",
    "`true`: turns also appear in the list of messages that the existing functions read",
    Boolean(),
    default=False,
)
STORE_TIMEOUT = Variable(
    _DYNAMODB,
    "COACHSTREAM_STORE_TIMEOUT_S",
    "timeout in seconds for one attempt of a request to DynamoDB; there are up to three",
    Number(0.1, 60),
    5.0,
    is_free=True,
)

_DEMO, _BEDROCK = Scope(Part.MODEL, Model.DEMO), Scope(Part.MODEL, Model.BEDROCK)

MODEL = Variable(
    Scope(Part.MODEL),
    "COACHSTREAM_MODEL",
    "what generates the replies",
    OneOf(Model),
    None,
    more=" (`demo` is not a language model, and labels its replies)",
    is_required=True,
)
MODEL_DELAY_KIND = Number(0, 60)
MODEL_DELAY = Variable(
    _DEMO,
    "COACHSTREAM_MODEL_DELAY",
    "seconds between two chunks of the demo model's reply",
    MODEL_DELAY_KIND,
    0.03,
)
MODEL_ID = Variable(
    _BEDROCK,
    "COACHSTREAM_MODEL_ID",
    "id or ARN of a model or of an inference profile",
    _MODEL_ID,
    "us.anthropic.claude-sonnet-4-6",
)
MODEL_REGION = Variable(
    _BEDROCK,
    "COACHSTREAM_MODEL_REGION",
    "region in which the model is called; `AWS_REGION` by default",
    _REGION,
    None,
)
MODEL_TEMPERATURE = Variable(
    _BEDROCK,
    "COACHSTREAM_MODEL_TEMPERATURE",
    "from 0 to 1, or `none`; omitted for models that do not accept it",
    Or(Number(0, 1), "none"),
    0.7,
    is_free=True,
)
# 8192 (some 6000 words) is the maximum of Claude 3.5 Haiku; newer models allow more, and the existing system
# requests 32768. But Bedrock deducts the limit from the quota when a request begins (user guide, "How tokens
# are counted"), so that one far above any reply only causes throttling.
MODEL_MAX_TOKENS = Variable(
    _BEDROCK,
    "COACHSTREAM_MODEL_MAX_TOKENS",
    "maximum tokens of a reply; Bedrock deducts them from the quota while it generates",
    WholeNumber(1, 1_000_000),
    8192,
    is_free=True,
)
MODEL_PROMPT_CACHING = Variable(
    _BEDROCK,
    "COACHSTREAM_MODEL_PROMPT_CACHING",
    "`true`: the constant part of a prompt is cached, if the model supports it",
    Boolean(),
    default=True,
    is_free=True,
)
MODEL_STALL = Variable(
    _BEDROCK,
    "COACHSTREAM_MODEL_STALL_S",
    "seconds without data after which a model's stream is abandoned",
    Number(1, 300),
    30.0,
    is_free=True,
)
MODEL_SDK_DECODER = Variable(
    _BEDROCK,
    "COACHSTREAM_MODEL_SDK_DECODER",
    "`true`: the AWS SDK decodes the model's stream, instead of coachstream's own, faster decoder",
    Boolean(),
    default=False,
    is_free=True,
)
MODEL_CAN_CONTINUE = Variable(
    _BEDROCK,
    "COACHSTREAM_MODEL_CAN_CONTINUE",
    "whether the model can continue a partial reply, `true` or `false`; by default decided by its id. A "
    "model that cannot starts the reply again",
    Boolean(),
    default=None,
    is_free=True,
)
FALLBACK_MODEL = Variable(
    _BEDROCK,
    "COACHSTREAM_FALLBACK_MODEL_ID",
    "id or ARN of the model to call when a reply fails; by default the same model, once more",
    _MODEL_ID,
    None,
)
FALLBACK_REGION = Variable(
    _BEDROCK,
    "COACHSTREAM_FALLBACK_REGION",
    "region of the model to call when a reply fails; by default the same",
    _REGION,
    None,
)
DEFAULT_ANALYSIS_MODEL = "amazon.nova-2-lite-v1:0"
"""A current inexpensive model that fills in a tool when told to; `language.bedrock.model_families` has its
dated facts."""
ANALYSIS_GEOGRAPHIES = ("us.", "eu.", "global.")
"""Where it has inference profiles."""
ANALYSIS_MODEL = Variable(
    _BEDROCK,
    "COACHSTREAM_ANALYSIS_MODEL_ID",
    "id or ARN of the small model that finds workouts and requests to remember something in messages",
    Matching(_MODEL, f"{_MODEL_ID.form}, or {OFF}"),
    None,
    more=f"; `{OFF}` leaves only the commands. It is called once a message, in the model's region. By "
    f"default `{DEFAULT_ANALYSIS_MODEL}` in the model's geography, if the model's id begins with "
    f"{_one_of(ANALYSIS_GEOGRAPHIES)}, else `{OFF}`",
)
SUMMARY_MODEL = Variable(
    _BEDROCK,
    "COACHSTREAM_SUMMARY_MODEL_ID",
    "id or ARN of the small model that writes summaries and titles of conversations, in the model's region; "
    "by default the one that analyses messages, or if that is off, the model of the replies",
    _MODEL_ID,
    None,
)
GUARDRAIL_ID = Variable(
    _BEDROCK,
    "BEDROCK_GUARDRAIL_ID",
    "id or ARN of the guardrail that checks the newest message and the reply; none by default",
    Matching(_MODEL, "a guardrail's id or ARN"),
    None,
)
GUARDRAIL_VERSION = Variable(
    _BEDROCK,
    "BEDROCK_GUARDRAIL_VERSION",
    "version of the guardrail: a number, or `DRAFT` (the default)",
    GUARDRAIL_VERSION_KIND,
    None,
)
GUARDRAIL_MODE = Variable(
    _BEDROCK,
    "COACHSTREAM_GUARDRAIL_MODE",
    "what the guardrail does to a turn whose message or reply it flags",
    OneOf(GuardrailMode),
    GuardrailMode.BLOCK,
    ". `warn` keeps the text and marks it",
)

_IDENTITY = Scope(Part.IDENTITY)
_COGNITO = Scope(Part.IDENTITY, IdentityProvider.COGNITO)

IDENTITY = Variable(
    _IDENTITY,
    "COACHSTREAM_IDENTITY",
    "issuer of the accepted tokens",
    OneOf(IdentityProvider),
    None,
    more=" (`local` is for `coachstream serve`)",
    is_required=True,
)
USER_POOL = Variable(
    _COGNITO,
    "USER_POOL_ID",
    "id of the user pool, such as `us-west-2_aBcDeFgHi`, which includes its region",
    Matching(r"[a-z]{2}(-[a-z]+)+-\d{1,2}_[0-9A-Za-z]{1,46}", "a user pool's id like us-west-2_aBcDeFgHi"),
    None,
    is_required=True,
)
APP_CLIENTS = Variable(
    _COGNITO,
    "APP_CLIENT_ID",
    "app client whose ID tokens are accepted; several are comma-separated",
    ListOf(Matching(r"[A-Za-z0-9_+]{1,128}", "comma-separated app client ids")),
    (),
    is_required=True,
)
JWKS_FILE = Variable(
    _COGNITO,
    "COACHSTREAM_JWKS_FILE",
    "file with the pool's keys, which `coachstream package --jwks-of` adds to the package: a cold start then "
    "sends `start` without fetching them first. A file of another pool is refused",
    Folder(),
    None,
)
TICKET_KEY = Variable(
    _IDENTITY,
    "COACHSTREAM_TICKET_KEY",
    "key of the tickets in the URLs that `EventSource` opens, at least 32 characters; `local` generates one. "
    "Without a key there are no tickets",
    Key(_TICKET_KEY_BYTES),
    None,
)
TICKET_KEY_ARN = Variable(
    _IDENTITY,
    "COACHSTREAM_TICKET_KEY_SECRET_ARN",
    "alternatively, ARN of the secret in AWS Secrets Manager whose whole string is this key",
    KeyArn(),
    None,
)

_PINECONE = Scope(Part.RECALL, Recall.PINECONE)

RECALL = Variable(
    Scope(Part.RECALL), "COACHSTREAM_RECALL", "semantic search backend", OneOf(Recall), Recall.OFF
)
PINECONE_KEY = Variable(
    _PINECONE, "PINECONE_API_KEY", "API key; without it recall is off, which is logged once", Key(), None
)
PINECONE_KEY_ARN = Variable(
    _PINECONE,
    "PINECONE_API_KEY_SECRET_ARN",
    "alternatively, ARN of the secret in AWS Secrets Manager whose whole string is the API key",
    KeyArn(),
    None,
)
PINECONE_HOST = Variable(
    _PINECONE,
    "PINECONE_INDEX_HOST",
    "host of the index, as shown in Pinecone's console",
    Host(),
    None,
    is_required=True,
)
RERANK_MODEL = Variable(
    _PINECONE,
    "COACHSTREAM_RECALL_RERANK_MODEL",
    "model that reranks the results, such as `pinecone-rerank-v0`; none by default",
    Matching(_MODEL, "a model's name"),
    None,
)
RECALL_TIMEOUT = Variable(
    _PINECONE,
    "COACHSTREAM_RECALL_TIMEOUT_S",
    "timeout in seconds for a search in Pinecone with all its calls",
    Number(0.1, 60),
    1.2,
)

_HAND_OFFS = Scope(Part.HAND_OFFS)

WORKOUT_FUNCTION = Variable(
    _HAND_OFFS,
    "BUILD_WORKOUT_FUNCTION_NAME",
    "name or ARN of the function that builds workouts; if unset, they are not handed off",
    _FUNCTION,
    None,
)
SUMMARY_FUNCTION = Variable(
    _HAND_OFFS,
    "BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME",
    "name or ARN of the existing system's function that summarizes conversations; it goes before "
    "`COACHSTREAM_POST_TURN_FUNCTION_NAME`",
    _FUNCTION,
    None,
)
POST_TURN_FUNCTION = Variable(
    _HAND_OFFS,
    "COACHSTREAM_POST_TURN_FUNCTION_NAME",
    "name or ARN of coachstream's function `process_post_turn`, which writes titles, and summaries unless "
    "`BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME` names a function for them; if unset, there are none, except "
    "with `sqlite`, where the process itself writes them",
    _FUNCTION,
    None,
)

_TURN = Scope(Part.TURN)

HISTORY_BUDGET = Variable(
    _TURN,
    "COACHSTREAM_HISTORY_BUDGET_CHARS",
    "maximum characters of earlier messages in a prompt",
    WholeNumber(0, 10_000_000),
    _TURNS.history_budget_chars,
    is_free=True,
)
OPTIONAL_CONTEXT_BUDGET = Variable(
    _TURN,
    "COACHSTREAM_OPTIONAL_CONTEXT_BUDGET_S",
    "seconds to wait for optional context before the prompt is built without it",
    Number(0, 60),
    _TURNS.limits.optional_budget_s,
    is_free=True,
)
TIME_ZONE = Variable(
    _TURN,
    "COACHSTREAM_TIME_ZONE",
    "IANA name of the time zone of users whose client and profile do not tell theirs",
    TimeZone(),
    _TURNS.time_zone,
    is_free=True,
)
TURN_POLICY = Variable(
    _TURN,
    "COACHSTREAM_TURN_POLICY",
    "what happens to a message that arrives during a reply, if its request does not tell",
    OneOf(TurnPolicy),
    _TURNS.runs.policy,
    more=". `enqueue` replies to it afterwards; `reject` refuses it; `interrupt` stops the reply, keeps its "
    "text and replies to the new message",
    is_free=True,
)
MAX_QUEUED = Variable(
    _TURN,
    "COACHSTREAM_MAX_QUEUED",
    "how many messages of a conversation can be queued; the next one is refused with `TURN_IN_PROGRESS`",
    WholeNumber(1, 10),
    _TURNS.runs.max_queued,
    is_free=True,
)
MAX_TURNS = Variable(
    _TURN,
    "COACHSTREAM_MAX_TURNS",
    "how many turns a process runs at the same time; it refuses more with `SERVER_BUSY`, before anything is "
    "stored. It matters in a container and on Lambda Managed Instances",
    WholeNumber(1, 10_000),
    DEFAULT_MAX_TURNS,
    is_free=True,
)
_MOST_TOKENS = 10**12
"""Above all use, and an integer of a header field (RFC 9651, section 3.3.1: 15 digits)."""

QUOTA_CONCURRENT_RUNS = Variable(
    _TURN,
    "COACHSTREAM_QUOTA_CONCURRENT_RUNS",
    "how many replies of one user can be written at the same time; `0` for no limit. The next message is "
    "refused with `QUOTA_EXCEEDED`",
    WholeNumber(0, 100),
    _TURNS.runs.quotas.concurrent_runs,
    is_free=True,
)
QUOTA_TURNS_PER_MINUTE = Variable(
    _TURN,
    "COACHSTREAM_QUOTA_TURNS_PER_MINUTE",
    "how many replies of one user can begin in a minute; `0` for no limit",
    WholeNumber(0, 10_000),
    _TURNS.runs.quotas.turns_per_minute,
    is_free=True,
)
QUOTA_TOKENS_PER_DAY = Variable(
    _TURN,
    "COACHSTREAM_QUOTA_TOKENS_PER_DAY",
    "how many tokens, of prompts and replies, one user can use in a day (UTC); `0` for no limit. A turn can "
    "begin as long as any is left",
    WholeNumber(0, _MOST_TOKENS),
    _TURNS.runs.quotas.tokens_per_day,
    is_free=True,
)
LEASE = Variable(
    _TURN,
    "COACHSTREAM_LEASE_S",
    "lease duration in seconds, more than 1: without a heartbeat for that long, a reply counts as failed",
    Number(_SHORTEST_LEASE_S, 3600),
    _TURNS.runs.lease_s,
    is_free=True,
)
HEARTBEAT = Variable(
    _TURN,
    "COACHSTREAM_HEARTBEAT_S",
    "longest interval in seconds between two writes to a reply's log. A stop is noticed within it, and a "
    "process that dies loses no more text than it produced in it; longer is cheaper",
    Number(0.4, 2),
    _TURNS.runs.renew_every_s,
    is_free=True,
)
REPLY_INVOCATIONS = Variable(
    _TURN,
    "COACHSTREAM_REPLY_INVOCATIONS",
    "maximum invocations for one reply: each continues where the function's timeout ended the previous one. "
    "If the last one does not finish the reply, the partial reply is kept and ends with `DEADLINE_EXCEEDED`",
    WholeNumber(1, 100),
    _TURNS.runs.epochs,
    is_free=True,
)
CONTEXTUAL_EVENTS = Variable(
    _TURN,
    "COACHSTREAM_CONTEXTUAL_EVENTS",
    "`true`: streams have `contextual` events, which say what was saved or handed off; without them, the end "
    "of the reply says so of a memory",
    Boolean(),
    _TURNS.contextual_events,
    is_free=True,
)
# The HTML standard (section 9.2.7) recommends a comment every 15 seconds or so.
KEEP_ALIVE = Variable(
    _TURN,
    "COACHSTREAM_KEEP_ALIVE_S",
    "seconds of silence before a stream sends a keep-alive comment",
    Number(0.1, 3600),
    15.0,
    is_free=True,
)

_LOGS = Scope(Part.LOGS)

LOG_LEVEL = Variable(
    _LOGS, "COACHSTREAM_LOG_LEVEL", "minimum level of logged records", OneOf(LogLevel), LogLevel.INFO
)
LOG_FORMAT = Variable(
    _LOGS, "COACHSTREAM_LOG_FORMAT", "format of log records", OneOf(LogFormat), LogFormat.JSON, is_free=True
)
METRICS_NAMESPACE = Variable(
    _LOGS,
    "COACHSTREAM_METRICS_NAMESPACE",
    f"CloudWatch namespace of the metrics, or `{OFF}`",
    Or(Text(), OFF),
    "coachstream",
)

DATA_DIR = Variable(
    Scope(Part.DATA),
    "COACHSTREAM_DATA_DIR",
    "folder for the data of `sqlite` and `local`; required if one of them is selected",
    Folder(),
    None,
    is_required=True,
)

_AWS = Scope(Part.AWS)

REGION = Variable(
    _AWS,
    "AWS_REGION",
    "region of the table, the model and the functions",
    _REGION,
    None,
    more="; by default `AWS_DEFAULT_REGION`, or the region in the shared configuration",
)
DEFAULT_REGION = Variable(_AWS, "AWS_DEFAULT_REGION", "the region, if `AWS_REGION` is not set", _REGION, None)
ENDPOINT = Variable(
    _AWS, "AWS_ENDPOINT_URL", "endpoint of all AWS services without one of their own", Url(), None
)
AWS_SDK_CALLS = Variable(
    _AWS,
    "COACHSTREAM_AWS_SDK_CALLS",
    "`true`: the AWS SDK's client makes every call, so that what instruments it sees them, instead of "
    "coachstream's own, faster ones",
    Boolean(),
    default=False,
    is_free=True,
)
COGNITO_ENDPOINT = Variable(
    Scope(Part.AWS, IdentityProvider.COGNITO),
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
    "endpoint for the user pool's keys, instead of Cognito's own",
    Url(),
    None,
)

VARIABLES: tuple[Variable[object], ...] = tuple(
    each for each in list(globals().values()) if isinstance(each, Variable)
)
"""The variables that coachstream itself reads: all above."""

ID_TOKEN = Variable(
    _COGNITO,
    "COACHSTREAM_ID_TOKEN",
    "ID token of the user pool, for a server with `--identity cognito`",
    Key(),
    None,
    reader="`coachstream chat`",
)


def _of_sdk(name: str, meaning: str, *, is_secret: bool = False) -> Variable[object]:
    return Variable(_AWS, name, meaning, Key() if is_secret else Text(), None, reader="the AWS SDK")


READ_BY_OTHERS: tuple[Variable[object], ...] = (
    ID_TOKEN,
    Variable(
        _PINECONE,
        "PINECONE_CONTROLLER_HOST",
        "endpoint of the reranking model, instead of Pinecone's own",
        Host(),
        None,
        reader="Pinecone's SDK",
    ),
    _of_sdk("AWS_ENDPOINT_URL_DYNAMODB", "endpoint of DynamoDB, such as DynamoDB Local's"),
    _of_sdk("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "endpoint of Bedrock's models"),
    _of_sdk("AWS_ENDPOINT_URL_LAMBDA", "endpoint of Lambda, for hand-offs"),
    _of_sdk("AWS_ENDPOINT_URL_SECRETS_MANAGER", "endpoint of Secrets Manager"),
    _of_sdk("AWS_PROFILE", "profile of the shared configuration (`~/.aws`) with credentials and region"),
    _of_sdk("AWS_ACCESS_KEY_ID", "credentials, if no profile or role provides them"),
    _of_sdk("AWS_SECRET_ACCESS_KEY", "likewise", is_secret=True),
    _of_sdk("AWS_SESSION_TOKEN", "likewise", is_secret=True),
)
"""Variables that other programs read, for the documentation and the search for misspelled names."""
