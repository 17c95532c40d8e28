"""Real browsers, each shared by the tests of a module, and a real running service."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from support.chat_page import CHROMIUM, Tab, chromium, new_tab
from support.engine_page import EnginePage
from support.engines import ENGINES, Engine
from support.serving import Serving, Silent, serving, silent_server

if TYPE_CHECKING:
    from playwright.async_api import Browser

#: Slow enough that a test can act while the words are arriving.
PACE = ("--model-delay", "0.03")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the browser marker to every test in this folder that uses a browser."""
    for item in items:
        if not {"browser", "page"}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The browser outlives a single test, so its event loop must as well."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`coachstream serve`, shared by all modules; each test has its own conversation."""
    with serving(tmp_path_factory.mktemp("page") / "data", *PACE) as running:
        yield running


@pytest.fixture(scope="session")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silent]:
    """`coachstream serve` with a model that says a word when a test releases it."""
    with silent_server(tmp_path_factory.mktemp("silent") / "data") as running:
        yield running


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A running Chromium."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    async with chromium() as running:
        yield running


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
async def page(request: pytest.FixtureRequest) -> AsyncIterator[EnginePage]:
    """A page in each engine; the tests of a module share it."""
    engine: Engine = request.param
    if not engine.is_installed:
        pytest.skip(f"needs {engine.needs}")
    async with engine.page() as opened:
        yield opened


@pytest.fixture
async def tab(browser: Browser, server: Serving) -> AsyncIterator[Tab]:
    """A desktop-sized tab that has not loaded a page yet."""
    async with new_tab(browser, server.ready.url) as opened:
        yield opened
