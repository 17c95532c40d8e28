"""Quotas: how many runs, turns and tokens a user may have.

A quota is checked and taken by the store's transaction that begins a run, so a request that is a retry, or
that joins or resumes a run, costs nothing. What a run holds returns in three ways: its place among the
concurrent runs when it ends, or when the lease in its log is over, and the rest with the clock.

- **Concurrent runs**: the user's conversations with an unfinished run whose lease is not over.
- **Turns a minute**: the runs that began in this minute of the clock.
- **Tokens a day**: those of the replies that ended on this day, in UTC, as the model reported them. They are
  known only at the end, so a run may begin as long as any token is left. If a reply is stopped or breaks off,
  the model reports nothing, and the length of prompt and text gives an estimate. Not counted are the tokens
  of a process that dies or releases its run, and those of a run that ends with its conversation.

Windows are those of the clock of the process that serves a request. A clock that is wrong by some seconds
moves the windows of its requests by as much, and a lease is over as much earlier or later. One that is ahead
by more than any sane skew takes no places.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

import msgspec

from coachstream.conversation.errors import QuotaExceeded
from coachstream.conversation.model import QuotaLeft, Usage
from coachstream.conversation.run_log import MAX_CLOCK_SKEW, LogEntry, ending_of

MINUTE_MS = 60_000
DAY_MS = 86_400_000

NO_LIMIT = 0
"""The value of a limit that does not exist."""

CHARS_PER_TOKEN = 4
"""A common rule of thumb for English; other languages have fewer characters in a token."""

MOST_PLACES = 20
"""The concurrent runs of a user without a limit of them, if another quota is on: a store keeps few places."""

_MAX_CLOCK_SKEW_MS = MAX_CLOCK_SKEW // timedelta(milliseconds=1)

FULL_FOR_S = 5
"""When to try again if all concurrent runs are taken: no one knows when one ends; replies take 5 to 15 s."""


class Quota(StrEnum):
    """The quotas, by the names that clients receive."""

    CONCURRENT_RUNS = "concurrent-runs"
    TURNS_PER_MINUTE = "turns-per-minute"
    TOKENS_PER_DAY = "tokens-per-day"


WINDOW_S = {Quota.TURNS_PER_MINUTE: MINUTE_MS // 1000, Quota.TOKENS_PER_DAY: DAY_MS // 1000}
"""The lengths of the windows in seconds; concurrent runs have none."""


class OwnLimits(msgspec.Struct, frozen=True):
    """The limits of one user that replace those of all users; None for a limit that does not."""

    concurrent_runs: int | None = None
    turns_per_minute: int | None = None
    tokens_per_day: int | None = None


class QuotaLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of users; `NO_LIMIT` switches a quota off."""

    concurrent_runs: int = NO_LIMIT
    turns_per_minute: int = NO_LIMIT
    tokens_per_day: int = NO_LIMIT

    @property
    def is_on(self) -> bool:
        """Whether there is any; without one, a store neither reads nor writes anything for quotas."""
        return self != UNLIMITED

    def overridden_by(self, own: OwnLimits) -> QuotaLimits:
        """The limits of a user who has some of their own."""
        return QuotaLimits(
            concurrent_runs=_first(own.concurrent_runs, self.concurrent_runs),
            turns_per_minute=_first(own.turns_per_minute, self.turns_per_minute),
            tokens_per_day=_first(own.tokens_per_day, self.tokens_per_day),
        )


UNLIMITED = QuotaLimits()


class QuotaUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a user has taken at a moment.

    Attributes:
        limits: the user's limits, with their overrides.
        at: the moment, in milliseconds since 1970.
        concurrent_runs: the runs that are not over, without the one that is about to begin.
        turns: the runs that began in this minute.
        tokens: the tokens of this day.
    """

    limits: QuotaLimits
    at: int
    concurrent_runs: int = 0
    turns: int = 0
    tokens: int = 0

    def left(self) -> tuple[QuotaLeft, ...]:
        """What is left of each quota that is on."""
        limits = self.limits
        of_each = (
            self._left(Quota.CONCURRENT_RUNS, limits.concurrent_runs, self.concurrent_runs),
            self._left(Quota.TURNS_PER_MINUTE, limits.turns_per_minute, self.turns),
            self._left(Quota.TOKENS_PER_DAY, limits.tokens_per_day, self.tokens),
        )
        return tuple(left for left in of_each if left.limit != NO_LIMIT)

    def check(self) -> None:
        """Raise `QuotaExceeded` if nothing is left of a quota: the one with the longest wait."""
        places = self._left(
            Quota.CONCURRENT_RUNS, self.limits.concurrent_runs or MOST_PLACES, self.concurrent_runs
        )
        used_up = [left for left in (places, *self.left()) if left.remaining == 0]
        if used_up:
            longest = max(used_up, key=lambda left: left.reset_s or FULL_FOR_S)
            raise QuotaExceeded(longest, retry_after_s=longest.reset_s or FULL_FOR_S)

    def _left(self, quota: Quota, limit: int, taken: int) -> QuotaLeft:
        window_s = WINDOW_S.get(quota)
        reset_s = None if window_s is None else _seconds_left(self.at, 1000 * window_s)
        return QuotaLeft(quota.value, limit, remaining=max(0, limit - taken), reset_s=reset_s)

    def after_turn(self, tokens: int, *, at: int) -> QuotaUse:
        """The use once a turn that is among the concurrent runs has ended, at a later moment.

        In a window that has begun since, nothing is known to be taken but the turn's own tokens.
        """
        is_same_minute, is_same_day = minute_of(at) == minute_of(self.at), day_of(at) == day_of(self.at)
        return msgspec.structs.replace(
            self,
            at=at,
            concurrent_runs=max(0, self.concurrent_runs - 1),
            turns=self.turns if is_same_minute else 0,
            tokens=tokens + (self.tokens if is_same_day else 0),
        )


class Spent(msgspec.Struct, frozen=True):
    """What a finished run has used.

    Attributes:
        at: when it ended, in milliseconds since 1970.
        tokens: its tokens.
        use: the user's use at that moment, with this run, if it is known; the store then need not find out.
    """

    at: int
    tokens: int
    use: QuotaUse | None = None

    @property
    def uses_up_the_day(self) -> bool:
        """Whether no tokens are known to be left for this day."""
        if self.use is None or self.use.limits.tokens_per_day == NO_LIMIT:
            return False
        return self.use.tokens >= self.use.limits.tokens_per_day


def minute_of(at: int) -> int:
    """The minute of a moment, counted from 1970."""
    return at // MINUTE_MS


def day_of(at: int) -> int:
    """The day of a moment in UTC, counted from 1970."""
    return at // DAY_MS


def tokens_of(usage: Usage, *, chars: int) -> int:
    """All tokens that a model reported, also those read from a cache; an estimate if it reported none.

    Args:
        usage: the report.
        chars: the characters of the prompt and of the reply so far.
    """
    reported = usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return reported or -(-chars // CHARS_PER_TOKEN)


def holds_a_place(last: LogEntry | None, at: int) -> bool:
    """Whether the run with this last entry counts as concurrent: it has not ended, and its lease is not over.

    Wall clocks decide here, other than where a run is closed (`runs.lease`): an error only lets one run more
    or fewer begin. A lease that ends much later than one that begins now is of a clock that is hours ahead;
    it would keep the place of a dead run for hours.
    """
    if last is None or ending_of(last) is not None or last.leased_until <= at:
        return False
    return last.lease_ms is None or last.leased_until - last.lease_ms - at <= _MAX_CLOCK_SKEW_MS


def _first(own: int | None, of_all: int) -> int:
    return of_all if own is None else own


def _seconds_left(at: int, window_ms: int) -> int:
    """Whole seconds until the window of a moment ends; at least one."""
    return -(-(window_ms - at % window_ms) // 1000)
