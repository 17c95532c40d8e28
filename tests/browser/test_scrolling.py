"""What is on view while a conversation opens, grows and is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.chat_page import Tab, new_tab
from support.long_conversation import long_conversation, serve_conversation
from support.serving import Serving, Silent, create_conversation

if TYPE_CHECKING:
    from playwright.async_api import Browser

TOP = "() => document.getElementById('scroller').scrollTop"
FROM_END = """() => {
  const { scrollHeight, scrollTop, clientHeight } = document.getElementById("scroller");
  return scrollHeight - scrollTop - clientHeight;
}"""
#: Scrolls, and waits until the page has been told and has drawn.
SCROLL_BY = """async (pixels) => {
  document.getElementById("scroller").scrollTop += pixels;
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  await frame();
  await frame();
}"""


@pytest.mark.parametrize("size", [(844, 390), (320, 480)])
async def test_an_invitation_opens_at_its_beginning(
    browser: Browser, server: Serving, size: tuple[int, int]
) -> None:
    """A phone on its side shows its first line, and no way to "the latest"."""
    async with new_tab(browser, server.ready.url, size=size, touch=True) as tab:
        await tab.open(server.ready.coach_id)
        await tab.page.wait_for_selector(".welcome")
        assert await tab.evaluate(FROM_END) > 0
        await tab.evaluate(SCROLL_BY, 0)
        assert await tab.evaluate(TOP) == 0
        assert await tab.button("Jump to latest").is_hidden()


async def test_scrolling_up_slowly_is_not_carried_down_again(browser: Browser, silent: Silent) -> None:
    """Two pixels a frame are enough; a reader who scrolls down to the end follows it again."""
    server = silent.server
    words = [f"paragraph{number}." for number in range(40)]
    speaking = silent.model.reply_in_steps(*(f"{word}\n\n" for word in words))
    async with new_tab(browser, server.ready.url, size=(900, 420)) as tab:
        await tab.open(server.ready.coach_id, create_conversation(server.ready))
        await tab.write("A long story")

        async def say_more() -> None:
            next(speaking)
            await tab.page.locator(".message-assistant p", has_text=words.pop(0)).wait_for()
            await tab.evaluate(SCROLL_BY, 0)

        for _ in range(20):
            await say_more()
        assert await tab.evaluate(FROM_END) < 1
        top = await tab.evaluate(TOP)
        for moved in range(1, 11):
            await tab.evaluate(SCROLL_BY, -2)
            await say_more()
            assert await tab.evaluate(TOP) == top - 2 * moved
        await tab.evaluate(SCROLL_BY, 10_000)
        for _ in range(3):
            await say_more()
            assert await tab.evaluate(FROM_END) < 1
        list(speaking)
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")


SHOWN = "() => [...document.querySelectorAll('.message-user .message-text')].map((node) => node.textContent)"
#: Where a message is on the screen.
PLACE = """(text) => [...document.querySelectorAll(".message-user")]
  .find((node) => node.textContent.includes(text)).getBoundingClientRect().top"""


async def test_a_long_conversation_is_loaded_from_its_end(browser: Browser, server: Serving) -> None:
    """Earlier messages come as the reader scrolls up, above the others and without moving them."""
    ready = server.ready
    conversation = create_conversation(ready)
    messages = long_conversation(130)
    questions = [message.content for message in messages[::2]]
    async with new_tab(browser, ready.url, size=(900, 600)) as tab:
        queries = await serve_conversation(tab.page, ready, conversation, messages)
        await tab.open(ready.coach_id, conversation)
        await tab.page.wait_for_selector(".message")
        await tab.until(f"() => ({FROM_END})() < 1")
        shown = await tab.evaluate(SHOWN)
        assert shown == questions[-len(shown) :]
        assert len(shown) < len(questions)
        while len(shown) < len(questions):
            first = shown[0]
            await tab.evaluate("() => { document.getElementById('scroller').scrollTop = 10; }")
            before = await tab.evaluate(PLACE, first)
            await tab.until(f"(first) => ({SHOWN})()[0] !== first", first)
            await tab.evaluate(SCROLL_BY, 0)
            assert abs(await tab.evaluate(PLACE, first) - before) < 30
            shown = await tab.evaluate(SHOWN)
        assert shown == questions
        assert await tab.page.locator(".older").count() == 0
        assert len(queries) == len(set(queries)) == 6
        # What a browser looks at in each frame does not grow with every message.
        assert await tab.page.locator("#thread > *").count() < len(shown) / 5


async def test_what_was_loaded_stays_when_the_conversation_goes_on(tab: Tab, server: Serving) -> None:
    """A turn loads the conversation again from its end, and neither repeats nor forgets a message."""
    ready = server.ready
    conversation = create_conversation(ready)
    messages = long_conversation(90)
    await serve_conversation(tab.page, ready, conversation, messages)
    await tab.open(ready.coach_id, conversation)
    await tab.page.wait_for_selector(".message")
    await tab.evaluate("() => { document.getElementById('scroller').scrollTop = 0; }")
    await tab.until(f"() => ({SHOWN})().length > 20")
    await tab.ask("And now?")
    await tab.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    shown = await tab.evaluate(SHOWN)
    assert len(shown) > 20
    expected = [*(message.content for message in messages[::2]), "And now?"]
    assert shown == expected[-len(shown) :]
