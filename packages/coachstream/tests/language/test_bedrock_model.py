"""The Bedrock models over HTTP: what a healthy service sends, and how a stream is closed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coachstream.conversation.errors import ModelError, ModelThrottled
from coachstream.conversation.model import Role, StopReason, Usage
from coachstream.conversation.ports import ChatModel, ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage, Section, SectionName
from coachstream.conversation.text import SurrogateJoiner
from coachstream.language.bedrock import BedrockModel, BedrockWholeReply, RetryPolicy
from contracts.chat_model import PROMPT, ChatModelContract, WholeReplyContract, events_of
from support.bedrock_server import (
    BedrockServer,
    Bytes,
    Disconnect,
    Event,
    Reply,
    Silence,
    StreamException,
    Until,
    bedrock_client,
    bedrock_server_process,
    closing,
    opening,
    options_with,
    reply,
    text,
    warm_up,
)
from support.patience import PATIENCE_S

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

    Client = AwsClient[BedrockRuntimeClient]

ONCE = options_with(retry=RetryPolicy(attempts=1))


def broken_reply(after: int, error: ModelError | None) -> Reply:
    """This many words, then the exception that leads to the error, or the end of the response."""
    name = "throttlingException" if isinstance(error, ModelThrottled) else "modelStreamErrorException"
    deltas = text(*(f"delta{number} " for number in range(after)))
    return Reply([opening(), *deltas, *([StreamException(name)] if error else [])])


@pytest.fixture(scope="module")
def url_of_another_process() -> Iterator[str]:
    """The server in another process, so that its tasks are not in this event loop."""
    with bedrock_server_process() as url:
        yield url


@pytest.fixture
async def distant_client(url_of_another_process: str, aws_credentials: None) -> AsyncIterator[Client]:  # noqa: ARG001
    async with bedrock_client(url_of_another_process) as client:
        yield client


class TestBedrockModel(ChatModelContract):
    @pytest.fixture
    def model(self, distant_client: Client) -> ChatModel:
        return BedrockModel(distant_client, options_with())

    @pytest.fixture
    def broken_model(
        self, bedrock: BedrockServer, client: Client
    ) -> Callable[[int, ModelError | None], ChatModel]:
        def build(after: int, error: ModelError | None) -> ChatModel:
            bedrock.always = broken_reply(after, error)
            return BedrockModel(client, ONCE)

        return build


class TestBedrockModelDecodedByTheSdk(TestBedrockModel):
    @pytest.fixture
    async def model(self, url_of_another_process: str, aws_credentials: None) -> AsyncIterator[ChatModel]:  # noqa: ARG002
        async with bedrock_client(url_of_another_process, by_sdk=True) as client:
            yield BedrockModel(client, options_with(decoded_by_sdk=True))


class TestBedrockWholeReply(WholeReplyContract):
    @pytest.fixture
    def model(self, distant_client: Client) -> ChatModel:
        return BedrockWholeReply(distant_client, options_with())

    @pytest.fixture
    def broken_model(
        self, bedrock: BedrockServer, client: Client
    ) -> Callable[[int, ModelError | None], ChatModel]:
        def build(after: int, error: ModelError | None) -> ChatModel:
            bedrock.always = broken_reply(after, error)
            return BedrockWholeReply(client, ONCE)

        return build

    async def test_the_reply_is_one_delta(self, model: ChatModel) -> None:
        """The whole text, then the stop event."""
        delta, _ = await events_of(model)
        assert isinstance(delta, TextDelta)
        assert "How should I warm up?" in delta.text


def said(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_usage_and_latency_come_with_the_stop(bedrock: BedrockServer, client: Client) -> None:
    """They are in the `metadata` event, which follows `messageStop`."""
    usage = {"cacheReadInputTokens": 5, "cacheWriteInputTokens": 6}
    bedrock.always = reply("Hi", usage=usage)
    expected = ModelStop(StopReason.END_TURN, Usage(12, 34, 5, 6, latency_ms=567))
    for model in (BedrockModel(client, options_with()), BedrockWholeReply(client, options_with())):
        assert await events_of(model) == [TextDelta("Hi"), expected]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", StopReason.END_TURN),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("max_tokens", StopReason.MAX_TOKENS),
        ("model_context_window_exceeded", StopReason.MAX_TOKENS),
        ("guardrail_intervened", StopReason.CONTENT_FILTERED),
        ("content_filtered", StopReason.CONTENT_FILTERED),
        ("tool_use", StopReason.INTERRUPTED),
        ("malformed_model_output", StopReason.INTERRUPTED),
        ("malformed_tool_use", StopReason.INTERRUPTED),
        ("a_reason_of_next_year", StopReason.END_TURN),
    ],
)
async def test_the_reason_of_the_stop_is_translated(
    bedrock: BedrockServer, client: Client, reason: str, expected: StopReason
) -> None:
    """The mapping is the same for streams and whole replies."""
    bedrock.always = reply("Hi", reason=reason)
    for model in (BedrockModel(client, options_with()), BedrockWholeReply(client, options_with())):
        stop = (await events_of(model))[-1]
        assert isinstance(stop, ModelStop)
        assert stop.reason is expected


FINDING = {"action": "NONE", "detected": True}


@pytest.mark.parametrize(
    ("trace", "is_flagged"),
    [
        ({"inputAssessment": {"g": {"topicPolicy": {"topics": [FINDING]}}}}, True),
        ({"inputAssessment": {"g": {"contentPolicy": {"filters": [FINDING]}}}}, True),
        ({"outputAssessments": {"g": [{}, {"wordPolicy": {"managedWordLists": [FINDING]}}]}}, True),
        ({"outputAssessments": {"g": [{"sensitiveInformationPolicy": {"regexes": [FINDING]}}]}}, True),
        ({"outputAssessments": {"g": [{"contextualGroundingPolicy": {"filters": [FINDING]}}]}}, True),
        ({"inputAssessment": {"g": {"contentPolicy": {"filters": [{"action": "BLOCKED"}]}}}}, True),
        ({"inputAssessment": {"g": {"contentPolicy": {"filters": [{"action": "NONE"}]}}}}, False),
        ({"inputAssessment": {"g": {"topicPolicy": {"topics": [{"detected": False}]}}}}, False),
        ({"modelOutput": ["{action: BLOCKED}"], "inputAssessment": {}, "outputAssessments": {}}, False),
    ],
)
async def test_a_guardrail_that_warns_is_read_from_the_trace(
    bedrock: BedrockServer, client: Client, trace: Mapping[str, object], *, is_flagged: bool
) -> None:
    """Whatever policy found something, and only if this guardrail warns and the reply is kept."""
    for reason in ("end_turn", "max_tokens", "content_filtered"):
        opening_, *said, end = reply("Hi", reason=reason).steps
        assert isinstance(end, Event)
        traced = Event(end.name, {**end.content, "trace": {"guardrail": trace}})
        bedrock.always = Reply([opening_, *said, traced])
        for warns in (True, False):
            options = options_with(guardrail_id="g", guardrail_warns=warns)
            for model in (BedrockModel(client, options), BedrockWholeReply(client, options)):
                stop = (await events_of(model))[-1]
                assert isinstance(stop, ModelStop)
                expected = is_flagged and warns and reason != "content_filtered"
                assert (stop.reason is StopReason.GUARDRAIL_WARNING) == expected
                assert stop.usage.output_tokens == 34


async def test_only_text_is_passed_on(bedrock: BedrockServer, client: Client) -> None:
    """Reasoning, tool use, images and unknown events are dropped."""

    def delta(index: int, content: object) -> Event:
        return Event("contentBlockDelta", {"contentBlockIndex": index, "delta": content})

    bedrock.always = Reply(
        [
            opening(),
            delta(0, {"reasoningContent": {"text": "The user wants"}}),
            delta(0, {"reasoningContent": {"signature": "c2lnbmF0dXJl"}}),
            delta(0, {"reasoningContent": {"redactedContent": "c2VjcmV0"}}),
            Event("contentBlockStop", {"contentBlockIndex": 0}),
            *text("Squat ", block=1),
            Event(
                "contentBlockStart",
                {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "n"}}},
            ),
            delta(2, {"toolUse": {"input": "{}"}}),
            delta(3, {"somethingNew": {"text": "?"}}),
            Event("somethingNew", {"text": "?"}),
            *text("", block=4),
            *text("deep.", block=4),
            *closing(),
        ]
    )
    events = await events_of(BedrockModel(client, options_with()))
    assert [type(event) for event in events] == [TextDelta, ModelStop]
    assert said(events) == "Squat deep."


async def test_an_empty_reply_is_a_stop_without_text(bedrock: BedrockServer, client: Client) -> None:
    """The turn decides what to do with it; the model does not retry."""
    bedrock.always = reply()
    for model in (BedrockModel(client, options_with()), BedrockWholeReply(client, options_with())):
        assert [type(event) for event in await events_of(model)] == [ModelStop]
    assert len(bedrock.requests) == 2


@pytest.mark.parametrize(
    "rest",
    [
        [],
        [Disconnect()],
        [StreamException("internalServerException")],
        [Bytes(b"garbage that is long enough for a prelude")],
        [Event("metadata", {"unexpected": True})],
    ],
    ids=["end", "disconnect", "exception", "garbage", "odd metadata"],
)
async def test_a_stopped_reply_is_complete_without_its_usage(
    bedrock: BedrockServer, client: Client, rest: list[Event | Bytes | Disconnect | StreamException]
) -> None:
    """The state of the connection after `messageStop` makes no difference."""
    stop = Event("messageStop", {"stopReason": "end_turn"})
    bedrock.always = Reply([opening(), *text("Hi"), stop, *rest])
    events = await events_of(BedrockModel(client, options_with()))
    assert events == [TextDelta("Hi"), ModelStop(StopReason.END_TURN, Usage())]
    assert len(bedrock.requests) == 1


async def test_usage_that_does_not_come_is_not_waited_for_until_the_deadline(
    bedrock: BedrockServer, client: Client
) -> None:
    """The stop event is passed on while there is still time to save the reply."""
    await warm_up(bedrock, client)
    stop = Event("messageStop", {"stopReason": "end_turn"})
    bedrock.always = Reply([opening(), *text("Hi"), stop, Silence()])
    deadline = time.monotonic() + PATIENCE_S
    events = [event async for event in BedrockModel(client, options_with()).stream(PROMPT, deadline=deadline)]
    assert events[-1] == ModelStop(StopReason.END_TURN, Usage())
    assert time.monotonic() < deadline


@given(pieces=st.lists(st.text(), max_size=12))
@example(pieces=["Zwei Hälften: ", "\ud83d", "\udcaa", " fertig"])
@example(pieces=["\ud83d", "", "\udcaa"])
@example(pieces=["a\u2028b\r\n\x00", "\ufeff", '"\\'])
@settings(max_examples=60)
async def test_text_arrives_as_it_was_sent_however_it_is_cut(
    bedrock: BedrockServer, client: Client, pieces: list[str]
) -> None:
    """Text arrives unchanged, even half a surrogate pair, because the turn joins them."""
    bedrock.always = reply(*pieces)
    events = await events_of(BedrockModel(client, options_with()))
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(deltas) == "".join(pieces)
    joiner = SurrogateJoiner()
    joined = "".join(joiner.feed(delta) for delta in deltas) + joiner.flush()
    assert joined == "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@given(
    cuts=st.lists(st.integers(min_value=1, max_value=60), min_size=1, max_size=40),
)
@settings(max_examples=40)
async def test_frames_may_be_cut_anywhere_on_the_wire(
    bedrock: BedrockServer, client: Client, cuts: list[int]
) -> None:
    """Response chunks are not frames: prelude, headers and characters may be split."""
    from support import event_stream

    steps = [opening(), *text("Grüße, ", "日本 ", "💪🏽"), *closing()]
    wire = b"".join(event_stream.event(step.name, step.content) for step in steps)
    pieces = []
    for cut in cuts:
        pieces.append(Bytes(wire[:cut]))
        wire = wire[cut:]
    bedrock.always = Reply([piece for piece in (*pieces, Bytes(wire)) if piece.data])
    events = await events_of(BedrockModel(client, options_with()))
    assert said(events) == "Grüße, 日本 💪🏽"
    assert isinstance(events[-1], ModelStop)


async def test_deltas_are_given_as_they_come(bedrock: BedrockServer, client: Client) -> None:
    """The first delta arrives while the service still generates the second."""
    gate = asyncio.Event()
    bedrock.always = Reply([opening(), *text("first"), Until(gate), *text("second"), *closing()])
    async with asyncio.timeout(PATIENCE_S):
        stream = BedrockModel(client, options_with()).stream(PROMPT, deadline=time.monotonic() + PATIENCE_S)
        assert await anext(stream) == TextDelta("first")
        gate.set()
        assert await anext(stream) == TextDelta("second")
        await stream.aclose()


async def test_a_stream_that_was_read_leaves_its_connection_to_the_next(
    bedrock: BedrockServer, client: Client
) -> None:
    """There is no new TLS handshake before each reply."""
    for model in (
        BedrockModel(client, options_with()),
        BedrockModel(client, options_with()),
        BedrockWholeReply(client, options_with()),
    ):
        await events_of(model)
    assert [request.connection for request in bedrock.requests] == [0, 0, 0]


async def test_closing_the_stream_stops_the_model(bedrock: BedrockServer, client: Client) -> None:
    """The service sees the disconnect, no task is left running, and the client can be reused."""
    bedrock.answers.append(Reply([opening(), *text("first"), Silence()]))
    model = BedrockModel(client, options_with())
    stream = model.stream(PROMPT, deadline=time.monotonic() + PATIENCE_S)
    await anext(stream)
    await stream.aclose()
    async with asyncio.timeout(PATIENCE_S):
        await (await bedrock.request()).disconnected.wait()
    assert isinstance((await events_of(model))[-1], ModelStop)


@pytest.mark.parametrize("model_type", [BedrockModel, BedrockWholeReply])
async def test_cancelling_the_reader_stops_the_model(
    bedrock: BedrockServer, client: Client, model_type: type[BedrockModel | BedrockWholeReply]
) -> None:
    """Even while it waits for the next event or for the headers."""
    bedrock.always = Reply([], before=[Silence()])
    reading = asyncio.create_task(events_of(model_type(client, options_with())))
    async with asyncio.timeout(PATIENCE_S):
        received = await bedrock.request()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await received.disconnected.wait()


async def test_nothing_is_opened_before_the_first_stream(client: Client) -> None:
    """Creating a model, or a stream that is never read, opens nothing."""
    stream = BedrockModel(client, options_with()).stream(PROMPT, deadline=0)
    await stream.aclose()
    assert client._client is None


def test_importing_the_adapter_does_not_load_the_sdk() -> None:
    """Loading it takes 0.3 s, in a thread, at the first call."""
    program = (
        "import json, sys, coachstream.language.bedrock;"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    loaded = json.loads(
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    )
    assert not {"aiobotocore", "botocore", "aiohttp", "types_aiobotocore_bedrock_runtime"} & set(loaded)


def conversation(messages: int) -> Prompt:
    """The prompt for the nth message of a conversation; the time differs in each."""
    return Prompt(
        coach_name="Mara",
        sections=(
            Section(SectionName.IDENTITY, "You are Mara. " * 600, is_static=True),
            Section(SectionName.CURRENT_TIME, f"It is {messages} o'clock.", is_static=False),
        ),
        messages=tuple(
            PromptMessage((Role.USER, Role.ASSISTANT)[number % 2], f"Message {number}: " + "words " * 100)
            for number in range(messages)
        ),
    )


async def test_a_long_conversation_is_read_from_the_cache(client: Client) -> None:
    """Every turn reads at least the static part; from the 13th message on, most of the history as well."""
    model = BedrockModel(client, options_with())
    read_share: dict[int, float] = {}
    written = 0
    for messages in range(1, 60, 2):
        *_, stop = await events_of(model, conversation(messages))
        assert isinstance(stop, ModelStop)
        usage = stop.usage
        whole = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        read_share[messages] = usage.cache_read_tokens / whole
        written += usage.cache_write_tokens
    assert read_share[1] == 0
    assert read_share[11] < 0.65
    assert all(share > 0.6 for messages, share in read_share.items() if messages > 13)
    assert read_share[41] > 0.75
    # Nothing is written twice: the total written is about the size of the longest cached prompt.
    assert written < len(str(conversation(59))) / 4
