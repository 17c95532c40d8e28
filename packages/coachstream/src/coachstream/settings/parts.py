"""The settings of each part: what it is, and with it exactly what that needs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from coachstream.settings.choices import IdentityProvider, LogFormat, LogLevel, Model, Recall, Store
from coachstream.settings.secret import Secret, SecretArn
from coachstream.settings.variables import STORE_TIMEOUT


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
        timeout_s: of one attempt of a request.
    """

    kind: ClassVar = Store.DYNAMODB

    table: str
    mirror_messages: bool = False
    timeout_s: float = float(STORE_TIMEOUT.default or 0)


class DemoModelSettings(msgspec.Struct, frozen=True):
    """The demo model; `delay_s` passes between two pieces of its reply."""

    kind: ClassVar = Model.DEMO

    delay_s: float = 0.03


class Guardrail(msgspec.Struct, frozen=True):
    """What checks a model's replies: id or ARN, and a number or DRAFT."""

    id: str
    version: str = "DRAFT"


class Fallback(msgspec.Struct, frozen=True):
    """Who is asked when a reply breaks off; what is None is as it is for the model itself.

    Raises:
        ValueError: both are None, which is no other model.
    """

    model_id: str | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is the model itself."""
        if self.model_id is None and self.region is None:
            raise ValueError("a fallback is another model, or in another region")


class BedrockSettings(msgspec.Struct, frozen=True):
    """A model on Bedrock; the variables say what each field means. No region is that of all of AWS.

    Attributes:
        can_continue: None for what is known of the model.
        fallback: None where the model itself is asked once more.
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


class LocalIssuerSettings(msgspec.Struct, frozen=True):
    """Tokens that are signed on this machine, with a key in `data_dir`."""

    kind: ClassVar = IdentityProvider.LOCAL

    data_dir: Path


class CognitoSettings(msgspec.Struct, frozen=True):
    """ID tokens of a user pool for any of the app clients.

    Attributes:
        user_pool_id: `us-west-2_aBcDeFgHi`.
        client_ids: at least one.
        endpoint_url: where the keys are read instead of at Cognito's own address.
        jwks_file: the pool's keys as they were when the package was built.
    """

    kind: ClassVar = IdentityProvider.COGNITO

    user_pool_id: str
    client_ids: tuple[str, ...]
    endpoint_url: str | None = None
    jwks_file: Path | None = None

    @property
    def region(self) -> str:
        """Of the pool, which its id begins with."""
        return self.user_pool_id.partition("_")[0]


class SqliteRecallSettings(msgspec.Struct, frozen=True):
    """Recall by words, in a file in `data_dir`."""

    kind: ClassVar = Recall.SQLITE

    data_dir: Path

    @property
    def path(self) -> Path:
        """The database; of its own, since it can be built anew from the conversations'."""
        return self.data_dir / "recall.db"


class PineconeSettings(msgspec.Struct, frozen=True):
    """Recall by meaning, in a Pinecone index; `timeout_s` is for a search, all its calls together."""

    kind: ClassVar = Recall.PINECONE

    api_key: Secret | SecretArn
    index_host: str
    rerank_model: str | None = None
    timeout_s: float = 1.2


class RecallOff(msgspec.Struct, frozen=True):
    """No recall: nobody asked for it, or somebody did and `is_key_missing`."""

    kind: ClassVar = Recall.OFF

    is_key_missing: bool = False


class LocalTicketKey(msgspec.Struct, frozen=True):
    """A key for tickets that is made in `data_dir`."""

    data_dir: Path


class HandOffs(msgspec.Struct, frozen=True):
    """Names or ARNs of the functions that go on with what was said; None where nothing is handed off."""

    workout_function: str | None = None
    summary_function: str | None = None


class Logs(msgspec.Struct, frozen=True):
    """What is written down; `metrics_namespace` is None where there are no metrics."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.JSON
    metrics_namespace: str | None = "coachstream"


StoreSettings = SqliteStoreSettings | DynamoDbSettings
ModelSettings = DemoModelSettings | BedrockSettings
IdentitySettings = LocalIssuerSettings | CognitoSettings
TicketKeySettings = Secret | SecretArn | LocalTicketKey
RecallSettings = SqliteRecallSettings | PineconeSettings | RecallOff
