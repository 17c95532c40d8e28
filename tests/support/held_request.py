"""A request of the chat page that a test holds up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from support.chat_page import Tab

if TYPE_CHECKING:
    from playwright.async_api import Route

NEVER_TIME_OUT = "() => { AbortSignal.timeout = () => new AbortController().signal; }"


class Held(msgspec.Struct):
    """A request that is held up.

    Attributes:
        is_made: whether the page has made it.
        released: lets the response arrive.
    """

    is_made: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    released: asyncio.Event = msgspec.field(default_factory=asyncio.Event)


async def hold(tab: Tab, method: str, path_ends: str, *, query_has: str = "", is_old: bool = True) -> Held:
    """Hold up the next request of a kind; an old response was made when the request was."""
    held = Held()

    def is_meant(url: str) -> bool:
        parts = urlsplit(url)
        return parts.path.endswith(path_ends) and query_has in parts.query

    async def respond(route: Route) -> None:
        if route.request.method != method or held.is_made.is_set():
            await route.fallback()
            return
        held.is_made.set()
        response = await route.fetch() if is_old else None
        await held.released.wait()
        await (route.fallback() if response is None else route.fulfill(response=response))

    await tab.evaluate(NEVER_TIME_OUT)
    await tab.page.route(is_meant, respond)
    return held
