"""If Bedrock refuses a model itself, the fallback is called at once and the reason is logged once."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode, ModelNotUsable
from coachstream.conversation.events import Chunk, Completed, Event, Failed
from coachstream.conversation.turn.turn import run_turn
from coachstream.language.bedrock import BedrockModel, BedrockWholeReply, RetryPolicy
from coachstream.language.bedrock.model import UNUSABLE_FOR_S
from coachstream.language.bedrock.refusals import Reason
from contracts.chat_model import PROMPT, events_of
from support import turn_events
from support.bedrock_server import (
    BedrockServer,
    ModelResponse,
    Received,
    Refusal,
    bedrock_client,
    options_with,
    reply,
    warm_up,
)
from support.turns import Stage

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

    Client = AwsClient[BedrockRuntimeClient]

BOTH = pytest.mark.parametrize("model_type", [BedrockModel, BedrockWholeReply])
PRIMARY = "us.anthropic.claude-sonnet-4-20250514-v1:0"
OTHER = "us.anthropic.claude-sonnet-4-6"
QUICK = RetryPolicy(attempts=3, first_pause_s=0.001, least_s=0.1)
SECRET = "my knee is secret"

ENDED = (
    "This model version has reached the end of its life. Please refer to the AWS documentation for more "
    "details."
)
REFUSALS: dict[str, tuple[Refusal, Reason]] = {
    "end of life": (Refusal(404, "ResourceNotFoundException", ENDED), Reason.ENDED),
    "Legacy and idle": (
        Refusal(
            404,
            "ResourceNotFoundException",
            "Access denied. This Model is marked by provider as Legacy and you have not been actively using "
            "the model in the last 30 days. Please upgrade to an active model on Amazon Bedrock",
        ),
        Reason.LEGACY,
    ),
    "no such model": (
        Refusal(404, "ResourceNotFoundException", "Could not resolve the foundation model"),
        Reason.NOT_HERE,
    ),
    "no use case": (
        Refusal(
            404,
            "ResourceNotFoundException",
            "Model use case details have not been submitted for this account. Fill out the Anthropic use "
            "case details form before using the model.",
        ),
        Reason.NO_AGREEMENT,
    ),
    "no access": (
        Refusal(
            403, "AccessDeniedException", "You don't have access to the model with the specified model ID."
        ),
        Reason.NO_ACCESS,
    ),
    "no policy": (
        Refusal(
            403,
            "AccessDeniedException",
            "User: arn:aws:sts::123456789012:assumed-role/r/s is not authorized to perform: "
            "bedrock:InvokeModelWithResponseStream on resource: arn:aws:bedrock:us-east-1::model/m",
        ),
        Reason.NOT_PERMITTED,
    ),
    "no subscription": (
        Refusal(
            403,
            "AccessDeniedException",
            "Model access is denied due to IAM user or service role is not authorized to perform the "
            "required AWS Marketplace actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe)",
        ),
        Reason.NO_AGREEMENT,
    ),
    "without its profile": (
        Refusal(
            400,
            "ValidationException",
            "Invocation of model ID anthropic.claude-sonnet-4-6 with on-demand throughput "
            "isn\N{RIGHT SINGLE QUOTATION MARK}t supported. Retry your request with the ID or ARN of an "
            "inference profile that contains this model.",
        ),
        Reason.NEEDS_PROFILE,
    ),
    "another region's": (
        Refusal(400, "ValidationException", "The provided model identifier is invalid."),
        Reason.NOT_HERE,
    ),
    "not by this API": (
        Refusal(400, "ValidationException", "The model is unsupported for streaming."),
        Reason.NO_CONVERSE,
    ),
}
ANY_REFUSAL = pytest.mark.parametrize(("refusal", "reason"), REFUSALS.values(), ids=REFUSALS)


class Clock:
    """A monotonic clock that a test can move forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
async def elsewhere(bedrock: BedrockServer, client: Client) -> AsyncIterator[Client]:
    """A separate client, as for a fallback in another region; both have loaded the SDK."""
    await warm_up(bedrock, client)
    async with bedrock_client(bedrock.url) as other:
        await warm_up(bedrock, other)
        yield other


def refusing_the_first(refusal: ModelResponse) -> dict[str, ModelResponse]:
    return {PRIMARY: refusal, OTHER: reply("Squat ", "deep.")}


def by_model(bedrock: BedrockServer, answers: dict[str, ModelResponse]) -> None:
    def judge(received: Received) -> ModelResponse:
        return answers[received.model_id]

    bedrock.judge = judge


def asked(bedrock: BedrockServer) -> list[str]:
    return [request.model_id for request in bedrock.requests]


def model_of(client: Client, model_id: str, clock: Clock | None = None) -> BedrockModel:
    return BedrockModel(client, options_with(model_id, retry=QUICK), monotonic=clock or Clock())


async def turn(
    stage: Stage, model: BedrockModel, fallback: BedrockModel | None, *, within_s: float = 30.0
) -> list[Event]:
    parts = msgspec.structs.replace(stage.dependencies, model=model, fallback_model=fallback)
    return [
        event
        async for event in turn_events.events_of(
            run_turn, stage.request(within_s=within_s), parts, stage.settings
        )
    ]


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@ANY_REFUSAL
async def test_the_fallback_is_asked_at_once_and_the_log_says_why(
    bedrock: BedrockServer,
    client: Client,
    elsewhere: Client,
    caplog: pytest.LogCaptureFixture,
    refusal: Refusal,
    reason: Reason,
) -> None:
    """The reader gets a reply after one refused request; the operator gets one line with the remedy."""
    by_model(bedrock, refusing_the_first(quoting(refusal)))
    stage = Stage()
    *events, end = await turn(stage, model_of(client, PRIMARY), model_of(elsewhere, OTHER))
    assert isinstance(end, Completed)
    assert "".join(event.content for event in events if isinstance(event, Chunk)) == "Squat deep."
    assert end.reply.metadata.model == "claude-sonnet-4-6"
    assert asked(bedrock) == [PRIMARY, OTHER]
    [line] = errors_in(caplog)
    assert PRIMARY in line
    assert reason in line
    assert reason.remedy in line
    assert SECRET not in caplog.text


@ANY_REFUSAL
async def test_without_a_fallback_the_turn_fails_with_a_code_of_its_own(
    bedrock: BedrockServer,
    client: Client,
    elsewhere: Client,  # noqa: ARG001 (warms up)
    caplog: pytest.LogCaptureFixture,
    refusal: Refusal,
    reason: Reason,
) -> None:
    """The model is called once; the user learns that operators must act, and is not asked to retry."""
    by_model(bedrock, {PRIMARY: quoting(refusal)})
    *_, end = await turn(Stage(), model_of(client, PRIMARY), None)
    assert isinstance(end, Failed)
    assert (end.code, end.retryable) == (ErrorCode.MODEL_NOT_USABLE, False)
    assert end.sentence == ModelNotUsable.sentence
    assert asked(bedrock) == [PRIMARY]
    [line] = errors_in(caplog)
    assert reason in line
    assert reason.remedy in line
    assert SECRET not in caplog.text


def quoting(refusal: Refusal) -> Refusal:
    """The service's refusal, followed by text that must not reach a log."""
    return Refusal(refusal.status, refusal.code, f"{refusal.text} {SECRET}")


async def test_a_refusal_is_remembered_for_a_while(
    bedrock: BedrockServer, client: Client, elsewhere: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Turns go straight to the fallback without further logging; then the model is tried again."""
    refusal, _ = REFUSALS["end of life"]
    by_model(bedrock, refusing_the_first(refusal))
    clock = Clock()
    model, fallback = model_of(client, PRIMARY, clock), model_of(elsewhere, OTHER, clock)
    for _ in range(3):
        *_, end = await turn(Stage(), model, fallback)
        assert isinstance(end, Completed)
    assert asked(bedrock) == [PRIMARY, OTHER, OTHER, OTHER]
    assert len(errors_in(caplog)) == 1
    by_model(bedrock, {PRIMARY: reply("Lunge."), OTHER: reply("Squat.")})
    clock.ahead_s = UNUSABLE_FOR_S
    *_, end = await turn(Stage(), model, fallback, within_s=UNUSABLE_FOR_S + 30)
    assert isinstance(end, Completed)
    assert end.reply.content == "Lunge."
    assert asked(bedrock)[4:] == [PRIMARY]


async def test_if_both_models_are_refused_both_are_tried_again(
    bedrock: BedrockServer, client: Client, elsewhere: Client
) -> None:
    """A remembered refusal never blocks a model that has become usable."""
    refusal, _ = REFUSALS["no access"]
    by_model(bedrock, {PRIMARY: refusal, OTHER: refusal})
    model, fallback = model_of(client, PRIMARY), model_of(elsewhere, OTHER)
    *_, end = await turn(Stage(), model, fallback)
    assert isinstance(end, Failed)
    assert end.code is ErrorCode.MODEL_NOT_USABLE
    by_model(bedrock, {PRIMARY: reply("Lunge."), OTHER: refusal})
    *_, end = await turn(Stage(), model, fallback)
    assert isinstance(end, Completed)
    assert asked(bedrock) == [PRIMARY, OTHER, PRIMARY]


async def test_without_a_fallback_a_model_that_becomes_usable_is_used_at_once(
    bedrock: BedrockServer, client: Client
) -> None:
    """There is no other model to call in the meantime."""
    refusal, _ = REFUSALS["no access"]
    by_model(bedrock, {PRIMARY: refusal})
    model = model_of(client, PRIMARY)
    await turn(Stage(), model, None)
    by_model(bedrock, {PRIMARY: reply("Squat.")})
    *_, end = await turn(Stage(), model, None)
    assert isinstance(end, Completed)


async def test_the_same_model_in_another_region_is_another_one(
    bedrock: BedrockServer, client: Client, elsewhere: Client
) -> None:
    """A refusal in one region says nothing about the others."""
    refusal, _ = REFUSALS["another region's"]
    bedrock.answers.append(refusal)
    bedrock.always = reply("Squat.")
    model, fallback = model_of(client, OTHER), model_of(elsewhere, OTHER)
    *_, end = await turn(Stage(), model, fallback)
    assert isinstance(end, Completed)
    assert (model.is_usable, fallback.is_usable) == (False, True)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ValidationException"),
        (403, "SomethingOfNextYear"),
        (429, "ThrottlingException"),
        (503, "ServiceUnavailableException"),
        (429, "ModelNotReadyException"),
    ],
)
async def test_any_other_failure_of_the_model_calls_the_fallback(
    bedrock: BedrockServer, client: Client, elsewhere: Client, status: int, code: str
) -> None:
    """An unknown refusal may be about the model, so the fallback is tried; nothing is remembered."""
    by_model(bedrock, refusing_the_first(Refusal(status, code, "in other words")))
    model = model_of(client, PRIMARY)
    *_, end = await turn(Stage(), model, model_of(elsewhere, OTHER))
    assert isinstance(end, Completed)
    assert asked(bedrock)[-1] == OTHER
    assert model.is_usable


async def test_without_credentials_no_other_model_is_asked(
    bedrock: BedrockServer, client: Client, elsewhere: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """It has the same credentials. The user is not at fault, and the log has the remedy once."""
    by_model(bedrock, refusing_the_first(Refusal(403, "ExpiredTokenException", SECRET)))
    *_, end = await turn(Stage(), model_of(client, PRIMARY), model_of(elsewhere, OTHER))
    assert isinstance(end, Failed)
    assert (end.code, end.retryable) == (ErrorCode.NO_CREDENTIALS, False)
    assert asked(bedrock) == [PRIMARY]
    [line] = errors_in(caplog)
    assert "the AWS credentials have expired" in line
    assert "aws sso login" in line
    assert SECRET not in caplog.text


@BOTH
async def test_a_users_words_make_no_model_unusable(
    bedrock: BedrockServer, client: Client, model_type: type[BedrockModel | BedrockWholeReply]
) -> None:
    """A refusal that quotes the user is about the request, whatever the quote says."""
    bedrock.judge = lambda _: Refusal(400, "ValidationException", f"Malformed input: “{ENDED}” “{SECRET}”")
    model = model_type(client, options_with(PRIMARY, retry=QUICK))
    with pytest.raises(Exception, match="ValidationException") as caught:
        await events_of(model, PROMPT)
    assert not isinstance(caught.value, ModelNotUsable)
    assert model.is_usable
