"""Talking to a coach: what the user types, sees and finds again later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.chat_page import RECORD_GROWTH, RECORD_STATES, Tab, new_tab
from support.serving import Serving, Silent, create_conversation, stored_messages

if TYPE_CHECKING:
    from playwright.async_api import Browser


IS_CALLED = "(title) => document.querySelector('#conversations a[aria-current=page]')?.innerText === title"
"""What the list calls the conversation on view."""

AT_END = """() => {
  const { scrollHeight, scrollTop, clientHeight } = document.getElementById("scroller");
  return scrollHeight - scrollTop - clientHeight < 40;
}"""


async def test_a_typed_message_makes_a_bubble_grow_word_by_word(browser: Browser, silent: Silent) -> None:
    """The reply is visible at many lengths, only ever grows, and ends as the stored text."""
    server = silent.server
    words = [f"word{number} " for number in range(5)]
    speaking = silent.model.reply_in_steps(*words)
    conversation = create_conversation(server.ready)
    async with new_tab(browser, server.ready.url, motion=True) as tab:
        await tab.open(server.ready.coach_id, conversation)
        await tab.evaluate(RECORD_GROWTH)
        await tab.write("How was my week?")
        for word in words:
            next(speaking)
            await tab.page.locator(".message-assistant", has_text=word.strip()).wait_for()
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
        lengths = [length for length in await tab.evaluate("() => window.lengths") if length > 0]
        assert len(set(lengths)) >= len(words), lengths
        assert lengths == sorted(lengths)

        question, reply = stored_messages(server.ready, conversation)
        assert (question["role"], question["content"]) == ("user", "How was my week?")
        shown = await tab.evaluate(
            "() => document.querySelector('.message-assistant .message-text').textContent"
        )
        assert _letters(shown) == _letters(reply["content"])


async def test_a_reply_shows_that_the_coach_is_thinking_and_then_how_long_it_took(
    tab: Tab, server: Serving
) -> None:
    """An indicator appears before the first word, a cursor while the reply grows, and timings at the end."""
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.evaluate(RECORD_STATES)
    await tab.ask("What is next?")
    states = await tab.evaluate("() => window.states")
    assert states[-3:] == ["thinking waits 0", "streaming 1", "stored 0"], states
    small_print = await tab.page.locator(".message-assistant .small-print").inner_text()
    assert "first word" in small_print
    assert "total" in small_print


async def test_what_was_done_besides_the_reply_is_shown_below_it(tab: Tab, server: Serving) -> None:
    """The demo saves what it is asked to, logs what was done, and its next reply knows of both."""
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.ask("I just did 5x5 squats at 100 kg. Please remember that I am allergic to peanuts.")
    notices = tab.page.locator(".message-assistant .notice")
    assert await notices.all_inner_texts() == [
        "Saved to memory: “I am allergic to peanuts”",
        "Workout sent to your training log.",
    ]
    assert "I just did 5x5 squats at 100 kg" in await tab.ask("What was my last workout?")


async def test_a_reload_shows_the_saved_conversation(tab: Tab, server: Serving) -> None:
    """Earlier messages are shown again, in the same order and under the same address."""
    await tab.open(server.ready.coach_id)
    reply = await tab.ask("Remember what I ask now")
    address = tab.page.url
    await tab.reload()
    assert tab.page.url == address
    assert await tab.texts() == ["Remember what I ask now", reply]


async def test_the_first_message_makes_the_conversation_and_names_it(tab: Tab, server: Serving) -> None:
    """In the list and above the messages: by the message at first, then by a title of its own."""
    await tab.open(server.ready.coach_id)
    message = "Please remember that I am allergic to peanuts"
    await tab.write(message)
    await tab.until(IS_CALLED, message)
    await tab.until(IS_CALLED, "Allergic to peanuts")
    assert await tab.page.locator("#title").inner_text() == "Allergic to peanuts"
    assert (await tab.texts())[0] == message
    await tab.reload()
    await tab.until(IS_CALLED, "Allergic to peanuts")


async def test_a_title_of_the_user_s_own_stays(tab: Tab, server: Serving) -> None:
    """One that they give while the coach still replies."""
    await tab.open(server.ready.coach_id)
    await tab.write("Please remember that I train at dawn")
    await tab.begins_to_stream()
    await tab.page.locator("#conversations a[aria-current=page]").focus()
    await tab.page.keyboard.press("F2")
    await tab.page.keyboard.type("Dawn")
    await tab.page.keyboard.press("Enter")
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    await tab.ask("And at dusk?")
    await tab.reload()
    await tab.until(IS_CALLED, "Dawn")


async def test_leaving_a_conversation_in_mid_reply_mixes_nothing_up(browser: Browser, silent: Silent) -> None:
    """The reply arrives in its own conversation; the other one keeps its draft and accepts messages."""
    server = silent.server
    coach = server.ready.coach_id
    first, second = create_conversation(server.ready), create_conversation(server.ready)
    async with new_tab(browser, server.ready.url) as tab:
        await tab.open(coach, second)
        await tab.message_box.fill("A draft for later")
        await tab.open(coach, first)
        await tab.until("() => document.getElementById('message').value === ''")
        speaking = silent.model.reply_in_steps("The ", "first reply")
        await tab.write("A question in the first one")
        next(speaking)
        await tab.begins_to_stream()

        await tab.page.evaluate("(hash) => { location.hash = hash; }", f"#/c/{coach}/{second}")
        await tab.until("() => document.getElementById('message').value === 'A draft for later'")
        assert await tab.texts() == []
        list(silent.model.reply_in_steps("The second reply"))
        assert await tab.ask("A question in the second one") == "The second reply"
        assert await tab.texts() == ["A question in the second one", "The second reply"]

        list(speaking)
        await tab.page.evaluate("(hash) => { location.hash = hash; }", f"#/c/{coach}/{first}")
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
        assert await tab.texts() == ["A question in the first one", "The first reply"]
        assert stored_messages(server.ready, first)[0]["content"] == "A question in the first one"


async def test_markup_in_a_message_is_shown_as_text(tab: Tab, server: Serving) -> None:
    """Neither a message, nor a title, nor a coach quoting a message ever becomes HTML."""
    attack = "<img src=x onerror='window.attacked=1'><script>window.attacked=1</script> **<b>bold</b>**"
    await tab.open(server.ready.coach_id)
    await tab.ask(attack)
    await tab.reload()
    await tab.page.wait_for_selector(".message")
    assert (await tab.texts())[0] == attack
    assert await tab.page.locator(".thread :is(img, script, b), .sidebar :is(img, script, b)").count() == 0
    assert await tab.evaluate("() => window.attacked") is None


async def test_code_can_be_copied_as_it_is(browser: Browser, silent: Silent) -> None:
    """With its indentation, by the button above it, which says so."""
    ready = silent.server.ready
    async with new_tab(browser, ready.url) as tab:
        await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await tab.open(ready.coach_id, create_conversation(ready))
        speaking = silent.model.reply_in_steps("Do:\n\n```\nEMOM 10:\n  5 <pull>-ups\n```\n\nEnjoy **it**.")
        await tab.write("A workout, please")
        list(speaking)
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
        await tab.button("Copy code").click()
        await tab.until("() => document.getElementById('announcer').textContent === 'Copied.'")
        assert await tab.evaluate("() => navigator.clipboard.readText()") == "EMOM 10:\n  5 <pull>-ups\n"


async def test_two_tabs_can_talk_in_turn(tab: Tab, server: Serving) -> None:
    """Messages sent in one tab are shown in the other, which can continue the conversation."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    other = Tab(await tab.page.context.new_page(), server.ready.url)
    await other.open(server.ready.coach_id, conversation)
    reply = await tab.ask("Asked in the first tab")
    await other.page.wait_for_selector(".message-assistant[data-phase=stored]")
    assert await other.texts() == ["Asked in the first tab", reply]
    answer = await other.ask("Asked in the second tab")
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored] >> nth=1")
    assert await tab.texts() == ["Asked in the first tab", reply, "Asked in the second tab", answer]
    assert other.problems == []


async def test_two_devices_can_talk_in_turn(browser: Browser, server: Serving) -> None:
    """After its own turn, each one also shows what the other one has said in the meantime."""
    ready = server.ready
    conversation = create_conversation(ready)
    async with new_tab(browser, ready.url) as laptop, new_tab(browser, ready.url) as phone:
        await laptop.open(ready.coach_id, conversation)
        await phone.open(ready.coach_id, conversation)
        first = await phone.ask("Asked on the phone")
        await laptop.write("Asked on the laptop")
        await laptop.page.wait_for_selector(".message-assistant[data-phase=stored] >> nth=1")
        questions = ["Asked on the phone", "Asked on the laptop"]
        assert (await laptop.texts())[::2] == questions
        assert (await laptop.texts())[1] == first
        assert (await phone.texts())[::2] == questions[:1]


async def test_reading_further_up_is_not_disturbed_by_a_growing_reply(
    browser: Browser, server: Serving
) -> None:
    """Scrolling up stops the page from following the text; a button scrolls back to the end."""
    async with new_tab(browser, server.ready.url, size=(900, 420), motion=True) as tab:
        await tab.open(server.ready.coach_id, create_conversation(server.ready))
        await tab.ask("A first question, to have something to scroll")
        await tab.write("A second question")
        await tab.begins_to_stream()
        await tab.until(AT_END)
        await tab.evaluate("() => { document.getElementById('scroller').scrollTop = 0; }")
        await tab.button("Jump to latest").wait_for()
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored] >> nth=1")
        assert await tab.evaluate("() => document.getElementById('scroller').scrollTop") == 0
        await tab.button("Jump to latest").click()
        await tab.until(AT_END)
        await tab.button("Jump to latest").wait_for(state="hidden")


def _letters(text: str) -> str:
    """The text without the markup and whitespace that become paragraphs, lists and bold text."""
    return "".join(character for character in text if character.isalpha())
