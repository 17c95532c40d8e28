"""The existing front end's way of sending a message and reading the stream, in both of its versions.

Written from its contract (existing system, sections 7.3 and 7.5), defects included: only lines that begin
with `data: ` count, a last line without a line break is lost, unknown events are skipped, and a stream that
ends without `complete` or `error` leaves the bubble in its streaming state.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Any

import httpx

STREAMING_FAILED = "Streaming failed"


@dataclass
class Bubble:
    """What the user sees of one message's reply.

    Attributes:
        text: the reply; empty if the bubble was removed.
        is_streaming: whether it still has its streaming look, and the input is blocked.
        status: ephemeral lines, which only the later version shows.
        warning: a warning next to the text, which only the later version shows.
        failure: what the user reads in place of a reply.
        unknown: the types of the events that the version does not know.
        requests: the paths that were posted to, with the statuses.
    """

    text: str = ""
    is_streaming: bool = True
    status: list[str] = field(default_factory=list)
    warning: str | None = None
    failure: str | None = None
    unknown: list[str] = field(default_factory=list)
    requests: list[tuple[str, int]] = field(default_factory=list)


class _StreamFailed(Exception):
    pass


class FirstFrontEnd:
    """The first streaming version (2025-09-28): posts the text again, without streaming, after a failure."""

    knows = frozenset({"start", "chunk", "complete", "error", "fallback"})
    posts_again = True

    def __init__(self, stream: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
        self._stream = stream
        self._api = api

    async def send(self, conversation: str, body: dict[str, Any]) -> Bubble:
        """Send a message; `conversation` is the path of the conversation."""
        bubble = Bubble()
        try:
            await self._read(f"{conversation}/stream", body, bubble)
        except (_StreamFailed, httpx.HTTPError):
            bubble.is_streaming, bubble.text = False, ""
            if not self.posts_again or not await self._post_again(conversation, body, bubble):
                bubble.failure = "error"
        return bubble

    async def _read(self, path: str, body: dict[str, Any], bubble: Bubble) -> None:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        async with self._stream.stream("POST", path, json=body, headers=headers) as response:
            bubble.requests.append((path, response.status_code))
            if not response.is_success:
                raise _StreamFailed
            async for event in _events(response.aiter_bytes()):
                if self._show(event, bubble):
                    return

    def _show(self, event: dict[str, Any], bubble: Bubble) -> bool:
        """Show an event; return whether it is the last one that is read."""
        kind = event.get("type")
        if kind not in self.knows:
            bubble.unknown.append(str(kind))
        elif kind == "chunk":
            bubble.text += event["content"]
        elif kind == "complete":
            bubble.text = event["aiMessage"]["content"] or event.get("fullMessage") or ""
            bubble.is_streaming = False
            return True
        elif kind == "error":
            raise _StreamFailed(event.get("error") or STREAMING_FAILED)
        return False

    async def _post_again(self, conversation: str, body: dict[str, Any], bubble: Bubble) -> bool:
        path = f"{conversation}/send-message"
        response = await self._api.post(path, json=body)
        bubble.requests.append((path, response.status_code))
        if response.is_success:
            bubble.text = response.json()["aiResponse"]["content"]
        return response.is_success


class LaterFrontEnd(FirstFrontEnd):
    """The later version (2026-05): knows more events, and shows an error instead of posting again."""

    knows = FirstFrontEnd.knows | {"contextual", "metadata", "tool_call", "guardrail_warning", "suggestion"}
    posts_again = False

    def _show(self, event: dict[str, Any], bubble: Bubble) -> bool:
        if event.get("type") == "contextual":
            bubble.status.append(event["content"])
        if event.get("type") == "guardrail_warning":
            bubble.warning = event["message"]
        return super()._show(event, bubble)


async def _events(body: AsyncIterable[bytes]) -> AsyncIterable[dict[str, Any]]:
    rest = b""
    async for data in body:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                try:
                    yield json.loads(line[len(b"data: ") :])
                except ValueError:
                    continue
