"""The page while the model is silent: what a reader who joins later sees and can do."""

from __future__ import annotations

import time
from itertools import islice

import pytest

from support.chat_page import RECORD_GROWTH, Tab
from support.engine_page import EnginePage
from support.serving import Serving, Silent, create_conversation, stored_messages


@pytest.fixture(scope="module")
def server(silent: Silent) -> Serving:
    """Replaces the server whose model keeps its own pace."""
    return silent.server


@pytest.mark.parametrize("reader", ["reloaded", "second tab"])
async def test_stop_works_before_the_first_word_in_a_page_that_came_later(
    tab: Tab, silent: Silent, reader: str
) -> None:
    """It knows the run as well as the page that sent the message; the model call ends at once."""
    silent.model.forget_requests()
    silent.model.reply_in_steps("never ", "said")
    ready = silent.server.ready
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    await tab.write("Are you there?")
    await tab.page.wait_for_selector('.message-assistant[data-phase="thinking"]')
    later = tab
    if reader == "reloaded":
        await tab.reload()
    else:
        later = Tab(await tab.page.context.new_page(), ready.url)
        await later.open(ready.coach_id, conversation)
    await later.page.wait_for_selector('.message-assistant[data-phase="thinking"]')
    await later.button("Stop").click()
    for page in (tab, later):
        await page.send_button.wait_for()
        await page.page.wait_for_selector(".message-assistant[data-phase=stored][data-incomplete]")
    _, reply = stored_messages(ready, conversation)
    assert (reply["content"], reply["metadata"]["stopReason"]) == ("", "stopped")


#: Whether the newest reply shows just this text; a space at its end is shown with the next word.
SHOWS = """(text) =>
  document.querySelector(".message-assistant .message-text")?.textContent.trimEnd() === text.trimEnd()"""


#: Whether the newest reply is in this phase.
IS_IN_PHASE = """(phase) => document.querySelector(".message-assistant")?.dataset.phase === phase"""


async def test_a_reply_goes_on_growing_after_a_reload(page: EnginePage, silent: Silent) -> None:
    """The earlier text is shown before the model sends more; the rest arrives word by word."""
    words = [f"word{number} " for number in range(20)]
    speaking = silent.model.reply_in_steps(*words)
    ready = silent.server.ready
    conversation = create_conversation(ready)
    await page.open(f"{ready.url}#/c/{ready.coach_id}/{conversation}")
    await page.until("() => document.documentElement.dataset.ready !== undefined")
    await page.evaluate("() => document.getElementById('message').focus()")
    await page.enter("A long story whose middle I miss")
    for number, _ in enumerate(islice(speaking, 10), 1):
        await page.until(SHOWS, "".join(words[:number]))
    await page.reload()
    await page.until(SHOWS, "".join(words[:10]))
    for number, _ in enumerate(speaking, 11):
        await page.until(SHOWS, "".join(words[:number]))
    await page.until(IS_IN_PHASE, "stored")
    _, reply = stored_messages(ready, conversation)
    assert reply["content"] == "".join(words)
    assert await page.evaluate(SHOWS, reply["content"])


async def test_a_reply_that_is_stopped_stays_as_it_is_in_every_tab(tab: Tab, silent: Silent) -> None:
    """Escape in one tab stops it in both; the text so far is kept, marked as stopped even after a reload."""
    ready = silent.server.ready
    speaking = silent.model.reply_in_steps("So far ", "and ", "no further")
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    other = Tab(await tab.page.context.new_page(), ready.url)
    await other.open(ready.coach_id, conversation)
    await tab.write("A long story, please")
    next(speaking)
    next(speaking)
    await other.until(SHOWS, "So far and ")
    await other.page.keyboard.press("Escape")
    for each in (tab, other):
        await each.page.wait_for_selector(".message-assistant[data-phase=stored][data-incomplete]")
        assert "Stopped" in await each.page.locator(".message-assistant .small-print").inner_text()
        assert await each.evaluate(SHOWS, "So far and ")
    await tab.reload()
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored][data-incomplete]")
    assert await tab.page.locator(".problem").count() == 0
    _, reply = stored_messages(ready, conversation)
    assert (reply["content"], reply["metadata"]["stopReason"]) == ("So far and ", "stopped")
    assert other.problems == []


async def test_the_send_button_stops_while_a_reply_is_on_its_way(tab: Tab, silent: Silent) -> None:
    """It is the same button in the same place; the next message is answered as usual."""
    ready = silent.server.ready
    speaking = silent.model.reply_in_steps("Once upon ", "a time")
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    await tab.write("Another long story")
    next(speaking)
    await tab.begins_to_stream()
    await tab.button("Stop").click()
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored][data-incomplete]")
    next(silent.model.reply_in_steps("Short."))
    await tab.ask("And now a short one")
    assert [message["role"] for message in stored_messages(ready, conversation)] == [
        "user",
        "assistant",
        "user",
        "assistant",
    ]


async def test_a_reply_is_read_over_a_new_connection_after_a_sleep(tab: Tab, silent: Silent) -> None:
    """In sleep only the wall clock moves on. The text goes on where it was."""
    ready = silent.server.ready
    speaking = silent.model.reply_in_steps("Before ", "and ", "after")
    conversation = create_conversation(ready)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    await tab.page.clock.install()
    await tab.open(ready.coach_id, conversation)
    await tab.write("Good night")
    next(speaking)
    await tab.until(SHOWS, "Before ")
    await tab.evaluate(RECORD_GROWTH)
    asked.clear()
    await tab.page.clock.set_system_time(time.time() + 300)
    await tab.page.clock.run_for(5_000)
    next(speaking)
    await tab.until(SHOWS, "Before and ")
    resumed = [url for url in asked if "/stream/" in url]
    assert len(resumed) == 1
    assert "after=" in resumed[0]
    list(speaking)
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    assert await tab.evaluate(SHOWS, "Before and after")
    lengths = await tab.evaluate("() => window.lengths")
    assert lengths == sorted(lengths)
    assert [message["role"] for message in stored_messages(ready, conversation)] == ["user", "assistant"]
