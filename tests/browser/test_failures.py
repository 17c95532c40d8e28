"""Every failure shows a sentence and a remedy, and a retry stores nothing twice."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import httpx

from support.chat_page import Tab, forgive_failed_requests
from support.serving import Ready, Serving, create_conversation, stored_messages

if TYPE_CHECKING:
    from playwright.async_api import Route


INTERRUPTED = "The answer was interrupted. Please try again."


async def test_a_worker_killed_in_mid_reply_shows_a_sentence_and_a_retry_that_works(
    tab: Tab, server: Serving
) -> None:
    """Committed text stays visible; a retry yields the whole reply, and nothing is stored twice."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.write("Tell me everything")
    await tab.begins_to_stream()
    for worker in server.processes():
        if worker != server.process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    assert await tab.problem() == INTERRUPTED
    assert await tab.page.locator(".message-assistant[data-incomplete]").count() == 1
    _, partial = stored_messages(server.ready, conversation)
    assert partial["metadata"]["stopReason"] == "interrupted"
    await tab.reload()
    assert await tab.problem() == "This reply was interrupted."

    await tab.button("Try again").click()
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    assert await tab.page.locator(".problem, [data-incomplete]").count() == 0
    stored = stored_messages(server.ready, conversation)
    assert [message["role"] for message in stored] == ["user", "assistant"]
    assert len(await tab.texts()) == 2
    tab.problems = forgive_failed_requests(tab.problems)


async def test_an_error_of_the_service_is_shown_with_its_own_message(tab: Tab, server: Serving) -> None:
    """A conversation that was deleted elsewhere is reported as such, without a pointless retry."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    _delete(server.ready, conversation)
    await tab.write("Is anybody there?")
    assert await tab.problem() == "This conversation does not exist any more."
    assert await tab.button("Try again").count() == 0
    assert (await tab.texts())[0] == "Is anybody there?"


async def test_a_link_to_a_conversation_that_is_gone_says_so(tab: Tab, server: Serving) -> None:
    """An old address leads to an explanation, not to an empty page."""
    await tab.open(server.ready.coach_id, "conv_long_gone")
    assert await tab.problem() == "This conversation does not exist any more."
    tab.problems = forgive_failed_requests(tab.problems)


async def test_without_a_network_a_message_waits_until_it_is_back(tab: Tab, server: Serving) -> None:
    """An unsent message stays visible and is sent as soon as the network is back."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.page.context.set_offline(True)
    await tab.write("Sent from a tunnel")
    await tab.page.locator(".reconnecting").wait_for()
    await tab.page.context.set_offline(False)
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    stored = stored_messages(server.ready, conversation)
    assert [message["role"] for message in stored] == ["user", "assistant"]
    tab.problems = forgive_failed_requests(tab.problems)


async def test_a_message_that_cannot_be_sent_can_be_held_back(tab: Tab, server: Serving) -> None:
    """Stop ends the wait for the network; the message stays visible and can be sent later."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.page.context.set_offline(True)
    await tab.write("On second thoughts")
    await tab.page.wait_for_selector(".reconnecting", state="attached")
    await tab.button("Stop").click()
    assert await tab.problem() == "You stopped before the message is known to have arrived."
    await tab.page.context.set_offline(False)
    assert stored_messages(server.ready, conversation) == []
    await tab.button("Try again").click()
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    assert len(stored_messages(server.ready, conversation)) == 2
    tab.problems = forgive_failed_requests(tab.problems)


async def test_a_stream_without_a_terminal_event_is_not_taken_for_a_reply(tab: Tab, server: Serving) -> None:
    """A proxy that ends the response cleanly but too early is detected, and the message is sent again."""
    cuts: list[str] = []

    async def cut_once(route: Route) -> None:
        if cuts:
            await route.continue_()
            return
        cuts.append(route.request.url)
        body = 'data: {"type":"start"}\n\ndata: {"type":"chunk","content":"The first half"}\n\n'
        await route.fulfill(content_type="text/event-stream", body=body)

    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.page.route("**/stream", cut_once)
    reply = await tab.ask("Will this be cut?")
    assert cuts
    assert not reply.startswith("The first half")
    assert len(stored_messages(server.ready, conversation)) == 2


async def test_a_gateway_error_is_retried_for_a_minute(tab: Tab, server: Serving) -> None:
    """The gateway's page is not shown; after a minute our own message appears, with a retry."""
    asked = 0

    async def refuse(route: Route) -> None:
        nonlocal asked
        asked += 1
        await route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")

    await tab.page.clock.install()
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.page.route("**/stream", refuse)
    await tab.write("Hello?")
    await tab.page.locator(".reconnecting").wait_for(state="attached")
    await tab.page.clock.fast_forward("01:01")
    assert await tab.problem() == "The server could not respond. Please try again in a moment."
    assert asked >= 2
    assert await tab.button("Try again").is_visible()
    tab.problems = forgive_failed_requests(tab.problems)


async def test_an_expired_token_is_replaced_silently(tab: Tab, server: Serving) -> None:
    """The page signs in again and repeats the request; the user notices nothing."""
    refused: list[str] = []

    async def expire_once(route: Route) -> None:
        if refused:
            await route.continue_()
            return
        refused.append(route.request.url)
        body = 'data: {"type":"error","code":"TOKEN_EXPIRED","message":"Too old.","retryable":false}\n\n'
        await route.fulfill(status=401, content_type="text/event-stream", body=body)

    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.page.route("**/stream", expire_once)
    await tab.ask("Am I still signed in?")
    assert len(refused) == 1
    tab.problems = forgive_failed_requests(tab.problems)


def _delete(ready: Ready, conversation_id: str) -> None:
    """Delete a conversation behind the page's back."""
    address = f"{ready.conversations()}/{conversation_id}"
    httpx.delete(address, headers=ready.headers).raise_for_status()
