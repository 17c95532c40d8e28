"""Parameters that a model may refuse although its row says otherwise, or because it has none.

A refused parameter is left out of the next request, and for the rest of the process: what was learned is
about models and never about a user. One event loop uses it, and no method awaits, so turns at the same time
cannot disturb each other.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from coachstream.language.bedrock.options import BedrockOptions


class Parameter(StrEnum):
    """What a request may have and can do without; the values are for the log."""

    TEMPERATURE = "a temperature"
    PREFILL = "the beginning of its reply"
    CACHE_POINTS = "cache points"


class RefusedParameters:
    """What each model has refused in this process."""

    def __init__(self) -> None:
        self._by_model: dict[str, set[Parameter]] = {}

    def add(self, model_id: str, parameter: Parameter) -> bool:
        """Remember a refusal; whether it was news."""
        known = self._by_model.setdefault(model_id, set())
        is_news = parameter not in known
        known.add(parameter)
        return is_news

    def left_out_of(self, options: BedrockOptions) -> BedrockOptions:
        """The options without what the model has refused."""
        for parameter in self._by_model.get(options.model_id, ()):
            options = without(options, parameter)
        return options


def has(options: BedrockOptions, parameter: Parameter) -> bool:
    """Whether requests with these options may have it."""
    match parameter:
        case Parameter.TEMPERATURE:
            return options.sent_temperature is not None
        case Parameter.PREFILL:
            return options.can_continue
        case Parameter.CACHE_POINTS:
            return options.cached_from_tokens is not None


def without(options: BedrockOptions, parameter: Parameter) -> BedrockOptions:
    """Options whose requests do not have it."""
    match parameter:
        case Parameter.TEMPERATURE:
            return msgspec.structs.replace(options, temperature=None)
        case Parameter.PREFILL:
            return msgspec.structs.replace(options, continues=False)
        case Parameter.CACHE_POINTS:
            return msgspec.structs.replace(options, prompt_caching=False)
