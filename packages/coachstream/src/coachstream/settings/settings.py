"""`Settings`: the environment variables, validated and typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import msgspec

from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.settings import variables as v
from coachstream.settings.choices import IdentityProvider, Model, Recall, Store
from coachstream.settings.parts import (
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
from coachstream.settings.reader import Reader, environment_of
from coachstream.settings.secret import Secret, SecretArn


class Settings(msgspec.Struct, frozen=True):
    """The settings of one process; the annotations of the fields name the variables that document them.

    Attributes:
        region: of all AWS services without a region of their own; None for the SDK's default.
        own_ticket_key: the configured key for tickets; see `ticket_key`.

    Raises:
        ValueError: two backends have different folders, which no environment can configure.
    """

    store: StoreSettings
    model: ModelSettings
    identity: IdentitySettings
    recall: RecallSettings = RecallOff()
    hand_offs: HandOffs = HandOffs()
    logs: Logs = Logs()
    region: Annotated[str | None, v.REGION, v.DEFAULT_REGION] = None
    aws_sdk_calls: Annotated[bool, v.AWS_SDK_CALLS] = v.AWS_SDK_CALLS.default
    history_budget_chars: Annotated[int, v.HISTORY_BUDGET] = v.HISTORY_BUDGET.default
    optional_context_budget_s: Annotated[float, v.OPTIONAL_CONTEXT_BUDGET] = v.OPTIONAL_CONTEXT_BUDGET.default
    time_zone: Annotated[str, v.TIME_ZONE] = v.TIME_ZONE.default
    keep_alive_s: Annotated[float, v.KEEP_ALIVE] = v.KEEP_ALIVE.default
    own_ticket_key: Annotated[Secret | SecretArn | None, v.TICKET_KEY, v.TICKET_KEY_ARN] = None
    turn_policy: Annotated[TurnPolicy, v.TURN_POLICY] = v.TURN_POLICY.default
    max_queued: Annotated[int, v.MAX_QUEUED] = v.MAX_QUEUED.default
    lease_s: Annotated[float, v.LEASE] = v.LEASE.default
    max_turns: Annotated[int, v.MAX_TURNS] = v.MAX_TURNS.default
    quota_concurrent_runs: Annotated[int, v.QUOTA_CONCURRENT_RUNS] = v.QUOTA_CONCURRENT_RUNS.default
    quota_turns_per_minute: Annotated[int, v.QUOTA_TURNS_PER_MINUTE] = v.QUOTA_TURNS_PER_MINUTE.default
    quota_tokens_per_day: Annotated[int, v.QUOTA_TOKENS_PER_DAY] = v.QUOTA_TOKENS_PER_DAY.default
    heartbeat_s: Annotated[float, v.HEARTBEAT] = v.HEARTBEAT.default
    reply_invocations: Annotated[int, v.REPLY_INVOCATIONS] = v.REPLY_INVOCATIONS.default
    contextual_events: Annotated[bool, v.CONTEXTUAL_EVENTS] = v.CONTEXTUAL_EVENTS.default

    def __post_init__(self) -> None:
        """Reject contradictory settings."""
        if len(self._folders()) > 1:
            raise ValueError("all backends on this machine must use the same folder")

    @property
    def data_dir(self) -> Path | None:
        """The data folder on this machine; None if no backend needs one."""
        return next(iter(self._folders()), None)

    @property
    def store_place(self) -> str:
        """Where the records are, for a person: the table and its region, or the database."""
        match self.store:
            case SqliteStoreSettings(path=path):
                return f"the database {path}"
            case DynamoDbSettings(table=table):
                return f"the table {table}" + (f" in {self.region}" if self.region else "")

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
        # Problems are read as defaults or as nothing; `check` raises before the settings are returned.
        settings = reader.struct(
            cls,
            store=_store(reader),
            model=_model(reader),
            identity=_identity(reader),
            recall=_recall(reader),
            hand_offs=reader.struct(HandOffs),
            logs=reader.struct(Logs),
            own_ticket_key=reader.key(v.TICKET_KEY, v.TICKET_KEY_ARN),
        )
        reader.check()
        return settings

    def to_environment(self) -> dict[str, str]:
        """The variables from which `from_environment` recreates these settings, for a child process.

        They include keys in plain text.
        """
        is_key_missing = isinstance(self.recall, RecallOff) and self.recall.is_key_missing
        environment = {
            v.STORE.name: str(self.store.kind),
            v.MODEL.name: str(self.model.kind),
            v.IDENTITY.name: str(self.identity.kind),
            v.RECALL.name: str(Recall.PINECONE if is_key_missing else self.recall.kind),
            **environment_of(self),
        }
        if isinstance(self.store, DynamoDbSettings) and self.store.timeout_s == v.STORE_TIMEOUT.default:
            # The variable is newer than most deployments, which it would change.
            del environment[v.STORE_TIMEOUT.name]
        return environment


def read_table(environment: Mapping[str, str]) -> str:
    """The table's name in the environment, regardless of other variables. Raises `SettingsError`."""
    reader = Reader(environment)
    table = _table(reader)
    reader.check()
    return table


def read_region(environment: Mapping[str, str]) -> str | None:
    """The region in the environment. Raises `SettingsError`."""
    reader = Reader(environment)
    region = reader.read(v.REGION, v.DEFAULT_REGION)
    reader.check()
    return region


def _store(reader: Reader) -> StoreSettings:
    match reader.read(v.STORE):
        case Store.SQLITE:
            return reader.struct(SqliteStoreSettings)
        case Store.DYNAMODB:
            return reader.struct(DynamoDbSettings, table=_table(reader))
        case None:
            return DynamoDbSettings("")


def _model(reader: Reader) -> ModelSettings:
    match reader.read(v.MODEL):
        case Model.BEDROCK:
            return _bedrock(reader)
        case Model.DEMO:
            return reader.struct(DemoModelSettings)
        case None:
            return DemoModelSettings()


def _identity(reader: Reader) -> IdentitySettings:
    match reader.read(v.IDENTITY):
        case IdentityProvider.LOCAL:
            return reader.struct(LocalIssuerSettings)
        case IdentityProvider.COGNITO:
            return reader.struct(CognitoSettings)
        case None:
            return CognitoSettings("", ())


def _table(reader: Reader) -> str:
    """The table's name by the existing system's rules."""
    base = reader.read(v.BASE_TABLE)
    if reader.is_set(v.TABLE) or not reader.is_set(v.BASE_TABLE):
        return reader.read(v.TABLE) or ""
    branch = reader.read(v.BRANCH)
    if branch is None:
        # Without it, this would be the table of the main branch: production.
        reader.problem(f"{v.BRANCH.name} is not set; {v.BASE_TABLE.name} needs it, or set {v.TABLE.name}")
    table = (base or "") if branch in {None, "main"} else f"{base}-{branch}"
    if base is not None and not re.fullmatch(v.TABLE_NAME_OR_ARN, table):
        reader.problem(f"{v.BASE_TABLE.name} and {v.BRANCH.name} make {table!r}, which is not a table name")
    return table


def _bedrock(reader: Reader) -> BedrockSettings:
    guardrail = _guardrail(reader)
    model_id, elsewhere = reader.read(v.FALLBACK_MODEL), reader.read(v.FALLBACK_REGION)
    here = reader.read(v.MODEL_REGION, v.REGION, v.DEFAULT_REGION)
    if guardrail is not None and elsewhere not in {None, here}:
        # The guardrail would not check the fallback's replies.
        reader.problem(
            f"{v.FALLBACK_REGION.name} cannot be another region if {v.GUARDRAIL_ID.name} is set: a "
            "guardrail exists in its own region only"
        )
    fallback = None if model_id is None and elsewhere is None else Fallback(model_id, elsewhere)
    return reader.struct(BedrockSettings, guardrail=guardrail, fallback=fallback)


def _guardrail(reader: Reader) -> Guardrail | None:
    if reader.is_set(v.GUARDRAIL_ID):
        return reader.struct(Guardrail)
    for variable in (v.GUARDRAIL_VERSION, v.GUARDRAIL_MODE):
        if reader.read(variable) != variable.default:
            # The configuration suggests that replies are checked, but they would not be.
            reader.problem(f"{variable.name} is set, but {v.GUARDRAIL_ID.name} is not")
    return None


def _recall(reader: Reader) -> RecallSettings:
    match reader.read(v.RECALL):
        case Recall.SQLITE:
            return reader.struct(SqliteRecallSettings)
        case Recall.PINECONE:
            key = reader.key(v.PINECONE_KEY, v.PINECONE_KEY_ARN)
            return (
                RecallOff(is_key_missing=True)
                if key is None
                else reader.struct(PineconeSettings, api_key=key)
            )
        case Recall.OFF:
            return RecallOff()
