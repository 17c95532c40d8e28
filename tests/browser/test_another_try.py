"""Another try at the last exchange: another reply, another question, more of a reply, and the versions."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import httpx
import pytest

from support.bedrock_server import MODEL_ID
from support.chat_page import AXE, Tab, forgive_failed_requests, new_tab
from support.patience import PATIENCE_S
from support.serving import Ready, Serving, Silent, create_conversation, silent_server, stored_messages

if TYPE_CHECKING:
    from playwright.async_api import Browser

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
#: Whether the bubbles show just these texts.
SHOW = """(texts) => JSON.stringify(texts) === JSON.stringify(
  [...document.querySelectorAll(".message .message-text")].map((node) => node.textContent.trim()))"""
STORED = ".message-assistant[data-phase=stored]"


@pytest.fixture(scope="module")
def server(silent: Silent) -> Serving:
    """Replaces the server whose model keeps its own pace."""
    return silent.server


def said(ready: Ready, conversation: str) -> list[str]:
    """What is stored, in order."""
    return [message["content"] for message in stored_messages(ready, conversation)]


async def show(tab: Tab, *texts: str) -> None:
    """Wait until the bubbles show just these texts, and nothing is on its way."""
    await tab.until(SHOW, texts)
    await tab.page.locator("#composer[data-busy=false]").wait_for()


async def exchange(tab: Tab, silent: Silent) -> str:
    """A conversation with one exchange, on view."""
    ready = silent.server.ready
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    list(silent.model.reply_in_steps("First reply"))
    await tab.ask("A question")
    await tab.button("Regenerate").wait_for()
    return conversation


async def post(ready: Ready, conversation: str, **body: str) -> None:
    """Send a request from another device, and read its reply to the end."""
    async with httpx.AsyncClient(headers=ready.headers, trust_env=False, timeout=PATIENCE_S) as elsewhere:
        response = await elsewhere.post(ready.stream(conversation), json=body)
        assert response.status_code == httpx.codes.OK, response.text


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (320, 640)], ids=["desktop", "phone"])
async def test_a_reply_is_regenerated_and_the_older_one_can_be_looked_at_and_chosen(
    browser: Browser, silent: Silent, size: tuple[int, int], colours: Literal["light", "dark"]
) -> None:
    """The new one grows in the place of the old one; what is chosen is what is stored."""
    ready = silent.server.ready
    async with new_tab(browser, ready.url, size=size, touch=size[0] < 820, colours=colours) as tab:
        conversation = await exchange(tab, silent)
        speaking = silent.model.reply_in_steps("Second ", "reply")
        await tab.button("Regenerate").click()
        next(speaking)
        await tab.until(SHOW, ["A question", "Second"])
        list(speaking)
        await show(tab, "A question", "Second reply")
        assert said(ready, conversation) == ["A question", "Second reply"]
        await tab.button("2 versions").click()
        await tab.page.get_by_text("2 of 2").wait_for()
        assert await tab.button("Next version").is_disabled()
        if AXE.exists():
            assert await tab.violations() == []
        await tab.button("Previous version").click()
        await show(tab, "A question", "First reply")
        assert said(ready, conversation) == ["A question", "Second reply"]
        if AXE.exists():
            assert await tab.violations() == []
        assert await tab.evaluate(OVERFLOW) == 0
        await tab.button("Use this version").click()
        await tab.button("2 versions").wait_for()
        await show(tab, "A question", "First reply")
        assert said(ready, conversation) == ["A question", "First reply"]
        await tab.reload()
        await show(tab, "A question", "First reply")


async def test_versions_are_looked_at_with_the_keyboard_alone(tab: Tab, silent: Silent) -> None:
    """The focus stays on the button that was pressed, or on the message when that is gone."""
    await exchange(tab, silent)
    list(silent.model.reply_in_steps("Second reply"))
    await tab.button("Regenerate").focus()
    await tab.page.keyboard.press("Enter")
    await show(tab, "A question", "Second reply")
    assert await tab.evaluate("() => document.activeElement.matches('.message-assistant')")
    await tab.button("2 versions").focus()
    await tab.page.keyboard.press("Enter")
    await tab.page.get_by_text("2 of 2").wait_for()
    assert await tab.evaluate("() => document.activeElement.textContent") == "Close versions"
    await tab.button("Previous version").focus()
    await tab.page.keyboard.press("Enter")
    await show(tab, "A question", "First reply")
    await tab.button("Close versions").focus()
    await tab.page.keyboard.press("Enter")
    await show(tab, "A question", "Second reply")
    assert await tab.evaluate("() => document.activeElement.textContent") == "2 versions"


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (320, 640)], ids=["desktop", "phone"])
async def test_the_last_question_is_edited_and_sent_again(
    browser: Browser, silent: Silent, size: tuple[int, int], colours: Literal["light", "dark"]
) -> None:
    """Its box is in its place; Escape leaves it as it was."""
    ready = silent.server.ready
    async with new_tab(browser, ready.url, size=size, touch=size[0] < 820, colours=colours) as tab:
        conversation = await exchange(tab, silent)
        await tab.button("Edit message").click()
        box = tab.page.get_by_label("Edit your message")
        assert await box.input_value() == "A question"
        if AXE.exists():
            assert await tab.violations() == []
        assert await tab.evaluate(OVERFLOW) == 0
        await tab.page.keyboard.type("no more")
        await tab.page.keyboard.press("Escape")
        await show(tab, "A question", "First reply")
        await tab.until("() => document.activeElement.dataset.action === 'Edit message'")
        await tab.page.keyboard.press("Enter")
        await box.fill("<b>Another</b> question")
        list(silent.model.reply_in_steps("Another reply"))
        if tab.touch:
            await tab.page.locator(".edit-form").get_by_role("button", name="Send").click()
        else:
            await box.press("Enter")
        assert await tab.evaluate("() => document.activeElement.id") == "message"
        await show(tab, "<b>Another</b> question", "Another reply")
        assert await tab.evaluate("() => document.activeElement.id") == "message"
        assert said(ready, conversation) == ["<b>Another</b> question", "Another reply"]
        await tab.button("2 versions").click()
        await tab.button("Previous version").click()
        await show(tab, "A question", "First reply")


@pytest.fixture(scope="module")
def continuing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silent]:
    """A server whose model can continue a reply that was cut off."""
    data = tmp_path_factory.mktemp("continuing") / "data"
    with silent_server(data, COACHSTREAM_MODEL_ID=MODEL_ID) as running:
        yield running


async def stopped(tab: Tab, silent: Silent) -> str:
    """A conversation on view whose reply was stopped."""
    ready = silent.server.ready
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    speaking = silent.model.reply_in_steps("So far ", "never said")
    await tab.write("A question")
    next(speaking)
    await tab.begins_to_stream()
    await tab.button("Stop").click()
    await tab.page.locator(f"{STORED}[data-incomplete]").wait_for()
    return conversation


async def test_a_stopped_reply_goes_on_where_it_ends(browser: Browser, continuing: Silent) -> None:
    """What there is stays on view while more comes, under the same id."""
    ready = continuing.server.ready
    async with new_tab(browser, ready.url) as tab:
        conversation = await stopped(tab, continuing)
        before = [message["id"] for message in stored_messages(ready, conversation)]
        speaking = continuing.model.reply_in_steps("and ", "further")
        await tab.button("Continue").click()
        await tab.page.locator("#composer[data-busy=true]").wait_for()
        await tab.until(SHOW, ["A question", "So far"])
        next(speaking)
        await tab.until(SHOW, ["A question", "So far and"])
        list(speaking)
        await show(tab, "A question", "So far and further")
        assert [message["id"] for message in stored_messages(ready, conversation)] == before
        assert await tab.button("Continue").count() == 0


async def test_a_model_that_cannot_continue_leaves_the_reply_as_it_is(tab: Tab, silent: Silent) -> None:
    """The page says so, and offers to regenerate it."""
    conversation = await stopped(tab, silent)
    before = stored_messages(silent.server.ready, conversation)
    await tab.button("Continue").click()
    await tab.page.locator("#toast").wait_for()
    await show(tab, "A question", "So far")
    assert await tab.button("Regenerate").is_visible()
    assert stored_messages(silent.server.ready, conversation) == before
    tab.problems = forgive_failed_requests(tab.problems)


@pytest.mark.parametrize("kind", ["regenerate", "edit"])
async def test_a_try_goes_on_after_a_reload(tab: Tab, silent: Silent, kind: str) -> None:
    """The same request joins the run, so that there is no third version."""
    ready = silent.server.ready
    conversation = await exchange(tab, silent)
    speaking = silent.model.reply_in_steps("Second ", "reply")
    question = "A question"
    if kind == "regenerate":
        await tab.button("Regenerate").click()
    else:
        question = "Another question"
        await tab.button("Edit message").click()
        await tab.page.get_by_label("Edit your message").fill(question)
        await tab.page.keyboard.press("Enter")
    next(speaking)
    await tab.until(SHOW, [question, "Second"])
    await tab.reload()
    await tab.until(SHOW, [question, "Second"])
    list(speaking)
    await show(tab, question, "Second reply")
    await tab.button("2 versions").wait_for()
    assert said(ready, conversation) == [question, "Second reply"]


async def test_a_try_that_fails_changes_nothing(tab: Tab, silent: Silent) -> None:
    """The old exchange is back, with the reason, and the new text is in the message box."""
    ready = silent.server.ready
    conversation = await exchange(tab, silent)
    await tab.button("Edit message").click()
    list(silent.model.reply_in_steps("Elsewhere"))
    await post(ready, conversation, userResponse="From another device", clientMessageId="elsewhere")
    await tab.page.get_by_label("Edit your message").fill("Too late")
    await tab.page.keyboard.press("Enter")
    await tab.page.get_by_role("alert").first.wait_for()
    await tab.until("() => document.getElementById('message').value === 'Too late'")
    await show(tab, "A question", "First reply", "From another device", "Elsewhere")
    tab.problems = forgive_failed_requests(tab.problems)


async def test_stopping_a_try_before_its_first_word_brings_the_old_reply_back(
    tab: Tab, silent: Silent
) -> None:
    """Without a complaint: it is what the person wanted."""
    ready = silent.server.ready
    conversation = await exchange(tab, silent)
    speaking = silent.model.reply_in_steps("Never said")
    await tab.button("Regenerate").click()
    await tab.page.locator(".message-assistant[data-phase=thinking]").wait_for()
    await tab.button("Stop").click()
    await show(tab, "A question", "First reply")
    assert await tab.page.locator("#toast").is_hidden()
    list(speaking)
    assert said(ready, conversation) == ["A question", "First reply"]


async def test_a_version_that_cannot_be_chosen_any_more_leaves_the_page_with_what_is_stored(
    tab: Tab, silent: Silent
) -> None:
    """Another device has gone on meanwhile."""
    ready = silent.server.ready
    conversation = await exchange(tab, silent)
    list(silent.model.reply_in_steps("Second reply"))
    await tab.button("Regenerate").click()
    await show(tab, "A question", "Second reply")
    await tab.button("2 versions").click()
    await tab.button("Previous version").click()
    await show(tab, "A question", "First reply")
    list(silent.model.reply_in_steps("Elsewhere"))
    await post(ready, conversation, userResponse="From another device", clientMessageId="elsewhere")
    await tab.button("Use this version").click()
    await tab.page.get_by_role("alert").first.wait_for()
    await show(tab, "A question", "Second reply", "From another device", "Elsewhere")
    await tab.button("2 versions").wait_for()
    tab.problems = forgive_failed_requests(tab.problems)


async def test_a_version_whose_reply_was_interrupted_is_not_offered(tab: Tab, silent: Silent) -> None:
    """The service refuses to choose it; it can be looked at."""
    ready = silent.server.ready
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    speaking = silent.model.reply_in_steps("So far ", "never said")
    await tab.write("A question")
    next(speaking)
    await tab.begins_to_stream()
    for worker in silent.server.processes():
        if worker != silent.server.process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    await tab.problem()
    question, interrupted = stored_messages(ready, conversation)
    assert interrupted["metadata"]["stopReason"] == "interrupted"
    list(silent.model.reply_in_steps("A whole reply"))
    body = {"userResponse": "Another question", "replaces": question["id"], "clientMessageId": "edited"}
    await post(ready, conversation, **body)
    await tab.reload()
    await show(tab, "Another question", "A whole reply")
    await tab.button("2 versions").click()
    await tab.button("Previous version").click()
    await show(tab, "A question", "So far")
    assert await tab.button("Use this version").count() == 0
    tab.problems = forgive_failed_requests(tab.problems)
