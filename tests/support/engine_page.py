"""What the tests of the client module need of a page, whatever engine it is in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.patience import PATIENCE_S
from support.serving import marked_processes

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
        once = f"(argument) => Boolean(({condition})(argument))"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await self.evaluate(once, argument):
                    return
                await asyncio.sleep(LOOK_EVERY_S)

    async def network_returns(self) -> None:
        """Notify the page that the network is back; an engine that can disconnects it first."""
        await self.evaluate("() => { dispatchEvent(new Event('online')); }")


def typing(text: str) -> list[dict[str, object]]:
    """What both WebDriver protocols perform to type a text and press Enter."""
    keys = [*text, "\ue007"]
    pressed = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
    return [{"type": "key", "id": "keyboard", "actions": pressed}]


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
