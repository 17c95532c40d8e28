"""Users, readers, crashes and clocks in any order, against a simple model of what must hold.

The machine sends messages and sends them again, reads replies, leaves and comes again, stops runs, lets
producers die and leases run out. A dead producer is one whose store does nothing for it any more.

A rule that does not apply does nothing, instead of being left out: what is there depends on timing, and
hypothesis must be able to play an order of events again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coachstream.conversation.errors import ErrorCode, RunNotFound, StorageUnavailable
from coachstream.conversation.events import Chunk, Completed, Event, Failed, LogPoint, Reset
from coachstream.conversation.model import Conversation, ConversationKey, Message, Role, StopReason
from coachstream.conversation.parts import TurnParts
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt import Prompt
from coachstream.conversation.runs.settings import RunSettings
from coachstream.conversation.turn import closer_of, opener_of, resume_run, run_turn, watcher_of
from coachstream.conversation.turn_request import ResumeRequest, TurnRequest
from coachstream.conversation.turn_settings import TurnSettings
from contracts.store_records import SeedableStore

T = TypeVar("T")

KEY = ConversationKey("user-1", "coach-1", "conv-1")
LEASE_S = 15.0
SETTINGS = TurnSettings(
    save_reserve_s=1.0,
    runs=RunSettings(
        lease_s=LEASE_S, commit_every_s=0.0, renew_every_s=0.02, first_poll_s=0.002, longest_poll_s=0.005
    ),
)
WORDS = 8


def reply_to(text: str) -> str:
    """What the model says to a message."""
    return "".join(f"{text}-{number} " for number in range(WORDS))


class MovableClock:
    """Real time, and more: leases run out when it is moved."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def monotonic(self) -> float:
        return time.monotonic()

    def move(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


class Talker:
    """Says its reply word by word, each when it is allowed to."""

    display_name = "talker"
    can_continue = False

    def __init__(self) -> None:
        self.allowed = asyncio.Semaphore(0)
        self.asked: list[str] = []

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        assert deadline > 0
        text = prompt.messages[-1].text.rpartition("\n\n")[2]
        self.asked.append(text)
        for number in range(WORDS):
            await self.allowed.acquire()
            yield TextDelta(f"{text}-{number} ")
        yield ModelStop(StopReason.END_TURN)


class MortalStore:
    """A store for one process: nothing happens for a dead one."""

    def __init__(self, store: SeedableStore) -> None:
        self._store = store
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the store has)
        method = getattr(self._store, name)

        async def call(*args: object, **more: object) -> object:
            if self.is_dead:
                raise StorageUnavailable("dead")
            result = await method(*args, **more)
            if self.is_dead:
                raise StorageUnavailable("dead")
            return result

        return call


@dataclass
class Client:
    """Somebody who sent a message, and reads."""

    text: str
    name: str
    store: MortalStore
    task: asyncio.Task[None] | None = None
    units: bytes = b""
    point: LogPoint | None = None
    ending: Event | None = None
    is_gone: bool = False
    events: list[Event] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return self.units.decode("utf-16-le")

    def take(self, event: Event) -> None:
        self.events.append(event)
        point = getattr(event, "point", None)
        self.point = point or self.point
        match event:
            case Chunk(content, offset):
                assert 2 * offset <= len(self.units), "a gap"
                self.units += content.encode("utf-16-le")[len(self.units) - 2 * offset :]
            case Reset(offset):
                self.units = self.units[: 2 * offset]
            case Completed() | Failed():
                self.ending = event
            case _:
                pass


class RunMachine(RuleBasedStateMachine):
    """Subclasses give the store."""

    async def open_store(self) -> SeedableStore:
        """An empty store."""
        raise NotImplementedError

    async def close_store(self) -> None:
        """Let it go."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = MovableClock()
        self.clients: list[Client] = []
        self.store = self.run(self.open_store())
        self.run(self.store.put_coach(KEY.user_id, KEY.coach_id, {"coach_name": "Mara"}))
        now = self.clock.now()
        self.run(self.store.create_conversation(Conversation(KEY, "Legs", now, now)))
        self.model = Talker()

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    def settle(self) -> None:
        """Let everything happen that can happen now."""
        self.run(asyncio.sleep(0.02))

    def parts(self, store: MortalStore) -> TurnParts:
        return TurnParts(
            runs=store,
            context=store,
            conversations=store,
            memories=store,
            model=self.model,
            recall=None,
            clock=self.clock,
        )

    @rule(text=st.integers(0, 5))
    def send(self, text: int) -> None:
        """A message, new or again; its client reads the reply."""
        client = Client(f"m{text}", f"c-{text}", MortalStore(self.store))
        request = TurnRequest(
            KEY, client.text, self.clock.monotonic() + 60, client_message_id=client.name, streamed=True
        )
        self._read(client, run_turn(request, self.parts(client.store), SETTINGS))

    def _read(self, client: Client, events: AsyncGenerator[Event, None]) -> None:
        async def read() -> None:
            async for event in events:
                if not client.is_gone:
                    client.take(event)

        client.task = self.loop.create_task(read())
        if client not in self.clients:
            self.clients.append(client)
        self.settle()

    @rule(words=st.integers(1, WORDS))
    def speak(self, words: int) -> None:
        """The model goes on."""
        for _ in range(words):
            self.model.allowed.release()
        self.settle()

    @rule(which=st.integers(0, 99))
    def come_again(self, which: int) -> None:
        """A reader whose connection was cut resumes where it was; the producer goes on."""
        waiting = [client for client in self.clients if client.point and not client.ending]
        if not waiting:
            return
        old = waiting[which % len(waiting)]
        old.is_gone = True
        client = Client(old.text, old.name, MortalStore(self.store), units=old.units, point=old.point)
        assert client.point is not None
        request = ResumeRequest(
            KEY, client.point.run_id, self.clock.monotonic() + 60, after=client.point.number
        )
        parts = self.parts(client.store)
        watcher = watcher_of(request, parts, SETTINGS)
        self.run(watcher.open())
        if watcher.is_at_the_end:
            return
        self._read(client, resume_run(request, watcher, parts, SETTINGS))

    @rule(which=st.integers(0, 99))
    def kill(self, which: int) -> None:
        """The process of a client's invocation dies, whatever it was doing."""
        living = [c for c in self.clients if not c.ending and not c.store.is_dead]
        if not living:
            return
        client = living[which % len(living)]
        client.store.is_dead = client.is_gone = True
        self._cancel(client)

    @rule(which=st.integers(0, 99))
    def stop(self, which: int) -> None:
        """Somebody stops a run, from another process."""
        known = [client.point for client in self.clients if client.point]
        if not known:
            return
        point = known[which % len(known)]
        with suppress(RunNotFound):
            self.run(opener_of(self.parts(MortalStore(self.store)), SETTINGS).stop(KEY, point.run_id))
        self.settle()

    @rule()
    def expire(self) -> None:
        """Time goes by: whoever does not renew its lease is dead."""
        self.clock.move(LEASE_S + 1)
        self.settle()

    @rule()
    def load(self) -> None:
        """The conversation is opened, which closes a dead run."""
        self.run(closer_of(self.parts(MortalStore(self.store))).settle(KEY))

    @invariant()
    def every_message_is_stored_once_and_in_order(self) -> None:
        """And has one reply at most, which is the beginning of what the model had to say."""
        messages = self.run(self._messages())
        users = [message for message in messages if message.role is Role.USER]
        names = [message.metadata.client_message_id for message in users]
        assert len(set(names)) == len(names)
        order = [(m.id, m.content, m.metadata.stop_reason, m.metadata.reply_to) for m in messages]
        assert order == sorted(order), order
        answered = [m.metadata.reply_to for m in messages if m.role is Role.ASSISTANT]
        assert len(set(answered)) == len(answered)
        by_id = {message.id: message for message in users}
        for message in messages:
            if message.role is Role.ASSISTANT:
                question = by_id[message.metadata.reply_to or ""]
                whole = reply_to(question.content)
                assert whole.startswith(message.content)
                if message.metadata.stop_reason is StopReason.END_TURN:
                    assert message.content == whole

    @invariant()
    def what_was_told_is_true(self) -> None:
        """Who got `complete` has the stored text; nobody has seen what the model did not say."""
        # What was told before the store is asked: more comes meanwhile.
        told = [(client.text, client.shown, client.ending) for client in self.clients]
        replies = {m.id: m for m in self.run(self._messages()) if m.role is Role.ASSISTANT}
        for text, shown, ending in told:
            assert reply_to(text).startswith(shown)
            if isinstance(ending, Completed):
                assert replies[ending.reply.id].content == ending.reply.content == shown
            if isinstance(ending, Failed):
                assert ending.code in {ErrorCode.TURN_IN_PROGRESS, ErrorCode.TURN_INTERRUPTED}

    async def _messages(self) -> list[Message]:
        return list(await self.store.load_messages(KEY)) if hasattr(self, "store") else []

    def _cancel(self, client: Client) -> None:
        async def end() -> None:
            assert client.task is not None
            client.task.cancel()
            await asyncio.gather(client.task, return_exceptions=True)

        if client.task is not None:
            self.run(end())

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.clock.move(LEASE_S + 1)
            for client in self.clients:
                client.store.is_dead = client.is_gone = True
            for client in self.clients:
                self._cancel(client)
            self.run(closer_of(self.parts(MortalStore(self.store))).settle(KEY))
            assert self.run(self.store.unfinished_run(KEY)) is None
            self.every_message_is_stored_once_and_in_order()
            stored = {m.content for m in self.run(self._messages()) if m.role is Role.USER}
            for client in self.clients:
                assert client.point is None or client.text in stored, "a message was lost"
        finally:
            self.run(self.close_store())
            self.loop.close()
