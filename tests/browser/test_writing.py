"""Writing a message: input methods, directions of writing, keyboards on a screen."""

from __future__ import annotations

import pytest

from support.chat_page import Tab
from support.serving import Serving, create_conversation

#: The end of a composition as browsers report it: Safari ends it before the key that ended it (WebKit bug 165004).
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
