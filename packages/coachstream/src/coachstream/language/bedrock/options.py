"""The options of a model on Bedrock."""

from __future__ import annotations

import msgspec

from coachstream.language.bedrock.attempts import RetryPolicy
from coachstream.language.bedrock.model_families import ModelFamily, family_of, name_of


class BedrockOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a model.

    Attributes:
        model_id: the id of a model or an inference profile, or its ARN.
        temperature: from 0 to 1, for models that accept one; `None` uses the model's default.
        max_tokens: the length limit of a reply.
        guardrail_id: id or ARN of a guardrail; it checks a stream while it is being sent (mode `async`).
        guardrail_version: a number, or DRAFT; not used without a guardrail.
        guardrail_warns: whether what the guardrail flags is kept, and only marked.
        prompt_caching: whether the constant prefix of the prompt is cached, if the model supports it.
        continues: whether the model can continue a partial reply; `None` uses the family's value.
        stall_s: the longest silence before and between two events of a stream.
        decoded_by_sdk: whether botocore decodes a stream, instead of the decoder of this package.
        retry: the retry policy of a call that fails before its first text.
    """

    model_id: str
    temperature: float | None
    max_tokens: int
    prompt_caching: bool
    stall_s: float
    guardrail_id: str | None = None
    guardrail_version: str = ""
    guardrail_warns: bool = False
    continues: bool | None = None
    decoded_by_sdk: bool = False
    retry: RetryPolicy = RetryPolicy()

    @property
    def family(self) -> ModelFamily:
        """The model's family."""
        return family_of(self.model_id)

    @property
    def display_name(self) -> str:
        """The model's name without region, provider, date and version: `claude-sonnet-4-6`."""
        return name_of(self.model_id)

    @property
    def sent_temperature(self) -> float | None:
        """The temperature to send; `None` if none is sent."""
        return self.temperature if self.family.takes_temperature else None

    @property
    def can_continue(self) -> bool:
        """Whether the model can continue a partial reply."""
        return self.family.takes_prefill if self.continues is None else self.continues

    @property
    def cached_from_tokens(self) -> int | None:
        """The minimum length of a cached prompt prefix, in tokens; `None` if nothing is cached."""
        return self.family.cached_from_tokens if self.prompt_caching else None
