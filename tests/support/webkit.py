"""WebKitGTK's MiniBrowser, operated by WebKitWebDriver.

Its commands follow one another, so a script that waits would block all others: promises are polled.

See https://www.w3.org/TR/webdriver2/ (read on 2026-11-28).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from support.engine_page import LOOK_EVERY_S, EnginePage, ScriptError, browser_home, typing
from support.patience import PATIENCE_S

DRIVER = "WebKitWebDriver"
DISPLAY_SERVER = "Xvfb"
#: Debian's place for it; it is not on the PATH. The newest API version first.
MINI_BROWSER = next(iter(sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), reverse=True)), None)

#: Every request that does not go to this machine goes to a proxy, and nothing listens there.
NO_NETWORK = ("--proxy=http://127.0.0.1:9", "--ignore-host=127.0.0.1")

CALL = """
const [number, argument] = arguments;
const result = (%s)(JSON.parse(argument));
if (!(result instanceof Promise)) return JSON.stringify({ value: result });
const settled = (window.settled ??= new Map());
settled.set(number, null);
result.then(
  (value) => settled.set(number, { value }),
  (error) => settled.set(number, { error: String(error) }),
);
return "null";
"""
LOOK = """
const [number] = arguments;
if (!window.settled?.has(number)) return JSON.stringify({ error: "the document has gone" });
return JSON.stringify(window.settled.get(number));
"""


def is_installed() -> bool:
    """Whether the browser, its driver and a display server are there."""
    return MINI_BROWSER is not None and None not in map(shutil.which, (DRIVER, DISPLAY_SERVER))


class WebDriverError(Exception):
    """Raised when the driver refuses a command."""


class WebKitPage(EnginePage):
    """A page in WebKit."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._session = ""
        self._turn = asyncio.Lock()
        self._numbers = itertools.count(1)

    async def command(self, method: str, path: str, **body: object) -> Any:  # noqa: ANN401
        """The value that a command of the session results in."""
        options: dict[str, Any] = {"json": body} if method == "POST" else {}
        async with self._turn, self._http.request(method, f"{self._session}{path}", **options) as response:
            value = (await response.json())["value"]
        if response.ok:
            return value
        raise WebDriverError(f"{value['error']}: {value['message']}")

    async def start(self) -> None:
        """Start the browser."""
        browser = {"binary": str(MINI_BROWSER), "args": ["--automation", *NO_NETWORK]}
        patience = dict.fromkeys(("script", "pageLoad"), int(1_000 * PATIENCE_S))
        wanted = {"webkitgtk:browserOptions": browser, "timeouts": patience}
        created = await self.command("POST", "/session", capabilities={"alwaysMatch": wanted})
        self._session = f"/session/{created['sessionId']}"

    async def open(self, url: str) -> None:
        await self.command("POST", "/url", url=url)

    async def reload(self) -> None:
        await self.command("POST", "/refresh")

    async def evaluate(self, function: str, argument: object = None) -> Any:  # noqa: ANN401
        number = next(self._numbers)
        outcome = await self._execute(CALL % function, number, json.dumps(argument))
        while outcome is None:
            await asyncio.sleep(LOOK_EVERY_S)
            outcome = await self._execute(LOOK, number)
        if "error" in outcome:
            raise ScriptError(outcome["error"])
        return outcome.get("value")

    async def _execute(self, script: str, *arguments: object) -> dict[str, Any] | None:
        try:
            outcome: dict[str, Any] | None = json.loads(
                await self.command("POST", "/execute/sync", script=script, args=list(arguments))
            )
        except WebDriverError as error:
            raise ScriptError(str(error)) from error
        return outcome

    async def enter(self, text: str) -> None:
        await self.command("POST", "/actions", actions=typing(text))


@asynccontextmanager
async def page() -> AsyncIterator[EnginePage]:
    """A page in a MiniBrowser on a display of its own; it keeps no data."""
    async with browser_home() as (_, environment), _display(environment) as display:
        driver = await asyncio.create_subprocess_exec(
            DRIVER,
            "--port=0",
            stdout=DEVNULL,
            stderr=DEVNULL,
            env={**environment, "DISPLAY": display, "NO_AT_BRIDGE": "1"},
        )
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{await _port(driver)}") as http:
                opened = WebKitPage(http)
                await opened.start()
                try:
                    yield opened
                finally:
                    await opened.command("DELETE", "")
        finally:
            driver.terminate()
            await driver.wait()


@asynccontextmanager
async def _display(environment: Mapping[str, str]) -> AsyncIterator[str]:
    """A screen in memory. The server takes a free number, and prints it when it is ready."""
    reading, writing = os.pipe()
    try:
        server = await asyncio.create_subprocess_exec(
            DISPLAY_SERVER,
            *("-displayfd", str(writing)),
            *("-screen", "0", "1280x800x24"),
            *("-nolisten", "tcp"),
            pass_fds=[writing],
            stdout=DEVNULL,
            stderr=DEVNULL,
            env=environment,
        )
    finally:
        os.close(writing)
    try:
        with os.fdopen(reading) as announced:
            number = await asyncio.to_thread(announced.readline)
        yield f":{number.strip()}"
    finally:
        server.terminate()
        await server.wait()


async def _port(driver: Process) -> int:
    """The port that the driver chose; it does not print it."""
    process = psutil.Process(driver.pid)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for connection in process.net_connections("tcp4"):
                if connection.status == psutil.CONN_LISTEN:
                    return int(connection.laddr.port)
            await asyncio.sleep(LOOK_EVERY_S)
