"""What every `ChatModel` must do: `ChatModelContract` for streaming models, `WholeReplyContract` for others.

A subclass provides two fixtures:

    class TestMine(ChatModelContract):
        @pytest.fixture
        def model(self) -> ChatModel:
            "A model that replies."
        @pytest.fixture
        def broken_model(self) -> Callable[[int, ModelError | None], ChatModel]:
            "A model whose stream breaks after that many words: with the error, or by ending without a stop."
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import msgspec
import pytest

from coachstream.conversation.errors import ModelError, ModelStreamBroken, ModelThrottled
from coachstream.conversation.model import Role, StopReason
from coachstream.conversation.ports import ChatModel, ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage, Section, SectionName
from support.patience import PATIENCE_S

PROMPT = Prompt(
    coach_name="Mara",
    sections=(Section(SectionName.IDENTITY, "# You are Mara\nCalm and exact.", is_static=True),),
    messages=(PromptMessage(Role.USER, "How should I warm up?"),),
)


async def events_of(model: ChatModel, prompt: Prompt = PROMPT) -> list[ModelEvent]:
    """The whole stream."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    return [event async for event in model.stream(prompt, deadline=deadline)]


def text_of(events: Sequence[ModelEvent]) -> str:
    """The text of the events."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


class WholeReplyContract:
    """Rules for streamed and whole replies."""

    async def test_the_stop_comes_last_and_once(self, model: ChatModel) -> None:
        """A stream is text, then one `ModelStop`, and nothing after it."""
        *deltas, stop = await events_of(model)
        assert deltas
        assert all(isinstance(delta, TextDelta) for delta in deltas)
        assert isinstance(stop, ModelStop)
        assert stop.reason is StopReason.END_TURN

    async def test_the_usage_counts_tokens(self, model: ChatModel) -> None:
        """Input and output tokens are reported."""
        *_, stop = await events_of(model)
        assert isinstance(stop, ModelStop)
        assert stop.usage.input_tokens > 0
        assert stop.usage.output_tokens > 0

    async def test_every_delta_is_valid_text(self, model: ChatModel) -> None:
        """No delta splits a code point."""
        for event in await events_of(model):
            if isinstance(event, TextDelta):
                event.text.encode()

    async def test_the_model_has_a_name(self, model: ChatModel) -> None:
        """The name is stored with each reply and does not change."""
        name = model.display_name
        await events_of(model)
        assert name
        assert model.display_name == name

    async def test_streams_do_not_disturb_each_other(self, model: ChatModel) -> None:
        """Ten concurrent calls yield ten complete streams."""
        streams = await asyncio.gather(*(events_of(model) for _ in range(10)))
        assert all(isinstance(stream[-1], ModelStop) for stream in streams)

    async def test_a_partial_reply_can_be_continued_at_any_point(self, model: ChatModel) -> None:
        """The given beginning plus the continuation equals the whole reply, for every beginning."""
        assert model.can_continue
        whole = text_of(await events_of(model))
        assert len(whole) > 40
        for at in range(len(whole) + 1):
            *deltas, stop = await events_of(model, msgspec.structs.replace(PROMPT, said=whole[:at]))
            assert whole[:at] + text_of(deltas) == whole
            assert isinstance(stop, ModelStop)

    async def test_a_closed_stream_stops(self, model: ChatModel) -> None:
        """Closing it after the first delta ends the stream and leaves no task running."""
        before = asyncio.all_tasks()
        stream = model.stream(PROMPT, deadline=asyncio.get_running_loop().time() + PATIENCE_S)
        assert isinstance(stream, AsyncGenerator)
        assert isinstance(await anext(stream), TextDelta)
        await stream.aclose()
        assert await anext(stream, None) is None
        assert asyncio.all_tasks() == before

    async def test_a_reply_may_fail_before_it_begins(
        self, broken_model: Callable[[int, ModelError | None], ChatModel]
    ) -> None:
        """Only the typed error is raised."""
        assert await _events_until_error(broken_model(0, ModelThrottled())) == []


class ChatModelContract(WholeReplyContract):
    """Rules for streaming: deltas, then the stop, or a visible interruption."""

    @pytest.mark.parametrize("after", [1, 5])
    async def test_a_stream_may_break_off_with_an_error(
        self, broken_model: Callable[[int, ModelError | None], ChatModel], after: int
    ) -> None:
        """The words received so far arrive, and the typed error follows them."""
        received = await _events_until_error(broken_model(after, ModelStreamBroken()))
        assert all(isinstance(event, TextDelta) for event in received)
        assert len(text_of(received).split()) == after

    async def test_a_stream_may_end_without_a_stop(
        self, broken_model: Callable[[int, ModelError | None], ChatModel]
    ) -> None:
        """An end without `ModelStop` is passed on unchanged; the turn decides what it means."""
        received = await events_of(broken_model(3, None))
        assert {type(event) for event in received} == {TextDelta}
        assert len(text_of(received).split()) == 3


async def _events_until_error(model: ChatModel) -> list[ModelEvent]:
    received: list[ModelEvent] = []

    async def receive() -> None:
        async for event in model.stream(PROMPT, deadline=asyncio.get_running_loop().time() + PATIENCE_S):
            received.append(event)  # noqa: PERF401 (events before the error count)

    with pytest.raises(ModelError):
        await receive()
    return received
