"""The configuration of the service, and its functions' environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
    PineconeSettings,
    RecallOff,
    SecretArn,
    Settings,
)
from coachstream.settings import variables as v

_SAMPLE_SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret:sample-a1B2c3"
_SAMPLES = {
    v.TABLE.name: "a-table",
    v.USER_POOL.name: "us-west-2_aSample",
    v.APP_CLIENTS.name: "aSample",
    v.WORKOUT_FUNCTION.name: "a-function",
    v.SUMMARY_FUNCTION.name: "a-function",
    v.POST_TURN_FUNCTION.name: "a-function",
    v.PINECONE_KEY_ARN.name: _SAMPLE_SECRET,
    v.TICKET_KEY_ARN.name: _SAMPLE_SECRET,
}
"""Stand in for references, whose values are known only on deployment."""

_FREE = {variable.name for variable in VARIABLES if variable.is_free}
"""Variables that can be set directly. The others have a field, because policies, alarms and log groups depend
on them as well; or they are secret, or have no effect."""


class PineconeIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The index for semantic search; the variables of the same names document each field."""

    host: str
    rerank_model: str | None = None
    timeout_s: float = v.RECALL_TIMEOUT.default


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of the functions, without the resources that they use.

    Attributes:
        model: the model that generates the replies, its fallback, and the models that analyse messages and
            summarize conversations. Without a region, the stack's is used.
        foundation_models: ARNs of the foundation models behind `model` and the fallback, if their ids do not
            reveal them: for an application inference profile, or a profile with unknown regions.
        guardrail_profiles: ARNs of the guardrail's cross-region profile, one for each of its regions, if it
            has one.
        recall: the Pinecone index; None without recall.
        hand_offs: the functions that process a turn further. A function of another account needs its ARN,
            which must not be a reference.
        mirror_messages: whether turns also appear in the list that the existing functions read.
        logs: logs and metrics.
        variables: any other variables of `docs/reference/settings.md`, by name.

    Raises:
        ValueError: a variable is unknown, is a secret, or has a field here.
    """

    model: BedrockSettings = BedrockSettings()
    foundation_models: tuple[str, ...] = ()
    guardrail_profiles: tuple[str, ...] = ()
    recall: PineconeIndex | None = None
    hand_offs: HandOffs = HandOffs()
    mirror_messages: bool = v.MIRROR.default
    logs: Logs = Logs()
    variables: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        """Reject variables that would be ignored, or would be readable in plain text."""
        for name in self.variables:
            if name not in _FREE:
                raise ValueError(f"{name} cannot be set here")

    def environment(self, backend: Backend, *, region: str, with_tickets: bool) -> dict[str, str]:
        """Return the environment variables of a function.

        Args:
            backend: the resources that it uses.
            region: the stack's region, which may not be known yet.
            with_tickets: whether to include the key of tickets.

        Raises:
            SettingsError: the functions would not start with these settings.
            ValueError: recall is configured without a key.
        """
        ticket_key = backend.ticket_key_arn if with_tickets else None
        settings = Settings(
            store=DynamoDbSettings(backend.table, mirror_messages=self.mirror_messages),
            model=self.model,
            identity=CognitoSettings(
                backend.user_pool_id,
                backend.client_ids,
                jwks_file=None if backend.packaged_keys is None else Path(backend.packaged_keys),
            ),
            recall=self._recall(backend),
            hand_offs=self.hand_offs,
            logs=self.logs,
            own_ticket_key=None if ticket_key is None else SecretArn(ticket_key),
        )
        environment = {**settings.to_environment(), **self.variables}
        self._check(environment, region)
        return environment

    def _recall(self, backend: Backend) -> PineconeSettings | RecallOff:
        index = self.recall
        if index is None:
            return RecallOff()
        if backend.pinecone_key_arn is None:
            raise ValueError("recall needs the secret with Pinecone's API key")
        return PineconeSettings(
            SecretArn(backend.pinecone_key_arn),
            index.host,
            rerank_model=index.rerank_model,
            timeout_s=index.timeout_s,
        )

    def _check(self, environment: Mapping[str, str], region: str) -> None:
        """Validate the environment as the functions will, so that errors are found before the deployment."""
        known = {
            name: _SAMPLES.get(name, "sample") if Token.is_unresolved(value) else value
            for name, value in environment.items()
        }
        if Token.is_unresolved(region):
            # It is then also unknown whether the fallback is in another region.
            region = (self.model.fallback and self.model.fallback.region) or "us-west-2"
        Settings.from_environment({**known, v.REGION.name: region})  # Lambda sets it
