"""The page on a slow network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from support.chat_page import AXE, Tab, forgive_failed_requests
from support.serving import Serving, create_conversation

if TYPE_CHECKING:
    from playwright.async_api import Route

#: Whether every module but the held one has arrived.
PRELOADED = """() => {
  const links = [...document.querySelectorAll("link[rel=modulepreload]")].map(({ href }) => href);
  const arrived = new Set(performance.getEntriesByType("resource").map(({ name }) => name));
  return document.getElementById("composer") && links.length > 20
    && links.every((href) => arrived.has(href) || href.endsWith("/main.js"));
}"""

#: Of each file and response: its address, whether the first paint waits for it, and its compressed bytes.
LOADED = """() => performance.getEntriesByType("resource")
  .map(({ name, renderBlockingStatus, encodedBodySize }) => [name, renderBlockingStatus, encodedBodySize])"""
MOST_FILES = 52
MOST_BYTES = 125_000


def is_of_a_function(url: str) -> bool:
    """Whether it is no file of the page."""
    return urlsplit(url).path.startswith(("/users/", "/local/"))


async def test_the_page_is_compressed(tab: Tab, server: Serving) -> None:
    """A third of its bytes cross the network; an unchanged file is still not sent again."""
    sizes: list[tuple[int, int]] = []
    files: list[str] = []
    tab.page.on("request", lambda request: files.append(request.url.partition("#")[0]))
    await tab.open(server.ready.coach_id)
    async with httpx.AsyncClient(trust_env=False) as client:
        for url in sorted(set(files)):
            if "/local/" in url or "/users/" in url:
                continue
            headers = {"Accept-Encoding": "gzip"}
            async with client.stream("GET", url, headers=headers) as response:
                sent = b"".join([part async for part in response.aiter_raw()])
                etag = response.headers["etag"]
            sizes.append((len(sent), len((await client.get(url, headers={"Accept-Encoding": ""})).content)))
            again = await client.get(url, headers={**headers, "If-None-Match": etag})
            assert again.status_code == httpx.codes.NOT_MODIFIED, url
    assert len(sizes) > 40
    assert sum(sent for sent, _ in sizes) < 0.4 * sum(whole for _, whole in sizes)


async def test_every_module_is_requested_before_the_first_one_runs(tab: Tab, server: Serving) -> None:
    """No module waits until another one has been fetched that imports it."""
    release = asyncio.Event()
    asked: list[str] = []

    async def hold(route: Route) -> None:
        await release.wait()
        await route.continue_()

    await tab.page.route("**/js/main.js", hold)
    await tab.page.goto(f"{server.ready.url}#/c/{server.ready.coach_id}", wait_until="commit")
    await tab.until(PRELOADED)
    tab.page.on("request", lambda request: asked.append(request.url))
    release.set()
    await tab.page.wait_for_selector("html[data-ready]")
    assert [url for url in asked if url.endswith(("js", "css"))] == []


async def test_the_first_paint_waits_for_the_styles_alone(tab: Tab, server: Serving) -> None:
    """Scripts do not compete with them, and none of them leads to another file."""
    await tab.open(server.ready.coach_id)
    loaded: list[list[str]] = await tab.evaluate(LOADED)
    blocking = {urlsplit(url).path for url, status, *_ in loaded if status == "blocking"}
    styles = {urlsplit(url).path for url, *_ in loaded if url.endswith(".css")}
    assert blocking == styles | {"/js/early.js"}
    assert len(blocking) <= 8


async def test_the_page_is_small(tab: Tab, server: Serving) -> None:
    """On a slow network, every kilobyte and every request costs all readers."""
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.page.wait_for_selector(".welcome")
    files = [size for url, _, size in await tab.evaluate(LOADED) if not is_of_a_function(url)]
    assert len(files) <= MOST_FILES
    assert sum(files) <= MOST_BYTES


async def test_a_conversation_is_three_requests_from_the_scripts(tab: Tab) -> None:
    """The session, the conversations, and the end of the latest one; each needs the one before."""
    await tab.open()
    await tab.page.wait_for_selector(".message, .welcome")
    asked = [urlsplit(url).path for url, *_ in await tab.evaluate(LOADED) if is_of_a_function(url)]
    session, conversations, *messages = asked
    assert session == "/local/session"
    assert conversations.endswith("/conversations")
    assert len(messages) == 1


async def test_a_page_that_still_loads_shows_its_outline(tab: Tab, server: Serving) -> None:
    """Not a blank page whose button does nothing."""
    release = asyncio.Event()

    async def hold(route: Route) -> None:
        await release.wait()
        await route.continue_()

    conversation = create_conversation(server.ready)
    await tab.page.route("**/js/main.js", hold)
    address = f"{server.ready.url}#/c/{server.ready.coach_id}/{conversation}"
    await tab.page.goto(address, wait_until="commit")
    await tab.page.locator(".skeleton >> nth=3").wait_for()
    assert await tab.send_button.is_disabled()
    if AXE.exists():
        assert await tab.violations() == []
    release.set()
    await tab.page.wait_for_selector("html[data-ready]")
    await tab.page.wait_for_selector(".welcome")
    assert await tab.page.locator(".skeleton").count() == 0


async def test_what_is_loaded_on_demand_can_be_asked_for_again(tab: Tab, server: Serving) -> None:
    """Without a connection the page says so, and works again as soon as there is one."""
    await tab.open(server.ready.coach_id)
    await tab.page.context.set_offline(True)
    await tab.button("Your data").click()
    await tab.page.locator("#toast", has_text="cannot be reached").wait_for()
    await tab.page.context.set_offline(False)
    await tab.button("Your data").click()
    await tab.page.get_by_role("dialog", name="Your data").wait_for()
    tab.problems = forgive_failed_requests(tab.problems)
