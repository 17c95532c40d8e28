"""The test server's streams, read by the AWS SDK for JavaScript, a decoder independent of Python's.

A stream that both read alike is one that Bedrock could send; a frame that both reject must be rejected.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coachstream.language.bedrock.request import stream_request
from contracts.chat_model import PROMPT
from support import event_stream
from support.bedrock_server import (
    BedrockServer,
    Bytes,
    Event,
    Refusal,
    Reply,
    Step,
    StreamException,
    closing,
    opening,
    options_with,
    text,
)
from support.patience import PATIENCE_S
from support.places import CACHE

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

pytestmark = pytest.mark.peer

NODE = Path(__file__).parent / "node"
INSTALLED = CACHE / "bedrock-node"

HEALTHY: list[Event] = [
    opening(),
    *text("Grüße, ", "日本 ", "💪🏽", '\u2028 \x00 "\\'),
    Event("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"reasoningContent": {"text": "Hm."}}}),
    *closing(usage={"cacheReadInputTokens": 5, "cacheWriteInputTokens": 6}),
]


async def read_by_javascript(url: str) -> list[dict[str, Any]]:
    """The events, then the end; skips the test if the SDK is not installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    if not (INSTALLED / "installed.json").exists():
        pytest.skip("needs packages/coachstream/tests/language/node/install.sh to have been run")
    request: dict[str, Any] = {**stream_request(PROMPT, options_with())}
    del request["modelId"]
    process = await asyncio.create_subprocess_exec(
        node,
        str(NODE / "converse-stream.mjs"),
        url,
        json.dumps(request),
        cwd=INSTALLED,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return [json.loads(line) for line in out.decode().split("\n") if line]


async def read_by_python(sdk_client: AwsClient[BedrockRuntimeClient]) -> list[Any]:
    """The events as botocore decodes them."""
    response = await (await sdk_client()).converse_stream(**stream_request(PROMPT, options_with()))
    return [event async for event in response["stream"]]


async def test_both_decode_the_same_events(
    bedrock: BedrockServer, sdk_client: AwsClient[BedrockRuntimeClient]
) -> None:
    """Every event is decoded completely, and the checksums are correct."""
    bedrock.always = Reply(HEALTHY)
    *events, end = await read_by_javascript(bedrock.url)
    assert end == {"end": "done"}
    assert events == [{event.name: event.content} for event in HEALTHY]
    assert events == await read_by_python(sdk_client)


async def test_both_send_the_same_request(
    bedrock: BedrockServer, sdk_client: AwsClient[BedrockRuntimeClient]
) -> None:
    """Same body and same model in the path; the server accepts both."""
    bedrock.always = Reply(HEALTHY)
    await read_by_javascript(bedrock.url)
    await read_by_python(sdk_client)
    javascript, python = bedrock.requests
    assert javascript.body == python.body
    assert javascript.model_id == python.model_id


@pytest.mark.parametrize(
    "name",
    [
        "throttlingException",
        "serviceUnavailableException",
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
    ],
)
async def test_javascript_knows_the_exceptions_in_a_stream_by_name(bedrock: BedrockServer, name: str) -> None:
    """It maps them to its own types, so the frames are those of modelled exceptions."""
    bedrock.always = Reply([opening(), *text("Squat "), StreamException(name, "no more")])
    *events, end = await read_by_javascript(bedrock.url)
    assert len(events) == 2
    assert end == {"end": name[:1].upper() + name[1:], "message": "no more"}


FRAME = event_stream.event("messageStop", {"stopReason": "end_turn"})


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Bytes(event_stream.corrupt(FRAME)), "message checksum"),
        (Bytes(FRAME[:5] + b"\xff" + FRAME[6:]), "prelude checksum"),
    ],
)
async def test_javascript_refuses_a_corrupt_frame(bedrock: BedrockServer, step: Step, message: str) -> None:
    """The error names the wrong checksum."""
    bedrock.always = Reply([opening(), step])
    *events, end = await read_by_javascript(bedrock.url)
    assert events == [{"messageStart": {"role": "assistant"}}]
    assert message in end["message"]


async def test_javascript_knows_a_refusal_by_name(bedrock: BedrockServer) -> None:
    """The refusal has Bedrock's form: status, `x-amzn-errortype` and a message."""
    bedrock.always = Refusal(429, "ThrottlingException", "slow down")
    assert await read_by_javascript(bedrock.url) == [{"end": "ThrottlingException", "message": "slow down"}]
