"""Continuing a reply that broke off: the request, and how the rest is joined to the earlier text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coachstream.conversation.model import Role, StopReason
from coachstream.conversation.ports import ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage, Section, SectionName
from coachstream.language.bedrock import BedrockModel, BedrockOptions, BedrockWholeReply, RetryPolicy
from coachstream.language.bedrock.continuation import ContinuationJoiner, beginning_of_reply
from coachstream.language.bedrock.request import stream_request, whole_request
from contracts.chat_model import PROMPT, events_of, text_of
from support.bedrock_server import (
    BedrockServer,
    Received,
    Reply,
    StreamException,
    opening,
    options_with,
    refusal_of,
    reply,
    text,
)

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

    Client = AwsClient[BedrockRuntimeClient]

ON_THE_WAY = msgspec.structs.replace(PROMPT, said="Begin slowly. ")


def long_prompt(messages: int, said: str) -> Prompt:
    """The prompt for the nth message of a conversation, with a reply that broke off."""
    return Prompt(
        coach_name="Mara",
        sections=(
            Section(SectionName.IDENTITY, "You are Mara. " * 400, is_static=True),
            Section(SectionName.CURRENT_TIME, "It is Monday.", is_static=False),
        ),
        messages=tuple(
            PromptMessage((Role.USER, Role.ASSISTANT)[number % 2], f"Message {number}")
            for number in range(messages)
        ),
        said=said,
    )


def received(operation: str, sent: Any) -> Received:  # noqa: ANN401 (typed dictionaries, read as what they are)
    body = {name: value for name, value in sent.items() if name != "modelId"}
    return Received(operation, sent["modelId"], {"authorization": "AWS4-HMAC-SHA256 x"}, body, 0)


def joined(said: str, *pieces: str) -> str:
    joiner = ContinuationJoiner(said)
    return said + "".join(joiner.feed(piece) for piece in pieces)


class TestRequest:
    @pytest.mark.parametrize("messages", [1, 11, 13, 33])
    @pytest.mark.parametrize("guardrail_id", [None, "abc123"])
    def test_the_partial_reply_is_sent_as_the_last_message_of_the_model(
        self, messages: int, guardrail_id: str | None
    ) -> None:
        """Its trailing whitespace is stripped; all before it, checkpoints included, is unchanged."""
        options = options_with(guardrail_id=guardrail_id)
        for build, operation in ((stream_request, "ConverseStream"), (whole_request, "Converse")):
            anew: Any = build(long_prompt(messages, ""), options)
            sent: Any = build(long_prompt(messages, "Begin slowly.\n\n- "), options)
            *before, last = sent["messages"]
            assert last == {"role": "assistant", "content": [{"text": "Begin slowly.\n\n-"}]}
            assert {**sent, "messages": before} == anew
            assert refusal_of(received(operation, sent)) is None

    @pytest.mark.parametrize("said", ["", " ", "\n\n\t", "\u00a0\u2003"])
    def test_a_blank_partial_reply_is_not_sent(self, said: str) -> None:
        """Bedrock rejects blank text."""
        assert stream_request(long_prompt(1, said), options_with()) == stream_request(
            long_prompt(1, ""), options_with()
        )

    @pytest.mark.parametrize(
        "options",
        [
            options_with(model_id="us.anthropic.claude-sonnet-4-6"),
            options_with(continues=False),
        ],
    )
    def test_a_model_that_cannot_continue_is_not_sent_the_partial_reply(
        self, options: BedrockOptions
    ) -> None:
        """It would reject the request."""
        sent: Any = stream_request(long_prompt(1, "Begin"), options)
        assert [message["role"] for message in sent["messages"]] == ["user"]

    def test_roles_alternate_even_behind_a_message_of_the_models(self) -> None:
        """The domain builds no such prompt."""
        sent: Any = stream_request(long_prompt(2, "Begin"), options_with())
        assert [message["role"] for message in sent["messages"]] == ["user", "assistant"]
        assert sent["messages"][-1]["content"] == [{"text": "Message 1"}, {"text": "Begin"}]

    @given(st.text())
    @example("Half of a pair \ud83d")
    @example("\x1c\x85")
    def test_any_beginning_is_taken(self, said: str) -> None:
        """No text is blank or ends in whitespace, and every text can be encoded."""
        sent: Any = stream_request(long_prompt(1, said), options_with())
        assert refusal_of(received("ConverseStream", sent)) is None
        assert all(block["text"].encode() for message in sent["messages"] for block in message["content"])


class TestWhoContinues:
    @pytest.mark.parametrize(
        ("model_id", "can_continue"),
        [
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", True),
            ("anthropic.claude-3-haiku-20240307-v1:0", True),
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", True),
            ("us-gov.anthropic.claude-3-7-sonnet-20250219-v1:0", True),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", True),
            ("global.anthropic.claude-haiku-4-5-20251001-v1:0", True),
            ("global.anthropic.claude-opus-4-5-20251101-v1:0", True),
            ("us.anthropic.claude-opus-4-6-v1", False),
            ("us.anthropic.claude-sonnet-4-6", False),
            ("global.anthropic.claude-opus-4-7", False),
            ("us.anthropic.claude-sonnet-5", False),
            ("us.meta.llama3-3-70b-instruct-v1:0", False),
            ("us.amazon.nova-pro-v1:0", False),
            ("arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc", False),
            (
                "arn:aws:bedrock:us-west-2:1:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
                True,
            ),
        ],
    )
    def test_it_is_known_from_the_models_id(self, model_id: str, can_continue: bool) -> None:
        """An unknown model starts over, which is correct for every model."""
        assert options_with(model_id=model_id).can_continue is can_continue

    def test_a_deployment_can_override_it(self) -> None:
        """A setting overrides the table in both directions."""
        assert options_with(model_id="my-profile", continues=True).can_continue
        assert not options_with(continues=False).can_continue

    async def test_the_models_say_so(self, client: Client) -> None:
        """Both model classes report it from their options."""
        for kind in (BedrockModel, BedrockWholeReply):
            assert kind(client, options_with()).can_continue
            assert not kind(client, options_with("us.anthropic.claude-opus-4-6-v1")).can_continue


class TestJoining:
    @pytest.mark.parametrize(
        ("said", "pieces", "whole"),
        [
            ("Begin", [" slowly"], "Begin slowly"),
            ("Begin", ["ning"], "Beginning"),
            ("Begin ", [" slowly"], "Begin slowly"),
            ("Begin ", ["slowly"], "Begin slowly"),
            ("Begin ", [" ", "", " ", "slowly ", " now"], "Begin  slowly  now"),
            ("Begin.\n\n", ["\n\n- Squat"], "Begin.\n\n- Squat"),
            ("Begin.\n\n", ["\n", "\n", "- Squat\n"], "Begin.\n\n- Squat\n"),
            ("Begin.\n", ["\n\n- Squat"], "Begin.\n\n- Squat"),
            ("Begin.\n\n", ["\n- Squat"], "Begin.\n\n- Squat"),
            ("Begin.\n\n", [" Squat"], "Begin.\n\nSquat"),
            ("Begin:\n", ["\n  - Squat"], "Begin:\n  - Squat"),
            ("Begin. ", ["\n\nSquat"], "Begin. \n\nSquat"),
            ("Begin. \n", ["\n\n  Squat"], "Begin. \n\n  Squat"),
            ("Begin.\n", [], "Begin.\n"),
            ("Begin.\n", ["\n", " "], "Begin.\n"),
            ("\n ", [" Begin"], "\n  Begin"),
            ("", ["\n", "Begin"], "\nBegin"),
        ],
    )
    def test_whitespace_is_not_repeated_where_a_continuation_begins(
        self, said: str, pieces: list[str], whole: str
    ) -> None:
        """A line or paragraph break that is still missing is kept."""
        assert joined(said, *pieces) == whole

    @given(
        whole=st.text("ab \n\t💪", min_size=1).filter(lambda whole: whole.strip()),
        at=st.integers(0, 40),
        cuts=st.lists(st.integers(0, 40)),
    )
    def test_an_exact_continuation_completes_the_reply(self, whole: str, at: int, cuts: list[int]) -> None:
        """Wherever it broke off, and however the rest is split."""
        said = whole[:at]
        begun = beginning_of_reply(said)
        rest = whole[len(begun) :]
        pieces = [
            rest[here:there] for here, there in zip([0, *sorted(cuts)], [*sorted(cuts), None], strict=True)
        ]
        if not begun:
            return
        if rest.strip():
            assert joined(said, *pieces) == whole
        else:
            # Only whitespace is left of the reply, and some of it was already sent.
            assert joined(said, *pieces).rstrip() == whole.rstrip()

    @given(st.text("ab \n"), st.lists(st.text("ab \n")))
    def test_words_are_neither_lost_nor_doubled_nor_held(self, said: str, pieces: list[str]) -> None:
        """Only whitespace may be dropped, and a piece that contains a word is passed on at once."""
        joiner = ContinuationJoiner(said)
        for piece in pieces:
            passed = joiner.feed(piece)
            assert passed.split() == piece.split()


class TestModels:
    @pytest.mark.parametrize("kind", [BedrockModel, BedrockWholeReply])
    async def test_an_attempt_that_failed_leaves_no_trace_in_the_next(
        self, bedrock: BedrockServer, client: Client, kind: type[BedrockModel | BedrockWholeReply]
    ) -> None:
        """Whitespace held back from a failed attempt is discarded."""
        bedrock.answers.append(
            Reply([opening(), *text(" ", "\n"), StreamException("modelStreamErrorException")])
        )
        bedrock.answers.append(reply(" Then", " squat."))
        model = kind(client, options_with(retry=RetryPolicy(attempts=2, first_pause_s=0.001)))
        events = await events_of(model, ON_THE_WAY)
        assert ON_THE_WAY.said + text_of(events) == "Begin slowly. Then squat."
        assert len(bedrock.requests) == 2
        assert [request.body["messages"][-1] for request in bedrock.requests] == [
            {"role": "assistant", "content": [{"text": "Begin slowly."}]}
        ] * 2

    @pytest.mark.parametrize("kind", [BedrockModel, BedrockWholeReply])
    async def test_a_reply_that_was_whole_already_ends_without_a_word(
        self, bedrock: BedrockServer, client: Client, kind: type[BedrockModel | BedrockWholeReply]
    ) -> None:
        """Only the stop event is sent."""
        bedrock.always = reply("\n")
        [stop] = await events_of(kind(client, options_with()), ON_THE_WAY)
        assert isinstance(stop, ModelStop)
        assert stop.reason is StopReason.END_TURN

    async def test_a_reply_that_starts_over_is_passed_on_unchanged(
        self, bedrock: BedrockServer, client: Client
    ) -> None:
        """There is no earlier text to join its whitespace to."""
        bedrock.always = reply(" Begin", " anew")
        events = await events_of(BedrockModel(client, options_with(continues=False)), ON_THE_WAY)
        assert events[:-1] == [TextDelta(" Begin anew")]
