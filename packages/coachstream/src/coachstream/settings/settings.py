"""`Settings`: the environment variables, validated and typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import msgspec

from coachstream.settings import variables as v
from coachstream.settings.choices import (
    IdentityProvider,
    LogFormat,
    LogLevel,
    Model,
    Recall,
    Store,
    TurnPolicy,
)
from coachstream.settings.parts import (
    DEFAULT_STORE_TIMEOUT_S,
    BedrockSettings,
    CognitoSettings,
    DemoModelSettings,
    DynamoDbSettings,
    Fallback,
    Guardrail,
    HandOffs,
    IdentitySettings,
    LocalIssuerSettings,
    LocalTicketKey,
    Logs,
    ModelSettings,
    PineconeSettings,
    RecallOff,
    RecallSettings,
    SqliteRecallSettings,
    SqliteStoreSettings,
    StoreSettings,
    TicketKeySettings,
)
from coachstream.settings.reader import Reader
from coachstream.settings.secret import Secret, SecretArn
from coachstream.time_zone import DEFAULT_TIME_ZONE, zone_named

# AWS API references: CreateTable, `TableName`; Invoke, `FunctionName`; CreateUserPool, `Id`;
# CreateUserPoolClient, `ClientId`; Converse, `modelId` and `guardrailIdentifier`, both of which may be ARNs.
_TABLE = r"[A-Za-z0-9_.-]{3,255}|arn:[A-Za-z0-9_.:/-]+"
_FUNCTION = r"[A-Za-z0-9_.:$-]{1,170}"
_USER_POOL = r"[a-z]{2}(-[a-z]+)+-\d{1,2}_[0-9A-Za-z]{1,46}"
_CLIENT = r"[A-Za-z0-9_+]{1,128}"
_MODEL = r"[A-Za-z0-9_.:/-]+"
_VERSION = r"DRAFT|[1-9][0-9]{0,7}"
_REGION = r"[a-z0-9-]+"

_NO_METRICS = "off"

_TICKET_KEY_BYTES = 32
"""RFC 7518, section 3.2: a key for HS256 must be at least as long as the hash."""

_SHORTEST_LEASE_S = 1.01
"""A lease holder writes a heartbeat every 0.8 s; a shorter lease could expire between two of them."""


class Settings(msgspec.Struct, frozen=True):
    """The settings of one process; `variables` documents each of them.

    Attributes:
        region: of all AWS services without a region of their own; None for the SDK's default.
        own_ticket_key: the configured key for tickets; see `ticket_key`.
        time_zone: the zone of users whose client and profile do not tell theirs, by its IANA name.
        turn_policy: what happens to a message that arrives while a reply is being written.
        lease_s: the lease duration of a run, in seconds.
        reply_invocations: how many invocations may write one reply, one after another.

    Raises:
        ValueError: two backends have different folders, which no environment can configure.
    """

    store: StoreSettings
    model: ModelSettings
    identity: IdentitySettings
    recall: RecallSettings = RecallOff()
    hand_offs: HandOffs = HandOffs()
    logs: Logs = Logs()
    region: str | None = None
    history_budget_chars: int = 60_000
    optional_context_budget_s: float = 1.5
    time_zone: str = DEFAULT_TIME_ZONE
    keep_alive_s: float = 15.0
    own_ticket_key: Secret | SecretArn | None = None
    turn_policy: TurnPolicy = TurnPolicy.REJECT
    lease_s: float = 15.0
    reply_invocations: int = 5

    def __post_init__(self) -> None:
        """Reject contradictory settings."""
        if len(self._folders()) > 1:
            raise ValueError("all backends on this machine must use the same folder")

    @property
    def data_dir(self) -> Path | None:
        """The data folder on this machine; None if no backend needs one."""
        return next(iter(self._folders()), None)

    @property
    def ticket_key(self) -> TicketKeySettings | None:
        """The key for tickets, or where it is; None if tickets are not configured."""
        if self.own_ticket_key is None and isinstance(self.identity, LocalIssuerSettings):
            return LocalTicketKey(self.identity.data_dir)
        return self.own_ticket_key

    @property
    def secret_arns(self) -> tuple[str, ...]:
        """The ARNs of the secrets to read from Secrets Manager."""
        keys = (
            self.own_ticket_key,
            self.recall.api_key if isinstance(self.recall, PineconeSettings) else None,
        )
        return tuple(key.arn for key in keys if isinstance(key, SecretArn))

    @property
    def aws_services(self) -> tuple[str, ...]:
        """The AWS services that are called, by the names of the SDK's clients."""
        called = {
            "dynamodb": isinstance(self.store, DynamoDbSettings),
            "bedrock-runtime": isinstance(self.model, BedrockSettings),
            "lambda": self.hand_offs != HandOffs(),
            "secretsmanager": bool(self.secret_arns),
        }
        return tuple(service for service, is_called in called.items() if is_called)

    @property
    def needs_region(self) -> bool:
        """Whether an AWS service without a region of its own is called."""
        model = self.model
        return (
            isinstance(self.store, DynamoDbSettings)
            or (isinstance(model, BedrockSettings) and model.region is None)
            or self.hand_offs != HandOffs()
        )

    def _folders(self) -> set[Path]:
        kept = (SqliteStoreSettings, LocalIssuerSettings, SqliteRecallSettings)
        parts = (self.store, self.identity, self.recall)
        return {part.data_dir for part in parts if isinstance(part, kept)}

    @classmethod
    def embedded(cls, data_dir: Path) -> Self:
        """Every backend on this machine, without semantic search."""
        return cls(SqliteStoreSettings(data_dir), DemoModelSettings(), LocalIssuerSettings(data_dir))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and validate the variables of the selected backends; those of others are ignored.

        Raises:
            SettingsError: lists every missing or invalid variable, and the valid values.
        """
        reader = Reader(environment)
        store = reader.choice(v.STORE, Store)
        model = reader.choice(v.MODEL, Model)
        identity = reader.choice(v.IDENTITY, IdentityProvider)
        recall = reader.choice(v.RECALL, Recall)
        is_kept = {store, identity, recall} & {Store.SQLITE, IdentityProvider.LOCAL, Recall.SQLITE}
        data_dir = Path(reader.text(v.DATA_DIR)) if is_kept else Path()
        # Invalid values are read as harmless ones; `check` raises before the settings are returned.
        settings = cls(
            store=_dynamodb(reader) if store is Store.DYNAMODB else SqliteStoreSettings(data_dir),
            model=_bedrock(reader) if model is Model.BEDROCK else _demo(reader),
            identity=(
                _cognito(reader) if identity is IdentityProvider.COGNITO else LocalIssuerSettings(data_dir)
            ),
            recall=_recall(reader, recall, data_dir),
            hand_offs=HandOffs(
                workout_function=reader.matching(v.WORKOUT_FUNCTION, _FUNCTION, "a function's name or ARN"),
                summary_function=reader.matching(v.SUMMARY_FUNCTION, _FUNCTION, "a function's name or ARN"),
            ),
            logs=_logs(reader),
            region=_region(reader),
            history_budget_chars=reader.whole_number(v.HISTORY_BUDGET, least=0, most=10_000_000),
            optional_context_budget_s=reader.number(v.OPTIONAL_CONTEXT_BUDGET, least=0, most=60),
            time_zone=_time_zone(reader),
            keep_alive_s=reader.number(v.KEEP_ALIVE, least=0.1, most=3600),
            own_ticket_key=reader.secret_or_arn(
                v.TICKET_KEY, v.TICKET_KEY_ARN, least_bytes=_TICKET_KEY_BYTES
            ),
            turn_policy=reader.choice(v.TURN_POLICY, TurnPolicy) or TurnPolicy.REJECT,
            lease_s=reader.number(v.LEASE, least=_SHORTEST_LEASE_S, most=3600),
            reply_invocations=reader.whole_number(v.REPLY_INVOCATIONS, least=1, most=100),
        )
        reader.check()
        return settings

    def to_environment(self) -> dict[str, str]:
        """The variables from which `from_environment` recreates these settings, for a child process.

        They include keys in plain text.
        """
        variables: dict[v.Variable, object] = {
            v.STORE: self.store.kind,
            v.MODEL: self.model.kind,
            v.IDENTITY: self.identity.kind,
            v.RECALL: self.recall.kind,
            v.DATA_DIR: self.data_dir,
            v.REGION: self.region,
            v.WORKOUT_FUNCTION: self.hand_offs.workout_function,
            v.SUMMARY_FUNCTION: self.hand_offs.summary_function,
            v.LOG_LEVEL: self.logs.level,
            v.LOG_FORMAT: self.logs.format,
            v.METRICS_NAMESPACE: self.logs.metrics_namespace or _NO_METRICS,
            v.HISTORY_BUDGET: self.history_budget_chars,
            v.OPTIONAL_CONTEXT_BUDGET: self.optional_context_budget_s,
            v.TIME_ZONE: self.time_zone,
            v.KEEP_ALIVE: self.keep_alive_s,
            v.TURN_POLICY: self.turn_policy,
            v.LEASE: self.lease_s,
            v.REPLY_INVOCATIONS: self.reply_invocations,
            **_key_variables(self.own_ticket_key, v.TICKET_KEY, v.TICKET_KEY_ARN),
        }
        if isinstance(self.store, DynamoDbSettings):
            variables[v.TABLE] = self.store.table
            variables[v.MIRROR] = self.store.mirror_messages
            if self.store.timeout_s != DEFAULT_STORE_TIMEOUT_S:
                variables[v.STORE_TIMEOUT] = self.store.timeout_s
        match self.model:
            case DemoModelSettings():
                variables[v.MODEL_DELAY] = self.model.delay_s
            case BedrockSettings():
                variables |= _bedrock_variables(self.model)
        if isinstance(self.identity, CognitoSettings):
            variables[v.USER_POOL] = self.identity.user_pool_id
            variables[v.APP_CLIENTS] = ",".join(self.identity.client_ids)
            variables[v.COGNITO_ENDPOINT] = self.identity.endpoint_url
            variables[v.JWKS_FILE] = self.identity.jwks_file
        match self.recall:
            case PineconeSettings():
                variables |= _key_variables(self.recall.api_key, v.PINECONE_KEY, v.PINECONE_KEY_ARN)
                variables[v.PINECONE_HOST] = self.recall.index_host
                variables[v.RERANK_MODEL] = self.recall.rerank_model
                variables[v.RECALL_TIMEOUT] = self.recall.timeout_s
            case RecallOff(is_key_missing=True):
                variables[v.RECALL] = Recall.PINECONE
        return {variable.name: _written(value) for variable, value in variables.items() if value is not None}


def read_table(environment: Mapping[str, str]) -> str:
    """The table's name in the environment, regardless of other variables. Raises `SettingsError`."""
    reader = Reader(environment)
    table = _table(reader)
    reader.check()
    return table


def read_region(environment: Mapping[str, str]) -> str | None:
    """The region in the environment. Raises `SettingsError`."""
    reader = Reader(environment)
    region = _region(reader)
    reader.check()
    return region


def _region(reader: Reader) -> str | None:
    return reader.matching(v.REGION, _REGION, "a region") or reader.matching(
        v.DEFAULT_REGION, _REGION, "a region"
    )


def _dynamodb(reader: Reader) -> DynamoDbSettings:
    return DynamoDbSettings(
        table=_table(reader),
        mirror_messages=reader.boolean(v.MIRROR),
        timeout_s=reader.number(v.STORE_TIMEOUT, least=0.1, most=60),
    )


def _table(reader: Reader) -> str:
    """The table's name by the existing system's rules."""
    base = reader.matching(v.BASE_TABLE, _TABLE, "a table's name")
    if reader.optional(v.TABLE) or base is None:
        return reader.matching(v.TABLE, _TABLE, "a table's name or ARN") or ""
    branch = reader.optional(v.BRANCH)
    if branch is None:
        # Without it, this would be the table of the main branch: production.
        reader.problem(f"{v.BRANCH.name} is not set; {v.BASE_TABLE.name} needs it, or set {v.TABLE.name}")
    table = base if branch in {None, "main"} else f"{base}-{branch}"
    if not re.fullmatch(_TABLE, table):
        reader.problem(f"{v.BASE_TABLE.name} and {v.BRANCH.name} make {table!r}, which is not a table name")
    return table


def _demo(reader: Reader) -> DemoModelSettings:
    return DemoModelSettings(delay_s=reader.number(v.MODEL_DELAY, least=0, most=60))


def _bedrock(reader: Reader) -> BedrockSettings:
    settings = BedrockSettings(
        model_id=reader.matching(v.MODEL_ID, _MODEL, "a model's id or ARN") or "",
        temperature=_temperature(reader),
        max_tokens=reader.whole_number(v.MODEL_MAX_TOKENS, least=1, most=1_000_000),
        region=reader.matching(v.MODEL_REGION, _REGION, "a region"),
        guardrail=_guardrail(reader),
        prompt_caching=reader.boolean(v.MODEL_PROMPT_CACHING),
        stall_s=reader.number(v.MODEL_STALL, least=1, most=300),
        can_continue=reader.optional_boolean(v.MODEL_CAN_CONTINUE),
        fallback=_fallback(reader),
    )
    elsewhere = None if settings.fallback is None else settings.fallback.region
    here = settings.region or reader.optional(v.REGION) or reader.optional(v.DEFAULT_REGION)
    if settings.guardrail is not None and elsewhere not in {None, here}:
        # The guardrail would not check the fallback's replies.
        reader.problem(
            f"{v.FALLBACK_REGION.name} cannot be another region if {v.GUARDRAIL_ID.name} is set: a "
            "guardrail exists in its own region only"
        )
    return settings


def _fallback(reader: Reader) -> Fallback | None:
    model_id = reader.matching(v.FALLBACK_MODEL, _MODEL, "a model's id or ARN")
    region = reader.matching(v.FALLBACK_REGION, _REGION, "a region")
    return None if model_id is None and region is None else Fallback(model_id, region)


def _temperature(reader: Reader) -> float | None:
    if reader.text(v.MODEL_TEMPERATURE).lower() == "none":
        return None
    return reader.number(v.MODEL_TEMPERATURE, least=0, most=1, otherwise="none")


def _guardrail(reader: Reader) -> Guardrail | None:
    guardrail = reader.matching(v.GUARDRAIL_ID, _MODEL, "a guardrail's id or ARN")
    version = reader.matching(v.GUARDRAIL_VERSION, _VERSION, "a number or DRAFT")
    if guardrail is not None:
        return Guardrail(guardrail) if version is None else Guardrail(guardrail, version)
    if version is not None:
        # The configuration suggests that replies are checked, but they would not be.
        reader.problem(f"{v.GUARDRAIL_VERSION.name} is set, but {v.GUARDRAIL_ID.name} is not")
    return None


def _bedrock_variables(model: BedrockSettings) -> dict[v.Variable, object]:
    return {
        v.MODEL_ID: model.model_id,
        v.MODEL_TEMPERATURE: "none" if model.temperature is None else model.temperature,
        v.MODEL_MAX_TOKENS: model.max_tokens,
        v.MODEL_REGION: model.region,
        v.GUARDRAIL_ID: None if model.guardrail is None else model.guardrail.id,
        v.GUARDRAIL_VERSION: None if model.guardrail is None else model.guardrail.version,
        v.MODEL_PROMPT_CACHING: model.prompt_caching,
        v.MODEL_STALL: model.stall_s,
        v.MODEL_CAN_CONTINUE: model.can_continue,
        v.FALLBACK_MODEL: None if model.fallback is None else model.fallback.model_id,
        v.FALLBACK_REGION: None if model.fallback is None else model.fallback.region,
    }


def _cognito(reader: Reader) -> CognitoSettings:
    clients = reader.text(v.APP_CLIENTS)
    client_ids = tuple(client.strip() for client in clients.split(",") if client.strip())
    if clients and not (client_ids and all(re.fullmatch(_CLIENT, client) for client in client_ids)):
        reader.wrong(v.APP_CLIENTS, "comma-separated app client ids", clients)
    return CognitoSettings(
        user_pool_id=reader.matching(v.USER_POOL, _USER_POOL, "a user pool's id like us-west-2_aBcDeFgHi")
        or "",
        client_ids=client_ids,
        endpoint_url=reader.url(v.COGNITO_ENDPOINT) or reader.url(v.ENDPOINT),
        jwks_file=None if (jwks_file := reader.optional(v.JWKS_FILE)) is None else Path(jwks_file),
    )


def _recall(reader: Reader, recall: Recall | None, data_dir: Path) -> RecallSettings:
    match recall:
        case Recall.SQLITE:
            return SqliteRecallSettings(data_dir)
        case Recall.PINECONE:
            key = reader.secret_or_arn(v.PINECONE_KEY, v.PINECONE_KEY_ARN)
            return RecallOff(is_key_missing=True) if key is None else _pinecone(reader, key)
        case _:
            return RecallOff()


def _pinecone(reader: Reader, api_key: Secret | SecretArn) -> PineconeSettings:
    return PineconeSettings(
        api_key=api_key,
        index_host=reader.host(v.PINECONE_HOST),
        rerank_model=reader.matching(v.RERANK_MODEL, _MODEL, "a model's name"),
        timeout_s=reader.number(v.RECALL_TIMEOUT, least=0.1, most=60),
    )


def _time_zone(reader: Reader) -> str:
    name = reader.text(v.TIME_ZONE)
    if name != DEFAULT_TIME_ZONE and zone_named(name) is None:
        reader.wrong(v.TIME_ZONE, "a name in the IANA time zone database, such as Europe/Berlin", name)
    return name


def _logs(reader: Reader) -> Logs:
    namespace = reader.text(v.METRICS_NAMESPACE)
    return Logs(
        level=reader.choice(v.LOG_LEVEL, LogLevel) or LogLevel.INFO,
        format=reader.choice(v.LOG_FORMAT, LogFormat) or LogFormat.JSON,
        metrics_namespace=None if namespace.lower() == _NO_METRICS else namespace,
    )


def _key_variables(
    key: Secret | SecretArn | None, value: v.Variable, arn: v.Variable
) -> dict[v.Variable, object]:
    match key:
        case Secret():
            return {value: key.reveal()}
        case SecretArn():
            return {arn: key.arn}
        case None:
            return {}


def _written(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value)
        case _:
            return str(value)
