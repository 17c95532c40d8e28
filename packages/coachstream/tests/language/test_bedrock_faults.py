"""The outcome of every failure between a turn and Bedrock: error type, number of attempts, and detail."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest
from blockbuster import BlockBuster

from coachstream.aws.clients import AwsSession, Connection
from coachstream.conversation.errors import (
    CoachStreamError,
    DeadlineExceeded,
    ErrorCode,
    ModelError,
    ModelNotUsable,
    ModelRejected,
    ModelStreamBroken,
    ModelThrottled,
    ModelUnavailable,
)
from coachstream.conversation.model import Role
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage
from coachstream.language.bedrock import BedrockModel, BedrockWholeReply, RetryPolicy
from coachstream.language.bedrock.errors import ModelCredentials
from contracts.chat_model import PROMPT
from support import event_stream
from support.aws_session import SESSION
from support.bedrock_server import (
    BedrockServer,
    Bytes,
    Disconnect,
    Event,
    ModelResponse,
    Refusal,
    Reply,
    Silence,
    Step,
    StreamException,
    Until,
    bedrock_client,
    closing,
    opening,
    options_with,
    reply,
    text,
    warm_up,
)
from support.http_server import connected
from support.patience import PATIENCE_S

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

    Client = AwsClient[BedrockRuntimeClient]

ModelType = type[BedrockModel | BedrockWholeReply]
BOTH = pytest.mark.parametrize("model_type", [BedrockModel, BedrockWholeReply])

ATTEMPTS = 3
RETRY = RetryPolicy(attempts=ATTEMPTS, first_pause_s=0.001, least_s=0.1)
QUICK = options_with(stall_s=PATIENCE_S, retry=RETRY)
"""Retries at once; even a slow machine causes no stall."""
STALLS_SOON = options_with(stall_s=0.3, retry=RETRY)
"""For a service that never responds."""
STALLS = options_with(stall_s=2.0, retry=RETRY)
"""For a service that responds within a stall, even on a busy machine."""


@asynccontextmanager
async def opened(url: str, **connection: float) -> AsyncIterator[Client]:
    """A client for another server, with the SDK already loaded."""
    async with bedrock_client(url, SESSION, **connection) as client:
        await client()
        yield client


@pytest.fixture
async def client(bedrock: BedrockServer, aws_credentials: None) -> AsyncIterator[Client]:  # noqa: ARG001
    """A warmed-up client, in place of the one that has loaded nothing yet."""
    async with bedrock_client(bedrock.url) as client:
        await warm_up(bedrock, client)
        yield client


async def outcome(
    model: BedrockModel | BedrockWholeReply, prompt: Prompt = PROMPT, *, within_s: float = PATIENCE_S
) -> tuple[list[ModelEvent], CoachStreamError]:
    """The received events, and the error that ended them."""
    received: list[ModelEvent] = []
    with pytest.raises(CoachStreamError) as caught:
        await _receive(model, prompt, received, time.monotonic() + within_s)
    return received, caught.value


async def _receive(
    model: BedrockModel | BedrockWholeReply, prompt: Prompt, received: list[ModelEvent], deadline: float
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        async for event in model.stream(prompt, deadline=deadline):
            received.append(event)  # noqa: PERF401 (what came before the error counts)


REFUSALS = [
    (429, "ThrottlingException", ModelThrottled),
    (400, "ServiceQuotaExceededException", ModelThrottled),
    (429, "SomethingOfNextYear", ModelThrottled),
    (429, "ModelNotReadyException", ModelUnavailable),
    (503, "ServiceUnavailableException", ModelUnavailable),
    (500, "InternalServerException", ModelUnavailable),
    (408, "ModelTimeoutException", ModelUnavailable),
    (424, "ModelErrorException", ModelUnavailable),
    (500, "SomethingOfNextYear", ModelUnavailable),
    (408, "SomethingOfNextYear", ModelUnavailable),
    (400, "ValidationException", ModelRejected),
    (403, "AccessDeniedException", ModelNotUsable),
    (404, "ResourceNotFoundException", ModelNotUsable),
    (403, "UnrecognizedClientException", ModelCredentials),
    (403, "ExpiredTokenException", ModelCredentials),
    (403, "SomethingOfNextYear", ModelRejected),
]


@BOTH
@pytest.mark.parametrize(("status", "code", "expected"), REFUSALS)
async def test_a_refusal_is_named_and_tried_again_if_that_can_help(
    bedrock: BedrockServer,
    client: Client,
    status: int,
    code: str,
    expected: type[ModelError],
    model_type: ModelType,
) -> None:
    """Throttled and unavailable services may recover; an invalid request stays invalid."""
    bedrock.always = Refusal(status, code)
    received, error = await outcome(model_type(client, QUICK))
    assert received == []
    assert type(error) is expected
    assert code in str(error)
    assert "request-" in str(error)
    assert len(bedrock.requests) == (ATTEMPTS if expected.retryable else 1)


@BOTH
async def test_a_gateways_page_of_html_is_an_unavailable_service(
    bedrock: BedrockServer, client: Client, model_type: ModelType
) -> None:
    """An error without a code and without JSON is judged by its status."""
    bedrock.always = Refusal(502, "", body=b"<html><body>Bad Gateway</body></html>")
    _, error = await outcome(model_type(client, QUICK))
    assert type(error) is ModelUnavailable
    assert len(bedrock.requests) == ATTEMPTS


IN_STREAM = [
    ("throttlingException", ModelThrottled),
    ("serviceUnavailableException", ModelUnavailable),
    ("internalServerException", ModelUnavailable),
    ("modelStreamErrorException", ModelUnavailable),
    ("validationException", ModelRejected),
    ("exceptionOfNextYear", ModelUnavailable),
]


@pytest.mark.parametrize(("name", "expected"), IN_STREAM)
async def test_an_exception_in_the_stream_before_any_text_is_named(
    bedrock: BedrockServer, client: Client, name: str, expected: type[ModelError]
) -> None:
    """It is treated and retried like an exception in place of a stream."""
    bedrock.always = Reply([opening(), StreamException(name)])
    received, error = await outcome(BedrockModel(client, QUICK))
    assert received == []
    assert type(error) is expected
    assert len(bedrock.requests) == (1 if expected is ModelRejected else ATTEMPTS)


@pytest.mark.parametrize("name", [name for name, _ in IN_STREAM])
async def test_after_the_first_text_every_exception_breaks_the_stream(
    bedrock: BedrockServer, client: Client, name: str
) -> None:
    """The text so far stands; there is no retry."""
    bedrock.always = Reply([opening(), *text("Squat "), StreamException(name)])
    received, error = await outcome(BedrockModel(client, QUICK))
    assert received == [TextDelta("Squat ")]
    assert type(error) is ModelStreamBroken
    assert len(bedrock.requests) == 1


FRAME = event_stream.event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "deep"}})

DEFECTS: dict[str, tuple[list[Step], type[ModelError]]] = {
    "an error that has no model": ([Bytes(event_stream.error("InternalError", "words"))], ModelUnavailable),
    "a wrong checksum": ([Bytes(event_stream.corrupt(FRAME))], ModelStreamBroken),
    "a wrong checksum of the prelude": ([Bytes(b"\xff" + FRAME[1:])], ModelStreamBroken),
    "no event stream at all": ([Bytes(b"<html><body>Welcome</body></html>")], ModelStreamBroken),
    "a header of an unknown type": (
        [Bytes(event_stream.message({":event-type": "x"}, b"").replace(b"\x07", b"\x63"))],
        ModelStreamBroken,
    ),
    "a payload that is no JSON": (
        [Bytes(event_stream.message({":message-type": "event", ":event-type": "contentBlockDelta"}, b"{"))],
        ModelUnavailable,
    ),
    "a delta without a delta": ([Event("contentBlockDelta", {"contentBlockIndex": 0})], ModelUnavailable),
    "a disconnect": ([Disconnect()], ModelUnavailable),
    "a disconnect within a frame": ([Bytes(FRAME[:20]), Disconnect()], ModelUnavailable),
    "an end within a frame": ([Bytes(FRAME[:20])], ModelStreamBroken),
    "an end without a stop": ([], ModelStreamBroken),
    "silence": ([Silence()], ModelUnavailable),
}


each_decoder = pytest.mark.parametrize("decoded_by_sdk", [False, True], ids=["ours", "the SDK's"])


@each_decoder
@pytest.mark.parametrize("defect", DEFECTS)
async def test_a_defective_stream_is_asked_for_again_before_any_text(
    bedrock: BedrockServer, client: Client, sdk_client: Client, defect: str, *, decoded_by_sdk: bool
) -> None:
    """Whatever the defect, a typed error is raised once the attempts are used up."""
    steps, expected = DEFECTS[defect]
    bedrock.always = Reply([opening(), *steps])
    options = STALLS_SOON if defect == "silence" else QUICK
    options = msgspec.structs.replace(options, decoded_by_sdk=decoded_by_sdk)
    received, error = await outcome(BedrockModel(sdk_client if decoded_by_sdk else client, options))
    assert received == []
    assert type(error) is expected, error
    assert len(bedrock.requests) == ATTEMPTS


@each_decoder
@pytest.mark.parametrize("defect", DEFECTS)
async def test_a_stream_that_becomes_defective_after_the_first_text_is_broken(
    bedrock: BedrockServer, client: Client, sdk_client: Client, defect: str, *, decoded_by_sdk: bool
) -> None:
    """It ends with the error, or, if it ends without a stop event, just ends."""
    steps, _ = DEFECTS[defect]
    bedrock.always = Reply([opening(), *text("Squat "), *steps])
    options = STALLS if defect == "silence" else QUICK
    options = msgspec.structs.replace(options, decoded_by_sdk=decoded_by_sdk)
    model = BedrockModel(sdk_client if decoded_by_sdk else client, options)
    if defect.startswith("an end"):
        received: list[ModelEvent] = []
        await _receive(model, PROMPT, received, time.monotonic() + PATIENCE_S)
    else:
        received, error = await outcome(model)
        assert type(error) is ModelStreamBroken
    assert received == [TextDelta("Squat ")]
    assert len(bedrock.requests) == 1


async def test_a_second_attempt_may_succeed(bedrock: BedrockServer, client: Client) -> None:
    """The reader sees nothing of the failed attempts."""
    bedrock.answers.extend(
        [Refusal(429, "ThrottlingException"), Reply([opening(), StreamException("internalServerException")])]
    )
    bedrock.always = reply("Squat ", "deep.")
    received: list[ModelEvent] = []
    await _receive(BedrockModel(client, QUICK), PROMPT, received, time.monotonic() + PATIENCE_S)
    assert [type(event) for event in received] == [TextDelta, ModelStop]
    assert received[0] == TextDelta("Squat deep.")
    assert len(bedrock.requests) == 3


async def test_a_stream_that_fails_after_reasoning_only_is_retried(
    bedrock: BedrockServer, client: Client
) -> None:
    """Reasoning is not text, so nothing has been sent to the reader."""
    thought = Event(
        "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm."}}}
    )
    bedrock.answers.append(Reply([opening(), thought, StreamException("throttlingException")]))
    bedrock.always = reply("Squat.")
    received: list[ModelEvent] = []
    await _receive(BedrockModel(client, QUICK), PROMPT, received, time.monotonic() + PATIENCE_S)
    assert received[0] == TextDelta("Squat.")


async def test_a_stall_drops_the_connection(bedrock: BedrockServer, client: Client) -> None:
    """The service can see that the client has left."""
    bedrock.always = Reply([opening(), *text("Squat "), Silence()])
    _, error = await outcome(BedrockModel(client, STALLS))
    assert "no event for 2 s" in str(error)
    async with asyncio.timeout(PATIENCE_S):
        await (await bedrock.request()).disconnected.wait()


async def test_events_without_text_are_signs_of_life(bedrock: BedrockServer, client: Client) -> None:
    """A model that thinks for longer than a stall is not stalled as long as it sends events."""
    gates = [asyncio.Event() for _ in range(3)]
    thought = Event(
        "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm."}}}
    )
    thinking: list[Step] = [step for gate in gates for step in (Until(gate), thought)]
    bedrock.always = Reply([opening(), *thinking, *text("Squat."), *closing()])

    async def open_gates() -> None:
        await bedrock.request()
        for gate in gates:
            # Together longer than a stall, which is what this test checks.
            await asyncio.sleep(STALLS.stall_s / 2)
            gate.set()

    opening_gates = asyncio.create_task(open_gates())
    received: list[ModelEvent] = []
    await _receive(BedrockModel(client, STALLS), PROMPT, received, time.monotonic() + PATIENCE_S)
    await opening_gates
    assert received[0] == TextDelta("Squat.")


async def test_slow_headers_are_a_stall(bedrock: BedrockServer, client: Client) -> None:
    """A service that accepts the request but does not respond is retried, then given up."""
    bedrock.always = Reply([], before=[Silence()])
    _, error = await outcome(BedrockModel(client, STALLS_SOON))
    assert type(error) is ModelUnavailable
    assert len(bedrock.requests) == ATTEMPTS


async def test_a_whole_reply_may_take_longer_than_a_stall(bedrock: BedrockServer, client: Client) -> None:
    """The reply is generated before its headers are sent; only the deadline limits it."""
    gate = asyncio.Event()
    bedrock.always = Reply([*text("Squat."), *closing()], before=[Until(gate)])

    async def open_gate() -> None:
        await bedrock.request()
        await asyncio.sleep(STALLS_SOON.stall_s * 1.5)  # longer than a stall, which is what this test checks
        gate.set()

    opening_gate = asyncio.create_task(open_gate())
    received: list[ModelEvent] = []
    await _receive(BedrockWholeReply(client, STALLS_SOON), PROMPT, received, time.monotonic() + PATIENCE_S)
    await opening_gate
    assert received[0] == TextDelta("Squat.")


@BOTH
@pytest.mark.parametrize("before", [Disconnect(), Silence()], ids=["disconnect", "read timeout"])
@pytest.mark.usefixtures("aws_credentials")
async def test_a_connection_that_fails_before_the_headers_is_tried_again(
    bedrock: BedrockServer, model_type: ModelType, before: Disconnect | Silence
) -> None:
    """Disconnected, or silent for longer than the SDK's read timeout."""
    bedrock.always = Reply([], before=[before])
    async with bedrock_client(bedrock.url, read_timeout_s=0.2) as client:
        await warm_up(bedrock, client)
        _, error = await outcome(model_type(client, QUICK))
    assert type(error) is ModelUnavailable
    assert len(bedrock.requests) == ATTEMPTS


@pytest.mark.usefixtures("aws_credentials")
async def test_the_sdks_read_timeout_within_a_stream_breaks_it(bedrock: BedrockServer) -> None:
    """A read timeout shorter than a stall must not surface as an unknown failure."""
    bedrock.always = Reply([opening(), *text("Squat "), Silence()])
    async with bedrock_client(bedrock.url, read_timeout_s=0.2, by_sdk=True) as client:
        await warm_up(bedrock, client)
        received, error = await outcome(BedrockModel(client, QUICK))
    assert received == [TextDelta("Squat ")]
    assert type(error) is ModelStreamBroken


@BOTH
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{free}", "http://bedrock.invalid", "https://127.0.0.1:{http}"]
)
@pytest.mark.usefixtures("aws_credentials")
async def test_a_service_that_cannot_be_reached_is_unavailable(
    bedrock: BedrockServer, model_type: ModelType, url: str, unused_port: int
) -> None:
    """Connection refused, unknown host name, or a port without TLS."""
    port = bedrock.url.rpartition(":")[2]
    async with opened(url.format(free=unused_port, http=port)) as client:
        received, error = await outcome(model_type(client, QUICK))
    assert received == []
    assert type(error) is ModelUnavailable


@pytest.fixture
async def unused_port() -> int:
    """A port on which no server listens."""
    listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    return port


@BOTH
@pytest.mark.usefixtures("aws_credentials")
async def test_a_response_that_is_not_http_is_an_unavailable_service(model_type: ModelType) -> None:
    """Another kind of server listens on the port."""

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with (
        listening,
        bedrock_client(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}") as client,
    ):
        _, error = await outcome(model_type(client, QUICK))
    assert type(error) is ModelUnavailable


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"[]", b'{"output": {}, "stopReason": "end_turn"}'])
async def test_a_whole_reply_that_cannot_be_read_is_an_unavailable_service(
    bedrock: BedrockServer, client: Client, body: bytes
) -> None:
    """The status is 200, but the body holds no reply."""
    bedrock.always = Reply([Bytes(body)])
    received, error = await outcome(BedrockWholeReply(client, QUICK))
    assert received == []
    assert type(error) is ModelUnavailable
    assert len(bedrock.requests) == ATTEMPTS


@BOTH
async def test_without_credentials_nothing_is_sent(
    bedrock: BedrockServer,
    monkeypatch: pytest.MonkeyPatch,
    no_blocking_calls: BlockBuster,
    model_type: ModelType,
) -> None:
    """A configuration error with its own code and remedy; a retry would not help."""
    # Without credentials in the environment, which Lambda provides, the SDK looks for files.
    no_blocking_calls.functions["os.stat"].can_block_in("botocore/configloader.py", "raw_config_parse")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with bedrock_client(bedrock.url, AwsSession()) as client:
        _, error = await outcome(model_type(client, QUICK))
    assert type(error) is ModelCredentials
    assert error.code is ErrorCode.NO_CREDENTIALS
    assert "there are no AWS credentials (NoCredentialsError)" in str(error)
    assert "AWS_PROFILE" in error.remedy
    assert bedrock.requests == []


@BOTH
async def test_a_missing_region_is_a_configuration_error(
    bedrock: BedrockServer,
    monkeypatch: pytest.MonkeyPatch,
    no_blocking_calls: BlockBuster,
    aws_credentials: None,  # noqa: ARG001
    model_type: ModelType,
) -> None:
    """The request is not at fault; a fallback model that has a region can still be called."""
    # As above: with a region in the environment, the SDK would look for no file.
    no_blocking_calls.functions["os.stat"].can_block_in("botocore/configloader.py", "raw_config_parse")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    client = AwsSession().bedrock_runtime(Connection(endpoint_url=bedrock.url))
    # Not warmed up: the call itself loads the SDK.
    _, error = await outcome(model_type(client, options_with(stall_s=PATIENCE_S)))
    assert type(error) is ModelNotUsable
    assert "no region is set (NoRegionError)" in str(error)
    assert "AWS_REGION" in error.remedy
    assert bedrock.requests == []


@BOTH
async def test_a_prompt_without_a_message_is_not_sent(
    bedrock: BedrockServer, client: Client, model_type: ModelType
) -> None:
    """Bedrock would reject it."""
    prompt = Prompt(coach_name="Mara", sections=(), messages=(PromptMessage(Role.USER, " \n"),))
    _, error = await outcome(model_type(client, QUICK), prompt)
    assert type(error) is ModelRejected
    assert bedrock.requests == []


@BOTH
async def test_the_deadline_ends_an_attempt(
    bedrock: BedrockServer, client: Client, model_type: ModelType
) -> None:
    """It passes before a stall is detected and is reported as a deadline."""
    bedrock.always = Reply([opening()], before=[Silence()])
    _, error = await outcome(model_type(client, options_with()), within_s=0.3)
    assert type(error) is DeadlineExceeded
    async with asyncio.timeout(PATIENCE_S):
        await (await bedrock.request()).disconnected.wait()


async def test_the_deadline_ends_a_stream_that_has_begun(bedrock: BedrockServer, client: Client) -> None:
    """The text so far has already been sent."""
    bedrock.always = Reply([opening(), *text("Squat "), Silence()])
    received, error = await outcome(BedrockModel(client, options_with()), within_s=1.0)
    assert received == [TextDelta("Squat ")]
    assert type(error) is DeadlineExceeded


async def test_the_deadline_ends_a_stream_whose_events_are_already_buffered(
    bedrock: BedrockServer, client: Client
) -> None:
    """What has arrived in the meantime must not extend it."""
    gate = asyncio.Event()
    bedrock.always = Reply([opening(), *text("Squat"), Until(gate), *text(" deep"), *closing()])
    now = 0.0
    stream = BedrockModel(client, options_with(), monotonic=lambda: now).stream(PROMPT, deadline=100)
    assert await anext(stream) == TextDelta("Squat")
    gate.set()
    async with asyncio.timeout(PATIENCE_S):
        await (await bedrock.request()).answered.wait()
    now = 100.0
    with pytest.raises(DeadlineExceeded):
        await anext(stream)


@BOTH
async def test_after_the_deadline_no_request_is_sent(
    bedrock: BedrockServer, client: Client, model_type: ModelType
) -> None:
    """No client could wait for the reply."""
    _, error = await outcome(model_type(client, options_with()), within_s=0)
    assert type(error) is DeadlineExceeded
    assert bedrock.requests == []


async def test_a_throttled_service_is_not_waited_for_beyond_the_deadline(
    bedrock: BedrockServer, client: Client
) -> None:
    """If there is no time for another attempt, the original failure is raised at once."""
    bedrock.always = Refusal(429, "ThrottlingException")
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    _, error = await outcome(BedrockModel(client, options_with(), sleep=sleep), within_s=2)
    assert type(error) is ModelThrottled
    assert slept == []
    assert len(bedrock.requests) == 1


async def detail_of(model: BedrockModel | BedrockWholeReply, prompt: Prompt) -> str:
    """The detail that a turn logs for a failure, or empty text if there was none."""
    try:
        await _receive(model, prompt, [], time.monotonic() + PATIENCE_S)
    except CoachStreamError as error:
        return str(error)
    return ""


@BOTH
async def test_no_error_and_no_log_quotes_the_prompt(
    bedrock: BedrockServer, client: Client, caplog: pytest.LogCaptureFixture, model_type: ModelType
) -> None:
    """The service's own messages are left out because they may quote the input."""
    secret = "my knee is secret"
    prompt = Prompt(coach_name="Mara", sections=(), messages=(PromptMessage(Role.USER, secret),))
    caplog.set_level(logging.INFO)
    answers: list[ModelResponse] = [
        Refusal(429, "ThrottlingException", f"too much of: {secret}"),
        Refusal(400, "ValidationException", f"malformed: {secret}"),
        Refusal(502, "", body=f"<html>{secret}</html>".encode()),
        Reply([opening(), StreamException("modelStreamErrorException", secret)]),
        Reply([opening(), *text("Hi"), StreamException("validationException", secret)]),
        Reply([opening(), Bytes(event_stream.error("InternalError", secret))]),
        Reply([*text("Hi"), *closing(reason="new"), StreamException("internalServerException", secret)]),
    ]
    details = []
    for answer in answers:
        bedrock.always = answer
        details.append(await detail_of(model_type(client, QUICK), prompt))
    assert len(list(filter(None, details))) >= len(answers) - 2
    assert secret not in str(details)
    assert secret not in caplog.text


async def test_the_test_server_distinguishes_a_disconnected_client(bedrock: BedrockServer) -> None:
    """The tests above rely on it."""
    bedrock.always = Reply([], before=[Silence()])
    async with connected(int(bedrock.url.rpartition(":")[2])) as raw:
        await raw.send(
            b"POST /model/m/converse HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
            b"Authorization: AWS4-HMAC-SHA256 x\r\n\r\n{}"
        )
        received = await bedrock.request()
        assert not received.disconnected.is_set()
