"""A process that runs as many turns as it may refuses more, and disturbs none that has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import msgspec
import pytest

from coachstream.conversation.model import ConversationKey, StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.functions.send_coach_conversation_message import handler as send
from coachstream.functions.stream_coach_conversation import handler as stream
from coachstream.services import Services
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving
from support.patience import PATIENCE_S

CONVERSATION = "users/sam/coaches/mara/conversations/conv1"
MESSAGE = {"userResponse": "How was my week?"}
DONE = ModelStop(StopReason.END_TURN)

pytestmark = pytest.mark.usefixtures("conversation")


class Http(msgspec.Struct, frozen=True):
    """Clients of both functions, which share their services."""

    stream: httpx.AsyncClient
    send: httpx.AsyncClient


@pytest.fixture
async def http(services: Services) -> AsyncIterator[Http]:
    """The functions of a process that runs one turn at a time."""
    services.settings = msgspec.structs.replace(services.settings, max_turns=1)
    clients = []
    async with AsyncExitStack() as exits:
        for function in (stream, send):
            app = to_asgi(function.handler_for(lambda: services), timeout_s=PATIENCE_S, drain_timeout_s=5)
            port = await exits.enter_async_context(serving(app))
            clients.append(
                await exits.enter_async_context(
                    httpx.AsyncClient(
                        base_url=f"http://127.0.0.1:{port}/",
                        headers={"authorization": "Bearer sam"},
                        timeout=PATIENCE_S,
                        trust_env=False,
                    )
                )
            )
        yield Http(*clients)


async def test_a_process_that_is_full_refuses_at_once_and_stores_nothing(
    http: Http, services: Services, model: ScriptedModel, store: RememberedConversations
) -> None:
    """With the code, the status and the time to wait; the turn that runs is read by anyone, and completes."""
    gate = asyncio.Event()
    model.script = ("One ", gate, "two", DONE)
    async with http.stream.stream("POST", f"{CONVERSATION}/stream", json=MESSAGE) as running:
        arriving = running.aiter_text()
        while "One" not in await anext(arriving):
            pass
        stored = {key: list(messages) for key, messages in store.messages.items()}
        for refused in (
            await http.stream.post(f"{CONVERSATION}/stream", json={"userResponse": "And now?"}),
            await http.send.post(f"{CONVERSATION}/send-message", json={"userResponse": "And now?"}),
        ):
            assert refused.status_code == 503
            assert "SERVER_BUSY" in refused.text
            assert int(refused.headers["retry-after"]) > 0
        assert store.messages == stored
        async with http.stream.stream("GET", f"{CONVERSATION}/stream") as joined:
            assert joined.status_code == 200
            gate.set()
            assert '"complete"' in "".join([text async for text in joined.aiter_text()])
        assert '"complete"' in "".join([text async for text in arriving])
    assert services.running_turns == 0
    model.script = ("Three", DONE)
    assert (await http.send.post(f"{CONVERSATION}/send-message", json={"userResponse": "Now"})).is_success


@pytest.mark.parametrize("words", ["", "Half a "])
async def test_a_turn_that_fails_leaves_its_place(
    http: Http, services: Services, model: ScriptedModel, words: str, conversation: ConversationKey
) -> None:
    """Before and after its first words, and if its conversation does not exist."""
    model.script = (*([words] if words else []), RuntimeError("broken"))
    failed = await http.stream.post(f"{CONVERSATION}/stream", json=MESSAGE)
    assert '"error"' in failed.text
    lost = CONVERSATION.replace(conversation.conversation_id, "lost")
    assert "NOT_FOUND" in (await http.stream.post(f"{lost}/stream", json=MESSAGE)).text
    assert services.running_turns == 0
