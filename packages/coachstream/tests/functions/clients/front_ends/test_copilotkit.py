"""CopilotKit's client with an agent of AG-UI that has the URL and the token, and no server of theirs.

The core is what its React components operate; those bring 500 MB of packages, and are not mounted here.
"""

from __future__ import annotations

import asyncio

import pytest

from coachstream.conversation.errors import ModelRejected, ModelStreamBroken, TokenExpired
from coachstream.services import Services
from support.doubles import RememberedConversations, ScriptedModel
from support.front_end_conversation import (
    DONE,
    KEY,
    REPLY,
    WORDS,
    Chat,
    read_to_the_end,
    stop,
    texts_of,
)
from support.front_end_programs import FrontEnd


async def coach(chats: FrontEnd, url: str, name: str, *, user: str = "sam") -> Chat:
    chat = Chat(chats, f"copilot, {name}")
    await chat.call("copilot", url=url, token=user)
    return chat


async def test_an_agent_needs_only_the_url(chats: FrontEnd, url: str, store: RememberedConversations) -> None:
    """Each message gets its reply; the text is the stored one, and the result names the stored message."""
    chat = await coach(chats, url, "whole")
    for number, text in enumerate(("How was my week? 🏋", "And the next?"), 1):
        await chat.call("ask", id=f"m-{number}", content=text)
        state = await chat.until("ready", finishes=number)
        user, stored = store.messages[KEY][-2:]
        assert texts_of(state)[-2:] == [("user", text), ("assistant", REPLY)]
        assert (user.metadata.client_message_id, stored.content) == (f"m-{number}", REPLY)
        assert state["finishes"][-1]["messageId"] == stored.id
        assert state["error"] is None
    assert len(state["messages"]) == len(store.messages[KEY]) == 4


@pytest.mark.parametrize("how", ["error", "end"])
async def test_an_agent_carries_on_wherever_the_stream_was_cut(
    chats: FrontEnd, url: str, model: ScriptedModel, how: str
) -> None:
    """Behind each event; to run the agent again is enough, and the model is called once."""
    chat = await coach(chats, url, f"cut by an {how}")
    after = finishes = 0
    while True:
        calls = model.calls
        await chat.call("cut", after=after, how=how)
        await chat.call("ask", id=f"m-{how}-{after}", content=f"Question {after}?")
        finishes += 1
        state = await chat.until("ready", finishes=finishes)
        if state["finishes"][-1] is not None:
            break
        await chat.call("askAgain")
        finishes += 1
        state = await chat.until("ready", finishes=finishes)
        assert texts_of(state)[-2:] == [("user", f"Question {after}?"), ("assistant", REPLY)]
        assert model.calls == calls + 1
        after += 1
    assert after > len(WORDS) + 3


async def test_an_agent_that_is_stopped_stops_reading(
    chats: FrontEnd, url: str, model: ScriptedModel, store: RememberedConversations
) -> None:
    """The reply goes on, the agent keeps what it has, and gets the rest when it runs again."""
    gate = asyncio.Event()
    model.script = (*WORDS[:2], gate, *WORDS[2:], DONE)
    chat = await coach(chats, url, "stops reading")
    await chat.call("ask", id="m-1", content="How was my week?")
    await chat.until("streaming", text=WORDS[1])
    await chat.call("stopAgent")
    state = await chat.until("ready", finishes=1)
    assert texts_of(state)[-1] == ("assistant", "".join(WORDS[:2]))
    gate.set()
    await read_to_the_end(url)
    assert store.messages[KEY][-1].content == REPLY
    await chat.call("askAgain")
    state = await chat.until("ready", finishes=2)
    assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]
    assert model.calls == 1


async def test_two_agents_read_a_reply_and_see_that_it_was_stopped(
    chats: FrontEnd, url: str, model: ScriptedModel
) -> None:
    """With the same message they follow the same run, which ends with the text so far."""
    model.script = (*WORDS[:2], asyncio.Event())
    tabs = [await coach(chats, url, name) for name in ("first tab", "second tab")]
    for tab in tabs:
        await tab.call("ask", id="m-1", content="How was my week?")
        state = await tab.until("streaming", text=WORDS[1])
    await stop(url, state["runId"])
    for tab in tabs:
        state = await tab.until("ready", finishes=1)
        assert state["error"] is None
        assert state["finishes"][0]["stopReason"] == "stopped"
        assert texts_of(state)[-1] == ("assistant", "".join(WORDS[:2]))
    assert model.calls == 1


async def test_a_failed_turn_is_reported_with_our_sentence(
    chats: FrontEnd, url: str, model: ScriptedModel
) -> None:
    """What was said stays; the next message is answered."""
    model.script = (WORDS[0], ModelRejected())
    chat = await coach(chats, url, "failed")
    await chat.call("ask", id="m-1", content="How was my week?")
    state = await chat.until("ready", finishes=1)
    assert state["error"] == ["agent_run_error_event", ModelRejected.sentence]
    assert texts_of(state)[-1] == ("assistant", WORDS[0])
    model.script = (*WORDS, DONE)
    await chat.call("ask", id="m-2", content="And the next?")
    state = await chat.until("ready", finishes=2)
    assert texts_of(state)[-2:] == [("user", "And the next?"), ("assistant", REPLY)]


async def test_a_refused_message_is_reported(chats: FrontEnd, url: str) -> None:
    """With our JSON in the error."""
    chat = await coach(chats, url, "refused", user="old")
    await chat.call("ask", id="m-1", content="Hello")
    state = await chat.until("ready", finishes=1)
    code, message = state["error"]
    assert code.startswith("agent_run_failed")
    assert TokenExpired.sentence in message
    assert texts_of(state) == [("user", "Hello")]


async def test_text_that_is_withdrawn_disappears(
    chats: FrontEnd, url: str, services: Services, model: ScriptedModel
) -> None:
    """The reply that starts over replaces the first attempt."""
    model.script = ("Wrong start", ModelStreamBroken())
    services.fallback_model = ScriptedModel(*WORDS, DONE)
    chat = await coach(chats, url, "withdrawn")
    await chat.call("ask", id="m-1", content="How was my week?")
    state = await chat.until("ready", finishes=1)
    assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]
    assert state["error"] is None
