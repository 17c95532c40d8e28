"""Writing a message: input methods, directions of writing, keyboards on a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.chat_page import Tab, new_tab
from support.serving import Serving, Silent, create_conversation

if TYPE_CHECKING:
    from playwright.async_api import Browser

#: How browsers report the end of a composition. In Safari it comes before the key (WebKit bug 165004).
COMPOSE = """([field, text, isSafari]) => {
  const node = document.querySelector(field);
  node.focus();
  node.value = text;
  node.dispatchEvent(new Event("input", { bubbles: true }));
  const end = () => node.dispatchEvent(new CompositionEvent("compositionend", { bubbles: true, data: text }));
  node.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
  if (isSafari) end();
  const enter = { key: "Enter", code: "Enter", keyCode: 229, isComposing: !isSafari };
  node.dispatchEvent(new KeyboardEvent("keydown", { ...enter, bubbles: true, cancelable: true }));
  if (!isSafari) end();
}"""

DIRECTIONS = """(selector) =>
  [...document.querySelectorAll(selector)].map((node) => getComputedStyle(node).direction)"""


@pytest.mark.parametrize("safari", [True, False], ids=["Safari", "others"])
async def test_enter_that_ends_a_composition_does_not_send(tab: Tab, server: Serving, safari: bool) -> None:
    """It accepts the characters; the next Enter sends. This is so for a title, too."""
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.evaluate(COMPOSE, ["#message", "今日は", safari])
    assert await tab.texts() == []
    assert await tab.message_box.input_value() == "今日は"
    await tab.message_box.press("Enter")
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    assert (await tab.texts())[0] == "今日は"

    await tab.page.locator("#conversations a[aria-current=page]").focus()
    await tab.page.keyboard.press("F2")
    await tab.evaluate(COMPOSE, [".rename", "今日は", safari])
    assert await tab.page.locator(".rename").count() == 1


async def test_every_text_of_a_person_or_a_coach_has_its_own_direction(tab: Tab, silent: Silent) -> None:
    """Arabic starts on the right, and its full stops and list numbers are on the proper side."""
    ready = silent.server.ready
    tab.url = ready.url
    await tab.open(ready.coach_id)
    question = "اكتب لي خطة."
    await tab.message_box.fill(question)
    assert await tab.evaluate(DIRECTIONS, "#message") == ["rtl"]
    reply = "مرحبا.\n\n1. اركض 5 كم.\n\n> شكرا\n\n|يوم|خطة|\n|-|-|\n|1|2|\n\nIn English."
    speaking = silent.model.reply_in_steps(reply)
    await tab.message_box.press("Enter")
    list(speaking)
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    assert await tab.evaluate(DIRECTIONS, "#message") == ["ltr"]
    assert await tab.evaluate(DIRECTIONS, ".message-user .message-text") == ["rtl"]
    directions = await tab.evaluate(DIRECTIONS, ".message-assistant .message-text > *")
    assert directions == ["rtl", "rtl", "rtl", "rtl", "ltr"]
    titles = "#conversations a[aria-current] .conversation-title, #title"
    assert await tab.evaluate(DIRECTIONS, titles) == ["rtl", "rtl"]


async def test_return_on_a_touch_keyboard_starts_a_new_line(browser: Browser, server: Serving) -> None:
    """It has no Shift+Enter. The button sends, and so does Ctrl+Enter of a connected keyboard."""
    async with new_tab(browser, server.ready.url, size=(390, 844), touch=True) as tab:
        await tab.open(server.ready.coach_id, create_conversation(server.ready))
        assert await tab.message_box.get_attribute("enterkeyhint") == "enter"
        await tab.message_box.press_sequentially("One\nTwo")
        assert await tab.message_box.input_value() == "One\nTwo"
        await tab.send_button.click()
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
        await tab.message_box.fill("Three")
        await tab.message_box.press("Control+Enter")
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored] >> nth=1")
        assert (await tab.texts())[::2] == ["One\nTwo", "Three"]
