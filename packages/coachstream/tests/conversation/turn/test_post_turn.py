"""What is due after a turn, and that the turn requests it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import HandOffFailed
from coachstream.conversation.events import Completed
from coachstream.conversation.model import Conversation, StopReason
from coachstream.conversation.ports import ModelStop, SummaryReason, SummaryRequest, TitleRequest
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.conversation.turn.post_turn import (
    SUMMARY_EVERY_MESSAGES,
    TITLE_UP_TO_MESSAGES,
    due_summary,
    due_title,
)
from support.doubles import ScriptedModel
from support.turns import KEY, NOW, Recorded, Stage

UNTITLED = Conversation(KEY, DEFAULT_TITLE, NOW, NOW)


def with_messages(count: int, *, title: str = DEFAULT_TITLE) -> Conversation:
    """The conversation after so many messages."""
    return msgspec.structs.replace(UNTITLED, total_messages=count, title=title)


@given(st.lists(st.sampled_from([1, 2]), max_size=60))
def test_every_multiple_of_six_is_summarized_once(added: list[int]) -> None:
    """However many messages the turns add."""
    count, requested = 0, 0
    for each in added:
        count += each
        requested += due_summary(with_messages(count), added_messages=each, is_complex=False) is not None
    assert requested == count // SUMMARY_EVERY_MESSAGES


def test_a_complex_message_is_summarized_at_any_count() -> None:
    """The count is the reason where both apply."""
    for count, reason in ((4, SummaryReason.COMPLEXITY), (6, SummaryReason.MESSAGE_COUNT)):
        due = due_summary(with_messages(count), added_messages=2, is_complex=True)
        assert due == SummaryRequest(KEY, reason, count)


def test_a_title_is_due_in_the_first_exchanges_of_an_untitled_conversation() -> None:
    """Not before the first reply, not for ever, and never in place of a title that was chosen."""
    due = [count for count in range(20) if due_title(with_messages(count)) is not None]
    assert due == list(range(2, TITLE_UP_TO_MESSAGES + 1))
    assert due_title(with_messages(2, title="Legs")) is None


def untitled_stage(model: ScriptedModel | None = None) -> Stage:
    """A stage whose conversation has no title of its own."""
    stage = Stage(model)
    stage.store.conversations[KEY] = UNTITLED
    stage.titles = Recorded()
    return stage


async def test_a_turn_requests_a_title_after_its_reply_is_stored() -> None:
    """Once per turn, until there is one."""
    stage = untitled_stage()
    assert stage.titles is not None
    await stage.run()
    assert stage.titles.taken == [TitleRequest(KEY)]
    stage.store.conversations[KEY] = msgspec.structs.replace(stage.store.conversations[KEY], title="Legs")
    await stage.run(stage.request("And now?"))
    assert len(stage.titles.taken) == 1


async def test_summary_and_title_share_one_read() -> None:
    """The conversation's item may be large."""
    reads = {}
    for both in (False, True):
        stage = untitled_stage()
        if both:
            stage.summaries = Recorded()
        before = stage.store.operations
        await stage.run()
        reads[both] = stage.store.operations - before
    assert reads[False] == reads[True]


@pytest.mark.parametrize("reason", [StopReason.CONTENT_FILTERED, StopReason.INTERRUPTED])
async def test_a_turn_without_a_reply_requests_no_title(reason: StopReason) -> None:
    """There is no exchange to name."""
    stage = untitled_stage(ScriptedModel("Well", ModelStop(reason)))
    assert stage.titles is not None
    await stage.run()
    assert stage.titles.taken == []


async def test_a_request_that_fails_does_not_fail_the_turn() -> None:
    """The report names it."""
    stage = untitled_stage()
    assert stage.titles is not None
    stage.titles.failure = HandOffFailed("refused")
    events = await stage.run()
    assert isinstance(events[-1], Completed)
    assert stage.reports[0].failed_follow_ups == ("title trigger",)


async def test_a_request_that_hangs_delays_the_end_no_longer_than_other_follow_ups() -> None:
    """It is given up."""
    stage = untitled_stage()
    assert stage.titles is not None
    stage.titles.gate = asyncio.Event()
    stage.settings = msgspec.structs.replace(stage.settings, follow_ups_within_s=0.05)
    events = await stage.run()
    assert isinstance(events[-1], Completed)
    assert stage.reports[0].failed_follow_ups == ("title trigger",)
