"""A guardrail on the test server: it judges the same text as Bedrock's, and blocks as Bedrock does.

Of a request it judges the `guardContent` blocks if there are any, else all messages; never the system prompt
(Bedrock user guide, "Include a guardrail with the Converse API"). Of a reply it judges the whole text. If it
blocks, the reply is its own sentence with the stop reason `guardrail_intervened`. A stream in the mode
`async` has already sent the text before the blocked words. If its filters only detect, the reply is the
model's, and nothing but the trace shows what they found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from support.bedrock_server import Event, JsonObject, Reply, Step, closing, opening, text

BLOCKED_INPUT = "Sorry, I cannot talk about that."
BLOCKED_OUTPUT = "Sorry, I cannot say that."


@dataclass
class WordGuardrail:
    """Blocks, or only detects, messages and replies that contain one of the words.

    Attributes:
        only_detects: whether the filters' action is `NONE`.
        judged: the judged texts, one list per request.
    """

    words: tuple[str, ...]
    blocked_input: str = BLOCKED_INPUT
    blocked_output: str = BLOCKED_OUTPUT
    only_detects: bool = False
    judged: list[list[str]] = field(default_factory=list)

    def applied_to(self, body: dict[str, Any], reply: Reply) -> Reply:
        """Return the reply that the client gets: the model's, or the guardrail's sentence if it blocks."""
        judged = list(_judged(body))
        self.judged.append(judged)
        is_input_bad = any(self._finds(each) for each in judged)
        said = list(reply.steps)
        bad = [number for number, step in enumerate(said) if self._finds(_text_of(step))]
        is_output_bad = bool(bad) and (self.only_detects or not is_input_bad)
        if not self.only_detects and is_input_bad:
            reply = _refused(self.blocked_input)
        elif not self.only_detects and is_output_bad:
            is_async = body["guardrailConfig"].get("streamProcessingMode") == "async"
            before = said[: bad[0]] if is_async else [opening()]
            reply = Reply([*before, *_blocked(self.blocked_output)], reply.before)
        if body["guardrailConfig"].get("trace") != "enabled":
            return reply
        trace = self._trace(is_input_bad=is_input_bad, is_output_bad=is_output_bad)
        return Reply([_traced(step, trace) for step in reply.steps], reply.before)

    def _finds(self, judged: str) -> bool:
        return any(word in judged for word in self.words)

    def _trace(self, *, is_input_bad: bool, is_output_bad: bool) -> JsonObject:
        return {
            "inputAssessment": {"abc123": self._assessment(is_bad=is_input_bad)},
            "outputAssessments": {"abc123": [self._assessment(is_bad=is_output_bad)]},
        }

    def _assessment(self, *, is_bad: bool) -> JsonObject:
        metrics: JsonObject = {"guardrailProcessingLatency": 123}
        if not is_bad:
            return {"invocationMetrics": metrics}
        action = "NONE" if self.only_detects else "BLOCKED"
        found = [{"match": word, "action": action, "detected": True} for word in self.words]
        return {
            "wordPolicy": {"customWords": found, "managedWordLists": []},
            "invocationMetrics": metrics,
        }


def _judged(body: dict[str, Any]) -> Iterator[str]:
    blocks = [block for message in body["messages"] for block in message["content"]]
    guarded = [block["guardContent"]["text"]["text"] for block in blocks if "guardContent" in block]
    yield from guarded or [block["text"] for block in blocks if "text" in block]


def _traced(step: Step, trace: JsonObject) -> Step:
    if not isinstance(step, Event) or step.name != "metadata":
        return step
    return Event(step.name, {**step.content, "trace": {"guardrail": trace}})


def _text_of(step: Step) -> str:
    delta = step.content.get("delta") if isinstance(step, Event) else None
    return str(delta.get("text", "")) if isinstance(delta, dict) else ""


def _refused(sentence: str) -> Reply:
    return Reply([opening(), *_blocked(sentence)])


def _blocked(sentence: str) -> list[Event]:
    return [*(text(sentence) if sentence else ()), *closing("guardrail_intervened")]
