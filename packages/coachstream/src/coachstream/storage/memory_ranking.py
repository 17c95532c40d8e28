"""Ranks memories by importance, the same way in every store (existing system, section 4.4)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import datetime

from coachstream.conversation.model import Importance, Memory

_IMPORTANCE = {Importance.HIGH: 300.0, Importance.MEDIUM: 200.0, Importance.LOW: 100.0}
_NEW_FOR_DAYS = 30.0
_MOST_FOR_USE = 20
_SECONDS_A_DAY = 86_400


def most_important(memories: Iterable[Memory], now: datetime, *, limit: int) -> list[Memory]:
    """The `limit` memories with the highest score, ties newest first.

    Importance dominates. Within a level, a memory gets one point for each day that it is younger than 30
    days, and two for each use, 20 at most.
    """
    return heapq.nlargest(
        limit, memories, key=lambda memory: (_score(memory, now), memory.created_at, memory.id)
    )


def _score(memory: Memory, now: datetime) -> float:
    age_days = (now - memory.created_at).total_seconds() / _SECONDS_A_DAY
    newness = min(_NEW_FOR_DAYS, max(0.0, _NEW_FOR_DAYS - age_days))
    return _IMPORTANCE[memory.importance] + newness + min(2 * memory.usage_count, _MOST_FOR_USE)
