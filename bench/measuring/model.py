"""A model whose replies have the number of chunks and the pace that the message asks for.

It is the tests' Bedrock in a process of its own: `serving_model()` starts it. Every chunk carries the moment
it was sent, on the clock `time.monotonic`, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from support.bedrock_server import (
    Burst,
    ModelResponse,
    Pause,
    Received,
    Reply,
    Step,
    bedrock_server,
    closing,
    opening,
    refusal_of,
    text,
)

TESTS = Path(__file__).parents[2] / "tests"
MODEL_ID = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
STAMP = re.compile(r"@(\d+\.\d{6}) ")
_ASKS_FOR = re.compile(r"(\d+) chunks, (\d+) ms apart")
_BURST = 50
"""Events in one write when there is no pause between them."""


class Pace(msgspec.Struct, frozen=True):
    """How the model replies.

    Attributes:
        chunks: the number of deltas.
        pause_ms: the time between two of them; 0 sends them as fast as they can be written.
    """

    chunks: int
    pause_ms: int

    @property
    def message(self) -> str:
        """The message of a user that makes the model reply like this."""
        return f"Tell me about squats in {self.chunks} chunks, {self.pause_ms} ms apart."


class _Steps(Sequence[Step]):
    """The steps of a reply; each is made when it is taken, so that its chunks carry that moment."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._began_at = time.monotonic()
        self._together = 1 if pace.pause_ms else _BURST

    def __len__(self) -> int:
        return 1 + 2 * -(-self._pace.chunks // self._together) + len(closing())

    def __getitem__(self, number: int) -> Step:  # type: ignore[override]  # nothing slices it
        if number == 0:
            return opening()
        if number >= len(self) - len(closing()):
            usage = {"outputTokens": self._pace.chunks, "totalTokens": self._pace.chunks + 12}
            return closing(usage=usage)[number - len(self)]
        first = (number - 1) // 2 * self._together
        if number % 2:
            due_at = self._began_at + first * self._pace.pause_ms / 1000
            return Pause(max(due_at - time.monotonic(), 0) if self._pace.pause_ms else 0)
        chunks = min(self._together, self._pace.chunks - first)
        return Burst(text(*(f"@{time.monotonic():.6f} so, " for _ in range(chunks))))


def _reply(received: Received) -> ModelResponse:
    refusal = refusal_of(received)
    if refusal is not None:
        return refusal
    asked = _ASKS_FOR.search(str(received.body["messages"][-1]))
    return Reply(_Steps(Pace(*map(int, asked.groups())) if asked else Pace(1, 0)))


@contextmanager
def serving_model() -> Iterator[str]:
    """Run the model in its own process; yields its URL."""
    command = [sys.executable, __file__]
    environment = {"PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own program)
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                raise RuntimeError("the model did not start")
            yield url
        finally:
            process.terminate()


async def _main() -> None:
    async with bedrock_server() as server:
        server.judge = _reply
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main())
