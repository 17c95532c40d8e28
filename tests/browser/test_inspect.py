"""The developer's panel on how fast replies arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from support.chat_page import AXE, Tab, forgive_failed_requests, new_tab
from support.serving import Serving, Silent, create_conversation

if TYPE_CHECKING:
    from playwright.async_api import Browser

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"

#: Steps of a turn, each with its time, into the figures of their measurement.
MEASURE = """async (steps) => {
  const { Measurement } = await import("/js/inspect/measurement.js");
  const turn = { text: "How was my week?", sentAt: 1000, phase: "sending", reply: "", isReconnecting: false };
  const [[first, began], ...others] = steps;
  const measurement = new Measurement({ ...turn, ...first }, began);
  for (const [change, at] of others) {
    Object.assign(turn, first, change);
    measurement.update(turn, at);
  }
  const { startMs, firstWordMs, wordRate, resumptions, longestPauseMs } = measurement;
  return { startMs, firstWordMs, wordRate, resumptions, longestPauseMs };
}"""


@pytest.fixture(scope="module")
def server(silent: Silent) -> Serving:
    """Replaces the server whose model keeps its own pace."""
    return silent.server


async def open_panel(tab: Tab, ready_url: str, coach_id: str, conversation_id: str) -> None:
    """Open a conversation with the panel."""
    await tab.page.goto(f"{ready_url}?inspect#/c/{coach_id}/{conversation_id}")
    await tab.page.wait_for_selector("html[data-ready]")


async def figures(tab: Tab, reply: int = 0) -> dict[str, str]:
    """What the panel says of a reply, the newest by default."""
    rows = tab.page.locator(".inspect-reply").nth(reply).locator(".inspect-figures div")
    return {
        await row.locator("dt").inner_text(): await row.locator("dd").inner_text() for row in await rows.all()
    }


async def test_nothing_of_the_panel_is_loaded_unless_it_is_asked_for(tab: Tab, server: Serving) -> None:
    """Not even its styles."""
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    await tab.open(server.ready.coach_id)
    assert [url for url in asked if "inspect" in url] == []
    assert await tab.page.locator(".inspect").count() == 0


async def test_a_panel_that_cannot_be_loaded_leaves_the_page_as_it_is(tab: Tab, silent: Silent) -> None:
    """It says so; the conversation goes on."""
    ready = silent.server.ready
    await tab.page.route("**/js/inspect/panel.js", lambda route: route.abort())
    await open_panel(tab, ready.url, ready.coach_id, create_conversation(ready))
    await tab.page.locator("#toast", has_text="cannot be reached").wait_for()
    list(silent.model.reply_in_steps("Fine"))
    assert await tab.ask("How was my week?") == "Fine"
    tab.problems = forgive_failed_requests(tab.problems)


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (320, 640)], ids=["desktop", "phone"])
async def test_the_panel_shows_how_a_reply_arrives(
    browser: Browser, silent: Silent, size: tuple[int, int], colours: Literal["light", "dark"]
) -> None:
    """While it does, and afterwards; the replies before it stay."""
    ready = silent.server.ready
    async with new_tab(browser, ready.url, size=size, touch=size[0] < 820, colours=colours) as tab:
        await open_panel(tab, ready.url, ready.coach_id, create_conversation(ready))
        assert await tab.page.locator(".inspect-none").is_visible()
        speaking = silent.model.reply_in_steps("One ", "two ", "three")
        await tab.write("<b>How</b> was my week?")
        next(speaking)
        await tab.page.locator(".inspect-piece").first.wait_for(state="attached")
        running = await figures(tab)
        assert running["Start"].endswith(" s")
        assert running["First word"].endswith(" s")
        assert running["Words a second"] == running["Longest pause"] == "\N{EN DASH}"
        list(speaking)
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
        await tab.page.locator(".inspect-reply[data-is-final]").wait_for()
        whole = await figures(tab)
        assert float(whole["Words a second"]) > 0
        assert whole["Longest pause"].endswith(" s")
        assert whole["Resumptions"] == "0"
        assert await tab.page.locator(".inspect-question").inner_text() == "<b>How</b> was my week?"
        list(silent.model.reply_in_steps("Four"))
        await tab.ask("And the next?")
        await tab.page.locator(".inspect-reply[data-is-final] >> nth=1").wait_for(state="attached")
        assert (await figures(tab, 1)) == whole
        assert await tab.evaluate(OVERFLOW) == 0
        if AXE.exists():
            assert await tab.violations() == []
        await tab.page.locator(".inspect summary").focus()
        await tab.page.keyboard.press("Enter")
        await tab.page.locator(".inspect-list").wait_for(state="hidden")


async def test_the_panel_counts_the_connections_that_a_reply_took(tab: Tab, silent: Silent) -> None:
    """A change of the network ends the first one."""
    ready = silent.server.ready
    await open_panel(tab, ready.url, ready.coach_id, create_conversation(ready))
    speaking = silent.model.reply_in_steps("One ", "two")
    await tab.write("How was my week?")
    next(speaking)
    await tab.begins_to_stream()
    await tab.evaluate("() => dispatchEvent(new Event('online'))")
    list(speaking)
    await tab.page.locator(".inspect-reply[data-is-final]").wait_for()
    assert (await figures(tab))["Resumptions"] == "1"
    assert forgive_failed_requests(tab.problems) == []
    tab.problems.clear()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            [
                [{}, 1000],
                [{"phase": "thinking"}, 1200],
                [{"phase": "streaming", "reply": "One "}, 2000],
                [{"reply": "One two "}, 2100],
                [{"reply": "One two ", "isReconnecting": True}, 2600],
                [{"isReconnecting": True}, 2700],
                [{"isReconnecting": False}, 2800],
                [{"reply": "One two three four"}, 4000],
            ],
            {"startMs": 200, "firstWordMs": 1000, "wordRate": 2, "resumptions": 1, "longestPauseMs": 1900},
        ),
        (
            [
                [{"sentAt": None, "phase": "awaiting"}, 5000],
                [{"phase": "streaming", "reply": "One two"}, 5100],
            ],
            {
                "startMs": None,
                "firstWordMs": None,
                "wordRate": None,
                "resumptions": 0,
                "longestPauseMs": None,
            },
        ),
    ],
    ids=["asked for here", "asked for elsewhere"],
)
async def test_a_reply_is_measured_from_its_request_to_its_last_word(
    tab: Tab, server: Serving, steps: list[object], expected: dict[str, Any]
) -> None:
    """Of a reply that another tab has asked for, the beginning is not known."""
    await tab.page.goto(server.ready.url)
    assert await tab.evaluate(MEASURE, steps) == expected
