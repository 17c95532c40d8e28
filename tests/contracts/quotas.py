"""What every `RunStore` must do about quotas."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import msgspec
import pytest

from coachstream.conversation.errors import QuotaExceeded
from coachstream.conversation.ids import milliseconds_of, run_id
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.quotas import (
    DAY_MS,
    MINUTE_MS,
    OwnLimits,
    Quota,
    QuotaLimits,
    QuotaUse,
    Spent,
)
from coachstream.conversation.run_log import LogEntry, Opened
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy, RunBegun
from contracts.store_records import (
    KEY,
    NOW,
    SeedableStore,
    StoreContract,
    conversation,
    ended,
    entry,
    reply_to,
    said,
    user_message,
)

AT = milliseconds_of(NOW.replace(hour=12, minute=30, second=15, microsecond=0))
"""Noon or so, 45 seconds before the next minute."""

LEASE_MS = 15_000

RUNS = QuotaLimits(concurrent_runs=2)
TURNS = QuotaLimits(turns_per_minute=2)
TOKENS = QuotaLimits(tokens_per_day=100)
ALL = QuotaLimits(concurrent_runs=2, turns_per_minute=2, tokens_per_day=100)


class Talk(msgspec.Struct):
    """A user's conversations, and the next message in each."""

    store: SeedableStore
    user_id: str = KEY.user_id
    number: int = 0
    names: set[str] = msgspec.field(default_factory=set)

    async def key(self, name: str) -> ConversationKey:
        """A conversation, which is created with its first use."""
        key = ConversationKey(self.user_id, KEY.coach_id, name)
        if name not in self.names:
            self.names.add(name)
            await self.store.create_conversation(conversation(key))
        return key

    async def delete(self, key: ConversationKey) -> None:
        self.names.remove(key.conversation_id)
        await self.store.delete_conversation(key)

    async def send(
        self, name: str, limits: QuotaLimits, *, at: int = AT, client_id: str | None = None
    ) -> tuple[ConversationKey, str, RunBegun | AlreadyAnswered | ConversationBusy]:
        """Send a message, whose run holds its lease for `LEASE_MS`."""
        key = await self.key(name)
        self.number += 2
        run = run_id(NOW + timedelta(seconds=self.number), secrets.randbelow)
        message_id = f"msg_{at + self.number:013d}_{'u' * 9}_user"
        message = msgspec.structs.replace(user_message(1, client_id=client_id), id=message_id)
        return key, run, await self.store.begin_run(key, message, run, first(at), limits)

    async def begin(self, name: str, limits: QuotaLimits, *, at: int = AT) -> Run:
        key, run, begun = await self.send(name, limits, at=at)
        assert isinstance(begun, RunBegun), begun
        return Run(self.store, key, run, begun)

    async def use(self, limits: QuotaLimits, *, at: int = AT) -> QuotaUse:
        return await self.store.quota_use(self.user_id, limits, at=at)


class Run(msgspec.Struct, frozen=True):
    """A run that began."""

    store: SeedableStore
    key: ConversationKey
    run_id: str
    begun: RunBegun

    async def finish(self, *, tokens: int = 0, at: int = AT, use: QuotaUse | None = None) -> None:
        reply_id = f"msg_{self.begun.at + 1:013d}_{'a' * 9}_assistant"
        reply = msgspec.structs.replace(reply_to(self.begun.user_message, 1), id=reply_id)
        end = ended(1, reply)
        assert await self.store.finish_run(self.key, self.run_id, end, reply, Spent(at, tokens, use)) is None


def first(at: int) -> LogEntry:
    """The first entry of a run that is opened at a moment."""
    opened = entry(0, Opened("", at=at))
    return msgspec.structs.replace(opened, leased_until=at + LEASE_MS, lease_ms=LEASE_MS)


async def refusal_of(
    talk: Talk, limits: QuotaLimits, *, name: str = "another", at: int = AT
) -> QuotaExceeded:
    """How a message is refused, of which nothing is stored."""
    key = await talk.key(name)
    before = await talk.store.load_messages(key)
    with pytest.raises(QuotaExceeded) as refused:
        await talk.send(name, limits, at=at)
    assert await talk.store.load_messages(key) == before
    assert (await talk.store.read_queue(key)).run_id is None
    return refused.value


class QuotaContract(StoreContract):
    """Quotas are taken with a run and return with its end, its lease, or the clock."""

    @pytest.fixture
    def talk(self, store: SeedableStore) -> Talk:
        return Talk(store)

    # Concurrent runs

    async def test_no_more_runs_than_allowed_begin_at_the_same_time(self, talk: Talk) -> None:
        """The next one is refused until one of them ends."""
        runs = [await talk.begin(name, RUNS) for name in ("a", "b")]
        refused = await refusal_of(talk, RUNS)
        assert (refused.quota.quota, refused.quota.limit) == (Quota.CONCURRENT_RUNS, 2)
        assert refused.retry_after_s > 0
        await runs[0].finish()
        await talk.begin("c", RUNS)
        await refusal_of(talk, RUNS)

    async def test_a_conversation_needs_one_place_however_often_it_is_used(self, talk: Talk) -> None:
        """And a user who goes from one conversation to the next, too."""
        limits = QuotaLimits(concurrent_runs=1)
        for _ in range(3):
            await (await talk.begin("a", limits)).finish()
        for name in "bcdefgabc":
            await (await talk.begin(name, limits)).finish()

    async def test_the_place_of_a_dead_run_returns_when_its_lease_is_over(self, talk: Talk) -> None:
        """No one has to close the run: its log says how long its lease holder may be alive."""
        dead = await talk.begin("a", RUNS)
        await talk.begin("b", RUNS, at=AT + 5_000)
        await refusal_of(talk, RUNS, at=AT + LEASE_MS - 1)
        await talk.begin("c", RUNS, at=AT + LEASE_MS)
        assert (await talk.store.read_queue(dead.key)).run_id == dead.run_id
        await refusal_of(talk, RUNS, at=AT + LEASE_MS)

    async def test_a_run_that_renews_its_lease_keeps_its_place(self, talk: Talk) -> None:
        """However long it takes."""
        long = await talk.begin("a", QuotaLimits(concurrent_runs=1))
        renewed = msgspec.structs.replace(said(1), leased_until=AT + 100 * LEASE_MS)
        assert await talk.store.append(long.key, long.run_id, renewed) is None
        await refusal_of(talk, QuotaLimits(concurrent_runs=1), at=AT + 99 * LEASE_MS)

    async def test_a_clock_that_is_hours_ahead_takes_no_place_for_hours(self, talk: Talk) -> None:
        """A process whose clock is right cannot know of its lease; too many runs are better than none."""
        limits = QuotaLimits(concurrent_runs=1)
        await talk.begin("a", limits, at=AT + 3 * 60 * MINUTE_MS)
        await talk.begin("b", limits)
        await refusal_of(talk, limits)

    async def test_the_place_of_a_deleted_conversation_returns(self, talk: Talk) -> None:
        """Its run has ended with it."""
        runs = [await talk.begin(name, RUNS) for name in ("a", "b")]
        await talk.delete(runs[0].key)
        await talk.begin("c", RUNS)
        await refusal_of(talk, RUNS)

    async def test_concurrent_messages_take_no_more_places_than_there_are(self, talk: Talk) -> None:
        """Of eight at the same time, as many begin as may."""
        keys = [await talk.key(f"c-{number}") for number in range(8)]
        taken = await asyncio.gather(
            *(talk.send(key.conversation_id, RUNS) for key in keys), return_exceptions=True
        )
        begun = [each for each in taken if isinstance(each, tuple)]
        assert len(begun) == 2
        assert all(isinstance(each, QuotaExceeded) for each in taken if not isinstance(each, tuple)), taken

    async def test_concurrent_messages_share_the_places_of_runs_that_are_over(self, talk: Talk) -> None:
        """Those conversations may be used again while others take their places."""
        keys = [await talk.key(name) for name in "abcdefgh"]
        for _ in range(5):
            for name in "ab":
                await (await talk.begin(name, RUNS)).finish()
            taken = await asyncio.gather(
                *(talk.send(key.conversation_id, RUNS) for key in keys), return_exceptions=True
            )
            begun = [each for each in taken if isinstance(each, tuple)]
            assert len(begun) == 2, taken
            assert sum(isinstance(each, QuotaExceeded) for each in taken) == 6, taken
            for key, run, result in begun:
                assert isinstance(result, RunBegun)
                await Run(talk.store, key, run, result).finish()

    # Turns a minute

    async def test_no_more_turns_than_allowed_begin_in_a_minute(self, talk: Talk) -> None:
        """Finished ones count, too; the next minute begins with all of them."""
        for _ in range(2):
            await (await talk.begin("a", TURNS)).finish()
        refused = await refusal_of(talk, TURNS, name="a")
        assert (refused.quota.quota, refused.quota.limit) == (Quota.TURNS_PER_MINUTE, 2)
        assert refused.retry_after_s == 45
        for _ in range(2):
            await (await talk.begin("a", TURNS, at=AT + 45_000)).finish()
        assert (await refusal_of(talk, TURNS, name="a", at=AT + 45_000)).retry_after_s == 60

    async def test_turns_are_counted_for_months_without_a_leftover(self, talk: Talk) -> None:
        """However long a user stays away."""
        for week in range(30):
            at = AT + week * 7 * DAY_MS
            for _ in range(2):
                await (await talk.begin("a", TURNS, at=at)).finish(at=at)
                await talk.use(TURNS, at=at)
            await refusal_of(talk, TURNS, name="a", at=at)

    async def test_what_needs_no_run_costs_no_turn(self, talk: Talk) -> None:
        """A retry of a message that has a run or a reply, and a message that finds the conversation busy."""
        key, run, begun = await talk.send("a", TURNS, client_id="c-1")
        assert isinstance(begun, RunBegun)
        for client_id in ("c-1", "c-2", "c-1"):
            assert isinstance((await talk.send("a", TURNS, client_id=client_id))[2], ConversationBusy)
        await Run(talk.store, key, run, begun).finish()
        for _ in range(3):
            assert isinstance((await talk.send("a", TURNS, client_id="c-1"))[2], AlreadyAnswered)
        assert (await talk.use(TURNS)).turns == 1
        await talk.begin("a", TURNS)
        # Also with nothing left.
        assert isinstance((await talk.send("a", TURNS, client_id="c-1"))[2], AlreadyAnswered)
        assert isinstance((await talk.send("a", TURNS, client_id="c-2"))[2], ConversationBusy)

    async def test_concurrent_retries_of_one_message_cost_one_turn(self, talk: Talk) -> None:
        """Only the one that begins the run pays."""
        await talk.key("a")
        sent = await asyncio.gather(*(talk.send("a", ALL, client_id="c-1") for _ in range(6)))
        assert sum(isinstance(each[2], RunBegun) for each in sent) == 1
        assert (await talk.use(ALL)).turns == 1

    async def test_another_attempt_at_a_stored_message_is_a_turn(self, talk: Talk) -> None:
        """It costs a model call like the first one, and is refused like it."""
        for attempt in range(3):
            if attempt == 2:
                with pytest.raises(QuotaExceeded):
                    await talk.send("a", TURNS, client_id="c-1")
                return
            key, run, begun = await talk.send("a", TURNS, client_id="c-1")
            assert isinstance(begun, RunBegun)
            assert begun.is_first_attempt == (attempt == 0)
            assert await talk.store.finish_run(key, run, ended(1), None) is None

    # Tokens a day

    async def test_a_day_without_tokens_left_is_over(self, talk: Talk) -> None:
        """Over all conversations; a turn may begin while one token is left."""
        for name, tokens in (("a", 40), ("b", 59)):
            await (await talk.begin(name, TOKENS)).finish(tokens=tokens)
        run = await talk.begin("a", TOKENS)
        use = (await talk.use(TOKENS)).after_turn(25, at=AT)
        assert (use.tokens, use.left()[0].remaining) == (124, 0)
        await run.finish(tokens=25, use=use)
        refused = await refusal_of(talk, TOKENS)
        assert (refused.quota.quota, refused.quota.limit) == (Quota.TOKENS_PER_DAY, 100)
        until_midnight = DAY_MS - AT % DAY_MS
        assert refused.retry_after_s == until_midnight // 1000
        await (await talk.begin("a", TOKENS, at=AT + until_midnight)).finish()
        assert (await talk.use(TOKENS, at=AT + until_midnight)).tokens == 0

    async def test_a_reply_over_midnight_uses_tokens_of_the_new_day_only(self, talk: Talk) -> None:
        """The day before may be used up: the new one is not."""
        midnight = AT + DAY_MS - AT % DAY_MS
        await (await talk.begin("a", TOKENS, at=midnight - 1)).finish(tokens=90, at=midnight - 1)
        run = await talk.begin("a", TOKENS, at=midnight - 1)
        use = (await talk.use(TOKENS, at=midnight - 1)).after_turn(25, at=midnight)
        await run.finish(tokens=25, at=midnight, use=use)
        await talk.begin("a", TOKENS, at=midnight)
        assert (await talk.use(TOKENS, at=midnight)).tokens == 25

    async def test_tokens_are_counted_over_any_number_of_conversations(self, talk: Talk) -> None:
        """Also those of conversations that are deleted, or that have to give up their place."""
        limits = QuotaLimits(concurrent_runs=2, tokens_per_day=1_000_000)
        for number in range(12):
            run = await talk.begin(f"c-{number % 9}", limits)
            await run.finish(tokens=10)
            if number % 3 == 0:
                await talk.delete(run.key)
            assert (await talk.use(limits)).tokens == 10 * (number + 1)

    async def test_the_tokens_of_a_run_count_although_its_place_was_taken(self, talk: Talk) -> None:
        """Its lease was over, but it went on; and they count once, also when its conversation goes on."""
        limits = QuotaLimits(concurrent_runs=1, tokens_per_day=1_000_000)
        await (await talk.begin("a", limits)).finish(tokens=7)
        late = await talk.begin("a", limits)
        for name, at in (("b", AT + LEASE_MS), ("c", AT + 2 * LEASE_MS)):
            await (await talk.begin(name, limits, at=at)).finish(tokens=10)
        assert (await talk.use(limits)).tokens == 27
        await late.finish(tokens=100)
        assert (await talk.use(limits)).tokens == 127
        for name in "abca":
            await (await talk.begin(name, limits)).finish(tokens=1)
        assert await talk.use(limits) == QuotaUse(limits=limits, at=AT, turns=8, tokens=131)

    async def test_a_run_that_goes_on_after_its_place_was_taken_holds_one_again(self, talk: Talk) -> None:
        """It was given up for dead, and renews its lease: no further run begins until there is room."""
        late = await talk.begin("a", RUNS)
        await talk.begin("b", RUNS, at=AT + LEASE_MS)
        await talk.begin("c", RUNS, at=AT + LEASE_MS)
        renewed = msgspec.structs.replace(said(1), leased_until=AT + 10 * LEASE_MS)
        assert await talk.store.append(late.key, late.run_id, renewed) is None
        await talk.begin("d", RUNS, at=AT + 3 * LEASE_MS)
        await refusal_of(talk, RUNS, at=AT + 3 * LEASE_MS)

    async def test_what_a_run_has_spent_is_counted_once(self, talk: Talk) -> None:
        """The end of a run may be written again when its response was lost."""
        run = await talk.begin("a", TOKENS)
        for _ in range(2):
            await run.finish(tokens=30)
        assert (await talk.use(TOKENS)).tokens == 30

    # Limits and what is left

    async def test_a_user_can_have_limits_of_their_own(self, talk: Talk) -> None:
        """Lower or higher ones, or none; a limit that they do not replace stays."""
        await talk.store.set_own_limits(KEY.user_id, OwnLimits(concurrent_runs=1, turns_per_minute=0))
        run = await talk.begin("a", ALL)
        assert (await refusal_of(talk, ALL)).quota.limit == 1
        await run.finish()
        for name in "bcdef":
            await (await talk.begin(name, ALL)).finish(tokens=10)
        use = await talk.use(ALL)
        assert use.limits == QuotaLimits(concurrent_runs=1, turns_per_minute=0, tokens_per_day=100)
        assert (use.turns, use.tokens) == (6, 50)
        await talk.store.set_own_limits(KEY.user_id, OwnLimits(turns_per_minute=7))
        await talk.begin("a", ALL)
        assert (await refusal_of(talk, ALL)).quota.limit == 7

    async def test_a_lower_limit_counts_from_the_next_message_on(self, talk: Talk) -> None:
        """Also in conversations that were in use under the higher one."""
        for name in "abc":
            await (await talk.begin(name, QuotaLimits(concurrent_runs=3))).finish()
        lower = QuotaLimits(concurrent_runs=1)
        run = await talk.begin("a", lower)
        for name in "bcd":
            await refusal_of(talk, lower, name=name)
        await run.finish()
        await talk.begin("b", lower)

    async def test_more_tokens_for_a_user_count_at_once(self, talk: Talk) -> None:
        """Although the day was known to be over."""
        run = await talk.begin("a", TOKENS)
        await run.finish(tokens=100, use=(await talk.use(TOKENS)).after_turn(100, at=AT))
        await refusal_of(talk, TOKENS)
        await talk.store.set_own_limits(KEY.user_id, OwnLimits(tokens_per_day=1_000))
        await talk.begin("a", TOKENS)

    async def test_users_have_quotas_of_their_own(self, talk: Talk) -> None:
        """What one takes is not missing for another."""
        await talk.store.put_coach("user-2", KEY.coach_id, {"coach_name": "Mara"})
        other = Talk(talk.store, "user-2")
        for each in (talk, other):
            for name in ("a", "b"):
                await each.begin(name, ALL)
            await refusal_of(each, ALL)

    async def test_what_is_left_is_known_during_a_turn(self, talk: Talk) -> None:
        """And what will be left when it ends, with the seconds until all of it is back."""
        await (await talk.begin("a", ALL)).finish(tokens=30)
        await talk.begin("b", ALL)
        use = await talk.use(ALL)
        assert use == QuotaUse(limits=ALL, at=AT, concurrent_runs=1, turns=2, tokens=30)
        left = use.after_turn(16, at=AT).left()
        assert [(each.quota, each.limit, each.remaining) for each in left] == [
            ("concurrent-runs", 2, 2),
            ("turns-per-minute", 2, 0),
            ("tokens-per-day", 100, 54),
        ]
        assert [each.reset_s for each in left] == [None, 45, (DAY_MS - AT % DAY_MS) // 1000]

    async def test_of_several_quotas_that_are_used_up_the_longest_wait_is_named(self, talk: Talk) -> None:
        """A client that waits for it does not find another one."""
        for name in ("a", "b"):
            await talk.begin(name, ALL)
        assert (await refusal_of(talk, ALL)).quota.quota == Quota.TURNS_PER_MINUTE

    async def test_clocks_that_differ_by_a_minute_count_in_windows_of_their_own(self, talk: Talk) -> None:
        """Each window has its limit, so their requests together get at most twice as many turns."""
        for at in (AT, AT + MINUTE_MS, AT, AT + MINUTE_MS):
            await (await talk.begin("a", TURNS, at=at)).finish()
        for at in (AT, AT + MINUTE_MS, AT):
            await refusal_of(talk, TURNS, name="a", at=at)
