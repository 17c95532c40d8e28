"""What a deployment says of the service, and the environment of its functions that is made of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aws_cdk import Token

from coachstream.infrastructure.backend import Backend
from coachstream.settings import (
    VARIABLES,
    BedrockSettings,
    CognitoSettings,
    DynamoDbSettings,
    HandOffs,
    Logs,
    Recall,
    Settings,
)
from coachstream.settings import variables as v

PINECONE_KEY_ARN = "PINECONE_API_KEY_SECRET_ARN"
TICKET_KEY_ARN = "COACHSTREAM_TICKET_KEY_SECRET_ARN"
FALLBACK_MODEL = "COACHSTREAM_FALLBACK_MODEL_ID"
FALLBACK_REGION = "COACHSTREAM_FALLBACK_REGION"
TURN_POLICY = "COACHSTREAM_TURN_POLICY"
LEASE = "COACHSTREAM_LEASE_S"

DEFAULT_MODEL_ID = v.MODEL_ID.default or ""

_FREE = {variable.name for variable in VARIABLES if not variable.is_secret} | {TURN_POLICY, LEASE}
"""Variables that may be given as they are."""

_SAMPLES = {
    v.TABLE.name: "a-table",
    v.USER_POOL.name: "us-west-2_aSample",
    v.APP_CLIENTS.name: "aSample",
    v.WORKOUT_FUNCTION.name: "a-function",
    v.SUMMARY_FUNCTION.name: "a-function",
    PINECONE_KEY_ARN: "arn:aws:secretsmanager:us-west-2:123456789012:secret:sample-a1B2c3",
    TICKET_KEY_ARN: "arn:aws:secretsmanager:us-west-2:123456789012:secret:sample-a1B2c3",
}
"""Stand in for references, whose values are known when they are deployed."""


class PineconeIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The index that is recalled from; the variables of the same names say what each field means."""

    host: str
    rerank_model: str | None = None
    timeout_s: float | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What the functions do, apart from whose data they do it with.

    Attributes:
        model: who writes the replies. Its region is the stack's where it names none.
        fallback_model_id: who goes on when a reply breaks off; the model itself where it is None.
        fallback_region: where that one is called; the model's region where it is None.
        foundation_models: ARNs of the foundation models behind `model` and the fallback, where their ids do
            not tell: for an application inference profile, or a profile of regions that we do not know.
        recall: the Pinecone index; None where nothing is recalled.
        hand_offs: the functions that go on with what was said. A function of another account or region by
            its ARN, which may not be a reference.
        mirror_messages: whether turns also appear in the list that the existing functions read.
        logs: what is written down.
        variables: any other variable of `docs/configuration.md`, by its name.

    Raises:
        ValueError: a variable is not ours, is a secret, or is one that this type has a field for.
    """

    model: BedrockSettings = BedrockSettings(DEFAULT_MODEL_ID)
    fallback_model_id: str | None = None
    fallback_region: str | None = None
    foundation_models: tuple[str, ...] = ()
    recall: PineconeIndex | None = None
    hand_offs: HandOffs = HandOffs()
    mirror_messages: bool = False
    logs: Logs = Logs()
    variables: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse what would be ignored, or would be there for everybody to read."""
        for name in self.variables:
            if name not in _FREE or name in _OURS or name.startswith("AWS_"):
                raise ValueError(f"{name} cannot be set here")

    def environment(self, backend: Backend, *, with_tickets: bool) -> dict[str, str]:
        """The variables of a function; `with_tickets` is for the one that issues and takes them.

        Raises:
            SettingsError: the functions would refuse to start with them.
            ValueError: something is to be recalled, and there is no key.
        """
        settings = Settings(
            store=DynamoDbSettings(backend.table, mirror_messages=self.mirror_messages),
            model=self.model,
            identity=CognitoSettings(backend.user_pool_id, backend.client_ids),
            hand_offs=self.hand_offs,
            logs=self.logs,
        )
        more = {
            FALLBACK_MODEL: self.fallback_model_id,
            FALLBACK_REGION: self.fallback_region,
            **self._recall(backend),
            TICKET_KEY_ARN: backend.ticket_key_arn if with_tickets else None,
            **self.variables,
        }
        environment = settings.to_environment()
        environment.update({name: value for name, value in more.items() if value is not None})
        _check(environment)
        return environment

    def _recall(self, backend: Backend) -> dict[str, str | None]:
        index = self.recall
        if index is None:
            return {}
        if backend.pinecone_key_arn is None:
            raise ValueError("recall needs the secret that is Pinecone's API key")
        return {
            v.RECALL.name: Recall.PINECONE.value,
            v.PINECONE_HOST.name: index.host,
            v.RERANK_MODEL.name: index.rerank_model,
            v.RECALL_TIMEOUT.name: None if index.timeout_s is None else repr(index.timeout_s),
            PINECONE_KEY_ARN: backend.pinecone_key_arn,
        }


_OURS = {
    FALLBACK_MODEL,
    FALLBACK_REGION,
    v.STORE.name,
    v.TABLE.name,
    v.BASE_TABLE.name,
    v.BRANCH.name,
    v.MIRROR.name,
    v.MODEL.name,
    v.MODEL_ID.name,
    v.MODEL_REGION.name,
    v.GUARDRAIL_ID.name,
    v.GUARDRAIL_VERSION.name,
    v.IDENTITY.name,
    v.USER_POOL.name,
    v.APP_CLIENTS.name,
    v.RECALL.name,
    v.PINECONE_HOST.name,
    v.WORKOUT_FUNCTION.name,
    v.SUMMARY_FUNCTION.name,
    v.LOG_LEVEL.name,
    v.METRICS_NAMESPACE.name,
    v.DATA_DIR.name,
    PINECONE_KEY_ARN,
    TICKET_KEY_ARN,
}
"""Variables with a field: policies, alarms and log groups are made of them as well."""


def _check(environment: Mapping[str, str]) -> None:
    """Read the environment as the functions will; what is wrong is known before it is deployed."""
    known = {
        name: _SAMPLES.get(name, "sample") if Token.is_unresolved(value) else value
        for name, value in environment.items()
    }
    Settings.from_environment({**known, v.REGION.name: "us-west-2"})  # which Lambda sets
