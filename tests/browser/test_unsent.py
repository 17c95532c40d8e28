"""A sent message stays recoverable until the server has stored it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from support.chat_page import Tab, forgive_failed_requests, new_tab
from support.patience import PATIENCE_S
from support.serving import Serving, Silent, create_conversation, stored_messages

if TYPE_CHECKING:
    from playwright.async_api import Browser, Route

WRITE_HALF_AN_EMOJI = r"""() => {
  const box = document.querySelector("#message");
  box.value = "I ran 5 km today \ud83d";
  box.dispatchEvent(new Event("input"));
}"""


async def refuse(route: Route) -> None:
    """A refusal that no retry can fix."""
    body = 'data: {"type":"error","code":"INVALID_JSON","message":"Not like this.","retryable":false}\n\n'
    await route.fulfill(status=400, content_type="text/event-stream", body=body)


async def test_a_refused_message_returns_to_the_message_box(tab: Tab, server: Serving) -> None:
    """It can be edited and sent again, and survives a reload."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.page.route("**/stream", refuse)
    await tab.write("Words that took me long")
    assert await tab.problem() == "Not like this."
    assert await tab.message_box.input_value() == "Words that took me long"
    await tab.page.unroute("**/stream")
    await tab.reload()
    assert await tab.message_box.input_value() == "Words that took me long"
    await tab.ask("Words that took me long, changed")
    assert await tab.message_box.input_value() == ""
    assert len(stored_messages(server.ready, conversation)) == 2
    tab.problems = forgive_failed_requests(tab.problems)


async def test_an_undelivered_message_is_in_the_box_when_the_page_reopens(tab: Tab, server: Serving) -> None:
    """It was written offline, in a tab that was closed before the network was back."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.page.route("**/stream", lambda route: route.abort())
    await tab.write("Written in a tunnel")
    await tab.page.locator(".reconnecting").wait_for(state="attached")
    assert await tab.message_box.input_value() == ""
    await tab.reload()
    assert await tab.message_box.input_value() == "Written in a tunnel"
    tab.problems = forgive_failed_requests(tab.problems)


async def test_a_message_that_has_arrived_does_not_come_back(browser: Browser, silent: Silent) -> None:
    """This holds during and after its reply, and for the first message of a conversation."""
    speaking = silent.model.reply_in_steps("The first ", "of many")
    async with new_tab(browser, silent.server.ready.url) as tab:
        await tab.open(silent.server.ready.coach_id)
        await tab.write("The first one of all")
        next(speaking)
        await tab.begins_to_stream()
        drafts = "() => Object.keys(localStorage).filter((key) => key.includes('unsent'))"
        assert await tab.evaluate(drafts) == []
        await tab.reload()
        assert await tab.message_box.input_value() == ""
        list(speaking)
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
        assert await tab.message_box.input_value() == ""


async def test_a_message_during_another_reply_is_kept_and_answered_later(tab: Tab, server: Serving) -> None:
    """Another device's message is being answered: this one is stored, and waits for its turn."""
    ready = server.ready
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    async with httpx.AsyncClient(headers=ready.headers, timeout=PATIENCE_S, trust_env=False) as device:
        first = {"userResponse": "From my phone"}
        async with device.stream("POST", ready.stream(conversation), json=first) as response:
            arriving = response.aiter_bytes()
            received = b""
            while b'"chunk"' not in received:
                received += await anext(arriving)
            await tab.write("From my laptop")
            await tab.page.get_by_text("Waiting for other replies").wait_for()
            assert await tab.message_box.input_value() == ""
            unsent = "() => Object.keys(localStorage).filter((key) => key.includes('unsent'))"
            assert await tab.evaluate(unsent) == []
            async for _ in arriving:
                pass
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    stored = stored_messages(ready, conversation)
    assert [message["role"] for message in stored] == ["user", "assistant"] * 2
    assert [message["content"] for message in stored[::2]] == ["From my phone", "From my laptop"]


async def test_half_an_emoji_is_sent_as_the_replacement_character(tab: Tab, server: Serving) -> None:
    """However it was cut, the message arrives, is answered and leaves the box."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.evaluate(WRITE_HALF_AN_EMOJI)
    await tab.send_button.click()
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    question, _ = stored_messages(server.ready, conversation)
    assert question["content"] == "I ran 5 km today \ufffd"
    assert await tab.message_box.input_value() == ""


async def test_a_refused_message_is_put_above_what_was_written_since(tab: Tab, server: Serving) -> None:
    """Neither is lost."""
    release = asyncio.Event()

    async def refuse_later(route: Route) -> None:
        await release.wait()
        await refuse(route)

    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.page.route("**/stream", refuse_later)
    await tab.write("The first")
    await tab.message_box.fill("The second")
    release.set()
    assert await tab.problem() == "Not like this."
    assert await tab.message_box.input_value() == "The first\n\nThe second"
    tab.problems = forgive_failed_requests(tab.problems)


async def test_messages_that_never_arrived_are_in_the_box_in_the_order_of_writing(
    tab: Tab, server: Serving
) -> None:
    """The second one was written while the first one waited for the network; then the page was reloaded."""
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.page.route("**/stream", lambda route: route.abort())
    await tab.write("The first")
    await tab.write("The second")
    await tab.reload()
    assert await tab.message_box.input_value() == "The first\n\nThe second"
    tab.problems = forgive_failed_requests(tab.problems)


async def test_a_refused_message_that_is_not_sent_again_returns_to_the_message_box(
    tab: Tab, server: Serving
) -> None:
    """Its writer has sent another one instead; the page shows it until that has its reply."""

    async def refuse_for_now(route: Route) -> None:
        await route.fulfill(status=503, json={"error": "No room.", "code": "SERVER_BUSY", "retryable": True})

    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.page.route("**/stream", refuse_for_now, times=1)
    await tab.write("The first")
    assert await tab.problem() == "No room."
    await tab.ask("The second")
    await tab.until("() => document.getElementById('message').value === 'The first'")
    question, _ = stored_messages(server.ready, conversation)
    assert question["content"] == "The second"
    tab.problems = forgive_failed_requests(tab.problems)


@pytest.mark.parametrize("kind", ["a conversation", "a new conversation"])
async def test_a_message_outlives_the_session_it_was_written_in(tab: Tab, server: Serving, kind: str) -> None:
    """The token ended, and there is no other: the text is in the box, and still is after a reload."""

    async def unauthorized(route: Route) -> None:
        body = '{"error":"Please sign in again.","code":"TOKEN_EXPIRED"}'
        await route.fulfill(status=401, content_type="application/json", body=body)

    conversation = create_conversation(server.ready) if kind == "a conversation" else None
    await tab.open(server.ready.coach_id, conversation)
    for path in ("**/local/session", "**/users/**"):
        await tab.page.route(path, unauthorized)
    await tab.write("Words that took me long")
    assert await tab.problem() == "Please sign in again."
    assert await tab.message_box.input_value() == "Words that took me long"
    await tab.page.unroute_all()
    await tab.reload()
    assert await tab.message_box.input_value() == "Words that took me long"
    tab.problems = forgive_failed_requests(tab.problems)


@pytest.mark.parametrize(
    "held", ["**/js/main.js", "**/local/session", "**/conversations", "**/conversations/*"]
)
async def test_enter_in_a_page_that_still_loads_sends_as_soon_as_it_can(
    tab: Tab, server: Serving, held: str
) -> None:
    """Whatever the page waits for: the text stays in the box until then, and is sent once."""
    ready = server.ready
    conversation = create_conversation(ready)
    release = asyncio.Event()

    async def hold(route: Route) -> None:
        await release.wait()
        await route.continue_()

    await tab.page.route(held, hold)
    await tab.page.goto(f"{ready.url}#/c/{ready.coach_id}/{conversation}", wait_until="commit")
    await tab.write("I could not wait")
    assert await tab.message_box.input_value() == "I could not wait"
    release.set()
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    assert await tab.message_box.input_value() == ""
    stored = stored_messages(ready, conversation)
    assert [message["content"] for message in stored][::2] == ["I could not wait"]


async def test_what_is_typed_in_a_page_that_cannot_start_is_there_when_it_can(
    tab: Tab, server: Serving
) -> None:
    """Without Enter it is not sent."""
    ready = server.ready

    async def unavailable(route: Route) -> None:
        await route.fulfill(status=503, content_type="application/json", body="{}")

    await tab.page.route("**/local/session", unavailable)
    await tab.open(ready.coach_id, create_conversation(ready))
    await tab.message_box.fill("For later")
    await tab.page.unroute_all()
    await tab.button("Try again").click()
    await tab.page.wait_for_selector("html[data-ready]")
    await tab.until("() => document.getElementById('message').value === 'For later'")
    assert await tab.texts() == []
    tab.problems = forgive_failed_requests(tab.problems)
