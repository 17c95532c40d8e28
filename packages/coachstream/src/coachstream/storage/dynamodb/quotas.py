"""Quotas: one item per user, `coachQuota`, which usually only the transaction that begins a run writes.

Each item in a transaction costs two write units, and a turn has two transactions. So nothing is given back at
the end of a run. The item says where to look instead, and errs on the safe side:

- `open`: the conversations that may have an unfinished run, a set. A conversation in which a run begins has
  none, so it needs one place however often it is used. If the set is full, the store looks at the unfinished
  run of each conversation and at the lease in its log, and takes out the conversations whose run is over.
- `late`: the conversations that were taken out with an unfinished run, because its lease was over, a set.
  Such a run may go on: its tokens count, and it holds a place again once it has renewed its lease.
- `turns<minute>`: the runs that began in a minute, counted from 1970. A claim removes some earlier counts.
- The tokens of a run are added to the conversation's `coachTurn` item, which the end of a run writes anyway:
  `tokens<day>`. The user's total is their sum over the open and late conversations, plus `settledTokens` (of
  `settledDay`), what conversations had that are neither. A turn reads it while the model writes. If the
  day's tokens are used up, its end stores the total: `knownTokens` (of `knownDay`) refuses the next claim.
- `claims` counts the runs that began, for optimistic concurrency. A refusal for want of places is certain
  only if it has not changed while they were counted.
- `maxConcurrentRuns`, `maxTurnsPerMinute`, `maxTokensPerDay`: the user's own limits, written by operators.
  With one that is not a number from 0 on, no run begins. A fraction counts as the next whole number.
"""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import suppress

import msgspec

from coachstream.conversation.errors import QuotaExceeded, StorageUnavailable
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.prompt.records import as_count, as_text
from coachstream.conversation.quotas import (
    MOST_PLACES,
    NO_LIMIT,
    OwnLimits,
    QuotaLimits,
    QuotaUse,
    Spent,
    day_of,
    holds_a_place,
    minute_of,
)
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.keys import quota_key, unfinished_run_key
from coachstream.storage.dynamodb.requests import Update, Write
from coachstream.storage.dynamodb.run_logs import RunLogs
from coachstream.storage.dynamodb.table_client import Step, TableClient, TransactionCancelled

MOST_OLD_MINUTES = 8
"""The counts of earlier minutes that may pile up before a turn removes them, for one write unit."""

MOST_LATE = MOST_PLACES
"""The late conversations that are kept, the newest ones: each is read with the open ones."""

REMOVED_WINDOWS = range(2, 7)
"""The earlier windows that each write removes. The last one may be the current one of a clock behind."""

MOST_TAKEN_OUT = 99
"""The conversations taken out at once: a transaction has at most 100 items (Developer Guide, 2026-11-28)."""

_UNLIMITED = 10**15 - 1
"""Compares as no limit; the greatest integer of a header field (RFC 9651, section 3.3.1)."""

_OWN_LIMITS = ("maxConcurrentRuns", "maxTurnsPerMinute", "maxTokensPerDay")
"""The attributes of the user's own limits, in the order of `OwnLimits`."""

_MINUTE = re.compile(r"turns([0-9]+)")
_SPENT = re.compile(r"tokens[0-9]+")


class UnusableLimit(StorageUnavailable):
    """A limit of the user's own is not a number from 0 on, so it is not known what the operator wants."""

    retryable = False


class _Open(msgspec.Struct, frozen=True):
    """An open or late conversation: its tokens of the day, its run, and whether that holds a place."""

    conversation_id: str
    tokens: int
    has_run: bool
    holds_a_place: bool


class Quotas:
    """The quotas in one table."""

    def __init__(self, table: TableClient, logs: RunLogs) -> None:
        self._table = table
        self._logs = logs

    async def make_room(
        self, cancelled: TransactionCancelled, key: ConversationKey, limits: QuotaLimits, at: int
    ) -> None:
        """Take conversations out whose run is over, so that a claim that only the quotas refused may succeed.

        Args:
            cancelled: the transaction with the claim.
            key: the conversation of the claim, which has no unfinished run.
            limits: as given to `taking`.
            at: as given to `taking`.

        Raises:
            QuotaExceeded: nothing is left of a quota.
            UnusableLimit: as named.
            StorageUnavailable: the store failed.
        """
        if cancelled.failed != {Step.QUOTA}:
            return
        item = cancelled.existing.get(Step.QUOTA) or {}
        known = _use_in(item, limits, at)
        known.check()  # without a read, if turns or tokens are used up
        found = await self._open(key.user_id, item, at, reads_leases=True)
        try:
            _with(known, item, found, at).check()
        except QuotaExceeded:
            if await self._has_claimed_since(key.user_id, item):
                return  # a run that ended and one that began since may both have been counted
            raise
        over = [each for each in found if not each.holds_a_place][:MOST_TAKEN_OUT]
        writes: dict[str, Write] = {"quota": _settling(key.user_id, item, found, over, at)}
        for each in over:
            if each.tokens and not each.has_run:
                spent = _spent_name(day_of(at))
                writes[f"tokens of {each.conversation_id}"] = Update(
                    unfinished_run_key(msgspec.structs.replace(key, conversation_id=each.conversation_id)),
                    f"REMOVE #{spent}",
                    f"#{spent} = :tokens",
                    {":tokens": each.tokens},
                )
        with suppress(TransactionCancelled):  # another claim was faster; the next attempt finds out more
            await self._table.transact(writes)

    async def use(self, user_id: str, limits: QuotaLimits, *, at: int) -> QuotaUse:
        """What a user has taken (see `RunStore`): a read, and one for each open conversation.

        A run whose process died counts until `make_room` looks at its lease.
        """
        item = await self._table.get(quota_key(user_id)) or {}
        found = await self._open(user_id, item, at, reads_leases=False)
        if old := _old_minutes(item, at, at_least=MOST_OLD_MINUTES):
            await self._table.change(Update(quota_key(user_id), f"REMOVE {_names(old)}"))
        return _with(_use_in(item, limits, at), item, found, at)

    async def set_own_limits(self, user_id: str, own: OwnLimits) -> None:
        """Give a user limits of their own."""
        given = dict(zip(_OWN_LIMITS, msgspec.structs.astuple(own), strict=True))
        kept = {name: value for name, value in given.items() if value is not None}
        removed = [name for name in given if name not in kept]
        changes = []
        if kept:
            changes.append(f"SET {', '.join(f'#{name} = :{name}' for name in kept)}")
        if removed:
            changes.append(f"REMOVE {_names(removed)}")
        values = {f":{name}": value for name, value in kept.items()}
        await self._table.change(Update(quota_key(user_id), " ".join(changes), values=values))

    async def _has_claimed_since(self, user_id: str, item: Item) -> bool:
        now = await self._table.get(quota_key(user_id), only="#claims") or {}
        return as_count(now.get("claims")) != as_count(item.get("claims"))

    async def _open(self, user_id: str, item: Item, at: int, *, reads_leases: bool) -> list[_Open]:
        async def look(conversation_id: str) -> _Open:
            item_key = unfinished_run_key(ConversationKey(user_id, "", conversation_id))
            turn = await self._table.get(item_key) or {}
            run_id = as_text(turn.get("runId"))
            takes_place = bool(run_id) and conversation_id in open_ones
            if run_id and reads_leases:
                key = ConversationKey(user_id, as_text(turn.get("coachId")), conversation_id)
                takes_place = holds_a_place(await self._logs.last(key, run_id), at)
                if not takes_place:  # the end of the run may have counted its tokens since
                    turn = await self._table.get(item_key) or {}
                    run_id = as_text(turn.get("runId"))
            tokens = as_count(turn.get(_spent_name(day_of(at))))
            return _Open(conversation_id, tokens, bool(run_id), takes_place)

        open_ones = _conversations_in(item, "open")
        return await asyncio.gather(*map(look, sorted(open_ones | _conversations_in(item, "late"))))


def taking(key: ConversationKey, limits: QuotaLimits, at: int) -> dict[str, Write]:
    """The write that takes a run from the user's quotas if any is on, unless one seems to be used up."""
    return {Step.QUOTA: _claim(key, limits, at)} if limits.is_on else {}


def _claim(key: ConversationKey, limits: QuotaLimits, at: int) -> Update:
    minute, day = minute_of(at), day_of(at)
    turns = _turns_name(minute)
    has_a_place_left = _is("size(#open) <", "maxConcurrentRuns", "runs")
    has_no_place_too_many = _is("size(#open) <=", "maxConcurrentRuns", "runs")
    is_slow = _is(f"#{turns} <", "maxTurnsPerMinute", "turns")
    is_cheap = _is("#knownTokens <", "maxTokensPerDay", "tokens")
    are_own_limits_usable = " AND ".join(
        f"(attribute_not_exists(#{own}) OR #{own} >= :none)" for own in _OWN_LIMITS
    )
    old = [_turns_name(minute - ago) for ago in REMOVED_WINDOWS]
    return Update(
        quota_key(key.user_id),
        f"ADD #open :conversations, #{turns} :one, #claims :one REMOVE {_names(old)}",
        f"{are_own_limits_usable} AND (attribute_not_exists(#open) OR {has_a_place_left}"
        # If the limit has been lowered, also conversations that are in the set have to look for a place.
        f" OR (contains(#open, :conversation) AND ({has_no_place_too_many})))"
        f" AND (attribute_not_exists(#{turns}) OR {is_slow})"
        f" AND (attribute_not_exists(#knownDay) OR #knownDay <> :day OR {is_cheap})",
        {
            ":conversations": {key.conversation_id},
            ":conversation": key.conversation_id,
            ":one": 1,
            ":day": day,
            ":none": NO_LIMIT,
            ":runs": limits.concurrent_runs or MOST_PLACES,
            ":mostruns": MOST_PLACES,
            ":turns": limits.turns_per_minute or _UNLIMITED,
            ":mostturns": _UNLIMITED,
            ":tokens": limits.tokens_per_day or _UNLIMITED,
            ":mosttokens": _UNLIMITED,
        },
        returns_existing=True,
    )


def using_up(user_id: str, spent: Spent | None) -> dict[str, Write]:
    """The write that ends the user's day, if the run has used its last tokens."""
    if spent is None or not spent.uses_up_the_day:
        return {}
    known = 0 if spent.use is None else spent.use.tokens
    write = Update(
        quota_key(user_id),
        "SET #knownDay = :day, #knownTokens = :tokens",
        values={":day": day_of(spent.at), ":tokens": known},
    )
    return {Step.QUOTA: write}


def adding(spent: Spent) -> tuple[str, str, Item]:
    """What an update adds and removes to count a run's tokens on its conversation's item, and the values."""
    day = day_of(spent.at)
    old = [_spent_name(day - ago) for ago in REMOVED_WINDOWS]
    return f"#{_spent_name(day)} :spent", _names(old), {":spent": spent.tokens}


def spent_in(unfinished_run: Item) -> bool:
    """Whether a conversation's item has tokens of some day, which count even if it is deleted."""
    return any(_SPENT.fullmatch(name) for name in unfinished_run)


def _is(compared: str, own: str, limit: str) -> str:
    """The condition that a comparison holds with the user's own limit, or else with that of all users."""
    return (
        f"(attribute_not_exists(#{own}) AND {compared} :{limit})"
        f" OR (#{own} <> :none AND {compared} #{own})"
        f" OR (#{own} = :none AND {compared} :most{limit})"
    )


def _use_in(item: Item, limits: QuotaLimits, at: int) -> QuotaUse:
    """What the item alone says: no concurrent runs, and the known tokens."""
    own = OwnLimits(*(_limit_in(item, name) for name in _OWN_LIMITS))
    is_today = item.get("knownDay") == day_of(at)
    return QuotaUse(
        limits=limits.overridden_by(own),
        at=at,
        turns=as_count(item.get(_turns_name(minute_of(at)))),
        tokens=as_count(item.get("knownTokens")) if is_today else 0,
    )


def _limit_in(item: Item, name: str) -> int | None:
    if name not in item:
        return None
    limit = item[name]
    if isinstance(limit, bool) or not isinstance(limit, int | float) or limit < NO_LIMIT:
        raise UnusableLimit(
            f"{name} of a user's item coachQuota is not a number from 0 on",
            remedy=f"Correct or remove {name} on the item.",
        )
    return min(math.ceil(limit), _UNLIMITED)


def _with(known: QuotaUse, item: Item, found: list[_Open], at: int) -> QuotaUse:
    return msgspec.structs.replace(
        known,
        concurrent_runs=sum(each.holds_a_place for each in found),
        tokens=_settled_in(item, at) + sum(each.tokens for each in found),
    )


def _settled_in(item: Item, at: int) -> int:
    return as_count(item.get("settledTokens")) if item.get("settledDay") == day_of(at) else 0


def _settling(user_id: str, item: Item, found: list[_Open], over: list[_Open], at: int) -> Update:
    """The write that takes conversations out whose run is over, unless a run has begun since."""
    kept = _conversations_in(item, "open") | {each.conversation_id for each in found if each.holds_a_place}
    kept -= {each.conversation_id for each in over}
    late = _conversations_in(item, "late") - kept
    late -= {each.conversation_id for each in over if not each.has_run}
    late |= {each.conversation_id for each in over if each.has_run}
    late = frozenset(sorted(late)[-MOST_LATE:])  # an id begins with a time
    settled = _settled_in(item, at) + sum(each.tokens for each in over if not each.has_run)
    values: dict[str, object] = {
        ":claims": as_count(item.get("claims")),
        ":one": 1,
        ":day": day_of(at),
        ":settled": settled,
    }
    change = "SET #settledDay = :day, #settledTokens = :settled"
    removed = _old_minutes(item, at)
    for name, conversations in (("open", kept), ("late", late)):
        if conversations:
            change += f", #{name} = :{name}"
            values[f":{name}"] = conversations
        else:
            removed.append(name)
    if removed:
        change += f" REMOVE {_names(removed)}"
    return Update(quota_key(user_id), f"{change} ADD #claims :one", "#claims = :claims", values)


def _conversations_in(item: Item, name: str) -> frozenset[str]:
    found = item.get(name)
    return found if isinstance(found, frozenset) else frozenset()


def _old_minutes(item: Item, at: int, *, at_least: int = 1) -> list[str]:
    """The names of the counts of earlier minutes, if there are enough of them."""
    first = minute_of(at) - REMOVED_WINDOWS.start
    old = [name for name in item if (match := _MINUTE.fullmatch(name)) and int(match[1]) <= first]
    return old if len(old) >= at_least else []


def _turns_name(minute: int) -> str:
    return f"turns{minute}"


def _spent_name(day: int) -> str:
    return f"tokens{day}"


def _names(names: list[str]) -> str:
    return ", ".join(f"#{name}" for name in names)
