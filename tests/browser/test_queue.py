"""Messages that are sent during a reply: they wait, are answered in order, and can be withdrawn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import pytest

from support.chat_page import AXE, Tab, forgive_failed_requests, new_tab
from support.serving import Ready, Serving, Silent, create_conversation, stored_messages

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Route

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
HEIGHT = "() => document.getElementById('message').offsetHeight"
#: Whether the newest reply shows just this text.
SHOWS = """(text) =>
  [...document.querySelectorAll(".message-assistant .message-text")].at(-1)?.textContent.trimEnd() === text"""


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
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    speaking = silent.model.reply_in_steps("Reply ", "one")
    await tab.write("Message one")
    next(speaking)
    await tab.begins_to_stream()
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
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    speaking = silent.model.reply_in_steps("Reply ", "never said")
    await tab.write("Message one")
    next(speaking)
    await tab.begins_to_stream()
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
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    speaking = silent.model.reply_in_steps("Reply ", "one")
    await tab.write("Message one")
    next(speaking)
    await tab.begins_to_stream()
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
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    speaking = silent.model.reply_in_steps("Reply ", "one")
    await tab.write("Message one")
    next(speaking)
    await tab.begins_to_stream()
    arrived, released = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        response = await route.fetch()
        arrived.set()
        await released.wait()
        await route.fulfill(response=response)

    await tab.page.route("**/conversations/*?limit=*", hold, times=1)
    other = Tab(await tab.page.context.new_page(), ready.url)
    await other.open(ready.coach_id, conversation)
    change = {"coachId": ready.coach_id, "conversationId": conversation}
    await other.evaluate("(change) => new BroadcastChannel('coachstream').postMessage(change)", change)
    await arrived.wait()
    await tab.write("Message two")
    # The service has it once another tab sees it.
    await is_queued(other, "Message two", 1)
    async with tab.page.expect_response("**/conversations/*?limit=*") as response:
        released.set()
    await (await response.value).finished()
    await tab.evaluate("() => new Promise((resolve) => setTimeout(resolve))")
    assert await waiting(tab, "Message two").count() == 1
    list(speaking)
    await tab.page.locator(".message-assistant[data-phase=stored] >> nth=1").wait_for()
    await other.page.close()
