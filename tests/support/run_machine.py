"""Users, readers, crashes, clock changes and deletions in any order, checked against simple invariants.

The machine sends and retries messages under every policy, tries the last exchange again, chooses versions,
reads replies, disconnects and reconnects, stops runs, withdraws queued ones, deletes conversations, kills
lease holders and processes that wait in a queue, and lets leases expire. A dead process is one whose store no
longer executes its calls.

Each process has its own wall clock, which is wrong and jumps. The monotonic time advances only when no call
of the store is in progress or requested, so a live lease holder renews its lease in time, and a save takes no
time, however busy this machine is. The calls of all processes are made one at a time, in an order decided by
a seed, and the next rule begins after a given number of them, while the others are still working. So
hypothesis can reproduce an order of events.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coachstream.conversation.another_try import (
    AnotherTry,
    TryKind,
    TryRequest,
    last_exchange,
)
from coachstream.conversation.errors import (
    ConversationNotFound,
    ErrorCode,
    MessageWithdrawn,
    NotTheLastExchange,
    RunNotFound,
    StorageUnavailable,
    TurnInProgress,
)
from coachstream.conversation.events import Chunk, Completed, Event, Failed, LogPoint, Reset
from coachstream.conversation.ids import run_id
from coachstream.conversation.model import Conversation, ConversationKey, Message, Role, StopReason, Usage
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.quotas import UNLIMITED, QuotaLimits, Spent
from coachstream.conversation.run_log import Claimed, LogEntry, Opened, is_tombstone
from coachstream.conversation.run_queue import RunQueue, StopResult
from coachstream.conversation.run_store import (
    AlreadyAnswered,
    ConversationBusy,
    QueueIsFull,
    RunBegun,
    RunQueued,
)
from coachstream.conversation.runs.settings import RunSettings, TurnPolicy
from coachstream.conversation.runs.watcher import RunWatcher
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import ResumeRequest, TurnRequest
from coachstream.conversation.turn.settings import TurnSettings
from coachstream.conversation.turn.turn import (
    new_user_message,
    resume_run,
    run_closer,
    run_opener,
    run_turn,
    run_watcher,
)
from contracts.store_records import SeedableStore
from support.calls_in_turn import CallsInTurnLoop
from support.turn_events import events_of

T = TypeVar("T")

USER, COACH = "user-1", "coach-1"
LEASE_S = 15.0
STEP_S = 1.0
"""How long a rule waits for its effects: each lease holder sends a heartbeat, and each reader polls once."""
WITHIN_S = 900.0
"""The timeout of a request: a function's maximum."""
SETTINGS = TurnSettings(
    save_reserve_s=1.0,
    runs=RunSettings(lease_s=LEASE_S, reader_awaited_s=LEASE_S, commit_every_s=0.0),
)
WORDS = 8
OFF_S = st.sampled_from([0.0, 0.0, 20.0, -20.0, 3_600.0, -3_600.0, 172_800.0, -172_800.0, 4e8])
"""How far the wall clock of a process is ahead of the others."""
CALLS = st.sampled_from([1_000, 0, 1, 2, 3, 5, 8, 13])
"""The number of store calls until the next rule begins; no step makes as many as a thousand."""
MOST_TRIES = 6
"""Fewer than the versions that are kept, so that none is dropped; the contract has what happens then."""
TEXTS = st.integers(0, 5)
POLICIES = st.sampled_from([TurnPolicy.ENQUEUE, TurnPolicy.ENQUEUE, TurnPolicy.REJECT, TurnPolicy.INTERRUPT])
BEGAN_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def reply_to(text: str) -> str:
    """The model's reply to a message."""
    return "".join(f"{text}-{number} " for number in range(WORDS))


def nothing() -> None:
    """Do nothing."""


class WrongClock:
    """The clocks of one process, on an event loop whose time is the monotonic time of all processes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, off_s: float) -> None:
        self._loop = loop
        self.off_s = off_s

    def now(self) -> datetime:
        return BEGAN_AT + timedelta(seconds=self._loop.time() + self.off_s)

    def monotonic(self) -> float:
        return self._loop.time()

    def jump(self, seconds: float) -> None:
        self.off_s += seconds


class Talker:
    """A model that sends its reply word by word, each when it is released; it continues a partial one."""

    display_name = "talker"
    usage = Usage()
    can_continue = True
    is_usable = True

    def __init__(self) -> None:
        self.allowed = asyncio.Semaphore(0)
        self.speaking = 0
        self.most_words = WORDS

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        assert deadline > 0
        text = prompt.messages[-1].text.rpartition("\n\n")[2]
        self.speaking += 1
        try:
            begins = prompt.said.count(" ")
            ends = min(WORDS, begins + self.most_words)
            for number in range(begins, ends):
                await self.allowed.acquire()
                yield TextDelta(f"{text}-{number} ")
            yield ModelStop(StopReason.END_TURN if ends == WORDS else StopReason.MAX_TOKENS, self.usage)
        finally:
            self.speaking -= 1


class Acceptance:
    """Checks every call that the store accepts.

    Attributes:
        newest: the greatest accepted message id of each conversation, but for withdrawn messages.
        accepted: all of these ids.
        newest_at_opening: the greatest id when a run was opened.
        waiting: the ids of the messages that were stored while a run was unfinished or queued.
        edits: the ids of the messages that were stored to replace others.
        open_runs: the runs of each conversation that are unfinished or queued.
        last_begun: the newest message of each conversation whose run has begun in its turn of the queue.
        withdrawn: the idempotency keys of the messages that were withdrawn.
        processes: all processes so far, dead ones included.
        wrongs: the violations found.
    """

    def __init__(self) -> None:
        self.newest: dict[ConversationKey, str] = {}
        self.accepted: defaultdict[ConversationKey, set[str]] = defaultdict(set)
        self.newest_at_opening: dict[str, str] = {}
        self.waiting: defaultdict[str, set[str]] = defaultdict(set)
        self.edits: set[str] = set()
        self.open_runs: defaultdict[ConversationKey, set[str]] = defaultdict(set)
        self.last_begun: dict[ConversationKey, str] = {}
        self.withdrawn: set[tuple[ConversationKey, str]] = set()
        self.processes: list[Process] = []
        self.wrongs: list[str] = []

    def message(self, key: ConversationKey, name: str, *, behind: str) -> None:
        """Note that a message was stored; all up to `behind` had been stored before it was requested."""
        if name <= behind:
            self.wrongs.append(f"{name} was stored after {behind}")
        self.accepted[key].add(name)
        self.newest[key] = max(name, self.newest.get(key, ""))

    def withdraw(self, key: ConversationKey, name: str) -> None:
        """Note that a queued message is gone: later ones need not come after it."""
        self.accepted[key].discard(name)
        self.newest[key] = max(self.accepted[key], default="")
        for waiting in self.waiting.values():
            waiting.discard(name)

    def reply(self, key: ConversationKey, run: str, name: str) -> None:
        """Note that a reply was stored; it comes before the messages that waited for it."""
        self.message(key, name, behind=self.newest_at_opening.get(run, ""))
        if any(waiting <= name for waiting in self.waiting[run]):
            self.wrongs.append(f"{name} was stored after a message that waited for it")

    def producer_of(self, entries: Sequence[LogEntry]) -> Process | None:
        """The process that holds the lease of a run, if it is alive."""
        writers = [
            entry.writer
            for entry in entries
            if isinstance(entry.content, Claimed)
            or (isinstance(entry.content, Opened) and entry.content.has_producer)
        ]
        for process in self.processes:
            if writers and writers[-1] in process.writers and process.is_alive:
                return process
        return None


class Process:
    """One process: its clock, and a store that no longer executes its calls once it is dead."""

    def __init__(self, store: SeedableStore, clock: WrongClock, acceptance: Acceptance) -> None:
        self._store = store
        self._acceptance = acceptance
        self.clock = clock
        self.writers: set[str] = set()
        self.is_dead = False
        self.task: asyncio.Task[None] | None = None
        acceptance.processes.append(self)

    @property
    def is_alive(self) -> bool:
        return not self.is_dead and self.task is not None and not self.task.done()

    async def begin_run(
        self,
        key: ConversationKey,
        user_message: Message,
        of_run: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        self.writers.add(opened.writer)
        behind = self._acceptance.newest.get(key, "")
        result = await self._call(lambda: self._store.begin_run(key, user_message, of_run, opened, quotas))
        if isinstance(result, RunBegun):
            if result.is_first_attempt:
                self._acceptance.message(key, result.user_message.id, behind=behind)
            self._acceptance.newest_at_opening[of_run] = self._acceptance.newest.get(key, "")
            self._acceptance.open_runs[key].add(of_run)
        return self._unless_dead(result)

    async def begin_try(
        self,
        key: ConversationKey,
        request: TryRequest,
        user_message: Message | None,
        of_run: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        self.writers.add(opened.writer)
        behind = self._acceptance.newest.get(key, "")
        result = await self._call(
            lambda: self._store.begin_try(key, request, user_message, of_run, opened, quotas)
        )
        if isinstance(result, RunBegun):
            if user_message is not None and result.user_message.id not in self._acceptance.edits:
                self._acceptance.edits.add(result.user_message.id)
                self._acceptance.message(key, result.user_message.id, behind=behind)
            self._acceptance.newest_at_opening[of_run] = self._acceptance.newest.get(key, "")
            self._acceptance.open_runs[key].add(of_run)
        return self._unless_dead(result)

    async def save_waiting_message(
        self, key: ConversationKey, user_message: Message, of_run: str
    ) -> Message | None:
        behind = self._acceptance.newest.get(key, "")
        before = {of_run, *self._acceptance.open_runs[key]}
        known = {message.id for message in await self._store.load_messages(key)}
        saved = await self._call(lambda: self._store.save_waiting_message(key, user_message, of_run))
        if saved is not None and saved.id not in known | self._acceptance.waiting[of_run]:
            self._acceptance.message(key, saved.id, behind=behind)
            self._note_waiting(saved.id, before)
        return self._unless_dead(saved)

    async def enqueue_run(
        self,
        key: ConversationKey,
        user_message: Message,
        of_run: str,
        *,
        behind: str,
        most: int,
        time_zone: str | None = None,
    ) -> RunQueued | QueueIsFull | None:
        newest = self._acceptance.newest.get(key, "")
        before = {behind, *self._acceptance.open_runs[key]}
        queued = await self._call(
            lambda: self._store.enqueue_run(
                key, user_message, of_run, behind=behind, most=most, time_zone=time_zone
            )
        )
        if isinstance(queued, RunQueued) and queued.run.run_id == of_run:
            if queued.run.is_first_attempt:
                self._acceptance.message(key, queued.user_message.id, behind=newest)
                self._note_waiting(queued.user_message.id, before)
            self._acceptance.newest_at_opening[of_run] = max(newest, queued.user_message.id)
            self._acceptance.open_runs[key].add(of_run)
        return self._unless_dead(queued)

    def _note_waiting(self, message_id: str, before: set[str]) -> None:
        """Note that a message was stored when these runs were unfinished or queued."""
        for run in before:
            self._acceptance.waiting[run].add(message_id)

    async def begin_queued(
        self, key: ConversationKey, of_run: str, opened: LogEntry, quotas: QuotaLimits = UNLIMITED
    ) -> RunBegun | None:
        self.writers.add(opened.writer)
        begun = await self._call(lambda: self._store.begin_queued(key, of_run, opened, quotas))
        if begun is not None and begun.is_first_attempt:
            last, this = self._acceptance.last_begun.get(key, ""), begun.user_message.id
            if this <= last:
                self._acceptance.wrongs.append(f"the run of {this} has begun after that of {last}")
            self._acceptance.last_begun[key] = this
        return self._unless_dead(begun)

    async def leave_queue(
        self, key: ConversationKey, of_run: str, ended: LogEntry, *, is_withdrawn: bool
    ) -> bool:
        queued = {run.run_id: run.user_message_id for run in (await self._store.read_queue(key)).queued}
        has_left = await self._call(
            lambda: self._store.leave_queue(key, of_run, ended, is_withdrawn=is_withdrawn)
        )
        self._acceptance.open_runs[key].discard(of_run)
        gone = queued.get(of_run) if is_withdrawn else None
        if gone is not None and await self._store.load_message(key, gone) is None:
            self._acceptance.withdraw(key, gone)
        return self._unless_dead(has_left)

    async def append(self, key: ConversationKey, of_run: str, entry: LogEntry) -> LogEntry | None:
        self.writers.add(entry.writer)
        return self._unless_dead(await self._call(lambda: self._store.append(key, of_run, entry)))

    async def finish_run(
        self,
        key: ConversationKey,
        of_run: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
        another_try: AnotherTry | None = None,
    ) -> LogEntry | None:
        log = await self._store.read_log(key, of_run)
        there = await self._call(
            lambda: self._store.finish_run(key, of_run, ended, reply, spent, another_try)
        )
        holder = self._acceptance.producer_of(log)
        if there is None and holder not in (None, self):
            self._acceptance.wrongs.append("a healthy run was closed by an observer")
        is_continued = another_try is not None and another_try.continued_id is not None
        if there is None and reply is not None and not is_continued:
            self._acceptance.reply(key, of_run, reply.id)
        if there is None:
            self._acceptance.open_runs[key].discard(of_run)
        return self._unless_dead(there)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the store has)
        method = getattr(self._store, name)

        async def call(*args: object, **more: object) -> object:
            return self._unless_dead(await self._call(lambda: method(*args, **more)))

        return call

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        if self.is_dead:
            raise StorageUnavailable("dead")
        return await work()

    def _unless_dead(self, result: T) -> T:
        if self.is_dead:
            raise StorageUnavailable("dead")
        return result


@dataclass
class Client:
    """A client that sent a message and reads the reply."""

    key: ConversationKey
    text: str
    name: str
    process: Process
    units: bytes = b""
    point: LogPoint | None = None
    ending: Event | None = None
    is_gone: bool = False
    another_try: TryRequest | None = None

    @property
    def shown(self) -> str:
        return self.units.decode("utf-16-le")

    def take(self, event: Event) -> None:
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
    """The state machine; subclasses provide the store."""

    async def open_store(self) -> SeedableStore:
        """Open an empty store."""
        raise NotImplementedError

    async def close_store(self) -> None:
        """Close the store."""
        raise NotImplementedError

    def store_in_turn(self) -> SeedableStore:
        """The same store, with its calls made in turn."""
        raise NotImplementedError

    @initialize(order=st.integers(0, 2**32 - 1), is_answered=st.booleans())
    def begin(self, order: int, is_answered: bool) -> None:
        """Begin with an empty conversation, or with an exchange that can be tried again."""
        self.random = Random(order)  # noqa: S311 (no secret)
        self.loop = CallsInTurnLoop(self.random)
        self.calls = self.loop.calls
        self.clients: list[Client] = []
        self.tries: list[tuple[TryRequest, str]] = []
        self.seen: dict[str, str | None] = {}  # the ids of messages, with their idempotency keys
        self.deleted: list[ConversationKey] = []
        self.acceptance = Acceptance()
        self.store = self.look(self.open_store)
        self.shared_store = self.store_in_turn()
        self.look(lambda: self.store.put_coach(USER, COACH, {"coach_name": "Mara"}))
        self._create()
        self.model = Talker()
        if is_answered:
            self._send_once_more("m0", "c-0", behind=0)

    def _create(self) -> None:
        self.key = ConversationKey(USER, COACH, f"conv-{len(self.deleted)}")
        conversation = Conversation(self.key, "Legs", BEGAN_AT, BEGAN_AT)
        self.look(lambda: self.store.create_conversation(conversation))

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run work while all other tasks continue."""
        return self.loop.run_until_complete(work)

    def look(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call the store while all other tasks wait."""
        return self.run(self.calls.look(call))

    def settle(self, calls: int, then: Callable[[], None] = nothing) -> None:
        """Let the others run until they have made this many calls, or have been idle for a while."""
        self.run(self.calls.made(calls, then, within_s=STEP_S))

    def process(self, off_s: float) -> Process:
        return Process(self.shared_store, WrongClock(self.loop, off_s), self.acceptance)

    def parts(self, process: Process) -> TurnDependencies:
        return TurnDependencies(
            runs=process,
            context=process,
            conversations=process,
            memories=process,
            model=self.model,
            recall=None,
            clock=process.clock,
            random_below=self.random.randrange,
        )

    @rule(text=TEXTS, policy=POLICIES, off_s=OFF_S, calls=CALLS)
    def send(self, text: int, policy: TurnPolicy, off_s: float, calls: int) -> None:
        """Send a message, new or retried; its client reads the reply."""
        client = Client(self.key, f"m{text}", f"c-{text}", self.process(off_s))
        request = self._request(client, policy)
        self._read(client, events_of(run_turn, request, self.parts(client.process), SETTINGS))
        self.settle(calls)

    @rule(text=TEXTS, policy=POLICIES, off_s=OFF_S)
    def send_for_reader(self, text: int, policy: TurnPolicy, off_s: float) -> None:
        """Send a message whose first reader, if any, starts its reply."""
        client = Client(self.key, f"m{text}", f"c-{text}", self.process(off_s))
        parts = self.parts(client.process)
        opening = run_opener(parts, SETTINGS).open_for_reader(
            self.key,
            partial(new_user_message, self._request(client), parts),
            run_id(client.process.clock.now(), self.random.randrange),
            deadline=self.loop.time() + 25,
            policy=policy,
        )
        try:
            client.point = LogPoint(self.run(opening), -1)
            self.clients.append(client)
        except MessageWithdrawn:
            assert (self.key, client.name) in self.acceptance.withdrawn
            return
        except NotTheLastExchange:  # another message has replaced this one
            assert client.text in self._older().values()
            return
        except TurnInProgress as refusal:
            waiting = refusal.user_message
        else:
            return
        assert waiting in self._messages()

    def _request(self, client: Client, policy: TurnPolicy | None = None) -> TurnRequest:
        return TurnRequest(
            client.key,
            client.text,
            self.loop.time() + WITHIN_S,
            client_message_id=client.name,
            streamed=True,
            another_try=client.another_try,
            policy=policy,
        )

    @rule(
        kind=st.sampled_from(TryKind),
        which=st.integers(0, 9),
        is_free=st.booleans(),
        off_s=OFF_S,
        calls=CALLS,
    )
    def try_again(self, kind: TryKind, which: int, is_free: bool, off_s: float, calls: int) -> None:
        """Try the last exchange again; sometimes an earlier one, or repeat an earlier try."""
        if is_free:
            self.finish()
        messages = self._messages()
        named = [m for m in messages if (m.role is Role.USER) == (kind is TryKind.REPLACE)]
        if which >= 8 and self.tries:
            request, text = self.tries[which % len(self.tries)]
        elif named and len(self.tries) < MOST_TRIES:
            message = named[-1] if which else named[0]
            request = TryRequest(kind, message.id, f"t-{len(self.tries)}")
            text = f"e{len(self.tries)}"
            if kind is not TryKind.REPLACE:
                [text] = [m.content for m in messages if m.id == message.metadata.reply_to]
            self.tries.append((request, text))
        else:
            return
        client = Client(self.key, text, request.client_message_id, self.process(off_s), another_try=request)
        self._read(client, events_of(run_turn, self._request(client), self.parts(client.process), SETTINGS))
        self.settle(calls)

    @rule(which=st.integers(0, 9), off_s=OFF_S)
    def choose(self, which: int, off_s: float) -> None:
        """Choose a version of the last exchange."""
        last = last_exchange(self._messages())
        if last is None or last.reply is None:
            return
        reply_id = last.reply.id
        versions = self.look(partial(self.store.load_versions, self.key, reply_id))
        replies = [version.reply for version in versions if version.reply is not None]
        assert [reply.id for reply in replies].count(reply_id) == 1
        with suppress(NotTheLastExchange, TurnInProgress):
            chosen = replies[which % len(replies)].id
            self.run(self.process(off_s).choose_version(self.key, reply_id, chosen))

    def _read(self, client: Client, events: AsyncGenerator[Event, None]) -> None:
        async def read() -> None:
            async for event in events:
                if not client.is_gone:
                    client.take(event)

        client.process.task = self.loop.create_task(read())
        self.clients.append(client)

    @rule(words=st.integers(1, WORDS), calls=CALLS)
    def speak(self, words: int, calls: int) -> None:
        """Let the model continue."""
        for _ in range(words):
            self.model.allowed.release()
        self.settle(calls)

    @rule(most_words=st.sampled_from([WORDS, 1, 3]))
    def cut_off(self, most_words: int) -> None:
        """Let replies end at a maximum length from now on."""
        self.model.most_words = most_words

    @rule()
    def finish(self) -> None:
        """Let the model finish what it writes, and begin what comes next; the runs end."""
        for _ in range(2 * WORDS):
            self.model.allowed.release()
        self.run(asyncio.sleep(3 * STEP_S))

    @rule(which=st.integers(0, 99), off_s=OFF_S, calls=CALLS)
    def come_again(self, which: int, off_s: float, calls: int) -> None:
        """Let a reader whose connection was cut resume at its position; the reply continues."""
        waiting = [c for c in self.clients if c.point and not c.ending and c.key == self.key]
        if not waiting:
            return
        old = waiting[which % len(waiting)]
        old.is_gone = True
        client = Client(
            old.key,
            old.text,
            old.name,
            self.process(off_s),
            units=old.units,
            point=old.point,
            another_try=old.another_try,
        )
        assert client.point is not None
        request = ResumeRequest(
            client.key, client.point.run_id, self.loop.time() + WITHIN_S, after=client.point.number
        )
        parts = self.parts(client.process)
        watcher: RunWatcher | None = run_watcher(request, parts, SETTINGS)
        assert watcher is not None
        if self.run(watcher.open()) is None:
            watcher = None  # it is in the queue, or was withdrawn
        elif watcher.is_at_the_end:
            return
        self._read(client, events_of(resume_run, request, watcher, parts, SETTINGS))
        self.settle(calls)

    @rule(which=st.integers(0, 99), calls=CALLS)
    def kill(self, which: int, calls: int) -> None:
        """Kill the process of a client's invocation, perhaps before it knows the result of a call."""
        living = [client for client in self.clients if client.process.is_alive]
        if living:
            self.settle(calls, then=partial(self._kill, living[which % len(living)]))

    def _kill(self, client: Client) -> None:
        client.process.is_dead = client.is_gone = True
        if client.process.task is not None:
            client.process.task.cancel()

    @rule(which=st.integers(0, 99), off_s=OFF_S, calls=CALLS)
    def stop(self, which: int, off_s: float, calls: int) -> None:
        """Stop a run from another process, or withdraw it if it is queued."""
        known = [client for client in self.clients if client.point and client.key == self.key]
        if not known:
            return
        client = known[which % len(known)]
        assert client.point is not None
        opener = run_opener(self.parts(self.process(off_s)), SETTINGS)
        # Noted before, because readers find out while it is being withdrawn.
        was_withdrawn = (self.key, client.name) in self.acceptance.withdrawn
        self.acceptance.withdrawn.add((self.key, client.name))
        result = None
        with suppress(RunNotFound):
            result = self.run(opener.stop_or_withdraw(self.key, client.point.run_id))
        if result is not StopResult.WITHDRAWN and not was_withdrawn:
            self.acceptance.withdrawn.discard((self.key, client.name))
        self.settle(calls)

    @rule()
    def expire(self) -> None:
        """Let time pass: a lease holder without a heartbeat loses its lease."""
        self.run(asyncio.sleep(LEASE_S + STEP_S))

    @rule(which=st.integers(0, 99), seconds=OFF_S, calls=CALLS)
    def jump(self, which: int, seconds: float, calls: int) -> None:
        """Set the wall clock of one process, perhaps that of a lease holder during its run."""
        living = [client.process for client in self.clients if client.process.is_alive]
        if living:
            living[which % len(living)].clock.jump(seconds)
        self.settle(calls)

    @rule(off_s=OFF_S)
    def load(self, off_s: float) -> None:
        """Open the conversation, which closes a run that died long ago."""
        closer = run_closer(self.parts(self.process(off_s)), SETTINGS)
        self.run(closer.settle(self.key))

    @rule(off_s=OFF_S)
    def delete(self, off_s: float) -> None:
        """Delete the conversation, whatever it is doing, and use another one from then on.

        All tasks that use it end soon, and the model stops.
        """
        self.run(self.process(off_s).delete_conversation(self.key))
        here = [client.process.task for client in self.clients if client.key == self.key]
        self.deleted.append(self.key)
        self.tries.clear()
        self.seen.clear()
        began_at = self.loop.time()
        self._wait_for(here)
        assert self.loop.time() - began_at < 3, "a deletion ends live runs too late"
        assert self.model.speaking == 0
        self._create()

    def _wait_for(self, tasks: Sequence[asyncio.Task[None] | None]) -> None:
        async def ended() -> None:
            async with asyncio.timeout(2 * LEASE_S):
                await asyncio.gather(*filter(None, tasks), return_exceptions=True)

        self.run(ended())

    @invariant()
    def nothing_happened_that_must_not(self) -> None:
        """Each message is stored after all earlier ones, and no observer closes a live run."""
        if hasattr(self, "acceptance"):
            assert self.acceptance.wrongs == []

    @invariant()
    def what_was_deleted_stays_deleted(self) -> None:
        """This holds whatever was being written during the deletion."""
        for key in getattr(self, "deleted", []):
            assert list(self.look(partial(self.store.load_messages, key))) == []
            with suppress(ConversationNotFound):
                assert self.look(partial(self.store.read_queue, key)) == RunQueue()
            runs = {client.point.run_id for client in self.clients if client.key == key and client.point}
            for each in runs:
                assert all(map(is_tombstone, self.look(partial(self.store.read_log, key, each))))

    @invariant()
    def every_message_is_stored_once_and_in_order(self) -> None:
        """Each has at most one reply, which is a prefix of the model's reply."""
        messages = self._messages()
        users = [message for message in messages if message.role is Role.USER]
        names = [message.metadata.client_message_id for message in users]
        assert len(set(names)) == len(names)
        order = [(m.id, m.content, m.metadata.stop_reason, m.metadata.reply_to) for m in messages]
        assert order == sorted(order), order
        replied_to = [m.metadata.reply_to for m in messages if m.role is Role.ASSISTANT]
        assert len(set(replied_to)) == len(replied_to)
        by_id = {message.id: message for message in users}
        for message in messages:
            if message.role is Role.ASSISTANT:
                question = by_id[message.metadata.reply_to or ""]
                assert message.id > question.id
                whole = reply_to(question.content)
                assert whole.startswith(message.content)
                if message.metadata.stop_reason is StopReason.END_TURN:
                    assert message.content == whole

    @invariant()
    def no_version_is_lost_or_doubled(self) -> None:
        """A message that was in the conversation is in it, or in an older version, and never in both.

        An interrupted reply is replaced by the next one. Of an exchange with versions, one is chosen.
        """
        if not hasattr(self, "store"):
            return
        line = self._messages()
        here = {message.id for message in line}
        older = self._older()
        assert not here & older.keys()
        gone = self.seen.keys() - here - older.keys()
        lost = {each for each in gone if (self.key, self.seen[each]) not in self.acceptance.withdrawn}
        assert not lost, "lost"
        for name in gone:
            del self.seen[name]
        for each in line:
            if each.metadata.stop_reason is not StopReason.INTERRUPTED:
                self.seen[each.id] = each.metadata.client_message_id
        conversation = self.look(partial(self.store.get_conversation, self.key))
        assert conversation.total_messages == len(line)
        last = last_exchange(line)
        if last is not None and last.reply is not None and last.reply.metadata.versions:
            versions = self.look(partial(self.store.load_versions, self.key, last.reply.id))
            assert len(versions) == last.reply.metadata.versions
            [chosen] = [version for version in versions if version.is_chosen]
            assert (chosen.user_message, chosen.reply) == (last.user_message, last.reply)

    def _older(self) -> dict[str, str]:
        """The texts of all messages of older versions and of failed edits, by their ids."""
        found: dict[str, str] = {}
        after: str | None = None
        while True:
            page = self.look(partial(self.store.read_records, USER, after=after))
            for record in page.records:
                name = record.id.split("#")
                if record.kind == "coachVersion" and name[1] == self.key.conversation_id:
                    data = record.data
                    attributes = data.get("attributes", data)
                    assert isinstance(attributes, Mapping)
                    found[name[2]] = str(attributes["content"])
            after = page.next
            if after is None:
                return found

    @invariant()
    def what_readers_saw_is_true(self) -> None:
        """A reader that got `complete` has the stored text; no reader has seen any text but the model's."""
        # Captured before the store is read, because more text arrives during the read.
        seen = [(client, client.shown, client.ending) for client in getattr(self, "clients", [])]
        replies = {m.id: m for m in self._messages() if m.role is Role.ASSISTANT}
        for client, shown, ending in seen:
            assert reply_to(client.text).startswith(shown)
            if isinstance(ending, Completed):
                assert ending.reply.content == shown
                if client.key == self.key:
                    stored = replies.get(ending.reply.id) or self.look(
                        partial(self.store.load_message, self.key, ending.reply.id)
                    )
                    assert stored is not None
                    assert stored.content.startswith(shown)  # it may have been continued
            if isinstance(ending, Failed):
                expected = {ErrorCode.TURN_IN_PROGRESS, ErrorCode.TURN_INTERRUPTED}
                expected |= {ErrorCode.NOT_THE_LAST_EXCHANGE}  # also for a retry of a replaced message
                if client.another_try is not None:
                    expected.add(ErrorCode.CANNOT_CONTINUE)
                is_withdrawn = (client.key, client.name) in self.acceptance.withdrawn
                if is_withdrawn:
                    expected.add(ErrorCode.MESSAGE_WITHDRAWN)
                if client.key in self.deleted:
                    expected.add(ErrorCode.CONVERSATION_NOT_FOUND)
                assert ending.code in expected, ending
                is_busy = ending.code is ErrorCode.TURN_IN_PROGRESS
                if is_busy and client.another_try is not None:
                    assert ending.user_message is None
                elif is_busy and client.key == self.key and not is_withdrawn:
                    waiting = [m for m in self._messages() if m.metadata.client_message_id == client.name]
                    assert ending.user_message is not None
                    assert waiting == [ending.user_message] or ending.user_message.id in self._older()

    def _messages(self) -> list[Message]:
        if not hasattr(self, "store"):
            return []
        return list(self.look(partial(self.store.load_messages, self.key)))

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            for client in self.clients:
                self._kill(client)
            # A write in progress when its process died is still executed, and looks like a renewal.
            self._wait_for([client.process.task for client in self.clients])
            left = self.look(partial(self.store.read_queue, self.key)).queued
            self._send_once_more("last", "c-last", behind=len(left))
            assert self.look(partial(self.store.read_queue, self.key)) == RunQueue()
            answered = {m.metadata.reply_to for m in self._messages()}
            assert {run.user_message_id for run in left} <= answered, "left behind"
            self.nothing_happened_that_must_not()
            self.every_message_is_stored_once_and_in_order()
            self.no_version_is_lost_or_doubled()
            stored = {m.content for m in self._messages() if m.role is Role.USER} | set(
                self._older().values()
            )
            for client in self.clients:
                is_gone = (client.key, client.name) in self.acceptance.withdrawn or client.key != self.key
                assert client.point is None or is_gone or client.text in stored, "lost"
        finally:
            self.look(self.close_store)
            self.look(self.loop.shutdown_default_executor)
            self.loop.close()

    def _send_once_more(self, text: str, name: str, *, behind: int) -> None:
        """Send a message, which closes a dead run, whatever its process's clock, and gets a reply.

        So do the queued messages that no process attends any more.
        """
        client = Client(self.key, text, name, self.process(-7_200.0))
        for _ in range(WORDS * (behind + 1)):
            self.model.allowed.release()
        roomy = msgspec.structs.replace(SETTINGS.runs, max_queued=behind + 1)
        settings = msgspec.structs.replace(SETTINGS, runs=roomy)

        async def sent() -> None:
            async for event in events_of(
                run_turn, self._request(client), self.parts(client.process), settings
            ):
                client.take(event)

        client.process.task = self.loop.create_task(sent())
        self.run(asyncio.wait_for(client.process.task, 60 * (behind + 1)))
        assert isinstance(client.ending, Completed), client.ending
