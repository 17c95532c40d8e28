"""assistant-ui's runtimes for the AI SDK and for AG-UI, mounted with the URL and the token.

Where a test says how a thread carries on, it does what the how-to pages say.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coachstream.conversation.errors import ModelRejected, ModelStreamBroken, TokenExpired
from coachstream.services import Services
from coachstream.web.ag_ui import RECONNECT_SENTENCE
from support.doubles import RememberedConversations, ScriptedModel
from support.front_end_conversation import (
    DONE,
    KEY,
    NEAR_S,
    REPLY,
    WORDS,
    Chat,
    SilentAtFirst,
    read_to_the_end,
    served,
    stop,
    text_of,
    texts_of,
)
from support.front_end_programs import FrontEnd

RUNTIMES = ["useChatRuntime", "useAISDKRuntime", "useAgUiRuntime"]


class Thread(Chat):
    """A thread of assistant-ui."""

    def __init__(self, chats: FrontEnd, url: str, name: str, runtime: str) -> None:
        super().__init__(chats, f"{name} {runtime}")
        self._url, self._runtime = url, runtime

    async def open(self, *, user: str = "sam", messages: object = (), **options: object) -> None:
        arguments = {"runtime": self._runtime, "url": self._url, "token": user, "messages": messages}
        await self.call("thread", **arguments, **options)
        await self.until("ready", "streaming")


def status_of(state: dict[str, Any]) -> tuple[str, str]:
    """How the last message ended."""
    status = state["messages"][-1]["status"]
    return status["type"], status["reason"]


def run_of(state: dict[str, Any]) -> str:
    """Our id of the run: in the message's metadata for the AI SDK, in a data part for AG-UI."""
    message = state["messages"][-1]
    for part in message["parts"]:
        if part["type"] == "data" and part["name"] == "coachstream.run":
            return str(part["data"]["runId"])
    return str(message["metadata"]["custom"]["runId"])


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_thread_needs_only_the_url(
    chats: FrontEnd, url: str, store: RememberedConversations, runtime: str
) -> None:
    """Each message gets its reply; the text is the stored one, and the message's id its idempotency key."""
    thread = Thread(chats, url, "whole", runtime)
    await thread.open()
    for number, text in enumerate(("How was my week? 🏋", "And the next?"), 1):
        await thread.call("append", text=text)
        state = await thread.until("ready", text=WORDS[-1], finishes=number)
        user, stored = store.messages[KEY][-2:]
        assert texts_of(state)[-2:] == [("user", text), ("assistant", REPLY)]
        assert (user.content, stored.content) == (text, REPLY)
        assert user.metadata.client_message_id == state["messages"][-2]["id"]
        assert (status_of(state), state["error"]) == (("complete", "unknown"), None)
    assert len(state["messages"]) == len(store.messages[KEY]) == 4


@pytest.mark.parametrize("runtime", ["useChatRuntime", "useAISDKRuntime"])
async def test_the_transport_passes_its_body_on(
    chats: FrontEnd, url: str, model: ScriptedModel, runtime: str
) -> None:
    """So the coach knows the user's time zone."""
    thread = Thread(chats, url, "time zone", runtime)
    await thread.open(body={"userTimezone": "Asia/Kathmandu"})
    await thread.call("append", text="How was my week?")
    await thread.until("ready", text=WORDS[-1], finishes=1)
    assert "Asia/Kathmandu" in str(model.prompts[0])


@pytest.mark.parametrize("how", ["error", "end"])
@pytest.mark.parametrize(
    ("runtime", "carry_on"), [("useAISDKRuntime", "carryOn"), ("useAgUiRuntime", "reload")]
)
async def test_a_thread_carries_on_wherever_the_stream_was_cut(
    chats: FrontEnd, url: str, model: ScriptedModel, runtime: str, carry_on: str, how: str
) -> None:
    """Behind each event: the text is identical, and the model is called once."""
    thread = Thread(chats, url, f"cut by an {how}", runtime)
    await thread.open()
    after = finishes = 0
    while True:
        calls = model.calls
        await thread.call("cut", after=after, how=how)
        await thread.call("append", text=f"Question {after}?")
        finishes += 1
        state = await thread.until("ready", finishes=finishes)
        if text_of(state["messages"][-1]) == REPLY:
            break
        await thread.call(carry_on)
        finishes += 1
        state = await thread.until("ready", finishes=finishes)
        assert texts_of(state)[-2:] == [("user", f"Question {after}?"), ("assistant", REPLY)]
        assert status_of(state) == ("complete", "unknown")
        assert model.calls == calls + 1
        after += 1
    assert after > len(WORDS)


async def test_near_the_timeout_a_thread_carries_on(chats: FrontEnd, services: Services) -> None:
    """The run ends with an error that says so; a reload gets the whole reply."""
    services.model = SilentAtFirst()
    async with served(services, timeout_s=NEAR_S) as url:
        thread = Thread(chats, url, "near the timeout", "useAgUiRuntime")
        await thread.open()
        await thread.call("append", text="How was my week?")
        state = await thread.until("ready", finishes=1)
        assert (status_of(state), state["error"]) == (("incomplete", "error"), RECONNECT_SENTENCE)
        await thread.call("reload")
        state = await thread.until("ready", text=WORDS[-1], finishes=2)
    assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]


async def test_a_thread_that_opens_in_mid_reply_joins_it(
    chats: FrontEnd, url: str, model: ScriptedModel
) -> None:
    """From its beginning, next to the one that asked."""
    gate = asyncio.Event()
    model.script = (*WORDS[:2], gate, *WORDS[2:], DONE)
    first = Thread(chats, url, "first tab", "useChatRuntime")
    second = Thread(chats, url, "second tab", "useAISDKRuntime")
    await first.open()
    await first.call("append", text="How was my week?")
    state = await first.until("streaming", text=WORDS[1])
    question = {key: state["messages"][0][key] for key in ("id", "role", "parts")}
    await second.open(messages=[question])
    await second.until("streaming", text=WORDS[1])
    gate.set()
    for tab in (first, second):
        state = await tab.until("ready", text=WORDS[-1], finishes=1)
        assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]
    assert model.calls == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_thread_that_is_cancelled_stops_reading(
    chats: FrontEnd, url: str, model: ScriptedModel, store: RememberedConversations, runtime: str
) -> None:
    """The reply goes on; the thread keeps what it has, and its next message is answered."""
    gate = asyncio.Event()
    model.script = (*WORDS[:2], gate, *WORDS[2:], DONE)
    thread = Thread(chats, url, "cancelled", runtime)
    await thread.open()
    await thread.call("append", text="How was my week?")
    await thread.until("streaming", text=WORDS[1])
    await thread.call("cancel")
    state = await thread.until("ready", finishes=1)
    # AG-UI's client reports an abort as an error of the run, but the runtime does not.
    assert state["messages"][-1]["status"]["type"] == "incomplete"
    assert state["error"] is None
    gate.set()
    await read_to_the_end(url)
    await thread.call("append", text="And the next?")
    state = await thread.until("ready", text=WORDS[-1], finishes=2)
    assert texts_of(state)[-2:] == [("user", "And the next?"), ("assistant", REPLY)]
    assert [message.content for message in store.messages[KEY]].count(REPLY) == 2


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_reply_that_is_stopped_ends_with_the_text_so_far(
    chats: FrontEnd, url: str, model: ScriptedModel, runtime: str
) -> None:
    """The thread knows the run, which our own API stops."""
    model.script = (*WORDS[:2], asyncio.Event())
    thread = Thread(chats, url, "stopped", runtime)
    await thread.open()
    await thread.call("append", text="How was my week?")
    await stop(url, run_of(await thread.until("streaming", text=WORDS[1])))
    state = await thread.until("ready", finishes=1)
    assert texts_of(state)[-1] == ("assistant", "".join(WORDS[:2]))
    assert (status_of(state), state["error"]) == (("complete", "unknown"), None)


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_failed_turn_shows_our_sentence(
    chats: FrontEnd, url: str, model: ScriptedModel, runtime: str
) -> None:
    """Next to what was said; the next message is answered."""
    model.script = (WORDS[0], ModelRejected())
    thread = Thread(chats, url, "failed", runtime)
    await thread.open()
    await thread.call("append", text="How was my week?")
    state = await thread.until("ready", finishes=1)
    assert (status_of(state), state["error"]) == (("incomplete", "error"), ModelRejected.sentence)
    assert texts_of(state)[-1] == ("assistant", WORDS[0])
    model.script = (*WORDS, DONE)
    await thread.call("append", text="And the next?")
    state = await thread.until("ready", text=WORDS[-1], finishes=2)
    assert texts_of(state)[-2:] == [("user", "And the next?"), ("assistant", REPLY)]


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_refused_message_is_an_error(chats: FrontEnd, url: str, runtime: str) -> None:
    """With our JSON in it, and no text of a reply."""
    thread = Thread(chats, url, "refused", runtime)
    await thread.open(user="old")
    await thread.call("append", text="Hello")
    state = await thread.until("ready", finishes=1)
    assert status_of(state) == ("incomplete", "error")
    assert TokenExpired.sentence in state["error"]
    assert texts_of(state) == [("user", "Hello"), ("assistant", "")]


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_reload_gets_another_reply_with_the_ai_sdk_and_the_same_one_with_ag_ui(
    chats: FrontEnd, url: str, store: RememberedConversations, model: ScriptedModel, runtime: str
) -> None:
    """AG-UI has no request for another reply. The message is stored once, and the next one is answered."""
    thread = Thread(chats, url, "reloaded", runtime)
    await thread.open()
    await thread.call("append", text="How was my week?")
    await thread.until("ready", text=WORDS[-1], finishes=1)
    await thread.call("reload")
    state = await thread.until("ready", finishes=2)
    assert status_of(state) == ("complete", "unknown")
    assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]
    replies = 1 if runtime == "useAgUiRuntime" else 2
    assert model.calls == replies
    assert store.messages[KEY][-1].metadata.versions == (replies if replies > 1 else 0)
    await thread.call("append", text="And the next?")
    state = await thread.until("ready", text=WORDS[-1], finishes=3)
    assert texts_of(state)[-2:] == [("user", "And the next?"), ("assistant", REPLY)]
    assert [message.content for message in store.messages[KEY]].count("How was my week?") == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_reply_that_starts_over_is_the_last_message(
    chats: FrontEnd, url: str, services: Services, model: ScriptedModel, runtime: str
) -> None:
    """It replaces the withdrawn text, which the runtime for AG-UI keeps as a message of its own."""
    model.script = ("Wrong start", ModelStreamBroken())
    services.fallback_model = ScriptedModel(*WORDS, DONE)
    thread = Thread(chats, url, "withdrawn", runtime)
    await thread.open()
    await thread.call("append", text="How was my week?")
    state = await thread.until("ready", text=WORDS[-1], finishes=1)
    assert state["error"] is None
    kept = [("assistant", "Wrong start")] if runtime == "useAgUiRuntime" else []
    assert texts_of(state) == [("user", "How was my week?"), *kept, ("assistant", REPLY)]
