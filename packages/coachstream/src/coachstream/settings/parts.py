"""The settings of each backend: its choice, with exactly the settings that the choice needs.

Annotations name the variables that fill the fields (`reader`), and that document them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import msgspec

from coachstream.settings import variables as v
from coachstream.settings.choices import (
    GuardrailMode,
    IdentityProvider,
    LogFormat,
    LogLevel,
    Model,
    Recall,
    Store,
)
from coachstream.settings.secret import Secret, SecretArn


def analysis_model(named: str | None, model_id: str) -> str | None:
    """The model that analyses messages: the named one; None for `off`.

    By default the profile of `DEFAULT_ANALYSIS_MODEL` in the geography of the model, if there is one, so that
    messages are analysed where they are replied to.
    """
    if named is not None:
        return None if named.lower() == v.OFF else named
    geography = next((each for each in v.ANALYSIS_GEOGRAPHIES if model_id.startswith(each)), None)
    return None if geography is None else f"{geography}{v.DEFAULT_ANALYSIS_MODEL}"


class SqliteStoreSettings(msgspec.Struct, frozen=True):
    """Conversations in a file in `data_dir`."""

    kind: ClassVar = Store.SQLITE

    data_dir: Annotated[Path, v.DATA_DIR]

    @property
    def path(self) -> Path:
        """The database."""
        return self.data_dir / "conversations.db"


class DynamoDbSettings(msgspec.Struct, frozen=True):
    """Conversations in the existing system's table."""

    kind: ClassVar = Store.DYNAMODB

    table: Annotated[str, v.TABLE]
    mirror_messages: Annotated[bool, v.MIRROR] = v.MIRROR.default
    timeout_s: Annotated[float, v.STORE_TIMEOUT] = v.STORE_TIMEOUT.default


class DemoModelSettings(msgspec.Struct, frozen=True):
    """The demo model; `delay_s` is the pause between two chunks of its reply."""

    kind: ClassVar = Model.DEMO

    delay_s: Annotated[float, v.MODEL_DELAY] = v.MODEL_DELAY.default


class Guardrail(msgspec.Struct, frozen=True):
    """A guardrail that checks a model's replies: its id or ARN, and its version, a number or DRAFT."""

    id: Annotated[str, v.GUARDRAIL_ID]
    version: Annotated[str, v.GUARDRAIL_VERSION] = "DRAFT"
    mode: Annotated[GuardrailMode, v.GUARDRAIL_MODE] = v.GUARDRAIL_MODE.default


class Fallback(msgspec.Struct, frozen=True):
    """The model that is called when a reply fails; a field that is None is the same as for the main model.

    Raises:
        ValueError: both are None, so it would be the main model.
    """

    model_id: Annotated[str | None, v.FALLBACK_MODEL] = None
    region: Annotated[str | None, v.FALLBACK_REGION] = None

    def __post_init__(self) -> None:
        """Reject a fallback to the main model."""
        if self.model_id is None and self.region is None:
            raise ValueError("a fallback must be another model, or in another region")


class BedrockSettings(msgspec.Struct, frozen=True):
    """A model on Bedrock. Without a region, the general one is used; without a fallback, the model again.

    Without a model for the analysis of messages, `analysis_model` has a default.
    """

    kind: ClassVar = Model.BEDROCK

    model_id: Annotated[str, v.MODEL_ID] = v.MODEL_ID.default
    temperature: Annotated[float | None, v.MODEL_TEMPERATURE] = v.MODEL_TEMPERATURE.default
    max_tokens: Annotated[int, v.MODEL_MAX_TOKENS] = v.MODEL_MAX_TOKENS.default
    region: Annotated[str | None, v.MODEL_REGION] = None
    guardrail: Guardrail | None = None
    prompt_caching: Annotated[bool, v.MODEL_PROMPT_CACHING] = v.MODEL_PROMPT_CACHING.default
    stall_s: Annotated[float, v.MODEL_STALL] = v.MODEL_STALL.default
    sdk_decoder: Annotated[bool, v.MODEL_SDK_DECODER] = v.MODEL_SDK_DECODER.default
    can_continue: Annotated[bool | None, v.MODEL_CAN_CONTINUE] = None
    fallback: Fallback | None = None
    analysis_model_id: Annotated[str | None, v.ANALYSIS_MODEL] = None
    summary_model_id: Annotated[str | None, v.SUMMARY_MODEL] = None

    @property
    def analysis_model(self) -> str | None:
        """The model that analyses messages; None if none does."""
        return analysis_model(self.analysis_model_id, self.model_id)

    @property
    def summary_model(self) -> str:
        """The model that writes summaries and titles."""
        return self.summary_model_id or self.analysis_model or self.model_id


class LocalIssuerSettings(msgspec.Struct, frozen=True):
    """Tokens signed on this machine, with a key in `data_dir`."""

    kind: ClassVar = IdentityProvider.LOCAL

    data_dir: Annotated[Path, v.DATA_DIR]


class CognitoSettings(msgspec.Struct, frozen=True):
    """ID tokens of a user pool, issued to any of the app clients, of which there is at least one."""

    kind: ClassVar = IdentityProvider.COGNITO

    user_pool_id: Annotated[str, v.USER_POOL]
    client_ids: Annotated[tuple[str, ...], v.APP_CLIENTS]
    endpoint_url: Annotated[str | None, v.COGNITO_ENDPOINT, v.ENDPOINT] = None
    jwks_file: Annotated[Path | None, v.JWKS_FILE] = None

    @property
    def region(self) -> str:
        """The pool's region, which its id begins with."""
        return self.user_pool_id.partition("_")[0]


class SqliteRecallSettings(msgspec.Struct, frozen=True):
    """Full-text search, in a file in `data_dir`."""

    kind: ClassVar = Recall.SQLITE

    data_dir: Annotated[Path, v.DATA_DIR]

    @property
    def path(self) -> Path:
        """The database; a separate file, because it can be rebuilt from the conversations."""
        return self.data_dir / "recall.db"


class PineconeSettings(msgspec.Struct, frozen=True):
    """Semantic search in a Pinecone index."""

    kind: ClassVar = Recall.PINECONE

    api_key: Annotated[Secret | SecretArn, v.PINECONE_KEY, v.PINECONE_KEY_ARN]
    index_host: Annotated[str, v.PINECONE_HOST]
    rerank_model: Annotated[str | None, v.RERANK_MODEL] = None
    timeout_s: Annotated[float, v.RECALL_TIMEOUT] = v.RECALL_TIMEOUT.default


class RecallOff(msgspec.Struct, frozen=True):
    """No recall: it is not configured, or it is and `is_key_missing`."""

    kind: ClassVar = Recall.OFF

    is_key_missing: bool = False


class LocalTicketKey(msgspec.Struct, frozen=True):
    """A key for tickets that is generated in `data_dir`."""

    data_dir: Path


class HandOffs(msgspec.Struct, frozen=True):
    """Names or ARNs of the functions that process a turn further; None where nothing is handed off."""

    workout_function: Annotated[str | None, v.WORKOUT_FUNCTION] = None
    summary_function: Annotated[str | None, v.SUMMARY_FUNCTION] = None
    post_turn_function: Annotated[str | None, v.POST_TURN_FUNCTION] = None


class Logs(msgspec.Struct, frozen=True):
    """Logs and metrics; `metrics_namespace` is None if metrics are off."""

    level: Annotated[LogLevel, v.LOG_LEVEL] = v.LOG_LEVEL.default
    format: Annotated[LogFormat, v.LOG_FORMAT] = v.LOG_FORMAT.default
    metrics_namespace: Annotated[str | None, v.METRICS_NAMESPACE] = v.METRICS_NAMESPACE.default


StoreSettings = SqliteStoreSettings | DynamoDbSettings
ModelSettings = DemoModelSettings | BedrockSettings
IdentitySettings = LocalIssuerSettings | CognitoSettings
TicketKeySettings = Secret | SecretArn | LocalTicketKey
RecallSettings = SqliteRecallSettings | PineconeSettings | RecallOff
