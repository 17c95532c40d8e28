"""Quotas: a row for each minute and day in which a user took something, and one for the user's own limits.

What is concurrent is in the logs of the user's unfinished runs, so no place has to be given back.
"""

from __future__ import annotations

import sqlite3

from coachstream.conversation.quotas import (
    OwnLimits,
    Quota,
    QuotaLimits,
    QuotaUse,
    Spent,
    day_of,
    holds_a_place,
    minute_of,
)
from coachstream.storage.sqlite.documents import decode_log_entry

KEPT_WINDOWS = 60
"""The minutes, and the days, that are kept: more than any clocks differ by."""


def quota_use(connection: sqlite3.Connection, user_id: str, limits: QuotaLimits, *, at: int) -> QuotaUse:
    """What a user has taken at a moment (see `RunStore`)."""
    own = connection.execute(
        "SELECT max_concurrent_runs, max_turns_per_minute, max_tokens_per_day FROM quota_limits"
        " WHERE user_id = ?",
        (user_id,),
    ).fetchone()
    return QuotaUse(
        limits=limits.overridden_by(OwnLimits(*(own or ()))),
        at=at,
        concurrent_runs=_concurrent_runs(connection, user_id, at),
        turns=_taken(connection, user_id, Quota.TURNS_PER_MINUTE, minute_of(at)),
        tokens=_taken(connection, user_id, Quota.TOKENS_PER_DAY, day_of(at)),
    )


def take_turn(connection: sqlite3.Connection, user_id: str, limits: QuotaLimits, *, at: int) -> None:
    """Count a turn that begins.

    Raises:
        QuotaExceeded: nothing is left of a quota; nothing was written.
    """
    quota_use(connection, user_id, limits, at=at).check()
    _take(connection, user_id, Quota.TURNS_PER_MINUTE, minute_of(at), 1)


def count_tokens(connection: sqlite3.Connection, user_id: str, spent: Spent) -> None:
    """Count the tokens of a finished run."""
    _take(connection, user_id, Quota.TOKENS_PER_DAY, day_of(spent.at), spent.tokens)


def set_own_limits(connection: sqlite3.Connection, user_id: str, own: OwnLimits) -> None:
    """Give a user limits of their own."""
    connection.execute(
        "INSERT OR REPLACE INTO quota_limits"
        " (user_id, max_concurrent_runs, max_turns_per_minute, max_tokens_per_day) VALUES (?, ?, ?, ?)",
        (user_id, own.concurrent_runs, own.turns_per_minute, own.tokens_per_day),
    )


def _concurrent_runs(connection: sqlite3.Connection, user_id: str, at: int) -> int:
    rows = connection.execute(
        "SELECT (SELECT entry FROM log_entries WHERE conversation = c.number AND run_id = c.unfinished_run"
        " ORDER BY number DESC LIMIT 1) FROM conversations AS c"
        " WHERE user_id = ? AND unfinished_run IS NOT NULL",
        (user_id,),
    )
    return sum(entry is not None and holds_a_place(decode_log_entry(entry), at) for (entry,) in rows)


def _taken(connection: sqlite3.Connection, user_id: str, quota: Quota, window: int) -> int:
    row: tuple[int] | None = connection.execute(
        "SELECT taken FROM quota_windows WHERE user_id = ? AND quota = ? AND window = ?",
        (user_id, quota.value, window),
    ).fetchone()
    return 0 if row is None else row[0]


def _take(connection: sqlite3.Connection, user_id: str, quota: Quota, window: int, amount: int) -> None:
    connection.execute(
        "DELETE FROM quota_windows WHERE user_id = ? AND quota = ? AND window < ?",
        (user_id, quota.value, window - KEPT_WINDOWS),
    )
    connection.execute(
        "INSERT INTO quota_windows (user_id, quota, window, taken) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (user_id, quota, window) DO UPDATE SET taken = taken + excluded.taken",
        (user_id, quota.value, window, amount),
    )
