"""The browser engines that the client module is tested in, behind what those tests need of a page."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.chat_page import CHROMIUM, WAIT_MS, chromium
from support.patience import PATIENCE_S
from support.serving import marked_processes

if TYPE_CHECKING:
    from playwright.async_api import Page

#: Each look costs a round trip to the browser, and the browser is on the same machine as the test.
LOOK_EVERY_S = 0.02


class ScriptError(Exception):
    """Raised when a script in a page throws, or its document is gone before it has ended."""


class EnginePage(ABC):
    """A page in one of the engines. A script is the source of a JavaScript function of one argument."""

    @abstractmethod
    async def open(self, url: str) -> None:
        """Navigate, and wait until the document is loaded."""

    @abstractmethod
    async def reload(self) -> None:
        """Reload the document, and wait until it is loaded."""

    @abstractmethod
    async def evaluate(self, function: str, argument: object = None) -> Any:  # noqa: ANN401
        """The function's result as JSON has it, that of its promise if it returns one."""

    @abstractmethod
    async def enter(self, text: str) -> None:
        """Type a text into the focused field, and press Enter."""

    async def until(self, condition: str, argument: object = None) -> None:
        """Wait until the function returns a truthy value."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.evaluate(f"(argument) => Boolean(({condition})(argument))", argument):
                await asyncio.sleep(LOOK_EVERY_S)

    async def network_returns(self) -> None:
        """Let the page notice that the network is back. The engine may not be able to go offline before."""
        await self.evaluate("() => { dispatchEvent(new Event('online')); }")


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


class Engine(Enum):
    """An engine, by the name of the browser that has it."""

    CHROMIUM = "chromium"
    FIREFOX = "firefox"
    WEBKIT = "webkit"

    def missing(self) -> str | None:
        """What has to be installed before the engine can run, or None."""
        from support import firefox, webkit

        match self:
            case Engine.CHROMIUM:
                if importlib.util.find_spec("playwright") is None:
                    return "playwright"
                return None if CHROMIUM else "Chromium"
            case Engine.FIREFOX:
                return None if firefox.FIREFOX else "Firefox (Debian: firefox-esr)"
            case Engine.WEBKIT:
                is_there = webkit.MINI_BROWSER and all(map(shutil.which, (webkit.DRIVER, webkit.DISPLAY_SERVER)))
                return None if is_there else "WebKitGTK's driver (Debian: webkit2gtk-driver xvfb)"

    def page(self) -> AbstractAsyncContextManager[EnginePage]:
        """A page in a browser of its own, which ends with the block."""
        from support import firefox, webkit

        match self:
            case Engine.CHROMIUM:
                return _chromium_page()
            case Engine.FIREFOX:
                return firefox.page()
            case Engine.WEBKIT:
                return webkit.page()


@asynccontextmanager
async def _chromium_page() -> AsyncIterator[EnginePage]:
    async with chromium() as browser:
        yield ChromiumPage(await browser.new_page(locale="en-GB"))


@asynccontextmanager
async def browser_home() -> AsyncIterator[tuple[Path, Mapping[str, str]]]:
    """A home directory for one browser, and its environment; leaving the block ends what still runs in it."""
    mark = f"COACHSTREAM_TEST_BROWSER={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    home = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="coachstream-browser-"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "DBUS_"))}
    try:
        yield home, {**environment, "HOME": str(home), "TMPDIR": str(home), name: value}
    finally:
        async with asyncio.timeout(PATIENCE_S):
            while left := await asyncio.to_thread(marked_processes, mark):
                for process in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                await asyncio.sleep(LOOK_EVERY_S)
        await asyncio.to_thread(shutil.rmtree, home)
