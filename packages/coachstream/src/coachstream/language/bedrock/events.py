"""Converts the events of a Converse stream to the port's events (Bedrock API reference, "ConverseStream").

`messageStart`, then for each content block `contentBlockStart` (only if it is not text), deltas and
`contentBlockStop`, then `messageStop`, and finally `metadata` with the usage and, if it was requested, the
guardrail's trace.

A guardrail in the mode `warn` may be of either kind. If its filters only detect, nothing but the trace shows
what they found. If they block, Bedrock ends the reply with the guardrail's own sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from coachstream.conversation.model import StopReason, Usage
from coachstream.conversation.ports import ModelStop

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.type_defs import (
        ConverseResponseTypeDef,
        ConverseStreamOutputTypeDef,
        GuardrailTraceAssessmentTypeDef,
        TokenUsageTypeDef,
    )

logger = logging.getLogger("coachstream.bedrock")

_GUARDRAIL_INTERVENED = "guardrail_intervened"

STOP_REASONS = {
    "end_turn": StopReason.END_TURN,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.MAX_TOKENS,
    # Truncated as well: prompt and reply together fill the context window.
    "model_context_window_exceeded": StopReason.MAX_TOKENS,
    _GUARDRAIL_INTERVENED: StopReason.CONTENT_FILTERED,
    "content_filtered": StopReason.CONTENT_FILTERED,
    # The model requested a tool, although none was offered; or the service could not parse its output.
    "tool_use": StopReason.INTERRUPTED,
    "malformed_tool_use": StopReason.INTERRUPTED,
    "malformed_model_output": StopReason.INTERRUPTED,
}
"""All stop reasons in the service's model; a test checks that none is missing."""


_INTERVENTIONS = {"BLOCKED", "ANONYMIZED"}
"""The actions of a guardrail's filter that change a text; `NONE` only reports."""

_UNALTERABLE = {StopReason.CONTENT_FILTERED, StopReason.INTERRUPTED}
"""Stop reasons of replies that are not kept, whatever a guardrail says."""


class ReplyReader:
    """Reads the events of one reply, and records how it ends.

    Args:
        guardrail_warns: `BedrockOptions.guardrail_warns`.

    Attributes:
        is_stopped: whether the model has finished; only the usage may follow.
    """

    def __init__(self, *, guardrail_warns: bool = False) -> None:
        self.is_stopped = False
        self._guardrail_warns = guardrail_warns
        self._is_flagged = False
        self._reason = StopReason.INTERRUPTED
        self._usage = Usage()

    def read(self, event: ConverseStreamOutputTypeDef) -> str:
        """The text of an event; empty for all others, including reasoning and unknown events."""
        if "contentBlockDelta" in event:
            return event["contentBlockDelta"]["delta"].get("text", "")
        if "messageStop" in event:
            self.is_stopped = True
            self._reason = _stop_reason(
                event["messageStop"]["stopReason"], guardrail_warns=self._guardrail_warns
            )
        elif "metadata" in event:
            metadata = event["metadata"]
            self._usage = _usage(metadata["usage"], latency_ms=metadata["metrics"]["latencyMs"])
            self._is_flagged = _flags((metadata.get("trace") or {}).get("guardrail"))
        return ""

    def stop(self) -> ModelStop:
        """How the reply ended, once `is_stopped`."""
        return _stop(self._reason, self._usage, is_flagged=self._guardrail_warns and self._is_flagged)


def whole_reply(response: ConverseResponseTypeDef, *, guardrail_warns: bool = False) -> tuple[str, ModelStop]:
    """The text and the stop of a reply that arrived in one piece."""
    blocks = response["output"]["message"]["content"]
    text = "".join(block.get("text", "") for block in blocks)
    usage = _usage(response["usage"], latency_ms=response["metrics"]["latencyMs"])
    reason = _stop_reason(response["stopReason"], guardrail_warns=guardrail_warns)
    is_flagged = guardrail_warns and _flags((response.get("trace") or {}).get("guardrail"))
    return text, _stop(reason, usage, is_flagged=is_flagged)


def _stop(reason: StopReason, usage: Usage, *, is_flagged: bool) -> ModelStop:
    if is_flagged and reason not in _UNALTERABLE:
        reason = StopReason.GUARDRAIL_WARNING
    if reason is StopReason.GUARDRAIL_WARNING:
        logger.warning("The guardrail flagged a message or its reply; the text is kept")
    return ModelStop(reason, usage)


def _flags(trace: GuardrailTraceAssessmentTypeDef | None) -> bool:
    """Whether a filter of the guardrail found something, in the message or the reply.

    Each policy has its own list of findings, but all findings have `detected`, or in older responses only
    `action`.
    """
    if trace is None:
        return False
    assessments = trace.get("inputAssessment"), trace.get("outputAssessments")
    return any(
        finding.get("detected") is True or finding.get("action") in _INTERVENTIONS
        for finding in _records_in(assessments)
    )


def _records_in(value: object) -> Iterator[Mapping[str, object]]:
    """All objects in a decoded JSON value."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _records_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _records_in(inner)


def _stop_reason(name: str, *, guardrail_warns: bool) -> StopReason:
    if guardrail_warns and name == _GUARDRAIL_INTERVENED:
        return StopReason.GUARDRAIL_WARNING
    reason = STOP_REASONS.get(name)
    if reason is None:
        # In any case the model chose to end.
        logger.warning("The model stopped for an unknown reason: %.40s", name)
        return StopReason.END_TURN
    return reason


def _usage(tokens: TokenUsageTypeDef, *, latency_ms: int) -> Usage:
    return Usage(
        input_tokens=tokens["inputTokens"],
        output_tokens=tokens["outputTokens"],
        cache_read_tokens=tokens.get("cacheReadInputTokens", 0),
        cache_write_tokens=tokens.get("cacheWriteInputTokens", 0),
        latency_ms=latency_ms,
    )
