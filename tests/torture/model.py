"""A model whose every reply is known in advance, and which counts the calls for each reply."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.bedrock_server import (
    BedrockServer,
    ModelResponse,
    Pause,
    Received,
    Reply,
    Step,
    closing,
    opening,
    refusal_of,
    text,
)
from support.connections import accepting, port_of

WORDS = 60
PAUSE_S = 0.02

_NAME = re.compile(r"\bm-\d+-\d+\b")


def name_of(conversation: int, message: int) -> str:
    """The word by which the model recognizes a message."""
    return f"m-{conversation}-{message}"


def question(name: str) -> str:
    """The text of the message with this name."""
    return f"What do you say to {name}?"


def reply_to(name: str) -> str:
    """The whole reply to the message with this name."""
    return "".join(f"{name}:{number} " for number in range(WORDS)).rstrip()


class KnownModel(BedrockServer):
    """A Bedrock server that replies with `reply_to` the newest message.

    Attributes:
        calls: the number of calls for each message's reply.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    async def respond_to(self, received: Received) -> ModelResponse:
        """The whole reply, or the continuation of the given beginning."""
        refusal = refusal_of(received)
        if refusal is not None:
            return refusal
        messages = received.body["messages"]
        asked = [message for message in messages if message["role"] == "user"][-1]
        name = _NAME.findall(_words(asked))[-1]
        self.calls[name] += 1
        beginning = _words(messages[-1]) if messages[-1]["role"] == "assistant" else ""
        deltas = re.findall(r"\s*\S+", reply_to(name)[len(beginning) :])
        spoken: list[Step] = []
        for delta in text(*deltas):
            spoken += [Pause(PAUSE_S), delta]
        return Reply([opening(), *spoken, *closing()])


def _words(message: dict[str, list[dict[str, str]]]) -> str:
    return " ".join(block.get("text", "") for block in message["content"])


@asynccontextmanager
async def known_model() -> AsyncIterator[KnownModel]:
    """Serve in this event loop until the block is left."""
    model = KnownModel()
    async with accepting(model.serve_connection) as server:
        model.url = f"http://127.0.0.1:{port_of(server)}"
        yield model
