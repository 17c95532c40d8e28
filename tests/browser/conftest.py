"""A browser, for one module of tests at a time, and a running service: both real."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from support.chat_page import CHROMIUM, Tab, chromium, new_tab
from support.serving import Serving, serving

if TYPE_CHECKING:
    from playwright.async_api import Browser

#: Slow enough for a person to see the words come, and for a test to do something meanwhile.
PACE = ("--model-delay", "0.03")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here that asks for a browser is marked as such."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """A browser lives longer than one test, and so must its event loop."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`coachstream serve`, for all modules: each test has a conversation of its own."""
    with serving(tmp_path_factory.mktemp("page") / "data", *PACE) as running:
        yield running


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    async with chromium() as running:
        yield running


@pytest.fixture
async def tab(browser: Browser, server: Serving) -> AsyncIterator[Tab]:
    """A tab on a desktop; not opened yet."""
    async with new_tab(browser, server.ready.url) as opened:
        yield opened
