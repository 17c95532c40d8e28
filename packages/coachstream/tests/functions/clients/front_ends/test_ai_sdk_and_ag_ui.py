"""Front ends made of the official packages of other wire protocols, over HTTP, with the function behind.

React mounts `useChat` of the AI SDK with nothing of ours but the URL and the token; so is the `HttpAgent` of
AG-UI created.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest
from ag_ui_validate.transport import TransportOptions, default_run_agent_input, validate_body

from coachstream.conversation.errors import (
    ErrorCode,
    IdempotencyMismatch,
    ModelRejected,
    ModelStreamBroken,
    NotTheLastExchange,
    kind_of,
)
from coachstream.conversation.model import Role
from coachstream.conversation.ports import ModelEvent
from coachstream.services import Services
from support.doubles import RememberedConversations, ScriptedModel
from support.front_end_conversation import (
    DONE,
    KEY,
    NEAR_S,
    REPLY,
    WORDS,
    Chat,
    SilentAtFirst,
    served,
    stop,
    text_of,
    texts_of,
)
from support.front_end_programs import PROGRAMS, FrontEnd
from support.patience import PATIENCE_S
from support.places import ROOT

PICTURE = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,aGVsbG8="}


class AiSdk(Chat):
    """A chat with `useChat`."""

    def __init__(self, chats: FrontEnd, url: str, name: str, version: int = 7) -> None:
        super().__init__(chats, name)
        self._url, self._version = f"{url}/ai-sdk", version

    async def open(self, *, user: str = "sam", **options: object) -> None:
        await self.call("open", url=self._url, token=user, version=self._version, **options)
        await self.call("until", status=["ready", "submitted", "streaming"])


@pytest.mark.parametrize("version", [6, 7])
async def test_use_chat_needs_only_the_url(
    chats: FrontEnd, url: str, store: RememberedConversations, version: int
) -> None:
    """The text is the stored one; the metadata tell what is known of the reply; nothing runs afterwards."""
    chat = AiSdk(chats, url, f"whole {version}", version)
    await chat.open()
    await chat.call("send", text="How was my week? 🏋")
    state = await chat.until("ready", text=WORDS[-1])
    question, reply = state["messages"]
    user, stored = store.messages[KEY]
    assert text_of(reply) == stored.content == REPLY
    assert (user.content, user.metadata.client_message_id) == ("How was my week? 🏋", question["id"])
    assert reply["metadata"]["messageId"] == stored.id
    assert reply["metadata"]["model"] == "scripted"
    assert reply["metadata"]["runId"].startswith("run_")
    assert state["finishes"] == [
        {"finishReason": "stop", "isAbort": False, "isError": False, "isDisconnect": False}
    ]
    await chat.call("resume")
    assert texts_of(await chat.until("ready")) == texts_of(state)


async def test_a_second_tab_and_a_reloaded_page_read_the_same_reply(
    chats: FrontEnd, url: str, model: ScriptedModel
) -> None:
    """With `resume: true`, both join in mid-reply from its beginning; so does a chat with another id."""
    gate = asyncio.Event()
    model.script = (*WORDS[:2], gate, *WORDS[2:], DONE)
    first, second = AiSdk(chats, url, "first tab"), AiSdk(chats, url, "second tab")
    await first.open(id="conv1")
    await first.call("send", text="How was my week?")
    half = await first.until("streaming", text=WORDS[1])
    await second.open(id="elsewhere", resume=True, messages=half["messages"][:1])
    await second.until("streaming", text=WORDS[1])
    await first.call("close")
    reloaded = AiSdk(chats, url, "first tab")
    await reloaded.open(id="conv1", resume=True, messages=half["messages"][:1])
    await reloaded.until("streaming", text=WORDS[1])
    gate.set()
    for tab in (second, reloaded):
        state = await tab.until("ready", text=WORDS[-1])
        assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]
        assert state["messages"][1]["id"] == half["messages"][1]["id"]
    assert model.calls == 1


async def test_nothing_is_resumed_where_nothing_runs(url: str) -> None:
    """The status is 204, which `useChat` takes for an answer."""
    async with httpx.AsyncClient(trust_env=False, headers={"authorization": "Bearer sam"}) as http:
        response = await http.get(f"{url}/ai-sdk/any%20chat/stream")
    assert (response.status_code, response.content) == (204, b"")


@pytest.mark.parametrize("how", ["error", "end"])
@pytest.mark.parametrize("version", [6, 7])
async def test_use_chat_carries_on_wherever_the_stream_was_cut(
    chats: FrontEnd, url: str, model: ScriptedModel, version: int, how: str
) -> None:
    """Behind each event, by an error or an end: the text is identical, the model is called once."""
    chat = AiSdk(chats, url, f"cut {version} {how}", version)
    await chat.open()
    after = 0
    while True:
        calls = model.calls
        await chat.call("cut", after=after, how=how)
        await chat.call("send", text=f"Question {after}?")
        state = await chat.until("ready", "error", finishes=2 * after + 1)
        finish = state["finishes"][-1]
        if finish["finishReason"] is not None:
            break
        assert state["status"] == ("error" if how == "error" else "ready")
        assert finish["isDisconnect"] == (how == "error")
        await chat.call("carryOn")
        state = await chat.until("ready", text=WORDS[-1], finishes=2 * after + 2)
        assert texts_of(state)[-2:] == [("user", f"Question {after}?"), ("assistant", REPLY)]
        assert model.calls == calls + 1
        after += 1
    assert after > len(WORDS) + 4


@pytest.mark.parametrize("version", [6, 7])
async def test_a_reply_that_still_runs_can_be_resumed_in_place(
    chats: FrontEnd, url: str, model: ScriptedModel, version: int
) -> None:
    """`resumeStream` after a cut replaces the partial text."""
    gate = asyncio.Event()
    model.script = (*WORDS[:2], gate, *WORDS[2:], DONE)
    chat = AiSdk(chats, url, f"resumed {version}", version)
    await chat.open()
    await chat.call("cut", after=4, how="error")
    await chat.call("send", text="How was my week?")
    await chat.until("error")
    await chat.call("resume")
    await chat.until("streaming", text=WORDS[1])
    gate.set()
    state = await chat.until("ready", text=WORDS[-1])
    assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]


async def test_text_that_is_withdrawn_disappears(
    chats: FrontEnd, url: str, services: Services, model: ScriptedModel
) -> None:
    """The reply that starts over replaces the first attempt, for its first reader and for one that joins."""
    gate, last = asyncio.Event(), asyncio.Event()
    model.script = ("Wrong start", gate, ModelStreamBroken())
    services.fallback_model = ScriptedModel(*WORDS[:2], last, *WORDS[2:], DONE)
    chat, joined, old = (
        AiSdk(chats, url, "withdrawn"),
        AiSdk(chats, url, "joined later"),
        AiSdk(chats, url, "joined later, version 6", 6),
    )
    await chat.open()
    await chat.call("send", text="How was my week?")
    await chat.until("streaming", text="Wrong start")
    gate.set()
    half = await chat.until("streaming", text=WORDS[1])
    for later in (joined, old):
        await later.open(resume=True, messages=half["messages"][:1])
        await later.until("streaming", text=WORDS[1])
    last.set()
    for each in (chat, joined, old):
        state = await each.until("ready", text=WORDS[-1])
        assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]


async def test_what_is_done_besides_the_reply_comes_as_transient_data(chats: FrontEnd, url: str) -> None:
    """`onData` gets our events; the message has no part for them."""
    chat = AiSdk(chats, url, "contextual")
    await chat.open()
    await chat.call("send", text="I just did 5x5 squats at 100 kg. Please remember that I hate peanuts.")
    state = await chat.until("ready", text=WORDS[-1])
    assert [part["data"]["stage"] for part in state["data"] if part["type"] == "data-contextual"] == [
        "memory_saved",
        "workout_handed_off",
    ]
    assert {part["type"] for part in state["messages"][-1]["parts"]} == {"step-start", "text"}


async def test_a_failed_turn_is_an_error_with_our_sentence(
    chats: FrontEnd, url: str, model: ScriptedModel, store: RememberedConversations
) -> None:
    """The code comes as data. What was said stays, and the message can be sent again."""
    model.script = (WORDS[0], ModelRejected())
    chat = AiSdk(chats, url, "failed")
    await chat.open()
    await chat.call("send", text="How was my week?")
    state = await chat.until("error", finishes=1)
    assert state["error"] == ModelRejected.sentence
    assert state["data"][-1]["type"] == "data-error"
    assert state["data"][-1]["data"]["code"] == "MODEL_REJECTED"
    assert state["data"][-1]["data"]["partialMessage"]["content"] == WORDS[0]
    assert texts_of(state)[-1] == ("assistant", WORDS[0])
    model.script = (*WORDS, DONE)
    await chat.call("carryOn")
    state = await chat.until("ready", text=WORDS[-1])
    assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]
    assert [message.role for message in store.messages[KEY]].count(Role.USER) == 1


@pytest.mark.parametrize(
    ("user", "message", "code"),
    [
        ("old", {"text": "Hello"}, "TOKEN_EXPIRED"),
        ("kim", {"text": "Hello"}, "USER_ID_MISMATCH"),
        ("sam", {"text": " \u200b "}, "INVALID_USER_RESPONSE"),
        ("sam", {"text": "x" * 32_001}, "MESSAGE_TOO_LONG"),
        ("sam", {"text": "Look", "files": [PICTURE]}, "ATTACHMENT_REJECTED"),
        ("sam", {"files": [PICTURE]}, "ATTACHMENT_REJECTED"),
    ],
)
async def test_a_refused_message_is_an_error_with_our_json(
    chats: FrontEnd, url: str, user: str, message: dict[str, object], code: str
) -> None:
    """`error.message` is the body of the response; there is no reply in the list."""
    chat = AiSdk(chats, url, f"refused {user} {code} {len(message)}")
    await chat.open(user=user)
    await chat.call("send", **message)
    state = await chat.until("error")
    body = json.loads(state["error"])
    assert body == {
        "type": "error",
        "message": kind_of(ErrorCode(code)).sentence,
        "code": code,
        "retryable": False,
    }
    assert [message["role"] for message in state["messages"]] == ["user"]


@pytest.mark.parametrize("version", [6, 7])
async def test_use_chat_regenerates_the_last_reply(
    chats: FrontEnd, url: str, store: RememberedConversations, model: ScriptedModel, version: int
) -> None:
    """`regenerate()`: the new reply takes the place of the old one, on the page and in the store."""
    chat = AiSdk(chats, url, f"regenerate {version}", version)
    await chat.open()
    await chat.call("send", text="How was my week?")
    state = await chat.until("ready", text=WORDS[-1])
    for number, text in enumerate(("Better.", "Best."), start=2):
        model.script = (text, DONE)
        await chat.call("regenerate")
        state = await chat.until("ready", text=text, finishes=number)
        assert texts_of(state) == [("user", "How was my week?"), ("assistant", text)]
        [question, reply] = store.messages[KEY]
        assert (reply.content, reply.metadata.versions) == (text, number)
        assert question.metadata.client_message_id == state["messages"][0]["id"]
        assert len(await store.load_versions(KEY, reply.id)) == number
    assert model.calls == 3


async def test_use_chat_edits_the_last_message(
    chats: FrontEnd, url: str, store: RememberedConversations, model: ScriptedModel
) -> None:
    """`sendMessage({ text, messageId })`, as often as one likes; then the reply to it can be regenerated."""
    chat = AiSdk(chats, url, "edit")
    await chat.open()
    await chat.call("send", text="How was my week?")
    state = await chat.until("ready", text=WORDS[-1])
    question = state["messages"][0]["id"]
    steps = (("edit", "How was my month?"), ("edit", "How was my year?"), ("regenerate", "How was my year?"))
    for number, (step, text) in enumerate(steps, start=2):
        model.script = (f"Reply {number}.", DONE)
        if step == "edit":
            await chat.call("send", text=text, messageId=question)
        else:
            await chat.call("regenerate")
        state = await chat.until("ready", text=f"Reply {number}.", finishes=number)
        assert texts_of(state) == [("user", text), ("assistant", f"Reply {number}.")]
        assert [message.content for message in store.messages[KEY]] == [text, f"Reply {number}."]
    await chat.call("send", text="Thanks")
    state = await chat.until("ready", finishes=5)
    assert len(store.messages[KEY]) == 4
    assert len(await store.load_versions(KEY, store.messages[KEY][0].id)) == 4


async def test_use_chat_repeats_a_try_that_failed(
    chats: FrontEnd, url: str, store: RememberedConversations, model: ScriptedModel
) -> None:
    """After an error, `regenerate()` sends what failed again: a message, an edit or another reply."""
    chat = AiSdk(chats, url, "failed")
    await chat.open()
    finishes = 0

    async def fails(do: str, **arguments: object) -> None:
        nonlocal finishes
        finishes += 1
        model.script = (ModelRejected(),)
        await chat.call(do, **arguments)
        state = await chat.until("error", finishes=finishes)
        assert state["error"] == ModelRejected.sentence

    async def regenerates(text: str, *, asked: str) -> None:
        nonlocal finishes
        finishes += 1
        model.script = (text, DONE)
        await chat.call("regenerate")
        await chat.until("ready", text=text, finishes=finishes)
        assert [message.content for message in store.messages[KEY]] == [asked, text]

    await fails("send", text="How was my week?")
    await regenerates("One.", asked="How was my week?")
    question = store.messages[KEY][0].metadata.client_message_id
    await fails("send", text="How was my month?", messageId=question)
    assert [message.content for message in store.messages[KEY]] == ["How was my week?", "One."]
    await regenerates("Two.", asked="How was my month?")
    await fails("regenerate")
    await regenerates("Three.", asked="How was my month?")
    assert store.messages[KEY][1].metadata.versions == 3


async def test_use_chat_is_told_that_another_device_has_gone_on(
    chats: FrontEnd, url: str, store: RememberedConversations, model: ScriptedModel
) -> None:
    """Nothing is written, and the model is not called."""
    first, second = AiSdk(chats, url, "first device"), AiSdk(chats, url, "second device")
    await first.open()
    await first.call("send", text="How was my week?")
    state = await first.until("ready", text=WORDS[-1])
    await second.open(messages=state["messages"])
    await second.call("send", text="And now?")
    await second.until("ready", finishes=1)
    before = list(store.messages[KEY])
    await first.call("regenerate")
    state = await first.until("error", finishes=2)
    assert state["error"] == NotTheLastExchange.sentence
    await first.call("send", text="How was my month?", messageId=state["messages"][0]["id"])
    state = await first.until("error", finishes=3)
    assert state["error"] == IdempotencyMismatch.sentence
    assert store.messages[KEY] == before
    assert model.calls == 2


@pytest.mark.parametrize(
    ("page", "function", "program"),
    [
        ("use-the-ai-sdk.md", "function carryOn", "front_end.mjs"),
        ("use-the-ai-sdk.md", "function useCoach", "assistant_ui.mjs"),
        ("use-ag-ui.md", "async function runToTheEnd", "front_end.mjs"),
        ("use-ag-ui.md", "function createCopilotKit", "copilotkit.mjs"),
    ],
)
def test_the_lines_that_the_pages_give_are_those_that_are_tested(
    page: str, function: str, program: str
) -> None:
    """The program has them word for word."""
    found = re.search(
        rf"^{function}\(.*?^\}}$", (ROOT / "docs/how-to" / page).read_text(), re.MULTILINE | re.DOTALL
    )
    assert found
    assert found[0] in (PROGRAMS / program).read_text()


async def test_a_second_client_stops_the_reply(chats: FrontEnd, url: str, model: ScriptedModel) -> None:
    """`stop` of the AI SDK only stops reading; the `DELETE` of our API stops the reply for all readers."""
    model.script = (*WORDS[:2], asyncio.Event())
    chat, other = AiSdk(chats, url, "stopped"), AiSdk(chats, url, "stops reading")
    await chat.open()
    await chat.call("send", text="How was my week?")
    half = await chat.until("streaming", text=WORDS[1])
    await other.open(resume=True, messages=half["messages"][:1])
    await other.until("streaming", text=WORDS[1])
    await other.call("abort")
    assert (await other.until("ready", finishes=1))["finishes"][0]["isAbort"]
    run_id = half["messages"][-1]["metadata"]["runId"]
    await stop(url, run_id)
    state = await chat.until("ready", finishes=1)
    assert texts_of(state)[-1] == ("assistant", "".join(WORDS[:2]))
    assert state["messages"][-1]["metadata"]["stopReason"] == "stopped"
    assert state["finishes"][0]["finishReason"] == "other"


async def test_near_the_timeout_use_chat_carries_on(chats: FrontEnd, services: Services) -> None:
    """The response ends without a `finishReason`, after which the lines in `onFinish` get the rest."""
    services.model = SilentAtFirst()
    async with served(services, timeout_s=NEAR_S) as url:
        chat = AiSdk(chats, url, "near the timeout")
        await chat.open(carriesOn=True)
        await chat.call("send", text="How was my week?")
        state = await chat.until("ready", finishes=2)
        assert state["finishes"][0] == {
            "finishReason": None,
            "isAbort": False,
            "isError": False,
            "isDisconnect": False,
        }
        assert state["data"][-1]["data"]["type"] == "reconnect"
    assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]


class AgUi(AiSdk):
    """An `HttpAgent` of AG-UI."""

    async def open(self, *, user: str = "sam", **options: object) -> None:
        await self.call("agent", url=self._url.removesuffix("ai-sdk") + "ag-ui", token=user, **options)


def events_of(state: dict[str, Any]) -> list[str]:
    return [event["type"] for event in state["events"]]


async def test_an_agent_of_ag_ui_needs_only_the_url(
    chats: FrontEnd, url: str, store: RememberedConversations
) -> None:
    """The text is the stored one; the result tells what is known of the reply."""
    agent = AgUi(chats, url, "agent")
    await agent.open()
    await agent.call(
        "say", id="m-1", content="I did 5x5 squats at 100 kg. Please remember that I hate peanuts."
    )
    state = await agent.until("ready", finishes=1)
    user, stored = store.messages[KEY]
    assert texts_of(state)[-1] == ("assistant", stored.content)
    assert stored.content == REPLY
    assert user.metadata.client_message_id == "m-1"
    [result] = state["finishes"]
    assert (result["messageId"], result["model"], result["stopReason"]) == (stored.id, "scripted", "end_turn")
    assert [event["name"] for event in state["events"] if event["type"] == "CUSTOM"] == [
        "coachstream.run",
        "coachstream.contextual",
        "coachstream.contextual",
    ]
    assert (events_of(state)[0], events_of(state)[-1]) == ("RUN_STARTED", "RUN_FINISHED")


@pytest.mark.parametrize("how", ["error", "end"])
async def test_an_agent_carries_on_wherever_the_stream_was_cut(
    chats: FrontEnd, url: str, model: ScriptedModel, how: str
) -> None:
    """Behind each event; to run the agent again is enough, and the model is called once."""
    agent = AgUi(chats, url, f"agent, cut, {how}")
    await agent.open()
    after = finishes = 0
    while True:
        calls = model.calls
        await agent.call("cut", after=after, how=how)
        await agent.call("say", id=f"m-{how}-{after}", content=f"Question {after}?")
        finishes += 1
        state = await agent.until("ready", finishes=finishes)
        if "RUN_FINISHED" in events_of(state):
            break
        await agent.call("run")
        finishes += 1
        state = await agent.until("ready", text=WORDS[-1], finishes=finishes)
        assert state["error"] is None
        assert texts_of(state)[-2:] == [("user", f"Question {after}?"), ("assistant", REPLY)]
        assert model.calls == calls + 1
        after += 1
    assert after > len(WORDS) + 3


async def test_an_agent_withdraws_text(
    chats: FrontEnd, url: str, services: Services, model: ScriptedModel
) -> None:
    """The reply that starts over replaces the first attempt."""
    model.script = ("Wrong start", ModelStreamBroken())
    services.fallback_model = ScriptedModel(*WORDS, DONE)
    agent = AgUi(chats, url, "agent, withdrawn")
    await agent.open()
    await agent.call("say", id="m-1", content="How was my week?")
    state = await agent.until("ready", finishes=1)
    assert "MESSAGES_SNAPSHOT" in events_of(state)
    assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]


async def test_an_agent_whose_turn_fails_gets_code_and_sentence(
    chats: FrontEnd, url: str, model: ScriptedModel
) -> None:
    """In `RUN_ERROR`; before the stream, in the status and the body."""
    model.script = (WORDS[0], ModelRejected())
    agent, stranger = AgUi(chats, url, "agent, failed"), AgUi(chats, url, "agent, refused")
    await agent.open(carriesOn=True)
    await agent.call("say", id="m-1", content="How was my week?")
    state = await agent.until("ready", finishes=1)
    error = state["events"][-1]
    assert (error["type"], error["code"], error["message"]) == (
        "RUN_ERROR",
        "MODEL_REJECTED",
        ModelRejected.sentence,
    )
    await stranger.open(user="old", carriesOn=True)
    await stranger.call("say", id="m-1", content="How was my week?")
    assert "TOKEN_EXPIRED" in (await stranger.until("ready", finishes=1))["error"]


async def test_two_agents_read_a_reply_and_see_that_it_was_stopped(
    chats: FrontEnd, url: str, model: ScriptedModel
) -> None:
    """With the same message they follow the same run; its outcome is `cancelled`, with the text so far."""
    model.script = (*WORDS[:2], asyncio.Event())
    agent, other = AgUi(chats, url, "agent, stopped"), AgUi(chats, url, "another agent, stopped")
    for each in (agent, other):
        await each.open()
        await each.call("say", id="m-1", content="How was my week?")
        state = await each.until("streaming", text=WORDS[1])
    [run_id] = [event["value"]["runId"] for event in state["events"] if event["type"] == "CUSTOM"]
    await stop(url, run_id)
    for each in (agent, other):
        state = await each.until("ready", finishes=1)
        assert state["events"][-1]["outcome"] == {"type": "cancelled"}
        assert texts_of(state)[-1] == ("assistant", "".join(WORDS[:2]))
    assert model.calls == 1


@pytest.mark.parametrize(
    "script",
    [(*WORDS, DONE), (WORDS[0], ModelRejected()), (WORDS[0], ModelStreamBroken())],
    ids=["whole", "failed", "withdrawn"],
)
async def test_what_is_served_conforms_to_ag_ui(
    url: str, services: Services, model: ScriptedModel, script: tuple[ModelEvent, ...]
) -> None:
    """The response itself, and the one to an agent that runs again and has a part of the reply."""
    model.script = script
    services.fallback_model = ScriptedModel(*WORDS, DONE)
    question = {"id": "m-1", "role": "user", "content": "How was my week?"}
    partial = {"id": "a-1", "role": "assistant", "content": WORDS[0]}
    headers = {"authorization": "Bearer sam", "accept": "text/event-stream"}
    async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=PATIENCE_S) as http:
        for messages in ([question], [question, partial]):
            body = {**default_run_agent_input(), "messages": messages}
            async with http.stream("POST", f"{url}/ag-ui", json=body) as response:
                # As a recording: what is checked otherwise depends on how fast the machine is.
                validated = await validate_body(
                    response.aiter_bytes(), response.headers["content-type"], TransportOptions(recorded=True)
                )
            assert validated.event_count > len(messages)
            assert [each for each in validated.report.diagnostics if each.severity != "info"] == []


async def test_near_the_timeout_an_agent_carries_on(chats: FrontEnd, services: Services) -> None:
    """The run ends with the code `RECONNECT`; the documented lines then run the agent again."""
    services.model = SilentAtFirst()
    async with served(services, timeout_s=NEAR_S) as url:
        agent = AgUi(chats, url, "agent, near the timeout")
        await agent.open(carriesOn=True)
        await agent.call("say", id="m-1", content="How was my week?")
        state = await agent.until("ready", finishes=1)
    assert [event["code"] for event in state["events"] if event["type"] == "RUN_ERROR"] == ["RECONNECT"]
    assert texts_of(state) == [("user", "How was my week?"), ("assistant", REPLY)]
