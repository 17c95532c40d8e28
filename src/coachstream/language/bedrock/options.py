"""What can be chosen of a model on Bedrock, and what is known of the models there."""

from __future__ import annotations

import re

import msgspec

from coachstream.language.bedrock.attempts import RetryPolicy

DEFAULT_MODEL_ID = "us.anthropic.claude-sonnet-4-20250514-v1:0"

CACHED_FROM_TOKENS = (
    ("claude-3-5-haiku", 2048),
    ("claude-3-7-sonnet", 1024),
    ("claude-opus-4-5", 4096),
    ("claude-opus-4-6", 4096),
    ("claude-opus-4", 1024),
    ("claude-sonnet-4", 1024),
    ("claude-haiku-4", 4096),
    ("nova-micro", 1000),
    ("nova-lite", 1000),
    ("nova-pro", 1000),
    ("nova-premier", 1000),
    ("nova-2-lite", 1000),
)
"""Families of models that cache prompts, and how many tokens a prompt must have up to its first checkpoint.

From the Bedrock user guide, "Prompt caching for faster model inference", and for the newer Claude models
from Anthropic's page "Prompt caching". Of two names that fit, the first counts. A model that is not here gets
no checkpoint: Bedrock refuses a request with one for a model that does not cache, while a checkpoint that
comes too early is only ignored.
"""

CONTINUING = frozenset(
    {
        "claude-3-haiku",
        "claude-3-sonnet",
        "claude-3-opus",
        "claude-3-5-haiku",
        "claude-3-5-sonnet",
        "claude-3-7-sonnet",
        "claude-sonnet-4",
        "claude-opus-4",
        "claude-opus-4-1",
        "claude-sonnet-4-5",
        "claude-opus-4-5",
        "claude-haiku-4-5",
    }
)
"""Models that go on from a last message of their own ("prefill"), by their names without region and date.

Claude up to 4.5 does. Since 4.6 it refuses such a request (Anthropic, "Migration guide", "Prefill removal"),
and Llama on Bedrock asks for a last message of the user's. (An older page of Anthropic's counts Sonnet 4.5
among those that refuse; reports of its use on Bedrock say that it does not.) Nova's behaviour is not known. A
model that is not here begins anew, which is always right; a request that is refused costs the reply.
"""

_REGIONS_AND_MAKER = re.compile(r"^(?:.*/)?(?:(?:[a-z]+(?:-[a-z]+)?\.)?[a-z0-9]+\.)?")
_DATE_AND_VERSION = re.compile(r"(?:-\d{8})?(?:-v\d+(?::[0-9a-z]+)*)?$")


class BedrockOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is asked.

    Attributes:
        model_id: of a model or an inference profile, or its ARN.
        temperature: from 0 to 1; `None` leaves it to the model (some take none).
        max_tokens: at which a reply is cut. 8192 (some 6000 words) is the most that Claude 3.5 Haiku allows;
            newer models allow more, and the existing system asks for 32768. But Bedrock takes `max_tokens`
            out of the quota when a request begins (user guide, "How tokens are counted"), so that a limit
            which no reply comes near only makes for throttling.
        guardrail_id: id or ARN of a guardrail; it checks a stream while it goes out (mode `async`).
        guardrail_version: a number, or DRAFT.
        prompt_caching: whether the parts of the prompt that stay the same are cached, where the model can.
        continues: whether the model goes on from the beginning of a reply; `None` for what is known of it.
        stall_s: longest silence before and between two events of a stream.
        retry: of a call that fails before its first text.
    """

    model_id: str = DEFAULT_MODEL_ID
    temperature: float | None = 0.7
    max_tokens: int = 8192
    guardrail_id: str | None = None
    guardrail_version: str = "DRAFT"
    prompt_caching: bool = True
    continues: bool | None = None
    stall_s: float = 30.0
    retry: RetryPolicy = RetryPolicy()

    @property
    def display_name(self) -> str:
        """The model's name without region, maker, date and version: `claude-sonnet-4`."""
        name = _REGIONS_AND_MAKER.sub("", self.model_id)
        return _DATE_AND_VERSION.sub("", name) or self.model_id

    @property
    def can_continue(self) -> bool:
        """Whether the model goes on from the beginning of a reply."""
        return self.display_name in CONTINUING if self.continues is None else self.continues

    @property
    def cached_from_tokens(self) -> int | None:
        """How long the beginning of a prompt must be to be cached; `None` where nothing is cached."""
        if not self.prompt_caching:
            return None
        return next((tokens for family, tokens in CACHED_FROM_TOKENS if family in self.model_id), None)
