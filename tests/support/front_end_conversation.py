"""A conversation that front ends have over HTTP, with the function behind and a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from coachstream.conversation.model import ConversationKey, StopReason
from coachstream.conversation.ports import ModelEvent, ModelStop
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.runs.settings import RunSettings
from coachstream.functions.stream_coach_conversation.handler import handler_for
from coachstream.services import Services
from lambda_streaming import to_asgi
from support.doubles import ScriptedModel
from support.front_end_programs import FrontEnd
from support.http_server import serving
from support.patience import PATIENCE_S

KEY = ConversationKey("sam", "mara", "conv1")
CONVERSATION = "users/sam/coaches/mara/conversations/conv1"
WORDS = ("Zwölf Wiederholungen, ", "stark 💪🏽! ", "Und morgen \u2028 ", "„Pause“.\n")
REPLY = "".join(WORDS)
DONE = ModelStop(StopReason.END_TURN)

#: The function's timeout in the tests of what happens near it; the reader is sent away 3 s before.
NEAR_S = 6


def make_quick(services: Services, model: ScriptedModel) -> Services:
    """Let the services commit at once and poll quickly, and the model say `REPLY`."""
    quick = RunSettings(commit_every_s=0.0, renew_every_s=0.05, first_poll_s=0.01, longest_poll_s=0.02)
    services.turn_settings = msgspec.structs.replace(services.turn_settings, runs=quick)
    services.settings = msgspec.structs.replace(services.settings, keep_alive_s=0.05)
    model.script = (*WORDS, DONE)
    return services


class SilentAtFirst(ScriptedModel):
    """Breaks off after two words until it is called again, and then continues."""

    can_continue = True

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        self.script = (*WORDS[2:], DONE) if self.calls else (*WORDS[:2], asyncio.Event())
        async for event in super().stream(prompt, deadline=deadline):
            yield event


@asynccontextmanager
async def served(services: Services, *, timeout_s: float = 4 * PATIENCE_S) -> AsyncIterator[str]:
    """The URL of the conversation, served by the stream function."""
    app = to_asgi(handler_for(lambda: services), timeout_s=timeout_s, drain_timeout_s=5)
    async with serving(app) as port:
        yield f"http://127.0.0.1:{port}/{CONVERSATION}"


async def stop(url: str, run_id: str) -> None:
    """Stop a run with our own API."""
    async with httpx.AsyncClient(trust_env=False, headers={"authorization": "Bearer sam"}) as http:
        assert (await http.delete(f"{url}/stream/{run_id}")).status_code == 202


async def read_to_the_end(url: str) -> None:
    """Read the reply that is being written, if there is one, until it is stored."""
    async with httpx.AsyncClient(trust_env=False, headers={"authorization": "Bearer sam"}) as http:
        response = await http.get(f"{url}/ai-sdk/any/stream", timeout=PATIENCE_S)
    assert response.status_code in {200, 204}


def text_of(message: dict[str, Any]) -> str:
    """The text of a message of any package."""
    parts = message.get("parts")
    if parts is None:
        return str(message["content"])
    return "".join(part["text"] for part in parts if part["type"] == "text")


def texts_of(state: dict[str, Any]) -> list[tuple[str, str]]:
    """The role and the text of each message."""
    return [(message["role"], text_of(message)) for message in state["messages"]]


class Chat:
    """A chat that a program has open."""

    def __init__(self, chats: FrontEnd, name: str) -> None:
        self._chats, self._name = chats, name

    async def call(self, do: str, **arguments: object) -> dict[str, Any]:
        """Let the program do something with the chat, and return its state if the program does."""
        return await self._chats.call(do, self._name, **arguments)

    async def until(self, *status: str, text: str = "", finishes: int = 0) -> dict[str, Any]:
        """Wait for one of these states, with this text in the last message, after that many endings."""
        return await self.call("until", status=status, text=text, finishes=finishes)
