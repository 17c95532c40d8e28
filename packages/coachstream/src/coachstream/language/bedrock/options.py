"""What can be chosen of a model on Bedrock."""

from __future__ import annotations

import msgspec

from coachstream.language.bedrock.attempts import RetryPolicy
from coachstream.language.bedrock.models import ModelFamily, family_of, name_of


class BedrockOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is asked.

    Attributes:
        model_id: of a model or an inference profile, or its ARN.
        temperature: from 0 to 1, for models that take one; `None` leaves it to the model.
        max_tokens: at which a reply is cut. 8192 (some 6000 words) is the most that Claude 3.5 Haiku allows;
            newer models allow more, and the existing system asks for 32768. But Bedrock takes `max_tokens`
            out of the quota when a request begins (user guide, "How tokens are counted"), so that a limit
            which no reply comes near only makes for throttling.
        guardrail_id: id or ARN of a guardrail; it checks a stream while it goes out (mode `async`).
        guardrail_version: a number, or DRAFT.
        prompt_caching: whether the parts of the prompt that stay the same are cached, where the model can.
        continues: whether the model can continue a partial reply; `None` for what is known of it.
        stall_s: longest silence before and between two events of a stream.
        retry: of a call that fails before its first text.
    """

    model_id: str
    temperature: float | None = 0.7
    max_tokens: int = 8192
    guardrail_id: str | None = None
    guardrail_version: str = "DRAFT"
    prompt_caching: bool = True
    continues: bool | None = None
    stall_s: float = 30.0
    retry: RetryPolicy = RetryPolicy()

    @property
    def family(self) -> ModelFamily:
        """What is known of the model."""
        return family_of(self.model_id)

    @property
    def display_name(self) -> str:
        """The model's name without region, maker, date and version: `claude-sonnet-4-6`."""
        return name_of(self.model_id)

    @property
    def sent_temperature(self) -> float | None:
        """The temperature that a request has; `None` where it has none."""
        return self.temperature if self.family.takes_temperature else None

    @property
    def can_continue(self) -> bool:
        """Whether the model can continue a partial reply."""
        return self.family.takes_prefill if self.continues is None else self.continues

    @property
    def cached_from_tokens(self) -> int | None:
        """How long the beginning of a prompt must be to be cached; `None` where nothing is cached."""
        return self.family.cached_from_tokens if self.prompt_caching else None
