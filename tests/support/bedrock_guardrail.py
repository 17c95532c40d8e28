"""A guardrail on the test server: it judges the same text as Bedrock's, and blocks as Bedrock does.

Of a request it judges the `guardContent` blocks if there are any, else all messages; never the system prompt
(Bedrock user guide, "Include a guardrail with the Converse API"). Of a reply it judges the whole text. If it
blocks, the reply is its own sentence with the stop reason `guardrail_intervened`. A stream in the mode
`async` has already sent the text before the blocked words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from support.bedrock_server import Event, Reply, Step, closing, opening, text

BLOCKED_INPUT = "Sorry, I cannot talk about that."
BLOCKED_OUTPUT = "Sorry, I cannot say that."


@dataclass
class WordGuardrail:
    """Blocks messages and replies that contain one of the words.

    Attributes:
        judged: the judged texts, one list per request.
    """

    words: tuple[str, ...]
    blocked_input: str = BLOCKED_INPUT
    blocked_output: str = BLOCKED_OUTPUT
    judged: list[list[str]] = field(default_factory=list)

    def applied_to(self, body: dict[str, Any], reply: Reply) -> Reply:
        """Return the reply that the client gets: the model's, or the guardrail's sentence if it blocks."""
        judged = list(_judged(body))
        self.judged.append(judged)
        if any(self._blocks(each) for each in judged):
            return _refused(self.blocked_input)
        said: list[Step] = []
        for step in reply.steps:
            if isinstance(step, Event) and self._blocks(_text_of(step)):
                before = (
                    said if body["guardrailConfig"].get("streamProcessingMode") == "async" else [opening()]
                )
                return Reply([*before, *_blocked(self.blocked_output)], reply.before)
            said.append(step)
        return reply

    def _blocks(self, judged: str) -> bool:
        return any(word in judged for word in self.words)


def _judged(body: dict[str, Any]) -> Iterator[str]:
    blocks = [block for message in body["messages"] for block in message["content"]]
    guarded = [block["guardContent"]["text"]["text"] for block in blocks if "guardContent" in block]
    yield from guarded or [block["text"] for block in blocks if "text" in block]


def _text_of(step: Event) -> str:
    delta = step.content.get("delta")
    return str(delta.get("text", "")) if isinstance(delta, dict) else ""


def _refused(sentence: str) -> Reply:
    return Reply([opening(), *_blocked(sentence)])


def _blocked(sentence: str) -> list[Event]:
    return [*(text(sentence) if sentence else ()), *closing("guardrail_intervened")]
