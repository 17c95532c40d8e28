"""Everything that a user does, one thing after another, on one page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.bedrock_server import SteeredBedrock
from support.chat_page import Tab, new_tab
from support.cognito import UserPool
from support.serving import Silent, silent_server

if TYPE_CHECKING:
    from playwright.async_api import Browser

#: Whether the bubbles show just these texts.
SHOW = """(texts) => JSON.stringify(texts) === JSON.stringify(
  [...document.querySelectorAll(".message .message-text")].map((node) => node.textContent.trim()))"""
TABLE = "| Day | Session |\n|-----|---------|\n| Mon | Squat |\n"


@pytest.fixture(scope="module")
def pool(moto_url: str) -> Iterator[UserPool]:
    """Issues the users' tokens."""
    pool = UserPool(moto_url)
    pool.add_user("ada", "ada-user-id")
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def service(pool: UserPool, moto_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silent]:
    """Accepts the pool's tokens only."""
    variables = {"AWS_ENDPOINT_URL": moto_url, "USER_POOL_ID": pool.id, "APP_CLIENT_ID": pool.client_id}
    data = tmp_path_factory.mktemp("whole-session") / "data"
    with silent_server(data, "--identity", "cognito", **variables) as running:
        yield running


async def download(tab: Tab, button: str, folder: Path) -> str:
    """Press a button, and return what the file says that comes."""
    async with tab.page.expect_download() as downloading:
        await tab.page.get_by_role("button", name=button, exact=True).click()
    file = await downloading.value
    await file.save_as(folder / file.suggested_filename)
    return (folder / file.suggested_filename).read_text()


async def sign_in(tab: Tab, token: str) -> None:
    """Sign in."""
    await tab.open()
    await tab.page.get_by_label("Paste yours").fill(token)
    await tab.button("Sign in").click()
    await tab.page.locator("#composer[data-busy=false]").wait_for()
    tab.problems = [problem for problem in tab.problems if "401" not in problem]
    await tab.page.get_by_role("link", name="New conversation").click()
    await tab.page.locator(".welcome").wait_for()


async def get_a_plan(tab: Tab, model: SteeredBedrock) -> None:
    """Ask; a table comes, and grows on after a reload."""
    speaking = model.reply_in_steps("Your plan:\n\n", TABLE, "| Wed | Row |\n")
    await tab.write("A plan, please")
    next(speaking)
    next(speaking)
    await tab.page.locator("table td", has_text="Squat").wait_for()
    await tab.reload()
    await tab.page.locator("table td", has_text="Squat").wait_for()
    list(speaking)
    await tab.page.locator("table td", has_text="Row").wait_for()
    await tab.page.locator(".message-assistant[data-phase=stored]").wait_for()


async def copy_it(tab: Tab) -> None:
    """Copy it."""
    await tab.page.locator(".message-assistant").get_by_role("button", name="Copy message").click()
    await tab.until("() => document.getElementById('announcer').textContent === 'Copied.'")
    copied = await tab.evaluate("() => navigator.clipboard.readText()")
    assert copied.startswith(f"Your plan:\n\n{TABLE}")


async def try_again(tab: Tab, model: SteeredBedrock) -> None:
    """Edit the question."""
    await tab.button("Edit message").click()
    list(model.reply_in_steps("A shorter plan"))
    await tab.page.get_by_label("Edit your message").fill("A short plan, please")
    await tab.page.keyboard.press("Enter")
    await tab.until(SHOW, ["A short plan, please", "A shorter plan"])


async def regenerate(tab: Tab, model: SteeredBedrock) -> None:
    """Regenerate the reply."""
    await tab.button("Regenerate").wait_for()
    list(model.reply_in_steps("The shortest plan"))
    await tab.button("Regenerate").click()
    await tab.until(SHOW, ["A short plan, please", "The shortest plan"])
    await tab.button("3 versions").wait_for()


async def ask_during_a_reply(tab: Tab, model: SteeredBedrock) -> None:
    """Ask something during the next reply."""
    speaking = model.reply_in_steps("As you wish", ".")
    await tab.write("Thank you")
    next(speaking)
    await tab.begins_to_stream()
    await tab.write("And good night")
    await tab.page.get_by_text("queued, position 1").wait_for()
    list(speaking)
    await tab.page.locator(".message-assistant[data-phase=stored] >> nth=2").wait_for()


async def find_it(tab: Tab) -> None:
    """Find it."""
    box = tab.page.get_by_label("Search conversations and messages")
    await box.fill("good NIGHT")
    await tab.page.locator(".found", has_text="And good night").click()
    await tab.until("() => document.activeElement.textContent.includes('And good night')")
    await box.press("Escape")


async def take_it_along(tab: Tab, folder: Path) -> None:
    """Take it along."""
    await tab.button("Export").click()
    exported = json.loads(await download(tab, "JSON", folder))
    assert [message["content"] for message in exported["messages"]] == [
        *("A short plan, please", "The shortest plan", "Thank you", "As you wish."),
        *("And good night", "As you wish."),
    ]
    await tab.button("Your data").click()
    everything = await download(tab, "Export my data", folder)
    assert "A shorter plan" in everything
    assert json.loads(everything.splitlines()[-1])["type"] == "complete"
    await tab.page.get_by_role("button", name="Close", exact=True).click()


async def delete_everything(tab: Tab) -> None:
    """Leave nothing behind."""
    await tab.button("Your data").click()
    await tab.button("Delete everything").click()
    await tab.page.keyboard.type("delete")
    await tab.page.keyboard.press("Enter")
    await tab.page.get_by_role("dialog", name="Everything is deleted").wait_for()
    await tab.page.get_by_role("button", name="Close", exact=True).click()
    await tab.page.locator(".welcome").wait_for()
    await tab.page.get_by_text("Your conversations will be listed here.").wait_for()
    await tab.reload()
    await tab.page.locator(".welcome").wait_for()


async def test_a_whole_session(browser: Browser, service: Silent, pool: UserPool, tmp_path: Path) -> None:
    """From signing in to deleting everything."""
    model = service.model
    async with new_tab(browser, service.server.ready.url) as tab:
        await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await sign_in(tab, pool.sign_in("ada").id)
        await get_a_plan(tab, model)
        await copy_it(tab)
        await try_again(tab, model)
        await regenerate(tab, model)
        await ask_during_a_reply(tab, model)
        await find_it(tab)
        await take_it_along(tab, tmp_path)
        await delete_everything(tab)
