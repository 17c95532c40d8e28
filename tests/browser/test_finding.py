"""Getting at what was said: copying, exporting, searching, and what a reply drew on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from support.chat_page import AXE, Tab, forgive_failed_requests, new_tab
from support.long_conversation import long_conversation, serve_conversation
from support.serving import Serving, create_conversation, stored_messages

if TYPE_CHECKING:
    from playwright.async_api import Browser, Route

IN_VIEW = """(text) => {
  const { top, bottom } = document.getElementById("scroller").getBoundingClientRect();
  const node = [...document.querySelectorAll(".message")].find((each) => each.textContent.includes(text));
  const box = node?.getBoundingClientRect();
  return box && box.top >= top && box.top < bottom;
}"""


async def test_a_message_can_be_copied_as_it_was_written(tab: Tab, server: Serving) -> None:
    """With its marks, not as it looks."""
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.ask("**Copy** me\n- really")
    await tab.page.locator(".message-user").get_by_role("button", name="Copy message").click()
    await tab.until("() => document.getElementById('announcer').textContent === 'Copied.'")
    assert await tab.evaluate("() => navigator.clipboard.readText()") == "**Copy** me\n- really"


async def test_how_a_reply_came_about_is_still_known_after_a_reload(tab: Tab, server: Serving) -> None:
    """How long it took, what was done besides, and how many earlier records it drew on."""
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.ask("Please remember that I sleep badly before a race.")
    await tab.ask("I slept badly. What do you know about my sleep before a race?")
    foot = tab.page.locator(".message-assistant .message-foot")
    before = await foot.all_inner_texts()
    assert "Saved to memory" in before[0]
    assert "drew on" in before[1]
    assert "total" in before[1]
    await tab.reload()
    await tab.page.wait_for_selector(".message-assistant >> nth=1")
    assert await foot.all_inner_texts() == before


@pytest.mark.parametrize("kind", ["Markdown", "JSON"])
async def test_a_conversation_can_be_exported(tab: Tab, server: Serving, tmp_path: Path, kind: str) -> None:
    """All of it, however much of it is loaded; the focus returns to the button."""
    ready = server.ready
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    reply = (await tab.ask("Was für ein Plan?")).split("\n")[0]
    await tab.button("Export").click()
    if AXE.exists():
        assert await tab.violations() == []
    async with tab.page.expect_download() as downloading:
        await tab.page.get_by_role("button", name=kind, exact=True).click()
    download = await downloading.value
    path = tmp_path / download.suggested_filename
    await download.save_as(path)
    text = path.read_text()
    if kind == "JSON":
        assert json.loads(text)["messages"] == stored_messages(ready, conversation)
    else:
        assert path.name == "A-test.md"
        assert text.startswith("# A test\n\n## You, ")
        assert "\n\nWas für ein Plan?\n" in text
        assert reply[:20] in text
    assert await tab.evaluate("() => document.activeElement.id") == "export"


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
async def test_a_message_is_found_however_long_ago_it_was_written(
    browser: Browser, server: Serving, size: tuple[int, int]
) -> None:
    """The result leads to it; Escape brings the list of conversations back."""
    ready = server.ready
    conversation = create_conversation(ready)
    is_phone = size[0] < 820
    async with new_tab(browser, ready.url, size=size, touch=is_phone) as tab:
        await serve_conversation(tab.page, ready, conversation, long_conversation(130))
        await tab.open(ready.coach_id, conversation)
        if is_phone:
            await tab.button("Conversations").click()
        box = tab.page.get_by_label("Search conversations and messages")
        await box.fill("qUESTION 12:")
        found = tab.page.locator(".found", has_text="Question 12: what is next?")
        await found.wait_for()
        await tab.until("() => document.getElementById('found-status').textContent.endsWith('found.')")
        assert await tab.page.locator("#found mark").first.inner_text() == "Question 12:"
        if AXE.exists():
            assert await tab.violations() == []
        await found.click()
        await tab.until(IN_VIEW, "Question 12:")
        if is_phone:
            await tab.button("Conversations").click()
        await box.press("Escape")
        await tab.page.locator("#conversations").wait_for()
        assert await tab.page.locator("#found").is_hidden()


async def test_conversations_are_searched_a_few_at_a_time(tab: Tab, server: Serving) -> None:
    """The results are in order, whatever comes first; a search that is over asks nothing more."""
    ready = server.ready
    for _ in range(6):
        create_conversation(ready)
    await tab.open(ready.coach_id)
    asked: asyncio.Queue[Route] = asyncio.Queue()
    await tab.page.route("**/conversations/*", asked.put)

    def conversation_of(route: Route) -> str:
        return urlsplit(route.request.url).path.rsplit("/", 1)[-1]

    async def respond(route: Route) -> None:
        conversation = conversation_of(route)
        message = {"id": f"msg_{conversation}", "role": "user", "content": f"needle {conversation}"}
        await route.fulfill(json={"conversation": {"messages": [message]}})

    box = tab.page.get_by_label("Search conversations and messages")
    await box.fill("needle")
    first = [await asked.get() for _ in range(4)]
    for route in reversed(first[1:]):
        await respond(route)
    assert await tab.page.locator(".found").count() == 0
    assert asked.empty()
    await respond(first[0])
    # Each that is shown makes room for another one.
    rest = [await asked.get() for _ in range(2)]
    await tab.page.locator(".found >> nth=3").wait_for()
    shown = await tab.page.locator(".found-excerpt").all_inner_texts()
    assert shown == [f"needle {conversation_of(route)}" for route in first]
    await box.press("Escape")
    await tab.page.locator("#conversations").wait_for()
    for route in rest:
        await route.abort()
    tab.problems = forgive_failed_requests(tab.problems)
