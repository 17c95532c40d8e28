"""The chat page in a real Chromium, operated as a user operates it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from support.patience import PATIENCE_S
from support.places import CACHE

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

#: The first one installed. Debian's headless shell is the same browser without windows, at half the cost.
CHROMIUM = next(
    filter(
        None,
        map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")),
    ),
    None,
)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 1_000 * PATIENCE_S

#: Checks a page's accessibility.
AXE = CACHE / "page-libraries" / "node_modules" / "axe-core" / "axe.min.js"
RUN_AXE = """async () => {
  const { violations } = await axe.run();
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(", ")}`);
}"""

#: Records every length that the text of the newest reply ever has.
RECORD_GROWTH = """() => {
  window.lengths = [];
  new MutationObserver(() => {
    const text = [...document.querySelectorAll(".message-assistant .message-text")].at(-1)?.textContent ?? "";
    if (text.length !== window.lengths.at(-1)) window.lengths.push(text.length);
  }).observe(document.getElementById("thread"), { childList: true, subtree: true, characterData: true });
}"""

#: Records every state of the newest reply: its phase and the number of cursors it shows. A state may be
#: over before a browser under load responds to a query about it.
RECORD_STATES = """() => {
  window.states = [];
  new MutationObserver(() => {
    const reply = [...document.querySelectorAll(".message-assistant")].at(-1);
    if (!reply) return;
    const cursors = [...reply.querySelectorAll(".message-text *")]
      .filter((node) => getComputedStyle(node, "::after").content !== "none").length;
    const waits = reply.querySelector(".waiting").checkVisibility();
    const state = `${reply.dataset.phase}${waits ? " waits" : ""} ${cursors}`;
    if (state !== window.states.at(-1)) window.states.push(state);
  }).observe(document.getElementById("thread"), { childList: true, subtree: true, attributes: true });
}"""


class Tab:
    """One browser tab, with the user's view and actions.

    Attributes:
        problems: errors that the page wrote to the console, and uncaught exceptions.
    """

    def __init__(self, page: Page, url: str, *, touch: bool = False) -> None:
        self.page = page
        self.touch = touch
        self.url = url
        self.problems: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._written)
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def _written(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(message.text)

    async def open(self, coach_id: str | None = None, conversation_id: str | None = None) -> None:
        """Open the page with a conversation, a new one, or the one that the page selects itself."""
        parts = [part for part in (coach_id, conversation_id) if part is not None]
        await self.page.goto(self.url + ("#/c/" + "/".join(parts) if parts else ""))
        await self.page.wait_for_selector("html[data-ready]")

    async def reload(self) -> None:
        """Reload the page."""
        await self.page.reload()
        await self.page.wait_for_selector("html[data-ready]")

    async def write(self, text: str) -> None:
        """Type a message and press Enter; on a touch screen, the button."""
        await self.message_box.fill(text)
        if self.touch:
            await self.send_button.click()
        else:
            await self.message_box.press("Enter")

    async def ask(self, text: str) -> str:
        """Send a message, wait until its reply is complete, and return the reply's text."""
        replies = self.page.locator(".message-assistant[data-phase=stored]")
        before = await replies.count()
        await self.write(text)
        await replies.nth(before).wait_for()
        return await replies.nth(before).locator(".message-text").inner_text()

    async def begins_to_stream(self) -> None:
        """Wait until the first words of a reply are visible."""
        await self.page.wait_for_selector('[data-phase="streaming"] .message-text > *')

    async def texts(self) -> list[str]:
        """The text of every bubble, oldest first."""
        return await self.page.locator(".message .message-text").all_inner_texts()

    async def problem(self) -> str:
        """Wait for an error message and return it."""
        return await self.page.locator(".problem").last.inner_text()

    async def evaluate(self, script: str, argument: object = None) -> Any:  # noqa: ANN401
        """The result of a script in the page."""
        return await self.page.evaluate(script, argument)

    async def until(self, condition: str, argument: object = None) -> None:
        """Wait until a JavaScript function returns a truthy value."""
        await self.page.wait_for_function(condition, arg=argument)

    async def violations(self) -> list[str]:
        """What axe-core finds wrong with what is on view."""
        await self.page.evaluate(AXE.read_text())
        found: list[str] = await self.page.evaluate(RUN_AXE)
        return found

    @property
    def message_box(self) -> Locator:
        """The message box."""
        return self.page.get_by_label("Message to your coach")

    def button(self, name: str) -> Locator:
        """A button by its name."""
        return self.page.get_by_role("button", name=name)

    @property
    def send_button(self) -> Locator:
        """The button that sends the message; another one's name begins the same."""
        return self.page.get_by_role("button", name="Send", exact=True)

    def conversation(self, title: str) -> Locator:
        """A conversation in the list."""
        return self.page.locator("#conversations a", has_text=title)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start a separate browser."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def new_tab(
    browser: Browser,
    url: str,
    *,
    size: tuple[int, int] = (1280, 800),
    touch: bool = False,
    colours: Literal["light", "dark"] = "light",
    motion: bool = False,
    locale: str = "en-GB",
) -> AsyncIterator[Tab]:
    """A tab of a new visitor. Leaving the block fails if the page had problems.

    Without a graphics card, endless animations cost constant repainting, so tests that are not about motion
    turn them off.
    """
    context: BrowserContext = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        has_touch=touch,
        is_mobile=touch,
        color_scheme=colours,
        reduced_motion="no-preference" if motion else "reduce",
        locale=locale,
    )
    try:
        tab = Tab(await context.new_page(), url, touch=touch)
        yield tab
        assert tab.problems == []
    finally:
        await context.close()


def forgive_failed_requests(problems: Sequence[str]) -> list[str]:
    """The entries without the browser's own messages on failed requests."""
    return [problem for problem in problems if not problem.startswith("Failed to load resource")]
