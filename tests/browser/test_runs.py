"""Replies survive reloads, other tabs, stops and broken networks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from support.chat_page import RECORD_GROWTH, Tab, forgive_failed_requests, new_tab
from support.serving import Serving, Silent, create_conversation, stored_messages
from support.unsteady_network import unsteady_network

if TYPE_CHECKING:
    from playwright.async_api import Browser

#: A browser's own `EventSource` reconnects after a second, unless the server ended it with a 204.
WATCHED_MS = 10_000

#: What any page can do without our module: send a message, and open an `EventSource` at the address.
NATIVE_EVENT_SOURCE = """async ({ conversationId, message }) => {
  const session = await (await fetch("/local/session")).json();
  const { userId, coachId, token, streamUrl } = session;
  const base = `${streamUrl}users/${userId}/coaches/${coachId}/conversations/${conversationId}/stream`;
  const response = await fetch(base, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${token}`,
      Accept: "application/json",
      "Content-Type": "application/json",
    },
    body: JSON.stringify({ userResponse: message, messageTimestamp: new Date().toISOString() }),
  });
  const { runId, eventsUrl } = await response.json();
  window.text = "";
  window.ending = null;
  window.lost = 0;
  window.source = new EventSource(new URL(eventsUrl, response.url));
  window.source.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === "chunk") {
      if (event.offset > window.text.length) throw new Error("a part of the text is missing");
      window.text += event.content.slice(window.text.length - event.offset);
    }
    if (event.type === "complete" || event.type === "error") window.ending = event;
  };
  window.source.onerror = () => { window.lost += 1; };
  return [response.status, runId];
}"""


async def test_two_tabs_show_the_same_growing_text(browser: Browser, silent: Silent) -> None:
    """The second tab joins the run that the first one started; the model is called once."""
    server = silent.server
    words = [f"word{number} " for number in range(5)]
    speaking = silent.model.reply_in_steps(*words)
    async with new_tab(browser, server.ready.url) as tab:
        conversation = create_conversation(server.ready)
        await tab.open(server.ready.coach_id, conversation)
        other = Tab(await tab.page.context.new_page(), server.ready.url)
        await other.open(server.ready.coach_id, conversation)
        for each in (tab, other):
            await each.evaluate(RECORD_GROWTH)
        await tab.write("Tell both of me")
        for word in words:
            next(speaking)
            for each in (tab, other):
                await each.page.locator(".message-assistant", has_text=word.strip()).wait_for()
        for each in (tab, other):
            await each.page.wait_for_selector(".message-assistant[data-phase=stored]")
            assert await _is_shown_as_stored(each, server, conversation)
            lengths = [length for length in await each.evaluate("() => window.lengths") if length > 0]
            assert len(set(lengths)) >= len(words)
            assert lengths == sorted(lengths)
        assert len(stored_messages(server.ready, conversation)) == 2
        assert other.problems == []


async def test_a_broken_network_loses_no_word_of_a_reply(browser: Browser, silent: Silent) -> None:
    """The page shows that it is reconnecting and then resumes without any user action."""
    server = silent.server
    words = [f"word{number} " for number in range(30)]
    speaking = silent.model.reply_in_steps(*words)
    async with (
        unsteady_network(urlsplit(server.ready.url).port or 0) as network,
        new_tab(browser, network.url) as tab,
    ):
        conversation = create_conversation(server.ready)
        await tab.open(server.ready.coach_id, conversation)
        await tab.evaluate(RECORD_GROWTH)
        await tab.write("Can you hear me in the tunnel?")
        for _ in range(10):
            next(speaking)
        await tab.begins_to_stream()
        network.cut()
        await tab.page.wait_for_selector(".reconnecting", state="attached")
        for _ in range(10):
            next(speaking)
        network.restore()
        for _ in speaking:
            pass
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
        lengths = await tab.evaluate("() => window.lengths")
        assert lengths == sorted(lengths)
        assert await tab.page.locator(".problem, .reconnecting, [data-incomplete]").count() == 0
        assert await _is_shown_as_stored(tab, server, conversation)
        assert stored_messages(server.ready, conversation)[1]["content"] == "".join(words)
        resumed = [passed for passed in network.passed if "/stream/run_" in passed.target]
        assert resumed
        assert all("after=run_" in passed.target for passed in resumed)
        tab.problems = forgive_failed_requests(tab.problems)


async def test_a_native_event_source_reads_every_word_once_and_then_stays_away(
    browser: Browser, silent: Silent
) -> None:
    """After a cut mid-reply the browser reconnects at its position; after the end it does not reconnect."""
    server = silent.server
    speaking = silent.model.reply_in_steps(*(f"word{number} " for number in range(30)))
    async with (
        unsteady_network(urlsplit(server.ready.url).port or 0) as network,
        new_tab(browser, network.url) as tab,
    ):
        conversation = create_conversation(server.ready)
        await tab.page.goto(network.url + "icon.svg")  # a page of the same origin, without ours
        what = {"conversationId": conversation, "message": "How was my week?"}
        status, run_id = await tab.evaluate(NATIVE_EVENT_SOURCE, what)
        assert status == 202
        for number in range(10):
            next(speaking)
            await tab.until("(words) => window.text.split(' ').length > words", number)
        network.cut()
        await tab.until("() => window.lost > 0")
        network.restore()
        for _ in speaking:
            pass
        await tab.until("() => window.ending !== null")
        _, reply = stored_messages(server.ready, conversation)
        text, ending = await tab.evaluate("() => [window.text, window.ending]")
        assert ending["type"] == "complete"
        assert text == ending["aiMessage"]["content"] == reply["content"]
        # One more request, which gets a 204.
        await tab.until("() => window.source.readyState === EventSource.CLOSED")
        asked = [passed for passed in network.passed if f"/stream/{run_id}" in passed.target]
        places = [int(passed.last_event_id.rpartition(":")[2]) for passed in asked if passed.last_event_id]
        assert len(asked) >= 3
        assert len(places) == len(asked) - 1
        assert all(earlier < later for earlier, later in pairwise(places))
        await tab.page.wait_for_timeout(WATCHED_MS)
        assert len([passed for passed in network.passed if "/stream/" in passed.target]) == len(asked)
        tab.problems = forgive_failed_requests(tab.problems)


async def _is_shown_as_stored(tab: Tab, server: Serving, conversation: str) -> bool:
    """Whether the only reply shown equals the stored one, apart from paragraph and list markup."""
    _, reply = stored_messages(server.ready, conversation)
    shown = await tab.evaluate("() => document.querySelector('.message-assistant .message-text').textContent")
    return _letters(shown) == _letters(reply["content"])


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalpha())
