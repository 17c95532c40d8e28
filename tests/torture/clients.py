"""Clients that do not give up: each sends its messages in turn, and retries each until it has the reply."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from coachstream.web.sse import SseReader
from support.patience import PATIENCE_S
from support.serving import Ready
from torture.model import name_of, question, reply_to
from torture.tally import Tally

GIVES_UP_AFTER_S = PATIENCE_S
"""How long a client retries one message after the last fault."""

AGAIN_AFTER_S = 0.3


class Progress:
    """Counts the chunks that clients have received, so that faults hit live traffic at any machine speed."""

    def __init__(self) -> None:
        self._chunks = 0
        self._more = asyncio.Event()

    def note(self) -> None:
        """Count one more chunk."""
        self._chunks += 1
        self._more.set()

    async def wait_for(self, chunks: int, *, within_s: float) -> None:
        """Wait for this many more chunks, up to the time limit."""
        enough = self._chunks + chunks
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._chunks < enough:
                    self._more.clear()
                    await self._more.wait()


@dataclass
class Shown:
    """The text of a reply as a user sees it."""

    units: bytes = b""
    complete: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The text."""
        return self.units.decode("utf-16-le")

    def take(self, event: dict[str, Any]) -> None:
        """Apply an event; a gap in the text is an error."""
        match event["type"]:
            case "start":
                self.units = b""
            case "chunk":
                at = 2 * event["offset"]
                assert at <= len(self.units), "a gap in the reply"
                added = event["content"].encode("utf-16-le")
                self.units += added[len(self.units) - at :]
            case "reset":
                self.units = self.units[: 2 * event["offset"]]
            case "complete":
                self.complete = event


@dataclass
class Client:
    """One conversation.

    Attributes:
        number: of the conversation.
        network: the server's address as seen through the faulty network.
        replies: the text shown of each finished reply, by the message's name.
    """

    number: int
    conversation: str
    ready: Ready
    network: str
    tally: Tally
    progress: Progress
    replies: dict[str, str] = field(default_factory=dict)

    async def talk(self, http: httpx.AsyncClient, messages: int, faults: asyncio.Task[None]) -> None:
        """Send messages, each until its reply is complete; never give up while faults are injected."""
        for message in range(messages):
            name = name_of(self.number, message)
            self.tally.messages += 1
            gives_up_at = math.inf
            endings: list[str] = []
            while name not in self.replies:
                if faults.done():
                    gives_up_at = min(gives_up_at, time.monotonic() + GIVES_UP_AFTER_S)
                if time.monotonic() > gives_up_at:
                    self.tally.add("lost", f"{name} never had its reply: {', '.join(endings)}")
                    return
                endings.append(await self._ask(http, name))
                if name not in self.replies:
                    await asyncio.sleep(AGAIN_AFTER_S)

    async def _ask(self, http: httpx.AsyncClient, name: str) -> str:
        """Send a message, read its stream, and return how it ended."""
        shown, reader, ending = Shown(), SseReader(), "nothing"
        url = self.ready.stream(self.conversation).replace(self.ready.stream_url, self.network)
        body = {"userResponse": question(name), "clientMessageId": name}
        try:
            async with http.stream("POST", url, headers=self.ready.headers, json=body) as response:
                if response.status_code != httpx.codes.OK:
                    return str(response.status_code)
                async for data in response.aiter_bytes():
                    for event in map(json.loads, reader.feed(data)):
                        shown.take(event)
                        self.progress.note()
                        ending = event.get("code", event["type"])
        except httpx.HTTPError as error:
            # The network was cut or the server's process has died: retry the same message.
            ending = f"{ending}, {type(error).__name__}"
        except AssertionError as gap:
            self.tally.add("differs", f"{name}: {gap}")
        if shown.complete is not None:
            self.replies[name] = shown.text
            if shown.complete["aiMessage"]["content"] != shown.text:
                self.tally.add("differs", f"{name}: `complete` has another text than was streamed")
        return ending

    def compare(self, stored: list[dict[str, Any]]) -> None:
        """Compare the stored messages with what was sent and shown."""
        for name, shown in self.replies.items():
            asked = [m for m in stored if m["content"] == question(name)]
            if not asked:
                self.tally.add("lost", f"{name} is not stored")
                continue
            if len(asked) > 1:
                self.tally.add("duplicated", f"{name} is stored {len(asked)} times")
            answers = [m["content"] for m in stored if m["metadata"].get("replyTo") == asked[0]["id"]]
            if not answers:
                self.tally.add("lost", f"the reply to {name} is not stored")
            elif len(answers) > 1:
                self.tally.add("duplicated", f"{name} has {len(answers)} replies")
            elif not answers[0] == shown == reply_to(name):
                self.tally.add("differs", f"the reply to {name}: shown {shown!r}, stored {answers[0]!r}")
        order = [m["id"] for m in stored]
        if order != sorted(order):
            self.tally.add("differs", f"conversation {self.number} is out of order")
