"""The lease holder gets SIGKILL at every point of a run: no committed text is lost, nothing is blocked."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from coachstream.conversation.another_try import TryKind
from coachstream.conversation.events import Completed, Event, Failed
from coachstream.conversation.ids import message_id, milliseconds_of
from coachstream.conversation.model import (
    Conversation,
    Message,
    MessageMetadata,
    Role,
    StopReason,
    to_milliseconds,
)
from coachstream.conversation.run_log import Said
from coachstream.conversation.runs.exchange import store_exchange
from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.conversation.turn.request import ResumeRequest, TurnRequest
from coachstream.conversation.turn.settings import TurnSettings
from coachstream.conversation.turn.turn import resume_run, run_turn, run_watcher
from coachstream.storage.sqlite import SqliteStore
from support import dying_producer
from support.dying_producer import (
    EDITED,
    KEY,
    TEXT,
    WORDS,
    WORDS_DURING_A_WRITE,
    another_try,
    parts_over,
    run_settings,
)
from support.patience import PATIENCE_S
from support.turn_events import events_of

LEASE_S = 1.0
POINTS = range(1, 41)


@pytest.fixture
async def store(tmp_path: Path) -> SqliteStore:
    """A store with a conversation without messages."""
    store = SqliteStore(tmp_path / "data.db")
    now = datetime.now(UTC)
    await store.put_coach(KEY.user_id, KEY.coach_id, {"coach_name": "Mara"})
    await store.create_conversation(Conversation(KEY, "Legs", now, now))
    return store


async def killed_at(point: int, database: Path, kind: TryKind | None = None) -> tuple[str, bool]:
    """The text seen by its reader when the lease holder was killed, and whether the run ended before."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, dying_producer.__file__, str(database), str(point), str(LEASE_S)),
        *(() if kind is None else (kind.value,)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    printed, _ = await process.communicate()
    *lines, last = printed.decode().splitlines() or [""]
    if last == "done":
        assert process.returncode == 0
        return "".join(map(json.loads, lines)), True
    assert process.returncode == -signal.SIGKILL
    return "".join(json.loads(line) for line in (*lines, last) if line), False


async def ask(store: SqliteStore, text: str, client_message_id: str) -> list[Event]:
    parts = parts_over(store)
    settings = msgspec.structs.replace(TurnSettings(), runs=run_settings(LEASE_S))
    request = TurnRequest(
        KEY,
        text,
        parts.clock.monotonic() + 30,
        client_message_id=client_message_id,
        streamed=True,
        policy=TurnPolicy.REJECT,
    )
    return [event async for event in events_of(run_turn, request, parts, settings)]


async def read_to_the_end(store: SqliteStore) -> None:
    """Follow the conversation's run, if it has one; the reader closes it when the lease expires."""
    run_id = (await store.read_queue(KEY)).run_id
    if run_id is None:
        return
    parts, settings = parts_over(store), msgspec.structs.replace(TurnSettings(), runs=run_settings(LEASE_S))
    request = ResumeRequest(KEY, run_id, parts.clock.monotonic() + PATIENCE_S)
    watcher = run_watcher(request, parts, settings)
    assert await watcher.open() is not None
    events = [event async for event in events_of(resume_run, request, watcher, parts, settings)]
    assert isinstance(events[-1], Failed)


async def lease_is_over(store: SqliteStore) -> None:
    """Wait until the lease of the conversation's run, if it has one, has expired."""
    run_id = (await store.read_queue(KEY)).run_id
    last = None if run_id is None else await store.read_last(KEY, run_id)
    if last is not None:
        left_ms = last.leased_until - milliseconds_of(datetime.now(UTC))
        await asyncio.sleep(max(0, left_ms + 1) / 1000)


async def said_in_log(store: SqliteStore) -> str:
    run_id = (await store.read_queue(KEY)).run_id
    entries = [] if run_id is None else await store.read_log(KEY, run_id)
    return "".join(entry.content.text for entry in entries if isinstance(entry.content, Said))


def replies(messages: list[Message]) -> list[tuple[str, StopReason | None]]:
    return [(m.content, m.metadata.stop_reason) for m in messages if m.role is Role.ASSISTANT]


@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_lease_holder_loses_less_than_a_segment(
    store: SqliteStore, tmp_path: Path, point: int
) -> None:
    """The question is stored once or not at all; only the last, uncommitted words may be lost."""
    seen, _ = await killed_at(point, tmp_path / "data.db")
    questions = [m for m in await store.load_messages(KEY) if m.role is Role.USER]
    committed = await said_in_log(store)
    await read_to_the_end(store)
    assert [message.content for message in questions] in ([], [TEXT])
    stored = replies(list(await store.load_messages(KEY)))
    if not questions:
        assert (seen, stored) == ("", [])
    else:
        kept = "".join(text for text, _ in stored)
        assert kept.startswith(committed)
        # Not yet logged: the segment being written, and the words produced during that write.
        words = WORDS_DURING_A_WRITE + 1
        assert len(seen) - len(kept) <= run_settings(LEASE_S).segment_bytes + words * max(map(len, WORDS))
        assert seen.startswith(kept) or kept.startswith(seen)
        assert {reason for _, reason in stored} <= {StopReason.INTERRUPTED, StopReason.END_TURN}
    again = (await ask(store, TEXT, "c-1"))[-1]
    assert isinstance(again, Completed)
    assert again.reply.content == "".join(WORDS)
    messages = list(await store.load_messages(KEY))
    assert [message.content for message in messages] == [TEXT, "".join(WORDS)]
    await store.aclose()


@pytest.mark.parametrize("kind", TryKind)
@pytest.mark.parametrize("point", [*range(1, 7), *range(7, 38, 6), *range(38, 60, 2)])
async def test_there_is_one_chosen_version_whenever_a_try_is_killed(
    store: SqliteStore, tmp_path: Path, point: int, kind: TryKind
) -> None:
    """The old one or the new one; the same request then gets the new one, once."""
    now = to_milliseconds(datetime.now(UTC))
    question = Message(message_id(now, Role.USER, secrets.randbelow), Role.USER, TEXT, now)
    half = "".join(WORDS[:4])
    stopped = MessageMetadata(stop_reason=StopReason.STOPPED)
    reply = Message(message_id(now, Role.ASSISTANT, secrets.randbelow), Role.ASSISTANT, half, now, stopped)
    await store_exchange(store, KEY, question, reply)
    before = list(await store.load_messages(KEY))
    request = await another_try(store, kind)

    _, is_done = await killed_at(point, tmp_path / "data.db", kind)
    if not is_done:
        await read_to_the_end(store)
    after = list(await store.load_messages(KEY))
    whole = [EDITED if kind is TryKind.REPLACE else TEXT, "".join(WORDS)]
    assert after == before or [message.content for message in after] == whole

    parts = parts_over(store)
    settings = msgspec.structs.replace(TurnSettings(), runs=run_settings(LEASE_S))
    request = msgspec.structs.replace(request, deadline=parts.clock.monotonic() + 30)
    *_, again = [event async for event in events_of(run_turn, request, parts, settings)]
    assert isinstance(again, Completed)
    messages = list(await store.load_messages(KEY))
    assert [message.content for message in messages] == whole
    assert messages == [again.user_message, again.reply]
    assert (await store.get_conversation(KEY)).total_messages == 2
    versions = await store.load_versions(KEY, again.reply.id)
    kept = [each.reply.content for each in versions if each.reply is not None]
    assert kept == ([whole[1]] if kind is TryKind.CONTINUE else [half, whole[1]])
    await store.aclose()


async def test_a_conversation_is_free_as_soon_as_the_lease_expires(
    store: SqliteStore, tmp_path: Path
) -> None:
    """Until then another message is refused; afterwards it gets a reply, and the partial reply is kept."""
    seen, is_over = await killed_at(20, tmp_path / "data.db")
    assert seen
    assert not is_over
    refused = (await ask(store, "And now?", "c-2"))[-1]
    assert isinstance(refused, Failed)
    await lease_is_over(store)
    assert isinstance((await ask(store, "And now?", "c-2"))[-1], Completed)
    messages = list(await store.load_messages(KEY))
    assert [message.role for message in messages] == [Role.USER, Role.ASSISTANT] * 2
    assert messages[1].is_interrupted
    await store.aclose()
