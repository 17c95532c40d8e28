"""A turn collected into one response; after a stream of the same message, the reply is not produced twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode, StorageUnavailable
from coachstream.conversation.events import Completed, Failed
from coachstream.conversation.model import StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.runs.deduplication import REPEATED_WITHIN
from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.conversation.turn.reader_queue import TurnReader, collect_reply
from coachstream.conversation.turn.request import TurnRequest
from coachstream.conversation.turn.turn import run_turn
from support.doubles import ScriptedModel
from support.turns import KEY, FixedDate, Stage


async def whole(stage: Stage, request: TurnRequest) -> Completed | Failed:
    """Run the turn and collect its reply."""
    turn = TurnReader(
        partial(run_turn, request, stage.dependencies, stage.settings),
        clock=FixedDate(),
    )
    return await collect_reply(turn)


def streamed(request: TurnRequest) -> TurnRequest:
    """The same request as a stream."""
    return msgspec.structs.replace(request, streamed=True)


async def test_the_collected_turn_returns_both_messages() -> None:
    """The result holds both messages exactly as they are stored."""
    stage = Stage()
    completed = await whole(stage, stage.request())
    assert isinstance(completed, Completed)
    assert [completed.user_message, completed.reply] == stage.store.messages[KEY]
    assert completed.reply.content == "Hello, you!"


async def test_a_failed_turn_returns_its_failure() -> None:
    """The failure includes the partial reply that was stored."""
    stage = Stage(ScriptedModel("Well", ModelStop(StopReason.INTERRUPTED)))
    failed = await whole(stage, stage.request())
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.MODEL_STREAM_BROKEN
    assert failed.partial_reply is not None


async def test_a_reply_that_was_streamed_is_given_and_not_written_again() -> None:
    """The client lost its stream, but the turn completed."""
    stage = Stage()
    [*_, streamed_ending] = await stage.run(streamed(stage.request()))
    completed = await whole(stage, stage.request())
    assert isinstance(completed, Completed)
    assert isinstance(streamed_ending, Completed)
    assert completed.reply == streamed_ending.reply
    assert stage.model.calls == 1
    assert len(stage.stored()) == 2


async def test_a_streamed_turn_that_broke_off_is_done_again_for_the_same_message() -> None:
    """The partial reply is replaced; the message is stored once."""
    stage = Stage(ScriptedModel("Well", ModelStop(StopReason.INTERRUPTED)))
    await stage.run(streamed(stage.request()))
    stage.model = ScriptedModel()
    assert isinstance(await whole(stage, stage.request()), Completed)
    assert stage.stored() == [("user", "How am I doing?"), ("assistant", "Hello, you!")]


@pytest.mark.parametrize("client_message_id", [None, "c-1"])
async def test_a_streamed_turn_that_is_live_is_waited_for(client_message_id: str | None) -> None:
    """Matched by idempotency key or by text: one model call, one reply."""
    gate = asyncio.Event()
    stage = Stage(ScriptedModel("Hello, ", gate, "you!", ModelStop(StopReason.END_TURN)))
    request = stage.request(client_message_id=client_message_id)
    streaming = asyncio.create_task(stage.run(streamed(request)))
    await stage.store.reached["begin_run"].wait()
    waiting = asyncio.create_task(whole(stage, request))
    for _ in range(2):  # it polls twice
        stage.store.reached["read_log"].clear()
        await stage.store.reached["read_log"].wait()
    gate.set()
    completed = await waiting
    assert isinstance(completed, Completed)
    assert [completed.user_message, completed.reply] == stage.store.messages[KEY]
    assert stage.model.calls == 1
    await streaming


async def test_another_message_is_not_waited_for() -> None:
    """By policy: the client learns at once that a different turn is in progress."""
    gate = asyncio.Event()
    stage = Stage(ScriptedModel("Hello, ", gate, ModelStop(StopReason.END_TURN)))
    streaming = asyncio.create_task(stage.run(streamed(stage.request("Something else"))))
    await stage.store.reached["begin_run"].wait()
    request = msgspec.structs.replace(stage.request(), policy=TurnPolicy.REJECT)
    failed = await whole(stage, request)
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.TURN_IN_PROGRESS
    gate.set()
    await streaming


async def test_waiting_for_a_live_turn_ends_before_the_deadline() -> None:
    """A run that never ends is reported while there is still time to respond."""
    stage = Stage(ScriptedModel("Hello, ", asyncio.Event()))
    streaming = asyncio.create_task(stage.run(streamed(stage.request())))
    await stage.store.reached["begin_run"].wait()
    began = asyncio.get_running_loop().time()
    failed = await whole(stage, stage.request(within_s=1.3))
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.DEADLINE_EXCEEDED
    assert asyncio.get_running_loop().time() - began < 1.3
    streaming.cancel()
    await asyncio.gather(streaming, return_exceptions=True)


async def test_the_same_words_are_another_message_when_none_was_streamed() -> None:
    """A user who says yes twice gets two replies."""
    stage = Stage()
    for _ in range(2):
        assert isinstance(await whole(stage, stage.request("Yes")), Completed)
    assert stage.model.calls == 2
    assert len(stage.stored()) == 4


async def test_the_same_words_are_another_message_after_a_minute() -> None:
    """A client falls back from a stream soon or not at all."""
    stage = Stage()
    await stage.run(streamed(stage.request()))
    [question, reply] = stage.store.messages[KEY]
    aged = msgspec.structs.replace(
        question, id=f"msg_{int(question.id[4:17]) - 60_001:013d}{question.id[17:]}"
    )
    stage.store.messages[KEY] = [
        aged,
        msgspec.structs.replace(reply, metadata=msgspec.structs.replace(reply.metadata, reply_to=aged.id)),
    ]
    assert isinstance(await whole(stage, stage.request()), Completed)
    assert stage.model.calls == 2
    assert timedelta(seconds=60) == REPEATED_WITHIN


async def test_a_store_that_fails_while_looking_is_a_typed_failure() -> None:
    """No exception reaches the function."""
    stage = Stage()
    stage.store.failure = StorageUnavailable()
    failed = await whole(stage, stage.request())
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.STORAGE_UNAVAILABLE
