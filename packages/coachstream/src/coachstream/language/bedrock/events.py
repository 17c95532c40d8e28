"""Converts the events of a Converse stream to the port's events (Bedrock API reference, "ConverseStream").

`messageStart`, then for each content block `contentBlockStart` (only if it is not text), deltas and
`contentBlockStop`, then `messageStop`, and finally `metadata` with the usage.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from coachstream.conversation.model import StopReason, Usage
from coachstream.conversation.ports import ModelStop

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.type_defs import (
        ConverseResponseTypeDef,
        ConverseStreamOutputTypeDef,
        TokenUsageTypeDef,
    )

logger = logging.getLogger("coachstream.bedrock")

STOP_REASONS = {
    "end_turn": StopReason.END_TURN,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.MAX_TOKENS,
    # Truncated as well: prompt and reply together fill the context window.
    "model_context_window_exceeded": StopReason.MAX_TOKENS,
    "guardrail_intervened": StopReason.CONTENT_FILTERED,
    "content_filtered": StopReason.CONTENT_FILTERED,
    # The model requested a tool, although none was offered; or the service could not parse its output.
    "tool_use": StopReason.INTERRUPTED,
    "malformed_tool_use": StopReason.INTERRUPTED,
    "malformed_model_output": StopReason.INTERRUPTED,
}
"""All stop reasons in the service's model; a test checks that none is missing."""


class ReplyReader:
    """Reads the events of one reply, and records how it ends.

    Attributes:
        is_stopped: whether the model has finished; only the usage may follow.
    """

    def __init__(self) -> None:
        self.is_stopped = False
        self._reason = StopReason.INTERRUPTED
        self._usage = Usage()

    def read(self, event: ConverseStreamOutputTypeDef) -> str:
        """The text of an event; empty for all others, including reasoning and unknown events."""
        if "contentBlockDelta" in event:
            return event["contentBlockDelta"]["delta"].get("text", "")
        if "messageStop" in event:
            self.is_stopped = True
            self._reason = _stop_reason(event["messageStop"]["stopReason"])
        elif "metadata" in event:
            metadata = event["metadata"]
            self._usage = _usage(metadata["usage"], latency_ms=metadata["metrics"]["latencyMs"])
        return ""

    def stop(self) -> ModelStop:
        """How the reply ended, once `is_stopped`."""
        return ModelStop(self._reason, self._usage)


def whole_reply(response: ConverseResponseTypeDef) -> tuple[str, ModelStop]:
    """The text and the stop of a reply that arrived in one piece."""
    blocks = response["output"]["message"]["content"]
    text = "".join(block.get("text", "") for block in blocks)
    usage = _usage(response["usage"], latency_ms=response["metrics"]["latencyMs"])
    return text, ModelStop(_stop_reason(response["stopReason"]), usage)


def _stop_reason(name: str) -> StopReason:
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
