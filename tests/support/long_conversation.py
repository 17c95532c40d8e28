"""A conversation of any length, without the hours that it takes to have it.

It is served between the page and the service, as the service serves a stored one, page by page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec

from support.serving import Ready

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

REPLY = """**Week {number}.** Three sessions, as agreed, and one day of rest after each.

| Day | Session | Load |
|-----|---------|-----:|
| Mon | Squat 5x5 | {number} kg |
| Wed | Row 5 km | easy |

1. Warm up for *ten* minutes.
2. Keep to `RPE 8`, see [the standards](https://example.com/).
    - Stop when the form breaks down.
3. Write down what you did.
"""


class Stored(msgspec.Struct, frozen=True):
    """A stored message, as the service sends it."""

    id: str
    role: str
    content: str
    timestamp: str


def long_conversation(count: int) -> list[Stored]:
    """Questions and replies of a training plan, two a day."""
    began = datetime.now(UTC) - timedelta(days=count // 2)
    messages = []
    for number in range(count):
        is_reply = number % 2 == 1
        at = began + timedelta(days=number // 2, seconds=is_reply)
        role = "assistant" if is_reply else "user"
        text = REPLY.format(number=number) if is_reply else f"Question {number}: what is next?"
        name = f"msg_{int(at.timestamp() * 1000)}_{number:06}_{role}"
        messages.append(Stored(name, role, text, at.isoformat().replace("+00:00", "Z")))
    return messages


async def serve_conversation(
    page: Page, ready: Ready, conversation_id: str, messages: Sequence[Stored]
) -> list[str]:
    """Put these messages before those that the service has; returns the queries of all requests for pages."""
    queries: list[str] = []

    async def respond(route: Route) -> None:
        url = urlsplit(route.request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        queries.append(url.query)
        async with httpx.AsyncClient(headers=ready.headers, trust_env=False) as client:
            body = (await client.get(f"{ready.conversations()}/{conversation_id}")).json()
        every = [*msgspec.to_builtins(messages), *body["conversation"]["messages"]]
        before = query.get("before")
        end = [each["id"] for each in every].index(before) if before is not None else len(every)
        start = max(0, end - int(query["limit"])) if query else 0
        body["conversation"]["messages"] = every[start:end]
        body["hasMore"] = start > 0
        await route.fulfill(json=body)

    def is_the_conversation(url: str) -> bool:
        return urlsplit(url).path.endswith(f"/conversations/{conversation_id}")

    await page.route(is_the_conversation, respond)
    return queries
