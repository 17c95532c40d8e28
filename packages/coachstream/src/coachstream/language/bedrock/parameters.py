"""Parameters that a model may reject, although its row in `model_families` says otherwise or it has no row.

A rejected parameter is omitted from the next request, and for the rest of the process. The state is about
models only, never about a user. One event loop uses it, and no method awaits, so concurrent turns cannot
interfere with each other.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from coachstream.language.bedrock.options import BedrockOptions


class Parameter(StrEnum):
    """Optional features of a request; the values are for the log."""

    TEMPERATURE = "a temperature"
    PREFILL = "the beginning of its reply"
    CACHE_POINTS = "cache points"


class RefusedParameters:
    """The parameters that each model has rejected in this process."""

    def __init__(self) -> None:
        self._by_model: dict[str, set[Parameter]] = {}

    def add(self, model_id: str, parameter: Parameter) -> bool:
        """Record a rejection; return whether it is new."""
        known = self._by_model.setdefault(model_id, set())
        is_new = parameter not in known
        known.add(parameter)
        return is_new

    def left_out_of(self, options: BedrockOptions) -> BedrockOptions:
        """The options without the parameters that the model has rejected."""
        for parameter in self._by_model.get(options.model_id, ()):
            options = without(options, parameter)
        return options


def has(options: BedrockOptions, parameter: Parameter) -> bool:
    """Whether requests with these options may have the parameter."""
    match parameter:
        case Parameter.TEMPERATURE:
            return options.sent_temperature is not None
        case Parameter.PREFILL:
            return options.can_continue
        case Parameter.CACHE_POINTS:
            return options.cached_from_tokens is not None


def without(options: BedrockOptions, parameter: Parameter) -> BedrockOptions:
    """The options without the parameter."""
    match parameter:
        case Parameter.TEMPERATURE:
            return msgspec.structs.replace(options, temperature=None)
        case Parameter.PREFILL:
            return msgspec.structs.replace(options, continues=False)
        case Parameter.CACHE_POINTS:
            return msgspec.structs.replace(options, prompt_caching=False)
