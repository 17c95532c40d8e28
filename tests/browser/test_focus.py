"""Where the focus goes, what touch reaches, and what the page does with what is not there any more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from support.chat_page import AXE, Tab, forgive_failed_requests, new_tab
from support.serving import Serving, create_conversation

if TYPE_CHECKING:
    from playwright.async_api import Browser

IS_FOCUSED = "(conversation) => document.activeElement.dataset.conversation === conversation"

TIME = """async () =>
  (await import("/js/times.js")).timeOfDay(new Date(2026, 2, 1, 13, 5))"""


async def test_a_dialog_by_mouse_gives_the_focus_back(tab: Tab, server: Serving) -> None:
    """To the conversation that was kept, or to a neighbour of the one that was deleted."""
    ready = server.ready
    kept, deleted = create_conversation(ready), create_conversation(ready)
    await tab.open(ready.coach_id, kept)
    row = tab.page.locator("li", has=tab.page.locator(f"a[data-conversation={deleted}]"))
    await row.hover()
    await row.get_by_role("button", name="Delete").click()
    if AXE.exists():
        assert await tab.violations() == []
    await tab.button("Keep it").click()
    await tab.until(IS_FOCUSED, deleted)
    await row.hover()
    await row.get_by_role("button", name="Delete").click()
    await tab.page.mouse.move(600, 300)
    await tab.page.get_by_role("button", name="Delete", exact=True).click()
    await row.wait_for(state="detached")
    await tab.until("() => document.activeElement.dataset.conversation?.startsWith('conv_')")


async def test_every_conversation_can_be_renamed_and_deleted_by_touch(
    browser: Browser, server: Serving
) -> None:
    """Not only the open one: a finger cannot hover."""
    ready = server.ready
    kept, other = create_conversation(ready), create_conversation(ready)
    async with new_tab(browser, ready.url, size=(320, 640), touch=True) as tab:
        await tab.open(ready.coach_id, kept)
        await tab.button("Conversations").tap()
        row = tab.page.locator("li", has=tab.page.locator(f"a[data-conversation={other}]"))
        await row.get_by_role("button", name="Rename").tap()
        await tab.page.get_by_label("Title of the conversation").fill("By finger")
        await tab.page.keyboard.press("Enter")
        await tab.conversation("By finger").wait_for()
        if AXE.exists():
            assert await tab.violations() == []
        await row.get_by_role("button", name="Delete").tap()
        await tab.page.get_by_role("button", name="Delete", exact=True).tap()
        await row.wait_for(state="detached")


async def test_a_conversation_that_was_deleted_elsewhere_does_not_stay_open(
    tab: Tab, server: Serving
) -> None:
    """The page says so when it is looked at again, and keeps what was being written."""
    ready = server.ready
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    await tab.ask("Hello")
    await tab.message_box.fill("I was about to say")
    async with httpx.AsyncClient(headers=ready.headers, trust_env=False) as elsewhere:
        await elsewhere.delete(f"{ready.conversations()}/{conversation}")
    await tab.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    assert await tab.problem() == "This conversation does not exist any more."
    assert await tab.texts() == []
    assert await tab.message_box.input_value() == "I was about to say"
    assert await tab.send_button.is_disabled()
    assert await tab.page.locator(f"a[data-conversation={conversation}]").count() == 0
    tab.problems = forgive_failed_requests(tab.problems)


async def test_an_unknown_coach_in_the_address_is_called_unknown(tab: Tab) -> None:
    """The page does not invent one, and leads to one that there is."""
    await tab.open("coach_nobody")
    assert await tab.problem() == "You have no such coach."
    assert await tab.send_button.is_disabled()
    if AXE.exists():
        assert await tab.violations() == []
    link = tab.page.locator("#thread").get_by_role("link")
    assert (await link.inner_text()).startswith("Begin with ")
    await link.click()
    await tab.page.wait_for_selector(".welcome")
    assert await tab.page.locator("#subtitle").inner_text() != "with Coach"
    tab.problems = forgive_failed_requests(tab.problems)


@pytest.mark.parametrize(("locale", "pattern"), [("en-US", r"\d{1,2}:\d\d\s[AP]M"), ("de-DE", r"\d\d:\d\d")])
async def test_times_are_written_as_the_browser_s_language_does(
    browser: Browser, server: Serving, locale: str, pattern: str
) -> None:
    """1:33 PM, not 01:33 PM."""
    ready = server.ready
    async with new_tab(browser, ready.url, locale=locale) as tab:
        await tab.open(ready.coach_id)
        written = await tab.evaluate(TIME)
        assert re.fullmatch(pattern, written), written
        assert not written.startswith("0")


async def test_a_phone_on_its_side_reaches_every_conversation(browser: Browser, server: Serving) -> None:
    """The list scrolls as a whole; a part of it that scrolls by itself would have no height left."""
    ready = server.ready
    conversation = create_conversation(ready)
    async with new_tab(browser, ready.url, size=(844, 390), touch=True) as tab:
        await tab.open(ready.coach_id, conversation)
        link = tab.page.locator(f"a[data-conversation={conversation}]")
        await link.scroll_into_view_if_needed()
        box = await link.bounding_box()
        assert box is not None
        assert box["height"] >= 40
        hit = await tab.evaluate(
            "([x, y]) => document.elementFromPoint(x, y)?.closest('a')?.dataset.conversation",
            [box["x"] + 20, box["y"] + box["height"] / 2],
        )
        assert hit == conversation


async def test_a_done_task_is_told_from_an_open_one_in_forced_colours(tab: Tab, server: Serving) -> None:
    """The system's colours take backgrounds away; the tick is made of borders."""
    await tab.page.emulate_media(forced_colors="active")
    await tab.open(server.ready.coach_id)
    widths = await tab.evaluate(
        """async () => {
          const { RichText } = await import("/js/view/rich-text.js");
          const text = document.createElement("div");
          text.className = "message-text";
          document.body.append(text);
          new RichText(text).show("- [x] done\\n- [ ] open");
          const boxes = [...text.querySelectorAll(".task-box")];
          return boxes.map((box) => getComputedStyle(box, "::after").borderBottomWidth);
        }"""
    )
    assert widths == ["2px", "0px"]
