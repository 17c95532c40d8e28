"""The browser engines that the client module is tested in."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from support import firefox, webkit
from support.chat_page import CHROMIUM, WAIT_MS, chromium
from support.engine_page import EnginePage

if TYPE_CHECKING:
    from playwright.async_api import Page


class ChromiumPage(EnginePage):
    """A page in Chromium, operated by Playwright."""

    def __init__(self, page: Page) -> None:
        self._page = page
        page.set_default_timeout(WAIT_MS)

    async def open(self, url: str) -> None:
        await self._page.goto(url)

    async def reload(self) -> None:
        await self._page.reload()

    async def evaluate(self, function: str, argument: object = None) -> Any:  # noqa: ANN401
        return await self._page.evaluate(function, argument)

    async def enter(self, text: str) -> None:
        await self._page.keyboard.type(text)
        await self._page.keyboard.press("Enter")

    async def until(self, condition: str, argument: object = None) -> None:
        await self._page.wait_for_function(condition, arg=argument)

    async def network_returns(self) -> None:
        """Disconnect the browser from the network for a moment."""
        await self._page.context.set_offline(True)
        await self._page.context.set_offline(False)


class Engine(NamedTuple):
    """A browser engine.

    Attributes:
        name: the browser that has it.
        needs: what has to be installed.
        is_installed: whether it is.
        page: a page in a browser of its own, which ends with the block.
    """

    name: str
    needs: str
    is_installed: bool
    page: Callable[[], AbstractAsyncContextManager[EnginePage]]


@asynccontextmanager
async def _chromium_page() -> AsyncIterator[EnginePage]:
    async with chromium() as browser:
        yield ChromiumPage(await browser.new_page(locale="en-GB"))


ENGINES = (
    Engine(
        name="chromium",
        needs="Chromium and playwright",
        is_installed=CHROMIUM is not None and importlib.util.find_spec("playwright") is not None,
        page=_chromium_page,
    ),
    Engine(
        name="firefox",
        needs="Firefox on Linux (Debian: firefox-esr)",
        is_installed=sys.platform == "linux" and firefox.FIREFOX is not None,
        page=firefox.page,
    ),
    Engine(
        name="webkit",
        needs="WebKitGTK's driver on Linux (Debian: webkit2gtk-driver xvfb)",
        is_installed=sys.platform == "linux" and webkit.is_installed(),
        page=webkit.page,
    ),
)
