"""Work after a turn: as an event for a function, and in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import ModelThrottled
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.ports import SummaryReason, SummaryRequest, TitleRequest
from coachstream.hand_off.post_turn import (
    LocalPostTurn,
    PostTurnRequest,
    UnknownEvent,
    event_of,
    request_in,
)

KEY = ConversationKey("sam", "mara", "conv_1")
TITLE = TitleRequest(KEY)
SUMMARY = SummaryRequest(KEY, SummaryReason.COMPLEXITY, 12)
IDS = {"userId": "sam", "coachId": "mara", "conversationId": "conv_1"}

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)
KEYS = st.builds(ConversationKey, NAMES, NAMES, NAMES)
REQUESTS = st.builds(TitleRequest, KEYS) | st.builds(
    SummaryRequest, KEYS, st.sampled_from(SummaryReason), st.integers(1, 10**9)
)


def test_an_event_has_ids_and_a_count_and_no_text() -> None:
    """Lambda keeps it while it retries, and the queue of failed events for two weeks."""
    assert msgspec.to_builtins(event_of(TITLE)) == {"work": "title", **IDS}
    assert msgspec.to_builtins(event_of(SUMMARY)) == {
        "work": "summary",
        **IDS,
        "triggerReason": "complexity",
        "messageCount": 12,
    }


@given(REQUESTS)
def test_a_request_survives_the_way_to_the_function(request: PostTurnRequest) -> None:
    """Through JSON, as Lambda delivers it."""
    assert request_in(msgspec.json.decode(msgspec.json.encode(event_of(request)))) == request


@pytest.mark.parametrize(
    "event",
    [
        {},
        None,
        [],
        "title",
        IDS,
        {"work": "workout", **IDS},
        {"work": "title", **IDS, "userResponse": "the user's words"},
        {"work": "title", "userId": "sam", "coachId": "mara"},
        {"work": "title", **IDS, "userId": ""},
        {"work": "title", **IDS, "userId": "s" * 257},
        {"work": "title", **IDS, "userId": 7},
        {"work": "summary", **IDS},
        {"work": "summary", **IDS, "triggerReason": "whim", "messageCount": 6},
        {"work": "summary", **IDS, "triggerReason": "complexity", "messageCount": 0},
        {"work": "summary", **IDS, "triggerReason": "complexity", "messageCount": "6"},
        # What the existing system's turns send to its functions.
        {**IDS, "triggerReason": "message_count", "messageCount": 6},
        {**IDS, "userMessage": "the user's words", "aiResponse": "words", "currentMessageCount": 2},
        {"requestContext": {"http": {"method": "POST"}}, "body": "{}"},
    ],
)
def test_an_event_that_is_none_of_ours_is_refused(event: Any) -> None:  # noqa: ANN401 (any JSON)
    """The refusal does not quote it."""
    with pytest.raises(UnknownEvent) as refused:
        request_in(event)
    assert "words" not in str(refused.value)


class Work:
    """Takes requests; each waits until the test lets it go."""

    def __init__(self) -> None:
        self.begun: list[PostTurnRequest] = []
        self.done: list[PostTurnRequest] = []
        self.has_begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self, request: PostTurnRequest) -> None:
        self.begun.append(request)
        self.has_begun.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.done.append(request)


async def test_work_in_this_process_is_not_waited_for_by_the_turn_but_before_the_process_freezes() -> None:
    """`build` returns at once; `finish` when all of it is done."""
    work = Work()
    local = LocalPostTurn(work)
    await local.build(TITLE)
    await local.build(SUMMARY)
    finishing = asyncio.create_task(local.finish())
    await work.has_begun.wait()
    assert not finishing.done()
    work.gate.set()
    await finishing
    assert work.done == [TITLE, SUMMARY]
    await local.finish()  # nothing is left


@pytest.mark.parametrize("end", [LocalPostTurn.aclose, LocalPostTurn.finish])
async def test_a_shutdown_waits_a_moment_for_the_work(
    end: Callable[[LocalPostTurn], Awaitable[None]],
) -> None:
    """What is quick is done; what hangs is cancelled, and nothing is left running."""
    quick, hanging = Work(), Work()
    quick.gate.set()

    async def process(request: PostTurnRequest) -> None:
        await (quick if request == TITLE else hanging)(request)

    local = LocalPostTurn(process, shutdown_within_s=0.05)
    await local.build(TITLE)
    await local.build(SUMMARY)
    before = asyncio.all_tasks()
    ending = asyncio.ensure_future(end(local))
    await hanging.has_begun.wait()
    if end is LocalPostTurn.finish:
        ending.cancel()  # as SIGTERM does
    await asyncio.gather(ending, return_exceptions=True)
    assert (quick.done, hanging.done) == ([TITLE], [])
    assert asyncio.all_tasks() < before


@pytest.mark.parametrize("failure", [ModelThrottled("busy"), RuntimeError("the user's words")])
async def test_a_failure_in_this_process_is_logged_without_a_user_s_words(
    caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    """A later turn requests it again."""
    work = Work()
    work.gate.set()
    work.failure = failure
    local = LocalPostTurn(work)
    with caplog.at_level(logging.WARNING):
        await local.build(TITLE)
        await local.finish()
    assert caplog.messages[0].startswith("The work after a turn failed")
    assert "words" not in caplog.text
