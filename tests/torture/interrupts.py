"""`coachstream serve`, interrupted at random moments: it shuts down cleanly and stores the text so far."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from coachstream.web.sse import SseReader
from support.patience import PATIENCE_S
from support.serving import Ready, Serving, create_conversation, serving, stored_messages
from torture.clients import Shown
from torture.tally import Tally

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LATEST_S = 1.5
"""The latest moment of an interrupt after the message was sent; its reply takes longer."""

TWICE = 0.4
"""The share of interrupts that are sent twice."""

QUESTION = "How was my week?"
PACE = ("--model-delay", "0.01")
SETTLES_WITHIN_S = 120.0
"""More than a lease duration: after that, the text of a killed process is stored."""


@dataclass
class Asked:
    """A reply that was interrupted, as its reader saw it."""

    conversation: str
    shown: Shown = field(default_factory=Shown)

    async def read(self, ready: Ready) -> None:
        """Read to the end of the connection, however it ends."""
        reader = SseReader()
        with contextlib.suppress(httpx.HTTPError):
            async with (
                httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as http,
                http.stream(
                    "POST",
                    ready.stream(self.conversation),
                    headers=ready.headers,
                    json={"userResponse": QUESTION},
                ) as response,
            ):
                async for data in response.aiter_bytes():
                    for event in reader.feed(data):
                        self.shown.take(json.loads(event))


async def run_interrupts(*, seed: int, count: int, in_process: bool) -> Tally:
    """Start the server `count` times on the same data, and interrupt it during a reply each time.

    Args:
        seed: decides the moments and the signals.
        count: the number of interrupts.
        in_process: whether the functions run in the server's process.
    """
    tally = Tally(f"interrupts, {'in process' if in_process else 'environments'}")
    chance = random.Random(seed)  # noqa: S311 (repeatable, not secret)
    options = (*PACE, "--in-process") if in_process else PACE
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        data, asked = Path(folder) / "data", None
        for _ in range(count):
            asked = await _interrupt(data, options, asked, chance, tally)
        with serving(data, *options) as server:
            await _compare(server, asked, tally)
    return tally


async def _interrupt(
    data: Path, options: tuple[str, ...], earlier: Asked | None, chance: random.Random, tally: Tally
) -> Asked:
    running = serving(data, *options)
    server = await asyncio.to_thread(running.__enter__)
    try:
        await _compare(server, earlier, tally)
        asked = Asked(await asyncio.to_thread(create_conversation, server.ready))
        reading = asyncio.create_task(asked.read(server.ready))
        await asyncio.sleep(chance.uniform(0.0, LATEST_S))
        number, comes_twice = chance.choice(SIGNALS), chance.random() < TWICE
        tally.messages += 1
        tally.faults[number.name + (" twice" if comes_twice else "")] += 1
        server.process.send_signal(number)
        if comes_twice:
            await asyncio.sleep(chance.uniform(0.0, 0.2))
            server.process.send_signal(number)
        try:
            status = await asyncio.to_thread(server.process.wait, PATIENCE_S)
        except subprocess.TimeoutExpired:
            tally.add("abnormal", f"{number.name}: the server did not end")
        else:
            if status != 0:
                tally.add("abnormal", f"{number.name}: the server ended with {status}")
        await reading
        for process in server.processes():
            tally.add("abnormal", f"{number.name}: the server left process {process} behind")
        log = await asyncio.to_thread((data.parent / "serve.log").read_text)
        if "Traceback" in log or "Fatal Python error" in log:
            tally.add("abnormal", f"{number.name}: {log[-2000:]}")
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
    return asked


async def _compare(server: Serving, asked: Asked | None, tally: Tally) -> None:
    """Check that the text seen by the reader of an interrupted reply is stored."""
    if asked is None or not asked.shown.text:
        return
    gives_up_at = time.monotonic() + SETTLES_WITHIN_S
    replies: list[str] = []
    while not replies and time.monotonic() < gives_up_at:
        stored = await asyncio.to_thread(stored_messages, server.ready, asked.conversation)
        replies = [message["content"] for message in stored if message["role"] == "assistant"]
        if [message["content"] for message in stored if message["role"] == "user"] != [QUESTION]:
            tally.add("lost", "the question is not stored, or not once")
            return
        if not replies:
            await asyncio.sleep(0.5)
    if len(replies) > 1:
        tally.add("duplicated", f"{len(replies)} replies to one message")
    elif not replies:
        tally.add("lost", f"nothing is stored of {len(asked.shown.text)} characters")
    elif not replies[0].startswith(asked.shown.text):
        tally.add("differs", f"shown {asked.shown.text!r}, stored {replies[0]!r}")
