"""200 simultaneous sends of 20 users under mixed policies, over real processes, some of which are killed.

On DynamoDB Local, which makes a few hundred calls a second at best, there are fewer users.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import Conversation, Message, Role, StopReason
from coachstream.conversation.run_queue import RunQueue
from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.storage.sqlite import SqliteStore
from contracts.store_records import SeedableStore
from support.dynamodb import a_kept_table
from support.patience import PATIENCE_S
from support.queue_worker import Send, key_of, reply_to

SENDS_OF_A_USER = 10
WORKERS = 5
_REFUSED = ErrorCode.TURN_IN_PROGRESS.value

pytestmark = pytest.mark.timeout(6 * PATIENCE_S)


class Place:
    """A store, and the arguments that let a worker open the same.

    Attributes:
        users: the users; all messages of the first quarter are queued, of the others' some are refused.
    """

    def __init__(self, store: SeedableStore, *arguments: str, users: int) -> None:
        self.store = store
        self.arguments = arguments
        self.users = [f"user-{number}" for number in range(users)]

    @property
    def queueing(self) -> list[str]:
        return self.users[: len(self.users) // 4]


@pytest.fixture
async def on_sqlite(tmp_path: Path) -> AsyncIterator[Place]:
    store = SqliteStore(tmp_path / "data.db")
    yield Place(store, str(tmp_path / "data.db"), users=20)
    await store.aclose()


@pytest.fixture
async def on_dynamodb(dynamodb_local_url: str, aws_credentials: None) -> AsyncIterator[Place]:  # noqa: ARG001
    name = f"coachstream-{uuid.uuid4().hex}"
    async with a_kept_table(dynamodb_local_url, name) as (table, _):
        yield Place(table.store(), dynamodb_local_url, name, users=4)


async def prepare(place: Place) -> None:
    """A conversation for each user."""
    now = datetime.now(UTC)
    for user in place.users:
        await place.store.put_coach(user, "coach-1", {"coach_name": "Mara"})
        await place.store.create_conversation(Conversation(key_of(user), "Legs", now, now))


def all_sends(place: Place, random: Random) -> list[Send]:
    """The messages of all users, shuffled."""
    sends = [
        Send(
            user,
            f"{user}-{number}",
            TurnPolicy.ENQUEUE if user in place.queueing else random.choice(list(TurnPolicy)),
            SENDS_OF_A_USER if user in place.queueing else 3,
        )
        for user in place.users
        for number in range(SENDS_OF_A_USER)
    ]
    random.shuffle(sends)
    return sends


async def start(place: Place, sends: Sequence[Send], *, lease_s: float) -> asyncio.subprocess.Process:
    """Start a worker, and give it all its messages."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.queue_worker", *place.arguments, str(lease_s)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert worker.stdin is not None
    worker.stdin.write(b"".join(msgspec.json.encode(each) + b"\n" for each in sends))
    worker.stdin.close()
    return worker


async def printed_by(worker: asyncio.subprocess.Process) -> list[dict[str, Any]]:
    """Wait for a worker's end, and return its lines."""
    output, _ = await worker.communicate()
    assert worker.returncode == 0
    return [json.loads(line) for line in output.decode().splitlines()]


def check_conversation(messages: Sequence[Message], sends: Sequence[Send]) -> None:
    """Each message is stored once, with one reply that comes after it."""
    questions = [message for message in messages if message.role is Role.USER]
    assert Counter(message.content for message in questions) == Counter(each.text for each in sends)
    replies = {m.metadata.reply_to: m for m in messages if m.role is Role.ASSISTANT}
    assert len(messages) == 2 * len(sends)
    assert [message.id for message in messages] == sorted(message.id for message in messages)
    for question in questions:
        reply = replies[question.id]
        assert reply.id > question.id
        if reply.metadata.stop_reason is StopReason.END_TURN:
            assert reply.content == reply_to(question.content)
        else:
            assert reply.metadata.stop_reason is StopReason.STOPPED
            assert reply_to(question.content).startswith(reply.content)


async def check(place: Place, sends: Sequence[Send]) -> None:
    """Nothing is lost, nothing doubled, nothing left in a queue."""
    for user in place.users:
        assert await place.store.read_queue(key_of(user)) == RunQueue()
        check_conversation(
            await place.store.load_messages(key_of(user)), [each for each in sends if each.user == user]
        )


async def send_all(place: Place) -> None:
    """All at once, over several processes that stay alive."""
    await prepare(place)
    sends = all_sends(place, Random(16))  # noqa: S311 (no secret)
    workers = [await start(place, sends[n::WORKERS], lease_s=15) for n in range(WORKERS)]
    lines = [line for printed in await asyncio.gather(*map(printed_by, workers)) for line in printed]
    assert [line for line in lines if "failed" in line] == []
    assert Counter(line["reply"] for line in lines if "reply" in line) == Counter(e.text for e in sends)
    calls = Counter(line["model"] for line in lines if "model" in line)
    assert set(calls) <= {each.text for each in sends}
    # Under load a store may refuse a call. The client gets an error, sends again, and gets another reply.
    failed = {line["again"] for line in lines if line.get("code", _REFUSED) != _REFUSED}
    twice = {text for text, count in calls.items() if count > 1}
    assert twice - failed == set(), "answered twice"
    await check(place, sends)
    refused = {line["again"] for line in lines if line.get("code") == _REFUSED}
    queueing = [each.text for each in sends if each.user in place.queueing]
    assert refused.isdisjoint(queueing)
    for user in place.queueing:
        if not failed.isdisjoint(each.text for each in sends if each.user == user):
            continue
        messages = await place.store.load_messages(key_of(user))
        assert [m.metadata.reply_to for m in messages[1::2]] == [m.id for m in messages[::2]]


async def send_and_kill(place: Place) -> None:
    """Two processes are killed while they write and wait; their clients send again, from another one."""
    await prepare(place)
    sends = all_sends(place, Random(17))  # noqa: S311 (no secret)
    workers = [await start(place, sends[n::WORKERS], lease_s=2) for n in range(WORKERS)]
    for doomed in workers[:2]:
        assert doomed.stdout is not None
        for _ in range(4):
            await asyncio.wait_for(doomed.stdout.readline(), PATIENCE_S)
        doomed.send_signal(signal.SIGKILL)
        await doomed.communicate()
    again = [each for n in range(2) for each in sends[n::WORKERS]]
    workers = [*workers[2:], await start(place, again, lease_s=2)]
    lines = [line for printed in await asyncio.gather(*map(printed_by, workers)) for line in printed]
    assert [line for line in lines if "failed" in line] == []
    await check(place, sends)


async def test_simultaneous_sends_are_answered_once_and_in_order_on_sqlite(on_sqlite: Place) -> None:
    """Under every policy; each reply costs one call of the model."""
    await send_all(on_sqlite)


async def test_simultaneous_sends_are_answered_once_and_in_order_on_dynamodb(on_dynamodb: Place) -> None:
    """Where every write is a call over the network."""
    await send_all(on_dynamodb)


async def test_simultaneous_sends_survive_the_death_of_processes_on_sqlite(on_sqlite: Place) -> None:
    """The queue goes on without them, and their messages are answered once."""
    await send_and_kill(on_sqlite)


async def test_simultaneous_sends_survive_the_death_of_processes_on_dynamodb(on_dynamodb: Place) -> None:
    """The same over the network."""
    await send_and_kill(on_dynamodb)
