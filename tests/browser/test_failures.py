"""When something goes wrong: a sentence, and a way on that stores nothing twice."""

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


async def test_a_worker_killed_in_mid_reply_shows_a_sentence_and_a_retry_that_works(
    tab: Tab, server: Serving
) -> None:
    """What arrived stays in view; trying again gives the whole reply, and nothing is stored twice."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.write("Tell me everything")
    await tab.begins_to_stream()
    for worker in server.processes():
        if worker != server.process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    assert await tab.problem() == "The connection was lost in the middle of the reply."
    assert await tab.page.locator(".message-assistant[data-interrupted]").count() == 1

    await tab.button("Try again").click()
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    assert await tab.page.locator(".problem, [data-interrupted]").count() == 0
    stored = stored_messages(server.ready, conversation)
    assert [message["role"] for message in stored] == ["user", "assistant"]
    assert len(await tab.texts()) == 2
    tab.problems = forgive_failed_requests(tab.problems)


async def test_an_error_of_the_service_shows_its_own_sentence(tab: Tab, server: Serving) -> None:
    """A conversation that was deleted elsewhere says so, and offers no retry that could not help."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    _delete(server.ready, conversation)
    await tab.write("Is anybody there?")
    assert await tab.problem() == "This conversation does not exist any more."
    assert await tab.button("Try again").count() == 0
    assert (await tab.texts())[0] == "Is anybody there?"


async def test_a_link_to_a_conversation_that_is_gone_says_so(tab: Tab, server: Serving) -> None:
    """An old address leads to a sentence, not to an empty page."""
    await tab.open(server.ready.coach_id, "conv_long_gone")
    assert await tab.problem() == "This conversation does not exist any more."
    tab.problems = forgive_failed_requests(tab.problems)


async def test_without_a_network_a_message_waits_for_its_retry(tab: Tab, server: Serving) -> None:
    """A message that could not be sent is kept in view, and is sent when the network is back."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.page.context.set_offline(True)
    await tab.write("Sent from a tunnel")
    assert await tab.problem() == "The server cannot be reached. Is your connection all right?"
    await tab.page.context.set_offline(False)
    await tab.button("Try again").click()
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    stored = stored_messages(server.ready, conversation)
    assert [message["role"] for message in stored] == ["user", "assistant"]
    tab.problems = forgive_failed_requests(tab.problems)


async def test_a_stream_without_a_terminal_event_is_not_taken_for_a_reply(tab: Tab, server: Serving) -> None:
    """A proxy that ends the response cleanly in the middle is noticed."""

    async def cut(route: Route) -> None:
        body = 'data: {"type":"start"}\n\ndata: {"type":"chunk","content":"The first half"}\n\n'
        await route.fulfill(content_type="text/event-stream", body=body)

    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.page.route("**/stream", cut)
    await tab.write("Will this be cut?")
    assert await tab.problem() == "The reply ended before it was finished."
    assert (await tab.texts())[1] == "The first half"


async def test_a_proxy_that_answers_with_a_page_of_its_own_is_not_shown(tab: Tab, server: Serving) -> None:
    """A gateway's error page gives our sentence, with a retry."""

    async def refuse(route: Route) -> None:
        await route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")

    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.page.route("**/stream", refuse)
    await tab.write("Hello?")
    assert await tab.problem() == "The server could not answer. Please try again in a moment."
    assert await tab.button("Try again").is_visible()
    tab.problems = forgive_failed_requests(tab.problems)


async def test_an_expired_token_is_replaced_without_a_word(tab: Tab, server: Serving) -> None:
    """The page signs in again and repeats the request; the person notices nothing."""
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


async def test_stopping_keeps_what_was_read_and_the_whole_reply_can_be_had(tab: Tab, server: Serving) -> None:
    """Escape stops the text at once; the coach finishes, and the rest comes when it is asked for."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.write("A long story, please")
    await tab.begins_to_stream()
    await tab.page.keyboard.press("Escape")
    await tab.button("Show the whole reply").click()
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    stored = stored_messages(server.ready, conversation)
    assert [message["role"] for message in stored] == ["user", "assistant"]
    assert await tab.page.locator("[data-interrupted]").count() == 0


def _delete(ready: Ready, conversation_id: str) -> None:
    """Delete a conversation behind the page's back."""
    address = f"{ready.conversations()}/{conversation_id}"
    httpx.delete(address, headers=ready.headers).raise_for_status()
