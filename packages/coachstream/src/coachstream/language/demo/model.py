"""`DemoModel`: streams a composed answer at the pace of a real model."""

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
"""What a fast real model takes to its first token."""

_FIRST_DELTA_DELAYS = 14
"""A shortened delay shortens the wait for the first delta, too: it is never longer than so many delays."""

_JITTER = 0.5
"""A pause is longer or shorter than the mean by at most this part of it."""

_CHARACTERS_A_TOKEN = 4
"""The usual rule of thumb for English text."""


class Fault(msgspec.Struct, frozen=True):
    """How a reply breaks off, for demonstrations and tests.

    Attributes:
        after_deltas: how many deltas come first.
        raises: what is raised then; with `None` the stream just ends, without a stop reason.
    """

    after_deltas: int
    raises: ModelError | None = None


class DemoModel:
    """A `ChatModel` that composes its answer from what the prompt says; the same prompt, the same answer.

    It is no language model and says so in every answer. It breaks only when it is built with a `fault`, never
    because of what anybody wrote.
    """

    def __init__(
        self,
        *,
        delay_s: float = 0.03,
        fault: Fault | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Answer with one delta (a word) each `delay_s` seconds.

        Args:
            delay_s: mean seconds between two deltas; a single pause differs by up to half of it. The first
                delta comes after 0.4 s, or 14 delays if that is shorter. 0 is as fast as the reader takes
                them.
            fault: how the reply breaks off, if it is long enough to.
            sleep: waits for so many seconds; 0 lets others run.

        Raises:
            ValueError: the delay is not a number of seconds.
        """
        if not math.isfinite(delay_s) or delay_s < 0:
            raise ValueError(f"a delay is a number of seconds from 0 up, not {delay_s!r}")
        self._delay_s = delay_s
        self._fault = fault
        self._sleep = sleep

    @property
    def display_name(self) -> str:
        """The name stored with every reply."""
        return DISPLAY_NAME

    @property
    def can_continue(self) -> bool:
        """It goes on from `Prompt.said`: the same prompt, the same answer, and the rest of it."""
        return True

    @property
    def is_usable(self) -> bool:
        """It is part of the program."""
        return True

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:  # noqa: ARG002 (the turn keeps it)
        """Stream the answer word by word, then `ModelStop` with the tokens that it might have cost.

        Of an answer whose beginning was said, the rest; of another one, what follows as many characters.
        """
        began = time.perf_counter()
        # Random pauses and phrases, but the same ones for the same prompt, whatever of the answer was said.
        chance = random.Random(_digest(msgspec.structs.replace(prompt, said="")))  # noqa: S311 (nothing secret)
        answer = compose_answer(read_notes(prompt), chance)[len(prompt.said) :]
        deltas = split_into_deltas(answer)
        for number, delta in enumerate(deltas):
            await self._sleep(self._pause_s(number, chance))
            self._maybe_break_off(number)
            if self._ends_after(number):
                return
            yield TextDelta(delta)
        self._maybe_break_off(len(deltas))
        if self._ends_after(len(deltas)):
            return
        yield ModelStop(StopReason.END_TURN, _usage(prompt, answer, time.perf_counter() - began))

    def _pause_s(self, number: int, chance: random.Random) -> float:
        if number == 0:
            return min(FIRST_DELTA_S, _FIRST_DELTA_DELAYS * self._delay_s)
        return self._delay_s * chance.uniform(1 - _JITTER, 1 + _JITTER)

    def _maybe_break_off(self, number: int) -> None:
        if self._fault is not None and self._fault.raises is not None and self._fault.after_deltas == number:
            raise self._fault.raises

    def _ends_after(self, number: int) -> bool:
        return self._fault is not None and self._fault.after_deltas == number


def _digest(prompt: Prompt) -> bytes:
    return hashlib.sha256(repr(prompt).encode("utf-8", "backslashreplace")).digest()


def _usage(prompt: Prompt, answer: str, took_s: float) -> Usage:
    read = sum(len(section.text) for section in prompt.sections)
    read += sum(len(message.text) for message in prompt.messages) + len(prompt.said)
    return Usage(
        input_tokens=math.ceil(read / _CHARACTERS_A_TOKEN),
        output_tokens=math.ceil(len(answer) / _CHARACTERS_A_TOKEN),
        latency_ms=round(took_s * 1000),
    )
