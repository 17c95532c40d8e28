"""Fresh apps with the packed npm package installed, built, and driven in Chromium against a running service.

The components are those of the package's README.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from support.chat_page import WAIT_MS
from support.http_server import serving
from support.npm_package import FRONT_ENDS, install, node, pack, run
from support.patience import PATIENCE_S
from support.serving import Ready, Silent, create_conversation, read_line, silent_server, stored_messages

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page, Route

QUESTION = "How was my week?"
QUIET = {"NEXT_TELEMETRY_DISABLED": "1"}
DRAFTS = "() => Object.keys(localStorage)"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silent]:
    """`coachstream serve` for pages of any origin, with a model that says a word when a test releases it."""
    with silent_server(tmp_path_factory.mktemp("service") / "data", "--cors-origin", "*") as running:
        yield running


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed package."""
    node()
    return pack(tmp_path_factory.mktemp("packed"))


def fresh_app(folder: Path, template: str, tarball: Path, components: str) -> Path:
    """An app from its template, with what it needs installed."""
    app = folder / template
    shutil.copytree(FRONT_ENDS / template, app)
    for file in FRONT_ENDS.glob("*.ts*"):
        shutil.copy(file, app / components)
    install(tarball, app)
    return app


@pytest.fixture(scope="module")
async def vite(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of the app of Vite, React and TypeScript: strictly compiled, built, and served."""
    app = fresh_app(tmp_path_factory.mktemp("apps"), "vite", tarball, "src")
    modules = app / "node_modules"
    run([node(), str(modules / "typescript" / "bin" / "tsc"), "--noEmit"], app)
    run([node(), str(modules / "vite" / "bin" / "vite.js"), "build"], app)
    site = Starlette(routes=[Mount("/", StaticFiles(directory=app / "dist", html=True))])
    async with serving(site) as port:
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def next_started(app: Path) -> Iterator[str]:
    program = str(app / "node_modules" / "next" / "dist" / "bin" / "next")
    run([node(), program, "build"], app, environment=QUIET)
    with subprocess.Popen(
        [node(), program, "start", "--hostname", "127.0.0.1", "--port", "0"],
        cwd=app,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            said = ""
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
                line = read_line(process.stdout, PATIENCE_S)
                assert line, said
                said += line
            yield f"{found[0]}/"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()


@pytest.fixture(scope="module")
def next_js(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app of Next.js, which renders on the server and takes over in the browser."""
    app = fresh_app(tmp_path_factory.mktemp("apps"), "next", tarball, "app")
    with next_started(app) as url:
        yield url


class Visitor:
    """A browser with tabs of an app, all of the same user and conversation.

    Attributes:
        problems: errors and warnings that the pages wrote to the console, and uncaught exceptions.
    """

    def __init__(self, context: BrowserContext, app: str, ready: Ready, kind: str) -> None:
        self.context = context
        self.ready = ready
        self.problems: list[str] = []
        self.conversation = create_conversation(ready)
        self._url = (
            app
            + "?"
            + urlencode(
                {
                    "kind": kind,
                    "token": ready.token,
                    "conversationUrl": ready.stream(self.conversation).removesuffix("/stream"),
                    "historyUrl": f"{ready.conversations()}/{self.conversation}",
                }
            )
        )

    async def tab(self, device: BrowserContext | None = None) -> AppTab:
        """Open the app in a new tab, here or on another device, and wait until it has loaded the messages."""
        page = await (device or self.context).new_page()
        page.set_default_timeout(WAIT_MS)
        page.on(
            "console",
            lambda said: self.problems.append(said.text) if said.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        tab = AppTab(page)
        await page.goto(self._url)
        await tab.is_loaded()
        return tab

    def stored(self) -> list[tuple[str, str]]:
        """The role and the text of each stored message."""
        messages = stored_messages(self.ready, self.conversation)
        return [(message["role"], message["content"]) for message in messages]


class AppTab:
    """One tab of an app."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.message = page.get_by_label("Message")

    async def is_loaded(self) -> None:
        await self.page.wait_for_selector("main:not([data-status=loading])")

    async def ask(self, text: str) -> None:
        await self.message.fill(text)
        await self.page.get_by_role("button", name="Send").click()

    async def shows(self, *texts: str) -> None:
        """Wait until exactly these messages are shown."""
        await self.page.wait_for_function(
            "(texts) => { const shown = [...document.querySelectorAll('li')].map((item) => item.textContent);"
            " return JSON.stringify(shown) === JSON.stringify(texts); }",
            arg=list(texts),
        )

    async def is_ready(self) -> None:
        await self.page.wait_for_selector("main[data-status=ready]")

    async def is_waiting(self) -> None:
        await self.page.wait_for_selector("main[data-status=waiting]")


@asynccontextmanager
async def visiting(
    browser: Browser, app: str, service: Silent, kind: str = "react"
) -> AsyncIterator[Visitor]:
    context = await browser.new_context()
    visitor = Visitor(context, app, service.server.ready, kind)
    try:
        yield visitor
    finally:
        await context.close()
    assert visitor.problems == []


async def shows_a_reply_in_every_tab(browser: Browser, app: str, service: Silent, kind: str) -> None:
    """In the tab that asked, after its reload, and in a second tab: the text that is stored."""
    speaking = service.model.reply_in_steps("You ran ", "far, ", "and well.")
    async with visiting(browser, app, service, kind) as visitor:
        first = await visitor.tab()
        await first.ask(QUESTION)
        await first.shows(QUESTION)
        next(speaking)
        await first.shows(QUESTION, "You ran ")
        await first.page.reload()
        await first.shows(QUESTION, "You ran ")
        second = await visitor.tab()
        await second.shows(QUESTION, "You ran ")
        list(speaking)
        for tab in (first, second):
            await tab.shows(QUESTION, "You ran far, and well.")
            await tab.is_ready()
        assert visitor.stored() == [("user", QUESTION), ("assistant", "You ran far, and well.")]
        assert await first.page.evaluate(DRAFTS) == []


async def stops_the_reply(browser: Browser, app: str, service: Silent, kind: str) -> None:
    """The button stops the run: what is stored is what was said until then, in every tab."""
    speaking = service.model.reply_in_steps("You ran ", "far.")
    async with visiting(browser, app, service, kind) as visitor:
        first = await visitor.tab()
        await first.ask(QUESTION)
        next(speaking)
        await first.shows(QUESTION, "You ran ")
        second = await visitor.tab()
        await second.shows(QUESTION, "You ran ")
        await first.page.get_by_role("button", name="Stop").click()
        for tab in (first, second):
            await tab.is_ready()
            await tab.shows(QUESTION, "You ran ")
        assert visitor.stored() == [("user", QUESTION), ("assistant", "You ran ")]
        list(speaking)


@pytest.mark.parametrize("kind", ["react", "ai-sdk"])
async def test_an_app_of_vite_shows_a_reply_in_every_tab(
    browser: Browser, vite: str, service: Silent, kind: str
) -> None:
    """It is compiled with `exactOptionalPropertyTypes`, and reads from another origin."""
    await shows_a_reply_in_every_tab(browser, vite, service, kind)


@pytest.mark.parametrize("kind", ["react", "ai-sdk"])
async def test_an_app_of_vite_stops_the_reply_on_the_server(
    browser: Browser, vite: str, service: Silent, kind: str
) -> None:
    """`useChat` alone would only stop reading it."""
    await stops_the_reply(browser, vite, service, kind)


@pytest.mark.parametrize("kind", ["react", "ai-sdk"])
async def test_an_app_of_vite_can_send_after_a_refusal(
    browser: Browser, vite: str, service: Silent, kind: str
) -> None:
    """The button works while an error is shown."""
    speaking = service.model.reply_in_steps("You ran far.")

    async def refuse(route: Route) -> None:
        if route.request.method == "POST":
            await route.fulfill(
                status=413,
                headers={"access-control-allow-origin": "*"},
                json={"type": "error", "code": "MESSAGE_TOO_LONG", "message": "Please write less."},
            )
        else:
            await route.fallback()

    async with visiting(browser, vite, service, kind) as visitor:
        tab = await visitor.tab()
        await tab.is_ready()
        await tab.page.route("**/stream", refuse)
        await tab.ask("Too long")
        await tab.page.get_by_text("Please write less.").wait_for()
        await tab.page.unroute("**/stream", refuse)
        await tab.ask(QUESTION)
        list(speaking)
        await tab.page.get_by_text("You ran far.").wait_for()
        await tab.is_ready()
        assert visitor.stored() == [("user", QUESTION), ("assistant", "You ran far.")]
        visitor.problems = [each for each in visitor.problems if "413" not in each]


async def test_an_app_of_next_js_shows_a_reply_in_every_tab(
    browser: Browser, next_js: str, service: Silent
) -> None:
    """What the server renders is what the browser takes over: React writes no warning."""
    await shows_a_reply_in_every_tab(browser, next_js, service, "react")


async def test_a_message_written_offline_is_in_the_box_when_the_page_reopens(
    browser: Browser, vite: str, service: Silent
) -> None:
    """It is sent once, with the key that it had, and is then gone from the storage and from every tab."""
    speaking = service.model.reply_in_steps("Well done.")
    keys = []

    async def refuse(route: Route) -> None:
        if route.request.method == "POST":
            keys.append((route.request.post_data_json or {})["clientMessageId"])
        await route.abort()

    async with visiting(browser, vite, service) as visitor:
        tab = await visitor.tab()
        await tab.is_ready()
        await tab.page.route("**/stream", refuse)
        await tab.ask("Written in a tunnel")
        await tab.page.get_by_text("Reconnecting.").wait_for()
        await tab.shows("Written in a tunnel")
        assert await tab.message.input_value() == ""
        await tab.page.close()
        reopened, other = await visitor.tab(), await visitor.tab()
        for each in (reopened, other):
            await each.page.wait_for_function("() => document.querySelector('textarea').value !== ''")
            assert await each.message.input_value() == "Written in a tunnel"
        async with reopened.page.expect_request(lambda request: request.method == "POST") as sent:
            await reopened.page.get_by_role("button", name="Send").click()
        assert ((await sent.value).post_data_json or {})["clientMessageId"] == keys[0]
        # The other tab learns that the message has arrived, and shows the reply while it is written.
        await other.page.wait_for_function("() => document.querySelector('textarea').value === ''")
        list(speaking)
        for each in (reopened, other):
            await each.shows("Written in a tunnel", "Well done.")
        assert visitor.stored() == [("user", "Written in a tunnel"), ("assistant", "Well done.")]
        assert await reopened.page.evaluate(DRAFTS) == []
        visitor.problems = [each for each in visitor.problems if "net::ERR_FAILED" not in each]


@asynccontextmanager
async def waiting_behind_a_phone(
    browser: Browser, app: str, service: Silent
) -> AsyncIterator[tuple[Visitor, AppTab, Iterator[object]]]:
    """A tab whose message waits for the reply to another device's, and what lets that reply go on."""
    phones = service.model.reply_in_steps("You ran ", "far.")
    async with visiting(browser, app, service) as visitor, await browser.new_context() as device:
        laptop, phone = await visitor.tab(), await visitor.tab(device)
        await laptop.is_ready()
        await phone.ask("From my phone")
        next(phones)
        await phone.shows("From my phone", "You ran ")
        await laptop.ask("From my laptop")
        await laptop.is_waiting()
        yield visitor, laptop, phones


async def test_a_message_that_waits_for_another_device_can_be_taken_back_or_is_answered_next(
    browser: Browser, vite: str, service: Silent
) -> None:
    """Stopped, it is in the box again, and nowhere else; sent again, it shows what it has waited for."""
    async with waiting_behind_a_phone(browser, vite, service) as (visitor, laptop, phones):
        await laptop.shows("From my laptop")
        await laptop.page.get_by_role("button", name="Stop").click()
        await laptop.is_ready()
        await laptop.shows()
        assert await laptop.message.input_value() == "From my laptop"
        assert await laptop.page.get_by_role("alert").count() == 0
        assert visitor.stored() == [("user", "From my phone")]
        await laptop.page.get_by_role("button", name="Send").click()
        await laptop.is_waiting()
        laptops = service.model.reply_in_steps("You ", "rested.")
        list(phones)
        next(laptops)
        before = ("From my phone", "You ran far.", "From my laptop")
        await laptop.shows(*before, "You ")
        await laptop.page.reload()
        await laptop.shows(*before, "You ")
        list(laptops)
        await laptop.shows(*before, "You rested.")
        await laptop.is_ready()
        assert visitor.stored() == list(zip(("user", "assistant") * 2, (*before, "You rested."), strict=True))


async def test_a_page_that_is_reloaded_while_its_message_waits_shows_its_reply(
    browser: Browser, vite: str, service: Silent
) -> None:
    """It reads the other device's reply first, and then its own."""
    async with waiting_behind_a_phone(browser, vite, service) as (_, laptop, phones):
        await laptop.page.reload()
        await laptop.page.get_by_text("You ran ").wait_for()
        laptops = service.model.reply_in_steps("You ", "rested.")
        list(phones)
        next(laptops)
        before = ("From my phone", "You ran far.", "From my laptop")
        await laptop.shows(*before, "You ")
        list(laptops)
        await laptop.shows(*before, "You rested.")
        await laptop.is_ready()


async def test_an_older_version_is_chosen_in_its_place_and_another_tab_follows(
    browser: Browser, vite: str, service: Silent
) -> None:
    """The switcher of the how-to leads through a regenerated reply and an edited message."""
    async with visiting(browser, vite, service, "versions") as visitor:
        tab = await visitor.tab()
        await tab.is_ready()
        list(service.model.reply_in_steps("You ran far."))
        await tab.ask(QUESTION)
        await tab.shows(QUESTION, "You ran far.")
        await tab.is_ready()
        versions = tab.page.get_by_role("group", name="Versions")
        assert await versions.count() == 0
        list(service.model.reply_in_steps("You ran well."))
        await tab.page.get_by_role("button", name="Another reply").click()
        await versions.get_by_text("2 of 2").wait_for()
        await tab.shows(QUESTION, "You ran well.")
        list(service.model.reply_in_steps("You rested."))
        await tab.message.fill("How was my month?")
        await tab.page.get_by_role("button", name="Replace the last message").click()
        await versions.get_by_text("3 of 3").wait_for()
        await tab.shows("How was my month?", "You rested.")
        await tab.page.locator("li").evaluate_all("(items) => items.forEach((item) => (item.id = 'kept'))")
        other = await visitor.tab()
        await other.shows("How was my month?", "You rested.")
        for number, text in ((2, "You ran well."), (1, "You ran far.")):
            await tab.page.get_by_role("button", name="Previous version").click()
            await versions.get_by_text(f"{number} of 3").wait_for()
            await tab.shows(QUESTION, text)
            assert visitor.stored() == [("user", QUESTION), ("assistant", text)]
        assert await tab.page.locator("li#kept").count() == 2  # nothing was mounted again
        await other.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        await other.shows(QUESTION, "You ran far.")
        await other.page.get_by_text("1 of 3").wait_for()
        await other.page.get_by_role("button", name="Next version").click()
        await other.shows(QUESTION, "You ran well.")
