"""`DemoModel`: answers without a language model."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from coachstream.conversation.errors import ModelError
from coachstream.conversation.ports import ModelEvent
from coachstream.conversation.prompt import Prompt


class Fault(msgspec.Struct, frozen=True):
    """How a reply breaks off; `raises=None` ends the stream without a stop reason."""

    after_deltas: int
    raises: ModelError | None = None


class DemoModel:
    """A `ChatModel` that composes its answer from the prompt."""

    def __init__(self, *, delay_s: float = 0.03, fault: Fault | None = None) -> None:
        raise NotImplementedError

    @property
    def display_name(self) -> str:
        raise NotImplementedError

    def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        raise NotImplementedError
