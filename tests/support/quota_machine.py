"""Quotas under any order of messages, tries, stops, deletions, deaths, clocks and pauses, against a model.

The model knows of each run what the processes requested and what they learned. Where a process died during a
call, it does not know the outcome, so it has two bounds:

- **No quota is exceeded**: what certainly happened stays within the limits, tokens within their tolerance.
- **Nothing leaks**: a refusal needs that enough may have happened, and in the end everything is back.

The clocks of two processes differ by less than a lease, as the clocks of real machines do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import Random
from typing import TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coachstream.conversation.another_try import AnotherTry, TryKind, TryRequest
from coachstream.conversation.errors import (
    CannotContinue,
    ConversationNotFound,
    ErrorCode,
    IdempotencyMismatch,
    NotTheLastExchange,
    QuotaExceeded,
    RunNotFound,
)
from coachstream.conversation.events import Failed
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.model import Conversation, ConversationKey, Message, Role, Usage
from coachstream.conversation.quotas import (
    UNLIMITED,
    OwnLimits,
    Quota,
    QuotaLimits,
    Spent,
    day_of,
    minute_of,
)
from coachstream.conversation.run_log import LogEntry, Opened, ending_of
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy, RunBegun
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import TurnRequest
from coachstream.conversation.turn.turn import run_opener, run_turn
from contracts.store_records import SeedableStore
from support.calls_in_turn import CallsInTurnLoop
from support.run_machine import (
    BEGAN_AT,
    CALLS,
    COACH,
    LEASE_S,
    SETTINGS,
    STEP_S,
    WORDS,
    Acceptance,
    Client,
    Process,
    Talker,
    WrongClock,
    nothing,
)
from support.turn_events import events_of

T = TypeVar("T")

USERS = ("user-1", "user-2")
CONVERSATIONS = 4
OFF_S = st.sampled_from([0.0, 0.0, 1.0, -1.0, 4.0, -4.0])
"""How far the clock of a process is ahead: two differ by less than a lease without its last heartbeats."""
PAUSE_S = st.sampled_from([1.0, 20.0, 61.0, 3_600.0, 90_000.0])
TURN_S = 60.0
"""The timeout of a request: short, because a run writes a heartbeat every second of a pause."""
LIMITS = st.builds(
    QuotaLimits,
    concurrent_runs=st.integers(0, 3),
    turns_per_minute=st.integers(0, 6),
    tokens_per_day=st.sampled_from([0, 30, 100, 2_000]),
)
OWN_LIMITS = st.builds(
    OwnLimits,
    st.none() | st.integers(1, 3),
    st.none() | st.integers(0, 6),
    st.none() | st.sampled_from([0, 50, 1_000]),
)
EXPECTED = {
    ErrorCode.QUOTA_EXCEEDED,
    ErrorCode.TURN_IN_PROGRESS,
    ErrorCode.TURN_INTERRUPTED,
    ErrorCode.CONVERSATION_NOT_FOUND,
    ErrorCode.NOT_THE_LAST_EXCHANGE,
    ErrorCode.CANNOT_CONTINUE,
    ErrorCode.DEADLINE_EXCEEDED,
}


@dataclass
class KnownRun:
    """What is known of a run.

    Attributes:
        at: the moment of its claim, by its process's clock.
        has_begun: whether it has; None if that is unknown.
        has_ended: likewise.
        leased_until: the longest lease that was requested.
        spent: what its end counts, if it was requested.
        is_spent: whether that was counted; None if that is unknown.
    """

    key: ConversationKey
    at: int
    holder: QuotaProcess
    has_begun: bool | None = None
    has_ended: bool | None = False
    leased_until: int = 0
    spent: Spent | None = None
    is_spent: bool | None = False

    def is_healthy(self) -> bool:
        """Whether it certainly is one of the concurrent runs."""
        return self.has_begun is True and self.has_ended is False and self.holder.is_alive

    def may_hold_a_place(self, at: int) -> bool:
        """Whether it may be one of the concurrent runs for a process whose clock shows this moment."""
        return self.has_begun is not False and self.has_ended is not True and self.leased_until > at


@dataclass
class Ledger:
    """The model: all runs, and the violations that were found."""

    limits: dict[str, QuotaLimits] = field(default_factory=dict)
    runs: dict[str, KnownRun] = field(default_factory=dict)
    wrongs: list[str] = field(default_factory=list)

    def of(self, user_id: str) -> list[KnownRun]:
        return [run for run in self.runs.values() if run.key.user_id == user_id]

    def check_begun(self, begun: KnownRun) -> None:
        """A run has begun."""
        limits, runs = self.limits[begun.key.user_id], self.of(begun.key.user_id)
        healthy = sum(run.is_healthy() for run in runs)
        if limits.concurrent_runs and healthy > limits.concurrent_runs:
            self.wrongs.append(f"{healthy} concurrent runs")
        turns = sum(run.has_begun is True and minute_of(run.at) == minute_of(begun.at) for run in runs)
        if limits.turns_per_minute and turns > limits.turns_per_minute:
            self.wrongs.append(f"{turns} turns in a minute")

    def check_refused(self, refused: KnownRun, error: QuotaExceeded, held: Sequence[KnownRun]) -> None:
        """A run was refused; `held` may have held a place when it was requested."""
        limits, runs = self.limits[refused.key.user_id], self.of(refused.key.user_id)
        others = [run for run in runs if run is not refused]
        match error.quota.quota:
            case Quota.CONCURRENT_RUNS:
                since = [run for run in others if run not in held and run.may_hold_a_place(refused.at)]
                places, most = len(held) + len(since), limits.concurrent_runs
                if places < most:
                    self.wrongs.append(f"refused with {places} of {most} places taken")
            case Quota.TURNS_PER_MINUTE:
                minute = minute_of(refused.at)
                turns = sum(run.has_begun is not False and minute_of(run.at) == minute for run in others)
                if turns < limits.turns_per_minute:
                    self.wrongs.append(f"refused with {turns} turns in the minute")
            case _:
                _, most_tokens = self.tokens(refused.key.user_id, day_of(refused.at))
                if most_tokens < limits.tokens_per_day:
                    self.wrongs.append(f"refused with at most {most_tokens} tokens")

    def tokens(self, user_id: str, day: int) -> tuple[int, int]:
        """The least and the most tokens that a user can have spent on a day."""
        of_day = [run for run in self.of(user_id) if run.spent is not None and day_of(run.spent.at) == day]
        least = sum(run.spent.tokens for run in of_day if run.spent and run.is_spent is True)
        return least, sum(run.spent.tokens for run in of_day if run.spent and run.is_spent is not False)

    def check_tokens(self, user_id: str, day: int) -> None:
        """Exceeded only by runs that were running, and those that began before the first of them ended."""
        limits = self.limits[user_id]
        least, _ = self.tokens(user_id, day)
        largest = max((run.spent.tokens for run in self.of(user_id) if run.spent), default=0)
        tolerance = 2 * (limits.concurrent_runs or CONVERSATIONS) * largest
        if limits.tokens_per_day and least >= limits.tokens_per_day + tolerance:
            self.wrongs.append(f"{least} tokens on a day, of {limits.tokens_per_day}")


class QuotaProcess(Process):
    """A process whose requests and results the ledger keeps."""

    def __init__(
        self, store: SeedableStore, clock: WrongClock, acceptance: Acceptance, ledger: Ledger
    ) -> None:
        super().__init__(store, clock, acceptance)
        self._ledger = ledger

    async def begin_run(
        self,
        key: ConversationKey,
        user_message: Message,
        of_run: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        begin = super().begin_run
        return await self._begun(key, of_run, opened, begin(key, user_message, of_run, opened, quotas))

    async def begin_try(
        self,
        key: ConversationKey,
        request: TryRequest,
        user_message: Message | None,
        of_run: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        begin = super().begin_try
        return await self._begun(
            key, of_run, opened, begin(key, request, user_message, of_run, opened, quotas)
        )

    async def begin_queued(
        self, key: ConversationKey, of_run: str, opened: LogEntry, quotas: QuotaLimits = UNLIMITED
    ) -> RunBegun | None:
        return await self._begun(key, of_run, opened, super().begin_queued(key, of_run, opened, quotas))

    async def _begun(self, key: ConversationKey, of_run: str, opened: LogEntry, beginning: Awaitable[T]) -> T:
        """Await an attempt to begin a run, and keep its result."""
        assert isinstance(opened.content, Opened)
        run = KnownRun(key, opened.content.at, self, leased_until=opened.leased_until)
        held = [each for each in self._ledger.of(key.user_id) if each.may_hold_a_place(run.at)]
        known = self._ledger.runs.get(of_run)
        if known is None or known.has_begun is False:
            self._ledger.runs[of_run] = run
        try:
            result = await beginning
        except QuotaExceeded as error:
            run.has_begun = False
            self._ledger.check_refused(run, error, held)
            raise
        except (ConversationNotFound, NotTheLastExchange, CannotContinue, IdempotencyMismatch):
            run.has_begun = False
            raise
        run.has_begun = isinstance(result, RunBegun)
        if run.has_begun:
            self._ledger.runs[of_run] = run
            self._ledger.check_begun(run)
        return result

    async def append(self, key: ConversationKey, of_run: str, entry: LogEntry) -> LogEntry | None:
        run = self._ledger.runs.get(of_run)
        if run is not None:
            run.leased_until = max(run.leased_until, entry.leased_until)
        return await super().append(key, of_run, entry)

    async def finish_run(
        self,
        key: ConversationKey,
        of_run: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
        another_try: AnotherTry | None = None,
    ) -> LogEntry | None:
        run = self._ledger.runs[of_run]
        had_ended = run.has_ended
        if run.has_ended is False:
            run.has_ended = None
        if spent is not None and run.is_spent is False:
            run.spent, run.is_spent = spent, None
        there = await super().finish_run(key, of_run, ended, reply, spent, another_try)
        if there is None or ending_of(there) is not None:
            run.has_ended = True
        elif run.has_ended is None:
            run.has_ended = had_ended  # a stop request has the number, and the run goes on
        if spent is not None and there is None:
            run.spent, run.is_spent = spent, True
        return there

    async def delete_conversation(self, key: ConversationKey) -> None:
        runs = [run for run in self._ledger.runs.values() if run.key == key]
        for run in runs:
            run.has_ended = run.has_ended or None
        await self._call(lambda: self._store.delete_conversation(key))
        for run in runs:
            run.has_ended = True


class QuotaMachine(RuleBasedStateMachine):
    """The state machine; subclasses provide the store as for `RunMachine`."""

    async def open_store(self) -> SeedableStore:
        raise NotImplementedError

    async def close_store(self) -> None:
        raise NotImplementedError

    def store_in_turn(self) -> SeedableStore:
        raise NotImplementedError

    @initialize(order=st.integers(0, 2**32 - 1), limits=LIMITS, own=OWN_LIMITS)
    def begin(self, order: int, limits: QuotaLimits, own: OwnLimits) -> None:
        if not limits.is_on:
            limits = QuotaLimits(concurrent_runs=1)
        self.random = Random(order)  # noqa: S311 (no secret)
        self.loop = CallsInTurnLoop(self.random)
        self.calls = self.loop.calls
        self.clients: list[Client] = []
        self.names = 0
        self.acceptance = Acceptance()
        self.settings = msgspec.structs.replace(
            SETTINGS, runs=msgspec.structs.replace(SETTINGS.runs, quotas=limits)
        )
        self.ledger = Ledger({USERS[0]: limits.overridden_by(own), USERS[1]: limits})
        self.store = self.look(self.open_store)
        self.shared_store = self.store_in_turn()
        self.model = Talker()
        self.model.usage = Usage(15, 5)
        for user in USERS:
            self.look(partial(self.store.put_coach, user, COACH, {"coach_name": "Mara"}))
        self.look(partial(self.store.set_own_limits, USERS[0], own))
        self.keys = [self._created(USERS[0]) for _ in range(CONVERSATIONS)] + [self._created(USERS[1])]

    def _created(self, user: str) -> ConversationKey:
        self.names += 1
        key = ConversationKey(user, COACH, f"conv-{self.names}")
        self.look(partial(self.store.create_conversation, Conversation(key, "Legs", BEGAN_AT, BEGAN_AT)))
        return key

    def look(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call the store while all other tasks wait."""
        return self.loop.run_until_complete(self.calls.look(call))

    def settle(self, calls: int, then: Callable[[], None] = nothing) -> None:
        self.loop.run_until_complete(self.calls.made(calls, then, within_s=STEP_S))

    def process(self, off_s: float) -> QuotaProcess:
        return QuotaProcess(self.shared_store, WrongClock(self.loop, off_s), self.acceptance, self.ledger)

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

    def _start(
        self, key: ConversationKey, text: str, off_s: float, another_try: TryRequest | None = None
    ) -> Client:
        name = f"c-{text}" if another_try is None else another_try.client_message_id
        client = Client(key, text, name, self.process(off_s), another_try=another_try)
        request = TurnRequest(
            key,
            text,
            self.loop.time() + TURN_S,
            client_message_id=client.name,
            streamed=True,
            another_try=another_try,
        )
        events = events_of(run_turn, request, self.parts(client.process), self.settings)

        async def read() -> None:
            async for event in events:
                client.take(event)

        client.process.task = self.loop.create_task(read())
        self.clients.append(client)
        return client

    @rule(which=st.integers(0, CONVERSATIONS), text=st.integers(0, 12), off_s=OFF_S, calls=CALLS)
    def send(self, which: int, text: int, off_s: float, calls: int) -> None:
        """Send a message, new or retried."""
        self._start(self.keys[which], f"m{text}", off_s)
        self.settle(calls)

    @rule(words=st.integers(1, 3 * WORDS), calls=CALLS)
    def speak(self, words: int, calls: int) -> None:
        """Let the model continue, in whichever replies."""
        for _ in range(words):
            self.model.allowed.release()
        self.settle(calls)

    @rule(which=st.integers(0, CONVERSATIONS), text=st.integers(0, 99), off_s=OFF_S)
    def talk(self, which: int, text: int, off_s: float) -> None:
        """Send a message and get the whole reply, unless others get the words."""
        self._start(self.keys[which], f"t{text}", off_s)
        for _ in range(WORDS):
            self.model.allowed.release()
        self.settle(1_000)

    @rule(
        which=st.integers(0, CONVERSATIONS),
        kind=st.sampled_from([TryKind.REGENERATE, TryKind.REPLACE]),
        off_s=OFF_S,
        is_whole=st.booleans(),
        calls=CALLS,
    )
    def try_again(self, which: int, kind: TryKind, off_s: float, is_whole: bool, calls: int) -> None:
        """Try the last exchange of a conversation again, which takes a turn and tokens like any other run."""
        messages = self.look(partial(self.store.load_messages, self.keys[which]))
        named = [m for m in messages if (m.role is Role.USER) == (kind is TryKind.REPLACE)]
        if not named:
            return
        self.names += 1
        request = TryRequest(kind, named[-1].id, f"again-{self.names}")
        self._start(self.keys[which], f"e{self.names}", off_s, request)
        for _ in range(WORDS if is_whole else 0):
            self.model.allowed.release()
        self.settle(1_000 if is_whole else calls)

    @rule(which=st.integers(0, 99), calls=CALLS)
    def kill(self, which: int, calls: int) -> None:
        """Kill a process, perhaps between two calls of one operation."""
        living = [client for client in self.clients if client.process.is_alive]
        if living:
            self.settle(calls, then=partial(self._kill, living[which % len(living)]))

    def _kill(self, client: Client) -> None:
        client.process.is_dead = client.is_gone = True
        if client.process.task is not None:
            client.process.task.cancel()

    @rule(which=st.integers(0, 99), off_s=OFF_S, calls=CALLS)
    def stop(self, which: int, off_s: float, calls: int) -> None:
        """Stop a run from another process."""
        known = [client for client in self.clients if client.point]
        if known:
            client = known[which % len(known)]
            assert client.point is not None
            opener = run_opener(self.parts(self.process(off_s)), self.settings)
            with suppress(RunNotFound, ConversationNotFound):
                self.loop.run_until_complete(opener.stop(client.key, client.point.run_id))
        self.settle(calls)

    @rule(which=st.integers(0, CONVERSATIONS), off_s=OFF_S)
    def delete(self, which: int, off_s: float) -> None:
        """Delete a conversation, whatever it is doing, and use another one from then on."""
        self.loop.run_until_complete(self.process(off_s).delete_conversation(self.keys[which]))
        self.keys[which] = self._created(self.keys[which].user_id)

    @rule(seconds=PAUSE_S)
    def pause(self, seconds: float) -> None:
        """Let time pass: seconds, a lease, a minute, an hour, a day."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(which=st.integers(0, 99), seconds=OFF_S)
    def jump(self, which: int, seconds: float) -> None:
        """Set the clock of a living process."""
        living = [client.process for client in self.clients if client.process.is_alive]
        if living:
            process = living[which % len(living)]
            process.clock.jump(seconds - process.clock.off_s)

    @invariant()
    def no_quota_is_exceeded_and_nothing_leaks(self) -> None:
        """As far as the outcomes of all calls are known."""
        if not hasattr(self, "keys"):
            return
        assert self.ledger.wrongs == [], self.ledger.wrongs
        at = milliseconds_of(WrongClock(self.loop, 0).now())
        for user in USERS:
            self.ledger.check_tokens(user, day_of(at))
            use = self.look(partial(self.store.quota_use, user, self.settings.runs.quotas, at=at))
            assert use.limits == self.ledger.limits[user]
            least, most = self.ledger.tokens(user, day_of(at))
            assert least <= use.tokens <= most
            certain, possible = (
                sum(
                    run.has_begun in known and minute_of(run.at) == minute_of(at)
                    for run in self.ledger.of(user)
                )
                for known in ((True,), (True, None))
            )
            assert certain <= use.turns <= possible
        assert self.ledger.wrongs == [], self.ledger.wrongs
        for client in self.clients:
            assert not isinstance(client.ending, Failed) or client.ending.code in EXPECTED, client.ending

    def teardown(self) -> None:
        if not hasattr(self, "keys"):
            return
        try:
            self._kill_all()
            self.pause(86_400 + LEASE_S)
            self.no_quota_is_exceeded_and_nothing_leaks()
            for user in USERS:
                self._everything_is_back(user)
            self.no_quota_is_exceeded_and_nothing_leaks()
        finally:
            self._kill_all()
            self.look(self.close_store)
            self.look(self.loop.shutdown_default_executor)
            self.loop.close()

    def _kill_all(self) -> None:
        async def ended() -> None:
            async with asyncio.timeout(LEASE_S):
                await asyncio.gather(
                    *filter(None, (client.process.task for client in self.clients)), return_exceptions=True
                )

        for client in self.clients:
            self._kill(client)
        self.loop.run_until_complete(ended())

    def _everything_is_back(self, user: str) -> None:
        """As many messages begin at the same time as the limits allow, and no more."""
        limits = self.ledger.limits[user]
        most = min(limits.concurrent_runs or 5, limits.turns_per_minute or 5)
        keys = [self._created(user) for _ in range(most + 1)]
        self.model = Talker()  # which says nothing before it may
        # The minute of the claims is the same.
        now = WrongClock(self.loop, 0).now()
        self.pause((timedelta(minutes=1) - timedelta(seconds=now.second)).total_seconds())
        clients = []
        for key in keys:
            clients.append(self._start(key, "last", 0.0))
            self.settle(1_000)
        assert [client.ending for client in clients[:most]] == [None] * most
        if most in {limits.concurrent_runs, limits.turns_per_minute}:
            refused = clients[most].ending
            assert isinstance(refused, Failed)
            assert refused.code is ErrorCode.QUOTA_EXCEEDED
        self._kill_all()
