"""`DemoModel`: streams a composed reply at the pace of a real model."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from coachstream.conversation.errors import ModelError
from coachstream.conversation.model import StopReason, Usage
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.language.demo.answer import compose_answer
from coachstream.language.demo.deltas import split_into_deltas
from coachstream.language.demo.notes import read_notes

DISPLAY_NAME = "demo"

FIRST_DELTA_S = 0.4
"""The time to first token of a fast real model."""

_FIRST_DELTA_DELAYS = 14
"""The upper limit of the wait for the first delta, in delays, so that a short delay shortens it, too."""

_JITTER = 0.5
"""The maximum deviation of a pause from the mean, as a fraction."""

_CHARACTERS_A_TOKEN = 4
"""The usual rule of thumb for English text."""


class Fault(msgspec.Struct, frozen=True):
    """A fault that ends a reply early, for demonstrations and tests.

    Attributes:
        after_deltas: how many deltas are sent before the fault.
        raises: the error to raise; with `None` the stream just ends, without a stop reason.
    """

    after_deltas: int
    raises: ModelError | None = None


class DemoModel:
    """A `ChatModel` that composes its reply from the prompt, deterministically.

    It is not a language model, and says so in every reply. It fails only if it is constructed with a `fault`,
    never because of the content of a message.
    """

    def __init__(
        self,
        *,
        delay_s: float,
        fault: Fault | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Configure the model to send one delta (a word) every `delay_s` seconds.

        Args:
            delay_s: mean seconds between two deltas; a single pause differs by up to half of it. The first
                delta comes after 0.4 s, or 14 delays if that is shorter. 0 is as fast as the reader accepts
                them.
            fault: the fault that ends the reply early, if it is long enough.
            sleep: sleeps for a number of seconds; 0 yields to other tasks.

        Raises:
            ValueError: the delay is not a number of seconds.
        """
        if not math.isfinite(delay_s) or delay_s < 0:
            raise ValueError(f"a delay is a non-negative number of seconds, not {delay_s!r}")
        self._delay_s = delay_s
        self._fault = fault
        self._sleep = sleep

    @property
    def display_name(self) -> str:
        """The name stored with every reply."""
        return DISPLAY_NAME

    @property
    def can_continue(self) -> bool:
        """The model can continue `Prompt.said`: the same prompt gives the same reply, and so its rest."""
        return True

    @property
    def is_usable(self) -> bool:
        """Always true: the model is part of the program."""
        return True

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:  # noqa: ARG002 (the turn keeps it)
        """Stream the reply word by word, then `ModelStop` with an estimated usage.

        With a partial reply, only the text after as many characters is sent.
        """
        began = time.perf_counter()
        # Random pauses and phrases, but the same ones for the same prompt, with or without a partial reply.
        chance = random.Random(_digest(msgspec.structs.replace(prompt, said="")))  # noqa: S311 (nothing secret)
        reply = compose_answer(read_notes(prompt), chance)[len(prompt.said) :]
        deltas = split_into_deltas(reply)
        for number, delta in enumerate(deltas):
            await self._sleep(self._pause_s(number, chance))
            self._maybe_raise_fault(number)
            if self._ends_after(number):
                return
            yield TextDelta(delta)
        self._maybe_raise_fault(len(deltas))
        if self._ends_after(len(deltas)):
            return
        yield ModelStop(StopReason.END_TURN, _usage(prompt, reply, time.perf_counter() - began))

    def _pause_s(self, number: int, chance: random.Random) -> float:
        if number == 0:
            return min(FIRST_DELTA_S, _FIRST_DELTA_DELAYS * self._delay_s)
        return self._delay_s * chance.uniform(1 - _JITTER, 1 + _JITTER)

    def _maybe_raise_fault(self, number: int) -> None:
        if self._fault is not None and self._fault.raises is not None and self._fault.after_deltas == number:
            raise self._fault.raises

    def _ends_after(self, number: int) -> bool:
        return self._fault is not None and self._fault.after_deltas == number


def _digest(prompt: Prompt) -> bytes:
    return hashlib.sha256(repr(prompt).encode("utf-8", "backslashreplace")).digest()


def _usage(prompt: Prompt, reply: str, took_s: float) -> Usage:
    read = sum(len(section.text) for section in prompt.sections)
    read += sum(len(message.text) for message in prompt.messages) + len(prompt.said)
    return Usage(
        input_tokens=math.ceil(read / _CHARACTERS_A_TOKEN),
        output_tokens=math.ceil(len(reply) / _CHARACTERS_A_TOKEN),
        latency_ms=round(took_s * 1000),
    )
