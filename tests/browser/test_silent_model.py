"""The page while the model is silent: what a reader who joins later sees and can do."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
import pytest

from support.bedrock_server import SteeredBedrock, steered_bedrock
from support.chat_page import Tab
from support.elsewhere import CREDENTIALS
from support.patience import PATIENT
from support.serving import Serving, create_conversation, serving, stored_messages


class Silent(msgspec.Struct, frozen=True):
    """A server and its model, which sends a word when the test releases it."""

    server: Serving
    model: SteeredBedrock


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silent]:
    """`coachstream serve` with a model controlled by the test."""
    with steered_bedrock() as model:
        environment = {
            **os.environ,
            **CREDENTIALS,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url,
            **PATIENT,
        }
        data = tmp_path_factory.mktemp("silent") / "data"
        with serving(data, "--model", "bedrock", environment=environment) as running:
            yield Silent(running, model)


@pytest.fixture(scope="module")
def server(silent: Silent) -> Serving:
    """Replaces the shared server, whose model replies at once."""
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
        await page.button("Send").wait_for()
        await page.page.wait_for_selector(".message-assistant[data-phase=stored][data-incomplete]")
    _, reply = stored_messages(ready, conversation)
    assert (reply["content"], reply["metadata"]["stopReason"]) == ("", "stopped")


#: Whether the newest reply shows just this text; a space at its end is shown with the next word.
SHOWS = """(text) =>
  document.querySelector(".message-assistant .message-text")?.textContent.trimEnd() === text.trimEnd()"""


async def test_a_reply_goes_on_growing_after_a_reload(tab: Tab, silent: Silent) -> None:
    """The earlier text is shown before the model sends more; the rest arrives word by word."""
    words = [f"word{number} " for number in range(20)]
    speaking = silent.model.reply_in_steps(*words)
    ready = silent.server.ready
    conversation = create_conversation(ready)
    await tab.open(ready.coach_id, conversation)
    await tab.write("A long story whose middle I miss")
    for _ in range(10):
        next(speaking)
    await tab.until(SHOWS, "".join(words[:10]))
    await tab.reload()
    await tab.until(SHOWS, "".join(words[:10]))
    for number, _ in enumerate(speaking, 11):
        await tab.until(SHOWS, "".join(words[:number]))
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    _, reply = stored_messages(ready, conversation)
    assert reply["content"] == "".join(words)
    assert await tab.evaluate(SHOWS, reply["content"])
