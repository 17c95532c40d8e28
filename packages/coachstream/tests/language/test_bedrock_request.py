"""A prompt as a Converse request: what Bedrock accepts, and where the cache checkpoints are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.session
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import ModelRejected
from coachstream.conversation.model import Role, StopReason
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage, Section, SectionName
from coachstream.language.bedrock import BedrockOptions
from coachstream.language.bedrock.events import STOP_REASONS
from coachstream.language.bedrock.request import stream_request, whole_request
from support.bedrock_guardrail import WordGuardrail
from support.bedrock_server import MODEL_ID, Received, options_with, refusal_of, reply

CHECKPOINT = {"cachePoint": {"type": "default"}}
STATIC = "You are Mara. " * 400
DYNAMIC = "It is Monday."


def prompt(messages: int = 1, *, static: str = STATIC, dynamic: str = DYNAMIC) -> Prompt:
    """The prompt for the nth message of a conversation."""
    return Prompt(
        coach_name="Mara",
        sections=(
            Section(SectionName.IDENTITY, static, is_static=True),
            Section(SectionName.CURRENT_TIME, dynamic, is_static=False),
        ),
        messages=tuple(
            PromptMessage((Role.USER, Role.ASSISTANT)[number % 2], f"Message {number}")
            for number in range(messages)
        ),
    )


def request(asked: Prompt, **options: Any) -> Any:  # noqa: ANN401 (typed dictionaries, read as what they are)
    return stream_request(asked, options_with(**options))


def checkpoints(messages: Any) -> list[int]:  # noqa: ANN401
    """The indexes of the messages that end with a checkpoint."""
    return [index for index, message in enumerate(messages) if CHECKPOINT in message["content"]]


def received(operation: str, sent: Any) -> Received:  # noqa: ANN401
    """The request as the test server receives it."""
    body = {name: value for name, value in sent.items() if name != "modelId"}
    return Received(operation, sent["modelId"], {"authorization": "AWS4-HMAC-SHA256 x"}, body, 0)


def test_the_request_of_a_first_message() -> None:
    """Everything that is sent by default."""
    assert request(prompt()) == {
        "modelId": MODEL_ID,
        "system": [{"text": STATIC}, CHECKPOINT, {"text": DYNAMIC}],
        "messages": [{"role": "user", "content": [{"text": "Message 0"}]}],
        "inferenceConfig": {"maxTokens": 8192, "temperature": 0.7},
    }


def test_what_is_chosen_is_sent() -> None:
    """Model, temperature and length; no temperature for a model that accepts none."""
    sent = request(prompt(), model_id="amazon.nova-pro-v1:0", temperature=None, max_tokens=100)
    assert sent["modelId"] == "amazon.nova-pro-v1:0"
    assert sent["inferenceConfig"] == {"maxTokens": 100}


def test_sections_keep_their_order() -> None:
    """Static sections come first, with a separator between sections."""
    sections = (
        Section(SectionName.IDENTITY, "A", is_static=True),
        Section(SectionName.MEMORIES, "C", is_static=False),
        Section(SectionName.SAFETY, "B", is_static=True),
        Section(SectionName.USER, " \n", is_static=False),
        Section(SectionName.WORKOUTS, "D", is_static=False),
    )
    sent = request(Prompt("Mara", sections, (PromptMessage(Role.USER, "Hi"),)))
    assert sent["system"] == [{"text": "A\n\n---\n\nB"}, {"text": "C\n\n---\n\nD"}]


def test_a_guardrail_checks_a_stream_while_it_goes_out() -> None:
    """It runs asynchronously; a whole reply has no such mode."""
    options = options_with(guardrail_id="abc123", guardrail_version="7")
    guardrail = {"guardrailIdentifier": "abc123", "guardrailVersion": "7"}
    assert stream_request(prompt(), options)["guardrailConfig"] == {
        **guardrail,
        "streamProcessingMode": "async",
    }
    assert whole_request(prompt(), options)["guardrailConfig"] == guardrail
    assert request(prompt(), guardrail_id="abc123")["guardrailConfig"]["guardrailVersion"] == "DRAFT"


@pytest.mark.parametrize("build", [stream_request, whole_request])
@pytest.mark.parametrize("messages", [1, 3, 13])
@pytest.mark.parametrize("said", ["", "You should"], ids=["", "continued"])
def test_a_guardrail_judges_the_newest_words_of_the_user_alone(
    build: Callable[[Prompt, BedrockOptions], Any], messages: int, said: str
) -> None:
    """Neither the history, nor unanswered messages, nor records, nor the partial reply are judged."""
    asked = prompt(messages)
    unanswered = PromptMessage(Role.USER, "Hello?")
    asked = msgspec.structs.replace(
        asked, messages=(*asked.messages[:-1], unanswered, asked.messages[-1]), said=said
    )
    guardrail = WordGuardrail(())
    guardrail.applied_to(build(asked, options_with(guardrail_id="abc123")), reply("Yes."))
    assert guardrail.judged == [[asked.messages[-1].text]]
    assert "guardContent" not in str(build(asked, options_with()))


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream"])
@pytest.mark.parametrize("messages", [1, 3, 11, 13, 33, 199])
@pytest.mark.parametrize("guardrail_id", [None, "abc123"])
def test_bedrock_takes_the_request(operation: str, messages: int, guardrail_id: str | None) -> None:
    """Checked against the service's own model and its rules for messages."""
    build = stream_request if operation == "ConverseStream" else whole_request
    sent = build(prompt(messages), options_with(guardrail_id=guardrail_id))
    assert refusal_of(received(operation, sent)) is None


class TestCheckpoints:
    @pytest.mark.parametrize(
        ("messages", "expected"),
        [(1, []), (11, []), (13, [10]), (21, [10]), (23, [10, 20]), (31, [10, 20]), (33, [20, 30])],
    )
    def test_in_the_history_they_move_in_steps(self, messages: int, expected: list[int]) -> None:
        """After user messages, from the 13th message on; the previous checkpoint stays for one step."""
        sent = request(prompt(messages))["messages"]
        assert checkpoints(sent) == expected
        assert all(sent[index]["role"] == "user" for index in expected)

    def test_what_comes_before_one_stays_the_same(self) -> None:
        """The cached prefix is constant until the checkpoint moves; changing text is in the last message."""

        def before_checkpoint(messages: int) -> Any:  # noqa: ANN401
            sent = request(prompt(messages, dynamic=f"It is {messages} o'clock."))
            return sent["system"], sent["messages"][:11]

        assert (
            before_checkpoint(13) == before_checkpoint(15) == before_checkpoint(21) == before_checkpoint(31)
        )

    def test_the_last_message_then_holds_what_changes(self) -> None:
        """It precedes the user's words and is labelled as the application's."""
        sent = request(prompt(13))
        assert sent["system"] == [{"text": STATIC}, CHECKPOINT]
        context, words = sent["messages"][-1]["content"]
        assert context["text"].endswith(f"\n\n{DYNAMIC}")
        assert "application" in context["text"]
        assert words == {"text": "Message 12"}

    @pytest.mark.parametrize(
        "options",
        [
            {"prompt_caching": False},
            {"model_id": "us.meta.llama3-3-70b-instruct-v1:0"},
            {"model_id": "anthropic.claude-3-haiku-20240307-v1:0"},
            {"model_id": "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc"},
        ],
    )
    def test_there_are_none_where_they_are_switched_off_or_refused(self, options: dict[str, Any]) -> None:
        """The whole system prompt then stays in place."""
        sent = request(prompt(33), **options)
        assert "cachePoint" not in str(sent)
        assert sent["system"] == [{"text": STATIC}, {"text": DYNAMIC}]

    def test_a_guardrail_changes_nothing_of_them(self) -> None:
        """It judges only the newest words, which are never cached, and not the records next to them."""
        sent, guarded = request(prompt(33)), request(prompt(33), guardrail_id="abc123")
        assert guarded["system"] == sent["system"]
        assert guarded["messages"][:-1] == sent["messages"][:-1]
        context, words = sent["messages"][-1]["content"]
        assert guarded["messages"][-1]["content"] == [context, {"guardContent": {"text": words}}]

    @pytest.mark.parametrize(("length", "is_cached"), [(1023, False), (1024, True)])
    def test_there_is_none_behind_less_than_a_cache_takes(self, length: int, is_cached: bool) -> None:
        """A token has at least one byte, so short texts cannot reach the minimum."""
        system = request(prompt(static="x" * length))["system"]
        assert (CHECKPOINT in system) is is_cached

    def test_without_static_sections_there_is_none_in_the_system_prompt(self) -> None:
        """An empty system prompt is not sent at all."""
        assert request(prompt(static=" "))["system"] == [{"text": DYNAMIC}]
        assert "system" not in request(prompt(static="", dynamic=""))


ANY_TEXT = st.text(max_size=20) | st.sampled_from(["", " \n\t", "\ud83d", "Grüße 💪🏽", "x" * 1500])
ANY_PROMPT = st.builds(
    Prompt,
    coach_name=st.just("Mara"),
    sections=st.lists(
        st.builds(Section, st.sampled_from(SectionName), ANY_TEXT, is_static=st.booleans()), max_size=6
    ).map(tuple),
    messages=st.lists(st.builds(PromptMessage, st.sampled_from(Role), ANY_TEXT), max_size=40).map(tuple),
)
ANY_OPTIONS = st.builds(
    options_with,
    model_id=st.sampled_from([MODEL_ID, "amazon.nova-lite-v1:0", "us.meta.llama3-3-70b-instruct-v1:0"]),
    guardrail_id=st.sampled_from([None, "abc123"]),
    prompt_caching=st.booleans(),
)


@given(asked=ANY_PROMPT, options=ANY_OPTIONS)
def test_bedrock_takes_the_request_of_any_prompt(asked: Prompt, options: BedrockOptions) -> None:
    """Roles alternate from the user's on, no text is blank or lost, and there are at most four checkpoints.

    The one exception: prompts that end with the model's message, which the domain would not build.
    """
    spoken = [message for message in asked.messages if message.text.strip()]
    if Role.USER not in {message.role for message in spoken}:
        with pytest.raises(ModelRejected):
            stream_request(asked, options)
        return
    for build, operation in ((stream_request, "ConverseStream"), (whole_request, "Converse")):
        sent: Any = build(asked, options)
        if spoken[-1].role is Role.USER:
            assert refusal_of(received(operation, sent)) is None
        begun = [message.role for message in spoken].index(Role.USER)
        texts = [
            block["text"] if "text" in block else block["guardContent"]["text"]["text"]
            for message in sent["messages"]
            for block in message["content"]
            if "cachePoint" not in block and not block.get("text", "").startswith("[From the application")
        ]
        assert len(texts) == len(spoken) - begun
        assert all(text.encode() for text in texts)


@pytest.mark.parametrize(
    ("model_id", "name", "cached_from"),
    [
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4", 1024),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", "claude-3-5-haiku", 2048),
        ("us-gov.anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-3-7-sonnet", 1024),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5", 4096),
        ("us.anthropic.claude-sonnet-4-6", "claude-sonnet-4-6", 1024),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", "claude-opus-4-1", 1024),
        ("global.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5", 4096),
        ("us.amazon.nova-micro-v1:0", "nova-micro", 1000),
        ("amazon.nova-pro-v1:0:24k", "nova-pro", 1000),
        ("us.meta.llama3-3-70b-instruct-v1:0", "llama3-3-70b-instruct", None),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet", None),
        (
            "arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
            "claude-sonnet-4",
            1024,
        ),
        ("arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc", "abc", None),
        ("my-endpoint", "my-endpoint", None),
    ],
)
def test_a_models_name_and_cache_are_known_from_its_id(
    model_id: str, name: str, cached_from: int | None
) -> None:
    """Region, maker, date and version in the id make no difference."""
    options = options_with(model_id=model_id)
    assert options.display_name == name
    assert options.cached_from_tokens == cached_from


def test_every_stop_reason_of_the_service_is_known() -> None:
    """The list is maintained by hand; the service's model shows when it is outdated."""
    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape: Any = service.shape_for("StopReason")
    assert set(shape.enum) == set(STOP_REASONS)
    # Two belong to the domain: the user stopped the reply, or a guardrail's findings are in the trace.
    assert set(STOP_REASONS.values()) == set(StopReason) - {StopReason.STOPPED, StopReason.GUARDRAIL_WARNING}
