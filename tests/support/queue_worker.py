"""A process that sends many messages at once: `python -m support.queue_worker STORE LEASE_S`, sends on stdin.

STORE is the file of an SQLite store, or `URL TABLE` of DynamoDB. A send is a line of JSON (`Send`). The
process prints a line of JSON for each call of its model (`model`) and for each send that has its reply
(`reply`, and how often it was `refused`). A message that is refused is sent again (`again`), as its client
would, until it has a reply.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.events import Completed, Event, Failed
from coachstream.conversation.model import ConversationKey, StopReason
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.runs.settings import RunSettings, TurnPolicy
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import TurnRequest
from coachstream.conversation.turn.settings import TurnSettings
from coachstream.conversation.turn.turn import run_turn
from coachstream.services import SystemClock
from coachstream.storage.sqlite import SqliteStore
from contracts.store_records import SeedableStore
from support.dynamodb import a_kept_table
from support.turn_events import events_of

WORDS = 5
TURN_S = 600.0
AGAIN_AFTER_S = 0.2
RETRIED = {ErrorCode.TURN_IN_PROGRESS, ErrorCode.TURN_INTERRUPTED, ErrorCode.STORAGE_UNAVAILABLE}


class Send(msgspec.Struct, frozen=True):
    """A message of a user, its policy, and how many may be queued with it."""

    user: str
    text: str
    policy: TurnPolicy
    most: int


def key_of(user: str) -> ConversationKey:
    """The one conversation of a user."""
    return ConversationKey(user, "coach-1", f"conv-of-{user}")


def reply_to(text: str) -> str:
    """The whole reply to a message."""
    return "".join(f"{text}:{number} " for number in range(WORDS))


def say(**fields: object) -> None:
    """Print a line."""
    print(json.dumps(fields), flush=True)  # noqa: T201 (the protocol)


class Slow:
    """Replies with `reply_to` the newest message, a word at a time."""

    display_name = "slow"
    can_continue = False
    is_usable = True

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        """Speak."""
        assert deadline > 0
        text = prompt.messages[-1].text
        say(model=text)
        for number in range(WORDS):
            yield TextDelta(f"{text}:{number} ")
            await asyncio.sleep(0.02)
        yield ModelStop(StopReason.END_TURN)


@asynccontextmanager
async def opened(store: list[str]) -> AsyncIterator[SeedableStore]:
    """The store that the arguments name."""
    if len(store) == 1:
        sqlite = SqliteStore(Path(store[0]))
        yield sqlite
        await sqlite.aclose()
    else:
        async with a_kept_table(store[0], store[1]) as (table, _):
            yield table.store()


async def send(store: SeedableStore, message: Send, lease_s: float) -> None:
    """Send a message until it has a reply."""
    runs = RunSettings(lease_s=lease_s, attended_within_s=1.0, max_queued=message.most)
    settings = TurnSettings(runs=runs)
    parts = TurnDependencies(
        runs=store,
        context=store,
        conversations=store,
        memories=store,
        model=Slow(),
        recall=None,
        clock=SystemClock(),
    )
    refused = 0
    while True:
        request = TurnRequest(
            key_of(message.user),
            message.text,
            parts.clock.monotonic() + TURN_S,
            client_message_id=f"c-{message.text}",
            streamed=True,
            policy=message.policy,
        )
        last: Event | None = None
        async for event in events_of(run_turn, request, parts, settings):
            last = event
        if isinstance(last, Completed):
            say(reply=message.text, content=last.reply.content, refused=refused)
            return
        if isinstance(last, Failed) and last.code not in RETRIED:
            say(failed=message.text, code=last.code.value)
            return
        if isinstance(last, Failed):
            refused += 1
            say(again=message.text, code=last.code.value)
        await asyncio.sleep(AGAIN_AFTER_S)


async def main() -> None:
    """Read the sends, then send all at once."""
    *store, lease_s = sys.argv[1:]
    sends = [msgspec.json.decode(line, type=Send) for line in sys.stdin]
    async with opened(store) as there:
        await asyncio.gather(*(send(there, each, float(lease_s)) for each in sends))


if __name__ == "__main__":
    asyncio.run(main())
