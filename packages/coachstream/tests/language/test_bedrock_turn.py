"""Whole turns with a model on Bedrock: each fault of the model ends in the right event, in time.

The user's message is stored in every case, and so is the text of the reply so far.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.events import Chunk, Completed, Event, Failed, Reset, Started
from coachstream.conversation.model import StopReason, Usage
from coachstream.conversation.turn.reader_queue import CAPACITY, TurnReader
from coachstream.conversation.turn.turn import run_turn
from coachstream.language.bedrock import BedrockModel, BedrockWholeReply, RetryPolicy
from support.bedrock_server import (
    BedrockServer,
    Bytes,
    Disconnect,
    ModelResponse,
    Pause,
    Refusal,
    Reply,
    Silence,
    Step,
    StreamException,
    closing,
    opening,
    options_with,
    reply,
    text,
    warm_up,
)
from support.patience import PATIENCE_S
from support.turn_events import all_events
from support.turns import Stage

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

    Client = AwsClient[BedrockRuntimeClient]

OPTIONS = options_with(stall_s=PATIENCE_S, retry=RetryPolicy(attempts=2, first_pause_s=0.001, least_s=0.1))
STALL_S = 1.0
"""Before they fall silent, the tests' services respond within this time, even on a busy machine."""
BOTH = pytest.mark.parametrize("model_type", [BedrockModel, BedrockWholeReply])


@pytest.fixture
async def client(bedrock: BedrockServer, client: Client) -> Client:
    """A warmed-up client, so that short durations are those of the service."""
    await warm_up(bedrock, client)
    return client


def stall_s_of(fault: str) -> float:
    """The stall timeout for a fault: only a silent service needs a short one."""
    return STALL_S if fault.startswith("silence") else PATIENCE_S


async def turn(
    stage: Stage,
    client: Client,
    model_type: type[BedrockModel | BedrockWholeReply] = BedrockModel,
    *,
    within_s: float = PATIENCE_S,
    stall_s: float = PATIENCE_S,
) -> list[Event]:
    """All events of a turn with this model."""
    options = msgspec.structs.replace(OPTIONS, stall_s=stall_s)
    parts = msgspec.structs.replace(stage.dependencies, model=model_type(client, options))
    request = stage.request(within_s=within_s)
    return await all_events(run_turn, request, parts, stage.settings)


@BOTH
async def test_the_reply_its_usage_and_the_models_name_are_in_the_end(
    bedrock: BedrockServer, client: Client, model_type: type[BedrockModel | BedrockWholeReply]
) -> None:
    """The service's measurements are passed on; the streamed text is the stored text."""
    bedrock.always = reply("Squat ", "deep 💪🏽", usage={"cacheReadInputTokens": 5})
    stage = Stage()
    *_, end = await turn(stage, client, model_type)
    assert isinstance(end, Completed)
    assert end.usage == Usage(12, 34, 5, 0, latency_ms=567)
    assert end.stop_reason is StopReason.END_TURN
    assert end.reply.metadata.model == "claude-sonnet-4-5"
    assert stage.stored() == [("user", "How am I doing?"), ("assistant", "Squat deep 💪🏽")]
    assert stage.reports[0].usage == end.usage


async def test_a_character_that_was_cut_in_two_is_whole_again(bedrock: BedrockServer, client: Client) -> None:
    """Its halves arrive in different events, whether these arrive together or one after the other."""
    bedrock.always = Reply([opening(), *text("Strong \ud83d"), Pause(0.1), *text("\udcaa!"), *closing()])
    stage = Stage()
    chunks = [event.content for event in await turn(stage, client) if isinstance(event, Chunk)]
    assert chunks in (["Strong ", "💪!"], ["Strong 💪!"])
    assert stage.stored()[-1] == ("assistant", "Strong 💪!")


async def test_a_reply_that_was_cut_off_says_so(bedrock: BedrockServer, client: Client) -> None:
    """It counts as complete, with the stop reason."""
    bedrock.always = reply("Squat ", reason="max_tokens")
    *_, end = await turn(Stage(), client)
    assert isinstance(end, Completed)
    assert end.stop_reason is StopReason.MAX_TOKENS


FAULTS: dict[str, tuple[ModelResponse, ErrorCode, str]] = {
    "throttled": (Refusal(429, "ThrottlingException"), ErrorCode.MODEL_THROTTLED, ""),
    "an internal error": (Refusal(500, "InternalServerException"), ErrorCode.MODEL_UNAVAILABLE, ""),
    "no access": (Refusal(403, "AccessDeniedException"), ErrorCode.MODEL_NOT_USABLE, ""),
    "no credentials": (Refusal(403, "ExpiredTokenException"), ErrorCode.NO_CREDENTIALS, ""),
    "silence": (Reply([], before=[Silence()]), ErrorCode.MODEL_UNAVAILABLE, ""),
    "no connection": (Reply([], before=[Disconnect()]), ErrorCode.MODEL_UNAVAILABLE, ""),
    "garbage": (Reply([Bytes(b"<html>garbage</html>")]), ErrorCode.MODEL_STREAM_BROKEN, ""),
    "an empty answer": (reply(), ErrorCode.MODEL_STREAM_BROKEN, ""),
    "no answer at all": (Reply([]), ErrorCode.MODEL_STREAM_BROKEN, ""),
    "a malformed output": (
        reply("Squat ", reason="malformed_model_output"),
        ErrorCode.MODEL_STREAM_BROKEN,
        "Squat ",
    ),
    "a guardrail": (
        Reply([opening(), *text("Squat "), *closing("guardrail_intervened")]),
        ErrorCode.CONTENT_FILTERED,
        "Squat ",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_model_ends_the_turn_with_its_code(
    bedrock: BedrockServer, client: Client, fault: str
) -> None:
    """The message and the text of the reply so far are stored."""
    answer, code, said = FAULTS[fault]
    bedrock.always = answer
    stage = Stage()
    *events, end = await turn(stage, client, stall_s=stall_s_of(fault))
    assert isinstance(end, Failed)
    assert end.code is code
    assert "".join(event.content for event in events if isinstance(event, Chunk)) == said
    assert [content for _, content in stage.stored()] == ["How am I doing?", *([said] if said else [])]


@BOTH
async def test_a_blank_reply_is_retried_and_then_an_error(
    bedrock: BedrockServer, client: Client, model_type: type[BedrockModel | BedrockWholeReply]
) -> None:
    """No user gets an empty message bubble, and the message can be sent again."""
    blank = reply(" \n", "\n")
    bedrock.answers.extend([blank, blank, blank, reply("Squat ", "deep.")])
    stage = Stage()
    *events, end = await turn(stage, client, model_type)
    assert isinstance(end, Failed)
    assert (end.code, end.retryable) == (ErrorCode.MODEL_STREAM_BROKEN, True)
    assert not any(isinstance(event, Chunk) for event in events)
    assert stage.stored() == [("user", "How am I doing?")]
    assert isinstance((await turn(stage, client, model_type))[-1], Completed)
    assert stage.stored()[-1] == ("assistant", "Squat deep.")
    assert len(bedrock.requests) == 4


BREAKS: dict[str, list[Step]] = {
    "silence in the stream": [Silence()],
    "throttled in the stream": [StreamException("throttlingException")],
    "a disconnect": [Disconnect()],
    "garbage in the stream": [Bytes(b"<html>garbage</html>")],
    "no stop": [],
}


@pytest.mark.parametrize("fault", BREAKS)
async def test_a_stream_that_breaks_off_is_continued(
    bedrock: BedrockServer, client: Client, fault: str
) -> None:
    """The model gets its partial reply and generates the rest; the reader sees one reply."""
    bedrock.answers.append(Reply([opening(), *text("Squat ", "deep,\n"), *BREAKS[fault]]))
    bedrock.answers.append(reply("\n- slowly", "\n- often"))
    stage = Stage()
    *events, end = await turn(stage, client, stall_s=stall_s_of(fault))
    assert isinstance(end, Completed)
    assert not any(isinstance(event, Reset) for event in events)
    told = "".join(event.content for event in events if isinstance(event, Chunk))
    assert told == "Squat deep,\n- slowly\n- often"
    assert stage.stored()[-1] == ("assistant", told)
    first, second = bedrock.requests
    beginning = {"role": "assistant", "content": [{"text": "Squat deep,"}]}
    assert second.body == {**first.body, "messages": [*first.body["messages"], beginning]}


async def test_a_slow_reader_loses_nothing_of_a_stream_that_breaks_off(
    bedrock: BedrockServer, client: Client
) -> None:
    """The service's data is read at once, so a broken connection cannot overtake it."""
    words = [f"word{number} " for number in range(10 * CAPACITY)]
    bedrock.answers.append(Reply([opening(), *text(*words), Disconnect()]))
    bedrock.answers.append(reply("and the end."))
    stage = Stage()
    parts = msgspec.structs.replace(stage.dependencies, model=BedrockModel(client, OPTIONS))
    turn = partial(run_turn, stage.request(within_s=PATIENCE_S), parts, stage.settings)
    async with TurnReader(turn, clock=stage.dependencies.clock) as reader:
        assert await anext(reader) == Started()
        _, second = [await bedrock.request(number) for number in range(2)]
        events = [event async for event in reader]
    assert second.body["messages"][-1] == {
        "role": "assistant",
        "content": [{"text": "".join(words).rstrip()}],
    }
    told = "".join(event.content for event in events if isinstance(event, Chunk))
    assert told == "".join(words) + "and the end."
    assert stage.stored()[-1] == ("assistant", told)
    assert isinstance(events[-1], Completed)


async def test_a_model_that_cannot_continue_starts_over(bedrock: BedrockServer, client: Client) -> None:
    """The text shown so far is reset, and the request is the same as the first."""
    bedrock.answers.append(Reply([opening(), *text("Squat "), Disconnect()]))
    bedrock.answers.append(reply("Lunge ", "deep."))
    stage = Stage()
    model = BedrockModel(client, msgspec.structs.replace(OPTIONS, continues=False))
    parts = msgspec.structs.replace(stage.dependencies, model=model)
    events = await all_events(run_turn, stage.request(), parts, stage.settings)
    assert isinstance(events[-1], Completed)
    at = next(number for number, event in enumerate(events) if isinstance(event, Reset))
    assert "".join(event.content for event in events[at:] if isinstance(event, Chunk)) == "Lunge deep."
    assert stage.stored()[-1] == ("assistant", "Lunge deep.")
    first, second = bedrock.requests
    assert second.body == first.body


@pytest.mark.parametrize("fault", BREAKS)
async def test_a_stream_that_breaks_off_twice_has_failed(
    bedrock: BedrockServer, client: Client, fault: str
) -> None:
    """The text of both attempts is stored as the reader saw it."""
    bedrock.answers.append(Reply([opening(), *text("Squat "), *BREAKS[fault]]))
    bedrock.answers.append(Reply([opening(), *text(" deep"), *BREAKS[fault]]))
    stage = Stage()
    *events, end = await turn(stage, client, stall_s=stall_s_of(fault))
    assert isinstance(end, Failed)
    assert end.code is ErrorCode.MODEL_STREAM_BROKEN
    assert "".join(event.content for event in events if isinstance(event, Chunk)) == "Squat deep"
    assert [content for _, content in stage.stored()] == ["How am I doing?", "Squat deep"]
    assert len(bedrock.requests) == 2


@BOTH
@pytest.mark.parametrize("before", [Silence(), None], ids=["no headers", "in the stream"])
async def test_the_deadline_of_the_turn_is_the_models(
    bedrock: BedrockServer,
    client: Client,
    model_type: type[BedrockModel | BedrockWholeReply],
    before: Silence | None,
) -> None:
    """It leaves time to save; the stall timeout does not matter then."""
    bedrock.always = Reply([opening(), Silence()], before=[before] if before else [])
    stage = Stage()
    *_, end = await turn(stage, client, model_type, within_s=1.2)  # the last second is reserved for saving
    assert isinstance(end, Failed)
    assert end.code is ErrorCode.DEADLINE_EXCEEDED
    assert stage.stored() == [("user", "How am I doing?")]
