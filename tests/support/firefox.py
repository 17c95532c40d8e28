"""The installed Firefox, operated through its WebDriver BiDi socket.

Playwright 1.65 needs a Firefox of its own, which no package registry has: its channel for the stock browser
sends `emulation.setMediaFeaturesOverride`, which Firefox ESR 153 does not implement (tried on 2026-11-28).

See https://www.w3.org/TR/webdriver-bidi/ (read on 2026-11-28).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from support.engine_page import LOOK_EVERY_S, EnginePage, ScriptError, browser_home, typing
from support.patience import PATIENCE_S

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
#: The proxy of every request that does not go to this machine: nothing listens there.
NO_PROXY, NO_PORT = "127.0.0.1", 9
#: The remote agent itself switches off updates, telemetry and more of that kind.
PREFERENCES: dict[str, str | int | bool] = {
    "network.proxy.type": 1,
    "network.proxy.http": NO_PROXY,
    "network.proxy.http_port": NO_PORT,
    "network.proxy.ssl": NO_PROXY,
    "network.proxy.ssl_port": NO_PORT,
    "network.proxy.no_proxies_on": "127.0.0.1, localhost",
    "network.dns.disabled": True,
    "network.trr.mode": 5,  # no DNS over HTTPS
    "services.settings.server": "data:,",
    "browser.startup.page": 0,  # an empty one, not one with rights of its own
    # One process for all pages: tests use one page at a time.
    "fission.autostart": False,
    "dom.ipc.processCount": 1,
    "dom.ipc.processPrelaunch.enabled": False,
}


class BidiError(Exception):
    """Raised when the browser refuses a command."""


class BidiSession:
    """A session of WebDriver BiDi. Any number of commands may wait for their results."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._is_over = False

    async def send(self, method: str, **params: object) -> dict[str, Any]:
        """The result of a command.

        Raises:
            BidiError: the browser refused it, or has gone.
        """
        if self._is_over:
            raise BidiError("the browser has gone")
        number = next(self._numbers)
        result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = result
        await self._socket.send_json({"id": number, "method": method, "params": params})
        return await result

    async def receive(self) -> None:
        """Hand out results until the browser closes the socket."""
        try:
            async for message in self._socket:
                self._hand_out(json.loads(message.data))
        finally:
            self._is_over = True
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(BidiError("the browser has gone"))

    def _hand_out(self, reply: dict[str, Any]) -> None:
        waiting = self._waiting.pop(reply.get("id", 0), None)
        if waiting is None or waiting.done():
            return
        if reply["type"] == "success":
            waiting.set_result(reply["result"])
        else:
            waiting.set_exception(BidiError(f"{reply['error']}: {reply['message']}"))


class FirefoxPage(EnginePage):
    """A page in Firefox."""

    def __init__(self, session: BidiSession, context: str) -> None:
        self._session = session
        self._context = context

    async def open(self, url: str) -> None:
        await self._session.send("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def reload(self) -> None:
        await self._session.send("browsingContext.reload", context=self._context, wait="complete")

    async def evaluate(self, function: str, argument: object = None) -> Any:  # noqa: ANN401
        try:
            reply = await self._session.send(
                "script.callFunction",
                functionDeclaration=f"async (argument) => "
                f"JSON.stringify({{ value: await ({function})(JSON.parse(argument)) }})",
                arguments=[{"type": "string", "value": json.dumps(argument)}],
                awaitPromise=True,
                target={"context": self._context},
            )
        except BidiError as error:
            raise ScriptError(str(error)) from error
        if reply["type"] == "exception":
            raise ScriptError(reply["exceptionDetails"]["text"])
        return json.loads(reply["result"]["value"]).get("value")

    async def enter(self, text: str) -> None:
        await self._session.send("input.performActions", context=self._context, actions=typing(text))

    async def network_returns(self) -> None:
        """Disconnect the page from the network for a moment."""
        for conditions in ({"type": "offline"}, None):
            await self._session.send(
                "emulation.setNetworkConditions", networkConditions=conditions, contexts=[self._context]
            )


@asynccontextmanager
async def page() -> AsyncIterator[EnginePage]:
    """A page in a Firefox with a profile of its own."""
    async with browser_home() as (home, environment):
        lines = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()
        )
        (home / "user.js").write_text("".join(lines))
        log = home / "log"
        with log.open("wb") as printed:
            process = await asyncio.create_subprocess_exec(
                str(FIREFOX),
                "--headless",
                "--no-remote",
                "--profile",
                str(home),
                "--remote-debugging-port=0",
                stdout=DEVNULL,
                stderr=printed,
                env={**environment, "MOZ_CRASHREPORTER_DISABLE": "1"},
            )
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.ws_connect(f"{await _address(process, log)}/session", max_msg_size=0) as socket,
            ):
                session = BidiSession(socket)
                receiving = asyncio.create_task(session.receive())
                await session.send("session.new", capabilities={})
                (first,) = (await session.send("browsingContext.getTree"))["contexts"]
                yield FirefoxPage(session, first["context"])
                await session.send("browser.close")
                await receiving
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _address(process: Process, log: Path) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            printed = await asyncio.to_thread(log.read_text)
            if found := re.search(r"WebDriver BiDi listening on (ws://\S+)\n", printed):
                return found[1]
            if process.returncode is not None:
                raise RuntimeError(f"Firefox ended before it listened: {printed}")
            await asyncio.sleep(LOOK_EVERY_S)
