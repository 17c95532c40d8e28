"""Follow-ups run concurrently, end with the turn, and cannot fail it."""

from __future__ import annotations

import asyncio

import pytest

from coachstream.conversation.errors import HandOffFailed
from coachstream.conversation.turn.side_effects import FollowUps


async def test_follow_ups_run_side_by_side_and_are_waited_for() -> None:
    """Two that wait for each other both succeed."""
    follow_ups = FollowUps()
    first, second = asyncio.Event(), asyncio.Event()

    async def one() -> None:
        first.set()
        await second.wait()

    async def two() -> None:
        second.set()
        await first.wait()

    follow_ups.start("one", one())
    follow_ups.start("two", two())
    assert await follow_ups.finish(within_s=5) == ()
    assert await follow_ups.finish(within_s=5) == ()


async def test_failures_are_named_and_logged_without_their_text(caplog: pytest.LogCaptureFixture) -> None:
    """Typed errors are logged by code, others by origin; later calls of `finish` still name them."""
    follow_ups = FollowUps()

    async def typed() -> None:
        raise HandOffFailed("the detail")

    async def untyped() -> None:
        raise ValueError("what the user wrote")

    follow_ups.start("typed", typed())
    follow_ups.start("untyped", untyped())
    assert await follow_ups.finish(within_s=5) == ("typed", "untyped")
    assert await follow_ups.finish(within_s=5) == ("typed", "untyped")
    assert "ValueError in untyped" in caplog.text
    assert "what the user wrote" not in caplog.text


async def test_one_that_takes_too_long_is_cancelled_and_named() -> None:
    """Nothing is left running."""
    follow_ups = FollowUps()
    before = asyncio.all_tasks()
    follow_ups.start("endless", asyncio.sleep(3600))
    assert await follow_ups.finish(within_s=0.01) == ("endless",)
    assert asyncio.all_tasks() == before


async def test_without_follow_ups_nothing_is_waited_for() -> None:
    """Even if no time is left."""
    assert await FollowUps().finish(within_s=-1) == ()
