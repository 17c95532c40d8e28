"""The function that writes summaries and titles, as Lambda invokes it."""

from __future__ import annotations

import json
import logging
import sys
import uuid
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from coachstream.conversation.errors import ModelThrottled, StorageUnavailable
from coachstream.conversation.model import Conversation, ConversationKey
from coachstream.conversation.ports import SummaryReason, SummaryRequest, TitleRequest
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.functions.process_post_turn.handler import handler_for
from coachstream.hand_off.post_turn import PostTurnRequest, event_of
from coachstream.services import Services
from coachstream.settings import Settings
from coachstream.storage.sqlite import SqliteStore
from contracts.store_records import reply_to, store_reply, user_message
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url import InProcessInvoker
from lambda_streaming.function_url.invoker import FunctionFailed, InvocationRequest
from support.doubles import RememberedConversations
from support.environments import text_of
from support.patience import PATIENCE_S
from support.turns import SummarizerDouble

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
SECRET = "My secret knee hurts when I squat."


def invocation_of(event: object) -> InvocationRequest:
    """An invocation with this event."""
    payload = msgspec.json.encode(event)
    return InvocationRequest(
        payload=payload, request_id=str(uuid.uuid4()), trace_id="Root=1-67e0a000-0123456789abcdef01234567"
    )


@pytest.fixture
async def untitled(store: RememberedConversations) -> ConversationKey:
    """Sam's conversation with a default title and one exchange."""
    key = ConversationKey("sam", "mara", "conv1")
    await store.create_conversation(Conversation(key, DEFAULT_TITLE, BEGAN, BEGAN))
    message = user_message(1, SECRET)
    await store_reply(store, message, reply_to(message, 2), key=key)
    return key


@pytest.fixture
def summarizer(services: Services) -> SummarizerDouble:
    """The model, in place of the adapter."""
    double = services.summarizer = SummarizerDouble()
    return double


async def outcome_of(services: Services, event: object) -> object:
    """Invoke the function once; its response."""
    invoker = InProcessInvoker(handler_for(lambda: services), timeout_s=PATIENCE_S)
    try:
        return json.loads(await text_of(await invoker.invoke(invocation_of(event))))
    finally:
        await invoker.aclose(PATIENCE_S)


async def test_each_work_is_done_once_however_often_its_event_comes(
    services: Services,
    store: RememberedConversations,
    summarizer: SummarizerDouble,
    untitled: ConversationKey,
) -> None:
    """As Lambda may deliver an event more than once."""
    requests: tuple[PostTurnRequest, ...] = (
        TitleRequest(untitled),
        SummaryRequest(untitled, SummaryReason.COMPLEXITY, 2),
    )
    for request in requests:
        outcomes = [await outcome_of(services, event_of(request)) for _ in range(2)]
        assert outcomes == [{"outcome": "written"}, {"outcome": "not_due"}]
    assert (await store.get_conversation(untitled)).title == "Squats and a knee"
    assert (await store.load_summary(untitled)).narrative == "They squat."
    assert summarizer.calls == 2


async def test_work_on_a_deleted_conversation_ends_well(
    services: Services, store: RememberedConversations, untitled: ConversationKey
) -> None:
    """A retry could not help."""
    await store.delete_conversation(untitled)
    assert await outcome_of(services, event_of(TitleRequest(untitled))) == {"outcome": "conversation_gone"}


@pytest.mark.parametrize("failure", [ModelThrottled("busy"), StorageUnavailable("down"), KeyError(SECRET)])
async def test_a_failure_fails_the_invocation_so_that_lambda_retries_it(
    services: Services,
    summarizer: SummarizerDouble,
    untitled: ConversationKey,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    """Neither the failure nor the log quotes the user; the retry succeeds."""
    caplog.set_level(logging.DEBUG)
    summarizer.failure = failure
    with pytest.raises(FunctionFailed) as failed:
        await outcome_of(services, event_of(TitleRequest(untitled)))
    assert SECRET not in caplog.text + failed.value.error_message
    assert untitled.conversation_id in {vars(each).get("conversation_id") for each in caplog.records}
    summarizer.failure = None
    assert await outcome_of(services, event_of(TitleRequest(untitled))) == {"outcome": "written"}


@pytest.mark.parametrize("event", [{}, {"work": "dance"}, {"requestContext": {}, "body": SECRET}, []])
async def test_an_unknown_event_fails_and_is_not_quoted(
    services: Services, summarizer: SummarizerDouble, caplog: pytest.LogCaptureFixture, event: object
) -> None:
    """Nothing is read, written or asked."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(FunctionFailed) as failed:
        await outcome_of(services, event)
    assert failed.value.error_type == "UnknownEvent"
    assert SECRET not in caplog.text + failed.value.error_message
    assert summarizer.calls == 0


async def test_it_runs_in_an_execution_environment(tmp_path: Path) -> None:
    """The packaged handler on its own runtime, with its own settings; a failure is reported as one."""
    settings = Settings.embedded(tmp_path)
    key = ConversationKey("sam", "mara", "conv1")
    async with aclosing(Services(settings)) as services:
        assert isinstance(services.store, SqliteStore)
        await services.store.put_coach("sam", "mara", {"coach_name": "Mara"})
        await services.store.create_conversation(Conversation(key, DEFAULT_TITLE, BEGAN, BEGAN))
        message = user_message(1, "My knee hurts when I squat.")
        await store_reply(services.store, message, reply_to(message, 2), key=key)
        environments = ExecutionEnvironments(
            [sys.executable, "-m", "lambda_streaming", f"{handler_for.__module__}.handler"],
            env=settings.to_environment(),
            function_name="process-post-turn",
            max_concurrency=1,
            settling_s=PATIENCE_S,
        )
        async with environments:
            request = event_of(TitleRequest(key))
            response = await environments.invoke(invocation_of(request))
            assert json.loads(await text_of(response)) == {"outcome": "written"}
            with pytest.raises(FunctionFailed, match="UnknownEvent"):
                await text_of(await environments.invoke(invocation_of({"work": "dance"})))
        assert (await services.store.get_conversation(key)).title == "Knee hurts when I squat"
