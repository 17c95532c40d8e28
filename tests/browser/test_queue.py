"""Messages that are sent during a reply: they wait, are answered in order, and can be withdrawn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import pytest

from support.chat_page import AXE, Tab, forgive_failed_requests, new_tab
from support.held_request import hold
from support.serving import Ready, Serving, Silent, create_conversation, stored_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import Browser, Locator, Route

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
HEIGHT = "() => document.getElementById('message').offsetHeight"
#: Whether the newest reply shows just this text.
SHOWS = """(text) =>
  [...document.querySelectorAll(".message-assistant .message-text")].at(-1)?.textContent.trimEnd() === text"""

#: Whether the service is known to have everything that was sent.
NOTHING_IS_UNSENT = "() => !Object.keys(localStorage).some((name) => name.includes('unsent.'))"
#: Whether the draft of a conversation has this text.
HAS_DRAFT = """(text) => Object.entries(localStorage)
  .some(([name, draft]) => name.startsWith("coachstream.draft.") && draft.includes(text))"""


@pytest.fixture(scope="module")
def server(silent: Silent) -> Serving:
    """Replaces the server whose model keeps its own pace."""
    return silent.server


def waiting(tab: Tab, text: str) -> Locator:
    """A message that waits."""
    return tab.page.locator(".message-user[data-phase=waiting]", has_text=text)


async def is_queued(tab: Tab, text: str, position: int) -> None:
    """Wait until a message has its place in the queue."""
    await waiting(tab, text).get_by_text(f"queued, position {position}").wait_for()


def said(ready: Ready, conversation: str) -> list[str]:
    """What is stored, in order."""
    return [message["content"] for message in stored_messages(ready, conversation)]


async def begin_reply(tab: Tab, silent: Silent, *deltas: str) -> tuple[str, Iterator[object]]:
    """Open a conversation and let its first reply begin; return its id, and what lets the reply go on."""
    conversation = create_conversation(silent.server.ready)
    await tab.open(silent.server.ready.coach_id, conversation)
    speaking = silent.model.reply_in_steps(*deltas)
    await tab.write("Message one")
    next(speaking)
    await tab.begins_to_stream()
    return conversation, speaking


async def withdraw(tab: Tab, text: str) -> None:
    """Take a message back."""
    await waiting(tab, text).get_by_role("button", name="Withdraw").click()


async def is_in_the_box(tab: Tab, text: str) -> None:
    """Wait until the message box has just this text."""
    await tab.until("(text) => document.getElementById('message').value === text", text)


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (320, 640)], ids=["desktop", "phone"])
async def test_messages_sent_during_a_reply_are_answered_in_order(
    browser: Browser, silent: Silent, size: tuple[int, int], colours: Literal["light", "dark"]
) -> None:
    """Each says where it stands; the button that stops stays where it was."""
    ready = silent.server.ready
    conversation = create_conversation(ready)
    async with new_tab(browser, ready.url, size=size, touch=size[0] < 820, colours=colours) as tab:
        await tab.open(ready.coach_id, conversation)
        first = silent.model.reply_in_steps("Reply ", "one")
        height = await tab.evaluate(HEIGHT)
        await tab.write("Message one")
        next(first)
        await tab.begins_to_stream()
        assert await tab.evaluate(HEIGHT) == height
        await tab.message_box.fill("Message two")
        await tab.button("Send after this reply").click()
        assert await tab.message_box.input_value() == ""
        await tab.message_box.fill("Message three")
        if tab.touch:
            await tab.button("Send after this reply").click()
        else:
            await tab.message_box.press("Enter")
        await is_queued(tab, "Message two", 1)
        await is_queued(tab, "Message three", 2)
        assert await tab.button("Stop").is_visible()
        assert await tab.evaluate(OVERFLOW) == 0
        if AXE.exists():
            assert await tab.violations() == []
        second = silent.model.reply_in_steps("Second ", "reply")
        next(first)
        next(second)
        await tab.until(SHOWS, "Second")
        await is_queued(tab, "Message three", 1)
        third = silent.model.reply_in_steps("Reply three")
        list(second)
        list(third)
        await tab.page.locator(".message-assistant[data-phase=stored] >> nth=2").wait_for()
        everything = [
            *("Message one", "Reply one", "Message two", "Second reply", "Message three", "Reply three"),
        ]
        assert [text.strip() for text in await tab.texts()] == everything
        assert said(ready, conversation) == everything


async def test_a_message_that_waits_can_be_withdrawn(tab: Tab, silent: Silent) -> None:
    """Its text is back in the message box, the ones behind it move up, and it is not stored any more."""
    ready = silent.server.ready
    conversation, speaking = await begin_reply(tab, silent, "Reply ", "one")
    await tab.write("Message two")
    await tab.write("Message three")
    await is_queued(tab, "Message three", 2)
    withdraw = waiting(tab, "Message two").get_by_role("button", name="Withdraw")
    await withdraw.focus()
    await tab.page.keyboard.press("Enter")
    await waiting(tab, "Message two").wait_for(state="detached")
    await is_queued(tab, "Message three", 1)
    await tab.until("() => document.activeElement.value === 'Message two'")
    list(speaking)
    await tab.page.locator(".message-assistant[data-phase=stored] >> nth=1").wait_for()
    assert said(ready, conversation) == ["Message one", "Reply one", "Message three", "Reply one"]


async def test_what_waits_is_still_there_after_a_reload(tab: Tab, silent: Silent) -> None:
    """It is answered without being sent again, and another tab sees it wait."""
    ready = silent.server.ready
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    other = Tab(await tab.page.context.new_page(), ready.url)
    await other.open(ready.coach_id, conversation)
    speaking = silent.model.reply_in_steps("Reply ", "one")
    await tab.write("Message one")
    next(speaking)
    await tab.begins_to_stream()
    await tab.write("Message two")
    await is_queued(tab, "Message two", 1)
    await is_queued(other, "Message two", 1)
    await tab.reload()
    await is_queued(tab, "Message two", 1)
    list(speaking)
    for each in (tab, other):
        await each.page.locator(".message-assistant[data-phase=stored] >> nth=1").wait_for()
        assert [text.strip() for text in await each.texts()] == [
            *("Message one", "Reply one", "Message two", "Reply one"),
        ]
    assert said(ready, conversation) == ["Message one", "Reply one", "Message two", "Reply one"]
    assert other.problems == []


async def test_stopping_a_reply_begins_the_next_one(tab: Tab, silent: Silent) -> None:
    """Stop is about what is being written, not about what waits."""
    ready = silent.server.ready
    conversation, _ = await begin_reply(tab, silent, "Reply ", "never said")
    await tab.write("Message two")
    await is_queued(tab, "Message two", 1)
    list(silent.model.reply_in_steps("Reply two"))
    await tab.button("Stop").click()
    await tab.page.locator(".message-assistant[data-phase=stored] >> nth=1").wait_for()
    assert [text.strip() for text in said(ready, conversation)] == [
        *("Message one", "Reply", "Message two", "Reply two"),
    ]


async def test_a_message_that_the_queue_has_no_room_for_can_be_sent_again(tab: Tab, silent: Silent) -> None:
    """It stays on view and says why; nothing is lost, and nothing is stored twice."""
    ready = silent.server.ready
    conversation, speaking = await begin_reply(tab, silent, "Reply ", "one")
    refusals = [503]

    async def refuse(route: Route) -> None:
        if "Message two" in (route.request.post_data or "") and refusals:
            error = {"error": "No room.", "code": "SERVER_BUSY", "retryable": True}
            await route.fulfill(status=refusals.pop(), json=error)
        else:
            await route.continue_()

    await tab.page.route("**/stream", refuse)
    await tab.write("Message two")
    await waiting(tab, "Message two").get_by_text("No room.").wait_for()
    await waiting(tab, "Message two").get_by_role("button", name="Try again").click()
    await is_queued(tab, "Message two", 1)
    list(speaking)
    await tab.page.locator(".message-assistant[data-phase=stored] >> nth=1").wait_for()
    assert said(ready, conversation) == ["Message one", "Reply one", "Message two", "Reply one"]
    tab.problems = forgive_failed_requests(tab.problems)


async def test_a_page_of_messages_from_before_hides_nothing_that_waits(tab: Tab, silent: Silent) -> None:
    """It was requested before the message was queued, and arrives after that."""
    ready = silent.server.ready
    conversation, speaking = await begin_reply(tab, silent, "Reply ", "one")
    request = await hold(tab, "GET", f"/conversations/{conversation}", query_has="limit=")
    other = Tab(await tab.page.context.new_page(), ready.url)
    await other.open(ready.coach_id, conversation)
    change = {"coachId": ready.coach_id, "conversationId": conversation}
    await other.evaluate("(change) => new BroadcastChannel('coachstream').postMessage(change)", change)
    await request.is_made.wait()
    await tab.write("Message two")
    # The service has it once another tab sees it.
    await is_queued(other, "Message two", 1)
    async with tab.page.expect_response("**/conversations/*?limit=*") as response:
        request.released.set()
    await (await response.value).finished()
    await tab.evaluate("() => new Promise((resolve) => setTimeout(resolve))")
    assert await waiting(tab, "Message two").count() == 1
    list(speaking)
    await tab.page.locator(".message-assistant[data-phase=stored] >> nth=1").wait_for()
    await other.page.close()


async def test_a_message_behind_one_on_its_way_can_be_withdrawn(tab: Tab, silent: Silent) -> None:
    """The service never had it, so it is gone at once, and the messages after it are answered."""
    conversation, speaking = await begin_reply(tab, silent, "Reply ", "number ", "one")
    request = await hold(tab, "POST", "/stream", is_old=False)
    await tab.write("Message two")
    await request.is_made.wait()
    await tab.write("Message three")
    await tab.write("Message four")
    await withdraw(tab, "Message three")
    await waiting(tab, "Message three").wait_for(state="detached")
    await is_in_the_box(tab, "Message three")
    request.released.set()
    list(speaking)
    await tab.page.locator(".message-assistant[data-phase=stored] >> nth=2").wait_for()
    assert said(silent.server.ready, conversation)[::2] == ["Message one", "Message two", "Message four"]


async def test_a_message_that_is_withdrawn_on_its_way_comes_back(tab: Tab, silent: Silent) -> None:
    """It is withdrawn as soon as it has arrived, whatever the page hears meanwhile of the reply before it."""
    conversation, speaking = await begin_reply(tab, silent, "Reply ", "number ", "one")
    request = await hold(tab, "POST", "/stream", is_old=False)
    withdrawal = await hold(tab, "DELETE", "", is_old=False)
    await tab.write("Message two")
    await request.is_made.wait()
    await withdraw(tab, "Message two")
    await waiting(tab, "Message two").get_by_text("withdrawing").wait_for()
    await tab.message_box.fill("Written since")
    await tab.button("Dark colours").focus()
    request.released.set()
    await withdrawal.is_made.wait()
    next(speaking)
    await tab.until(NOTHING_IS_UNSENT)
    withdrawal.released.set()
    await waiting(tab, "Message two").wait_for(state="detached")
    await is_in_the_box(tab, "Message two\n\nWritten since")
    assert await tab.evaluate("() => document.activeElement.id") == "message"
    list(speaking)
    await tab.page.locator(".message-assistant[data-phase=stored]").wait_for()
    assert said(silent.server.ready, conversation) == ["Message one", "Reply number one"]


@pytest.mark.parametrize("has_arrived", [True, False], ids=["queued", "on its way"])
async def test_a_withdrawn_message_comes_back_to_its_own_conversation(
    tab: Tab, silent: Silent, has_arrived: bool
) -> None:
    """Its reader has gone to another one meanwhile, whose message box stays as it is."""
    ready = silent.server.ready
    conversation, speaking = await begin_reply(tab, silent, "Reply ", "number ", "one")
    if has_arrived:
        await tab.write("Message two")
        await tab.until(NOTHING_IS_UNSENT)
        request = await hold(tab, "DELETE", "", is_old=False)
        await withdraw(tab, "Message two")
        await request.is_made.wait()
    else:
        request = await hold(tab, "POST", "/stream", is_old=False)
        await tab.write("Message two")
        await request.is_made.wait()
        await withdraw(tab, "Message two")
    await tab.message_box.fill("Written since")
    await tab.evaluate("(hash) => { location.hash = hash; }", f"#/c/{ready.coach_id}")
    await tab.page.wait_for_selector(".welcome")
    async with tab.page.expect_response(lambda response: response.request.method == "DELETE") as response:
        request.released.set()
    await (await response.value).finished()
    await tab.until(HAS_DRAFT, "Message two")
    assert await tab.message_box.input_value() == ""
    await tab.evaluate("(hash) => { location.hash = hash; }", f"#/c/{ready.coach_id}/{conversation}")
    await is_in_the_box(tab, "Message two\n\nWritten since")
    list(speaking)
    await tab.page.locator(".message-assistant[data-phase=stored]").wait_for()


async def test_a_refused_message_is_not_overtaken_by_those_that_wait(tab: Tab, silent: Silent) -> None:
    """It stays on view and can be sent again; those behind it are answered after it."""
    conversation = create_conversation(silent.server.ready)
    await tab.open(silent.server.ready.coach_id, conversation)
    is_made, released = asyncio.Event(), asyncio.Event()

    async def refuse(route: Route) -> None:
        is_made.set()
        await released.wait()
        await route.fulfill(status=503, json={"error": "No room.", "code": "SERVER_BUSY", "retryable": True})

    await tab.page.route("**/stream", refuse, times=1)
    await tab.write("Message one")
    await is_made.wait()
    await tab.write("Message two")
    released.set()
    assert await tab.problem() == "No room."
    await tab.write("Message three")
    await is_queued(tab, "Message two", 1)
    await is_queued(tab, "Message three", 2)
    list(silent.model.reply_in_steps("Reply one"))
    await tab.button("Try again").click()
    await tab.page.locator(".message-assistant[data-phase=stored] >> nth=2").wait_for()
    assert said(silent.server.ready, conversation)[::2] == ["Message one", "Message two", "Message three"]
    tab.problems = forgive_failed_requests(tab.problems)
