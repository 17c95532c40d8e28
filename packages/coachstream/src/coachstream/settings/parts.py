"""The settings of each backend: its choice, with exactly the settings that the choice needs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from coachstream.settings.choices import IdentityProvider, LogFormat, LogLevel, Model, Recall, Store
from coachstream.settings.secret import Secret, SecretArn
from coachstream.settings.variables import STORE_TIMEOUT

DEFAULT_STORE_TIMEOUT_S = float(STORE_TIMEOUT.default or 0)

OFF = "off"

ANALYSIS_MODEL = "amazon.nova-2-lite-v1:0"
"""The default for the analysis of messages: a current inexpensive model that fills in a tool when told to.
`language.bedrock.models` has its dated facts."""

_PROFILES_OF_ANALYSIS_MODEL = ("us.", "eu.", "global.")
"""The geographies of its inference profiles."""


def analysis_model(named: str | None, model_id: str) -> str | None:
    """The model that analyses messages: the named one; None for `off`.

    By default the profile of `ANALYSIS_MODEL` in the geography of the model, if there is one, so that
    messages are analysed where they are replied to.
    """
    if named is not None:
        return None if named.lower() == OFF else named
    geography = next((each for each in _PROFILES_OF_ANALYSIS_MODEL if model_id.startswith(each)), None)
    return None if geography is None else f"{geography}{ANALYSIS_MODEL}"


class SqliteStoreSettings(msgspec.Struct, frozen=True):
    """Conversations in a file in `data_dir`."""

    kind: ClassVar = Store.SQLITE

    data_dir: Path

    @property
    def path(self) -> Path:
        """The database."""
        return self.data_dir / "conversations.db"


class DynamoDbSettings(msgspec.Struct, frozen=True):
    """Conversations in the existing system's table.

    Attributes:
        table: its name or ARN.
        mirror_messages: whether turns also appear in the list that the existing functions read.
        timeout_s: for one attempt of a request.
    """

    kind: ClassVar = Store.DYNAMODB

    table: str
    mirror_messages: bool = False
    timeout_s: float = DEFAULT_STORE_TIMEOUT_S


class DemoModelSettings(msgspec.Struct, frozen=True):
    """The demo model; `delay_s` is the pause between two chunks of its reply."""

    kind: ClassVar = Model.DEMO

    delay_s: float = 0.03


class Guardrail(msgspec.Struct, frozen=True):
    """A guardrail that checks a model's replies: its id or ARN, and its version, a number or DRAFT."""

    id: str
    version: str = "DRAFT"


class Fallback(msgspec.Struct, frozen=True):
    """The model that is called when a reply fails; a field that is None is the same as for the main model.

    Raises:
        ValueError: both are None, so it would be the main model.
    """

    model_id: str | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        """Reject a fallback to the main model."""
        if self.model_id is None and self.region is None:
            raise ValueError("a fallback must be another model, or in another region")


class BedrockSettings(msgspec.Struct, frozen=True):
    """A model on Bedrock; `variables` documents each field. Without a region, the general one is used.

    Attributes:
        can_continue: None uses the built-in knowledge about the model.
        fallback: None calls the same model once more.
        analysis_model_id: None uses the default, if there is one in the geography of the model; `off` none.
    """

    kind: ClassVar = Model.BEDROCK

    model_id: str
    temperature: float | None = 0.7
    max_tokens: int = 8192
    region: str | None = None
    guardrail: Guardrail | None = None
    prompt_caching: bool = True
    stall_s: float = 30.0
    can_continue: bool | None = None
    fallback: Fallback | None = None
    analysis_model_id: str | None = None

    @property
    def analysis_model(self) -> str | None:
        """The model that analyses messages; None if none does."""
        return analysis_model(self.analysis_model_id, self.model_id)


class LocalIssuerSettings(msgspec.Struct, frozen=True):
    """Tokens signed on this machine, with a key in `data_dir`."""

    kind: ClassVar = IdentityProvider.LOCAL

    data_dir: Path


class CognitoSettings(msgspec.Struct, frozen=True):
    """ID tokens of a user pool, issued to any of the app clients.

    Attributes:
        user_pool_id: `us-west-2_aBcDeFgHi`.
        client_ids: at least one.
        endpoint_url: the endpoint to fetch the keys from instead of Cognito's own.
        jwks_file: a file with the pool's keys at build time.
    """

    kind: ClassVar = IdentityProvider.COGNITO

    user_pool_id: str
    client_ids: tuple[str, ...]
    endpoint_url: str | None = None
    jwks_file: Path | None = None

    @property
    def region(self) -> str:
        """The pool's region, which its id begins with."""
        return self.user_pool_id.partition("_")[0]


class SqliteRecallSettings(msgspec.Struct, frozen=True):
    """Full-text search, in a file in `data_dir`."""

    kind: ClassVar = Recall.SQLITE

    data_dir: Path

    @property
    def path(self) -> Path:
        """The database; a separate file, because it can be rebuilt from the conversations."""
        return self.data_dir / "recall.db"


class PineconeSettings(msgspec.Struct, frozen=True):
    """Semantic search in a Pinecone index; `timeout_s` is for a search with all its calls."""

    kind: ClassVar = Recall.PINECONE

    api_key: Secret | SecretArn
    index_host: str
    rerank_model: str | None = None
    timeout_s: float = 1.2


class RecallOff(msgspec.Struct, frozen=True):
    """No recall: it is not configured, or it is and `is_key_missing`."""

    kind: ClassVar = Recall.OFF

    is_key_missing: bool = False


class LocalTicketKey(msgspec.Struct, frozen=True):
    """A key for tickets that is generated in `data_dir`."""

    data_dir: Path


class HandOffs(msgspec.Struct, frozen=True):
    """Names or ARNs of the functions that process a turn further; None where nothing is handed off."""

    workout_function: str | None = None
    summary_function: str | None = None


class Logs(msgspec.Struct, frozen=True):
    """Logs and metrics; `metrics_namespace` is None if metrics are off."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.JSON
    metrics_namespace: str | None = "coachstream"


StoreSettings = SqliteStoreSettings | DynamoDbSettings
ModelSettings = DemoModelSettings | BedrockSettings
IdentitySettings = LocalIssuerSettings | CognitoSettings
TicketKeySettings = Secret | SecretArn | LocalTicketKey
RecallSettings = SqliteRecallSettings | PineconeSettings | RecallOff
