"""What belongs to one conversation stays there, however late it arrives."""

from __future__ import annotations

import httpx

from support.chat_page import Tab
from support.held_request import hold
from support.long_conversation import long_conversation, serve_conversation
from support.patience import PATIENCE_S
from support.serving import Serving, create_conversation

IN_VIEW = """(text) => {
  const { top, bottom } = document.getElementById("scroller").getBoundingClientRect();
  const node = [...document.querySelectorAll(".message")].find((each) => each.textContent.includes(text));
  const box = node?.getBoundingClientRect();
  return box && box.top >= top && box.top < bottom;
}"""


COUNT_RESPONSES = """() => {
  const { json } = Response.prototype;
  window.responses = 0;
  Response.prototype.json = async function () {
    // What awaits it runs first.
    return json.call(this).finally(() => setTimeout(() => (window.responses += 1)));
  };
}"""


async def show(tab: Tab, server: Serving, conversation: str | None = None) -> None:
    """Follow a link in the page, without loading it again."""
    parts = [server.ready.coach_id, *([] if conversation is None else [conversation])]
    await tab.evaluate("(hash) => { location.hash = hash; }", f"#/c/{'/'.join(parts)}")


async def a_rename(server: Serving, conversation: str, title: str) -> None:
    async with httpx.AsyncClient(headers=server.ready.headers, timeout=PATIENCE_S, trust_env=False) as client:
        renamed = await client.put(f"{server.ready.conversations()}/{conversation}", json={"title": title})
        assert renamed.status_code == httpx.codes.OK


async def test_the_first_message_does_not_come_back_in_another_conversation(
    tab: Tab, server: Serving
) -> None:
    """It was sent, and its reader left before the conversation had an id; nor does what was typed then."""
    elsewhere = create_conversation(server.ready)
    await tab.open(server.ready.coach_id)
    creation = await hold(tab, "POST", "/conversations")
    await tab.write("The first of a new conversation")
    await creation.is_made.wait()
    await tab.message_box.fill("A draft for its second")
    await show(tab, server, elsewhere)
    async with tab.page.expect_response(lambda each: each.request.method == "POST") as created:
        creation.released.set()
    conversation = (await (await created.value).json())["conversation"]["conversationId"]
    row = tab.page.locator(f"#conversations a[data-conversation={conversation}]")
    await row.wait_for()
    await row.locator(".replying").wait_for(state="detached")
    await show(tab, server)
    await tab.page.locator("#thread[data-status=empty]").wait_for()
    assert await tab.message_box.input_value() == ""
    await row.click()
    await tab.page.locator(".message-assistant[data-phase=stored]").wait_for()
    assert await tab.message_box.input_value() == "A draft for its second"


async def test_what_is_typed_while_a_conversation_is_created_is_its_draft(tab: Tab, server: Serving) -> None:
    """And not that of the next new one."""
    await tab.open(server.ready.coach_id)
    creation = await hold(tab, "POST", "/conversations")
    await tab.write("Begin")
    await creation.is_made.wait()
    await tab.message_box.fill("The second message")
    creation.released.set()
    await tab.page.locator(".message-assistant[data-phase=stored]").wait_for()
    assert await tab.message_box.input_value() == "The second message"
    begun = str(await tab.evaluate("() => location.hash"))
    await show(tab, server)
    await tab.page.locator("#thread[data-status=empty]").wait_for()
    assert await tab.message_box.input_value() == ""
    await show(tab, server, begun.rpartition("/")[2])
    await tab.page.locator(".message-assistant").wait_for()
    assert await tab.message_box.input_value() == "The second message"


async def test_an_export_is_named_after_its_own_conversation(tab: Tab, server: Serving) -> None:
    """Although another one is on view by the time it has been read."""
    legs, arms = create_conversation(server.ready), create_conversation(server.ready)
    await a_rename(server, legs, "About legs")
    await a_rename(server, arms, "About arms")
    await tab.open(server.ready.coach_id, legs)
    await tab.conversation("About arms").wait_for()
    reading = await hold(tab, "GET", f"/conversations/{legs}")
    await tab.button("Export").click()
    async with tab.page.expect_download() as downloading:
        await tab.page.get_by_role("button", name="Markdown", exact=True).click()
        await reading.is_made.wait()
        await show(tab, server, arms)
        await tab.page.locator("#conversations [aria-current=page]", has_text="About arms").wait_for()
        reading.released.set()
    download = await downloading.value
    assert download.suggested_filename == "About-legs.md"


async def test_a_message_is_found_while_earlier_ones_are_being_loaded(tab: Tab, server: Serving) -> None:
    """The search waits for them, and goes on."""
    conversation = create_conversation(server.ready)
    await serve_conversation(tab.page, server.ready, conversation, long_conversation(130))
    await tab.open(server.ready.coach_id, conversation)
    await tab.page.locator(".message").first.wait_for()
    path = f"/conversations/{conversation}"
    loading = await hold(tab, "GET", path, query_has="before=", is_old=False)
    await tab.evaluate("() => document.getElementById('scroller').scrollTo(0, 0)")
    await loading.is_made.wait()
    await tab.page.get_by_label("Search conversations and messages").fill("Question 12:")
    await tab.page.locator(".found", has_text="Question 12: what is next?").click()
    loading.released.set()
    await tab.until(IN_VIEW, "Question 12:")


async def test_what_was_read_before_a_turn_does_not_replace_it(tab: Tab, server: Serving) -> None:
    """A slow response from before it must not take its messages away, nor its conversation from the list."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.ask("Before")
    reading = await hold(tab, "GET", f"/conversations/{conversation}")
    listing = await hold(tab, "GET", "/conversations")
    await tab.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    for each in (reading, listing):
        await each.is_made.wait()
    await tab.evaluate(COUNT_RESPONSES)
    await tab.ask("After")
    await tab.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    await show(tab, server)
    await tab.ask("Something else altogether")
    await show(tab, server, conversation)
    await tab.page.locator(".message-user", has_text="After").wait_for()
    for each in (reading, listing):
        before = await tab.evaluate("() => window.responses")
        each.released.set()
        await tab.until("(before) => window.responses > before", before)
    assert [text for text in await tab.texts() if text in {"Before", "After"}] == ["Before", "After"]
    assert await tab.conversation("altogether").count() == 1


async def test_a_search_is_about_the_coach_on_view(tab: Tab, server: Serving) -> None:
    """Going to another coach searches the conversations with that one."""
    conversation = create_conversation(server.ready)
    await a_rename(server, conversation, "Only with this coach")
    await tab.open(server.ready.coach_id)
    await tab.page.get_by_label("Search conversations and messages").fill("only with this")
    await tab.page.locator(".found").wait_for()
    await tab.page.locator(f"#coaches a:not([data-coach='{server.ready.coach_id}'])").first.click()
    await tab.until("() => document.getElementById('found-status').textContent === 'Nothing found.'")
    assert await tab.page.locator(".found").count() == 0
