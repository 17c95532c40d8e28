"""Taking all of one's data along, and having it deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from support.chat_page import AXE, Tab, forgive_failed_requests, new_tab
from support.serving import Ready, Serving, create_conversation, serving

if TYPE_CHECKING:
    from playwright.async_api import Browser, Route

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
REMEMBERED = "() => Object.keys(localStorage).filter((name) => name.startsWith('coachstream.')).sort()"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Replaces the server that the other modules share: here everything is deleted."""
    with serving(tmp_path_factory.mktemp("user-data") / "data") as running:
        yield running


async def open_dialog(tab: Tab) -> None:
    """Open the dialog, from the drawer on a phone."""
    if tab.touch:
        await tab.button("Conversations").click()
    await tab.button("Your data").click()
    await tab.page.get_by_role("dialog", name="Your data").wait_for()


async def lines_exported(tab: Tab, folder: Path, button: str = "Export my data") -> list[dict[str, object]]:
    """Press the button, and decode the file that comes."""
    async with tab.page.expect_download() as downloading:
        await tab.button(button).click()
    download = await downloading.value
    path = folder / download.suggested_filename
    assert path.suffix == ".jsonl"
    await download.save_as(path)
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


async def stored_lines(ready: Ready) -> list[dict[str, object]]:
    """The export that a script gets."""
    async with httpx.AsyncClient(headers=ready.headers, trust_env=False) as client:
        text = (await client.get(f"{ready.conversations_url}users/{ready.user_id}/export")).text
    return [json.loads(line) for line in text.splitlines()]


async def test_everything_is_exported_as_json_lines(tab: Tab, server: Serving, tmp_path: Path) -> None:
    """What the service has, each record on its line, and how many they are."""
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.ask("A line\nand another one")
    await open_dialog(tab)
    exported = await lines_exported(tab, tmp_path)
    assert exported == [line for line in await stored_lines(server.ready) if line["type"] != "page"]
    assert exported[-1] == {"type": "complete", "records": len(exported) - 1}
    await tab.page.get_by_text("The file is in your downloads").wait_for()
    await tab.page.get_by_role("button", name="Close", exact=True).click()
    assert await tab.evaluate("() => document.activeElement.id") == "user-data"


def record(name: str) -> dict[str, object]:
    """A line of an export."""
    return {"type": "record", "kind": "workout", "id": name, "data": {"text": "ä\u2028"}}


PAGE: dict[str, object] = {"type": "page", "next": "c1"}
BROKEN: dict[str, object] = {
    "type": "error",
    "message": "The store failed.",
    "code": "STORAGE_UNAVAILABLE",
    "retryable": True,
}
FIRST: list[dict[str, object]] = [record("a"), PAGE, record("b")]
REST: list[dict[str, object]] = [record("b"), {"type": "complete", "records": 2}]


async def script_exports(tab: Tab, responses: Sequence[Sequence[object]]) -> list[str | None]:
    """Respond to each request with the next of these; returns the cursors that were asked for."""
    asked: list[str | None] = []

    async def respond(route: Route) -> None:
        lines = responses[len(asked)]
        asked.append(parse_qs(urlsplit(route.request.url).query).get("after", [None])[0])
        body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        await route.fulfill(body=body, content_type="application/x-ndjson")

    await tab.page.route("**/users/*/export*", respond)
    return asked


@pytest.mark.parametrize(
    "first",
    [FIRST, [*FIRST, BROKEN], [record("a"), PAGE, {"type": "reconnect", "after": "c1"}]],
    ids=["cut off", "broken", "another response"],
)
async def test_an_export_goes_on_behind_the_last_whole_page(
    tab: Tab, server: Serving, tmp_path: Path, first: list[object]
) -> None:
    """No record is in it twice, and none is missing."""
    asked = await script_exports(tab, [first, REST])
    await tab.open(server.ready.coach_id)
    await open_dialog(tab)
    assert await lines_exported(tab, tmp_path) == [record("a"), *REST]
    assert asked == [None, "c1"]


async def test_an_export_that_failed_can_go_on(tab: Tab, server: Serving, tmp_path: Path) -> None:
    """After as many attempts as are worth it, the person decides; what has arrived is kept."""
    asked = await script_exports(tab, [FIRST, *[[BROKEN]] * 4, REST])
    await tab.open(server.ready.coach_id)
    await open_dialog(tab)
    await tab.button("Export my data").click()
    await tab.page.get_by_role("alert").get_by_text("The store failed.").wait_for()
    assert await lines_exported(tab, tmp_path, "Go on") == [record("a"), *REST]
    assert asked == [None, *["c1"] * 5]


async def test_an_export_without_all_of_its_records_is_no_export(tab: Tab, server: Serving) -> None:
    """The count at its end is checked."""
    await script_exports(tab, [[record("a"), {"type": "complete", "records": 2}]])
    await tab.open(server.ready.coach_id)
    await open_dialog(tab)
    await tab.button("Export my data").click()
    await tab.page.get_by_role("alert").get_by_text("The export is incomplete.").wait_for()


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (320, 640)], ids=["desktop", "phone"])
async def test_everything_is_deleted_once_the_word_is_typed(
    browser: Browser, server: Serving, size: tuple[int, int], colours: Literal["light", "dark"]
) -> None:
    """The page begins again, without what it remembered; the report says what other functions keep."""
    ready = server.ready
    async with new_tab(browser, ready.url, size=size, touch=size[0] < 820, colours=colours) as tab:
        await tab.open(ready.coach_id, create_conversation(ready))
        await tab.ask("Please remember that I sleep badly.")
        await tab.message_box.fill("A draft")
        await open_dialog(tab)
        assert await violations(tab) == []
        await tab.button("Delete everything").click()
        confirm = tab.button("Delete for good")
        assert await confirm.is_disabled()
        await tab.page.keyboard.type("delet")
        await tab.page.keyboard.press("Enter")
        assert await confirm.is_disabled()
        assert await violations(tab) == []
        await tab.page.keyboard.type("e")
        await tab.page.keyboard.press("Enter")
        dialog = tab.page.get_by_role("dialog", name="Everything is deleted")
        await dialog.wait_for()
        said = await dialog.inner_text()
        assert "memor" in said
        assert "coach: " in said
        assert await violations(tab) == []
        assert await tab.evaluate(OVERFLOW) == 0
        await tab.page.get_by_role("button", name="Close", exact=True).click()
        assert await tab.evaluate("() => document.activeElement.id") == "user-data"
        await tab.page.wait_for_selector(".welcome")
        assert await tab.message_box.input_value() == ""
        await tab.page.get_by_text("Your conversations will be listed here.").wait_for(state="attached")
        assert await tab.evaluate(REMEMBERED) == []
    kinds = {line["kind"] for line in await stored_lines(ready) if line["type"] == "record"}
    assert not kinds & {"coachConversation", "userMemory"}


async def violations(tab: Tab) -> list[str]:
    """What axe finds, if it is installed."""
    return await tab.violations() if AXE.exists() else []


async def test_a_deletion_is_repeated_until_it_is_complete(tab: Tab, server: Serving) -> None:
    """After a failure it can go on; nothing closes the dialog before it is known how it ends."""
    parts = [(False, 3), (None, 0), (False, 2), (True, 1)]
    asked: list[str] = []

    async def respond(route: Route) -> None:
        is_complete, conversations = parts[len(asked)]
        asked.append(route.request.method)
        if is_complete is None:
            body: dict[str, object] = {"error": "The store failed.", "code": "STORAGE_UNAVAILABLE"}
            await route.fulfill(json=body, status=503)
            return
        if is_complete:
            # Chrome allows a page to keep a dialog open only so often.
            for _ in range(4):
                await tab.page.keyboard.press("Escape")
        deleted = {"conversations": conversations, "memories": 0, "remnants": 0}
        report = {"success": True, "isComplete": is_complete, "deleted": deleted, "semanticMemory": None}
        await route.fulfill(json={**report, "left": {} if is_complete else None})

    await tab.page.route("**/users/*/data", respond)
    await tab.open(server.ready.coach_id)
    await open_dialog(tab)
    await tab.button("Delete everything").click()
    await tab.page.get_by_label("to confirm").fill("DELETE")
    await tab.button("Delete for good").click()
    await tab.page.get_by_role("alert").get_by_text("The store failed.").wait_for()
    await tab.button("Go on").click()
    dialog = tab.page.get_by_role("dialog", name="Everything is deleted")
    await dialog.wait_for()
    assert asked == ["DELETE"] * 4
    assert "3 conversations" in await dialog.inner_text()
    tab.problems = forgive_failed_requests(tab.problems)
