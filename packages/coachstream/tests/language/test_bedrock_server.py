"""The test server itself: it writes what the SDK reads and rejects what Bedrock rejects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from support import event_stream
from support.bedrock_guardrail import BLOCKED_OUTPUT, WordGuardrail
from support.bedrock_server import BedrockServer, Burst, Reply, closing, opening, reply, text

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CHECKPOINT = {"cachePoint": {"type": "default"}}


def said(role: str, *content: object) -> dict[str, object]:
    return {
        "role": role,
        "content": [{"text": block} if isinstance(block, str) else block for block in content],
    }


@given(
    headers=st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50), max_size=5),
    payload=st.binary(max_size=300),
    piece=st.integers(1, 40),
)
def test_the_sdk_decodes_every_message(headers: dict[str, str], payload: bytes, piece: int) -> None:
    """However its bytes are split."""
    wire = event_stream.message(headers, payload) * 2
    buffer = EventStreamBuffer()
    decoded: list[Any] = []
    for begin in range(0, len(wire), piece):
        buffer.add_data(wire[begin : begin + piece])
        decoded.extend(buffer)
    assert [(message.headers, message.payload) for message in decoded] == [(headers, payload)] * 2


@given(payload=st.binary(min_size=1, max_size=50))
def test_a_corrupt_message_has_a_wrong_checksum(payload: bytes) -> None:
    """The SDK rejects it for that reason."""
    buffer = EventStreamBuffer()
    buffer.add_data(event_stream.corrupt(event_stream.message({"a": "b"}, payload)))
    with pytest.raises(ChecksumMismatch):
        next(buffer)


async def test_the_events_of_a_burst_arrive_one_by_one(
    bedrock: BedrockServer, sdk_client: AwsClient[BedrockRuntimeClient]
) -> None:
    """Although they are written together."""
    bedrock.always = Reply([opening(), Burst(text("One ", "two ", "three.")), *closing()])
    response = await (await sdk_client()).converse_stream(**VALID)
    events = [event async for event in response["stream"]]
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert deltas == [{"text": "One "}, {"text": "two "}, {"text": "three."}]


VALID: dict[str, Any] = {"modelId": SONNET, "messages": [said("user", "Hi")]}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "alternate"),
    "the model begins": ({"messages": [said("assistant", "Hi")]}, "alternate"),
    "one role twice": ({"messages": [said("user", "Hi"), said("user", "Hi")]}, "alternate"),
    "the model has the last word": (
        {
            "modelId": "us.anthropic.claude-sonnet-4-6",
            "messages": [said("user", "Hi"), said("assistant", "Hi")],
        },
        "does not support assistant message prefill",
    ),
    "the model's last word is a blank": (
        {"messages": [said("user", "Hi"), said("assistant", "Hi ")]},
        "trailing whitespace",
    ),
    "blank text": ({"messages": [said("user", " \n")]}, "blank"),
    "a blank system prompt": ({"system": [{"text": " "}]}, "blank"),
    "a blank text to guard": (
        {"messages": [said("user", "Hi", {"guardContent": {"text": {"text": " "}}})]},
        "guard content field in the ContentBlock object is blank",
    ),
    "no content": ({"messages": [said("user")]}, "no content"),
    "nothing but a checkpoint": ({"messages": [said("user", CHECKPOINT)]}, "no content"),
    "five checkpoints": ({"messages": [said("user", "Hi", *[CHECKPOINT] * 5)]}, "Too many"),
    "a checkpoint for a model that does not cache": (
        {"modelId": "us.meta.llama3-3-70b-instruct-v1:0", "messages": [said("user", "Hi", CHECKPOINT)]},
        "unsupported model",
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
async def test_what_bedrock_refuses_is_refused(
    sdk_client: AwsClient[BedrockRuntimeClient], reason: str
) -> None:
    """Both operations respond with a `ValidationException`."""
    change, words = REFUSED[reason]
    bedrock = await sdk_client()
    for operation in (bedrock.converse, bedrock.converse_stream):
        with pytest.raises(ClientError, match=words) as caught:
            await operation(**{**VALID, **change})
        assert caught.value.response.get("Error", {}).get("Code") == "ValidationException"


async def test_what_the_service_does_not_describe_is_refused(
    bedrock: BedrockServer, sdk_client: AwsClient[BedrockRuntimeClient]
) -> None:
    """A whole reply has no streaming mode; the server must reject it even if the SDK does not."""
    guardrail = {"guardrailIdentifier": "abc", "guardrailVersion": "1", "streamProcessingMode": "async"}
    opened = await sdk_client()
    opened.meta.events.register(
        "before-call.bedrock-runtime.Converse",
        lambda params, **_: params.update(
            body=b'{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"guardrailConfig":%s}'
            % str(guardrail).replace("'", '"').encode()
        ),
    )
    with pytest.raises(ClientError, match="streamProcessingMode"):
        await opened.converse(**VALID)
    assert bedrock.requests[0].body["guardrailConfig"] == guardrail


GUARDRAIL: Any = {"guardrailIdentifier": "abc", "guardrailVersion": "1"}


class TestGuardrail:
    @pytest.mark.parametrize(
        ("content", "is_blocked"),
        [
            (["forbidden"], True),
            (["Hi"], False),
            (["forbidden", {"guardContent": {"text": {"text": "Hi"}}}], False),
            (["Hi", {"guardContent": {"text": {"text": "forbidden"}}}], True),
        ],
    )
    async def test_it_judges_what_is_marked_or_else_all_messages(
        self,
        bedrock: BedrockServer,
        sdk_client: AwsClient[BedrockRuntimeClient],
        content: list[object],
        is_blocked: bool,
    ) -> None:
        """It never judges the system prompt, nor a request that names no guardrail."""
        bedrock.guardrail = WordGuardrail(("forbidden",))
        request: dict[str, Any] = {**VALID, "messages": [said("user", *content)]}
        request["system"] = [{"text": "Say nothing forbidden."}]
        bedrock.always = reply("Yes.")
        opened = await sdk_client()
        response = await opened.converse(**request, guardrailConfig=GUARDRAIL)
        assert (response["stopReason"] == "guardrail_intervened") is is_blocked
        assert (await opened.converse(**request))["stopReason"] == "end_turn"

    async def test_it_cuts_a_stream_where_a_reply_is_blocked(
        self, bedrock: BedrockServer, sdk_client: AwsClient[BedrockRuntimeClient]
    ) -> None:
        """In `async` mode the text before it has been sent by then; in `sync` mode nothing has."""
        bedrock.guardrail = WordGuardrail(("forbidden",))
        bedrock.always = reply("Well, ", "forbidden ", "things")
        opened = await sdk_client()
        for mode, before in (("async", "Well, "), ("sync", "")):
            config: Any = {**GUARDRAIL, "streamProcessingMode": mode}
            response = await opened.converse_stream(**VALID, guardrailConfig=config)
            events: list[Any] = [event async for event in response["stream"]]
            deltas = [e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e]
            assert "".join(deltas) == f"{before}{BLOCKED_OUTPUT}"
            assert {"messageStop": {"stopReason": "guardrail_intervened"}} in events
