"""Parameters that a model rejects: the request is retried once without them, and they are not sent again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from coachstream.conversation.errors import ModelRejected
from coachstream.conversation.prompt.prompt import Section, SectionName
from coachstream.language.bedrock import BedrockModel, BedrockWholeReply, RefusedParameters
from contracts.chat_model import PROMPT, events_of, text_of
from support.bedrock_server import (
    MODEL_ID,
    BedrockServer,
    ModelResponse,
    Received,
    Refusal,
    options_with,
    reply,
)

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

    Client = AwsClient[BedrockRuntimeClient]

ModelType = type[BedrockModel | BedrockWholeReply]
BOTH = pytest.mark.parametrize("model_type", [BedrockModel, BedrockWholeReply])

NEW = "us.anthropic.claude-of-next-year"

NO_TEMPERATURE = (
    'The model returned the following errors: {"type":"error","error":{"type":"invalid_request_error",'
    '"message":"`temperature` is deprecated for this model."}}'
)
NO_PREFILL = (
    "This model does not support assistant message prefill. The conversation must end with a user message."
)
NO_CACHE = "You invoked an unsupported model or your request did not allow prompt caching."
LONG = msgspec.structs.replace(
    PROMPT, sections=(Section(SectionName.IDENTITY, "You are Mara. " * 400, is_static=True),)
)


def refusing_temperature(received: Received) -> ModelResponse:
    """Rejects a temperature, as Claude does from Opus 4.7 on."""
    if "temperature" in received.body["inferenceConfig"]:
        return Refusal(400, "ValidationException", NO_TEMPERATURE)
    return reply("Squat.")


def temperatures(bedrock: BedrockServer) -> list[float | None]:
    return [request.body["inferenceConfig"].get("temperature") for request in bedrock.requests]


@BOTH
async def test_a_new_model_that_takes_no_temperature_is_asked_once_more_without_it(
    bedrock: BedrockServer, client: Client, model_type: ModelType
) -> None:
    """The reader does not notice; the next reply takes a single request."""
    bedrock.judge = refusing_temperature
    model = model_type(client, options_with(NEW))
    assert text_of(await events_of(model)) == "Squat."
    assert temperatures(bedrock) == [0.7, None]
    assert text_of(await events_of(model)) == "Squat."
    assert temperatures(bedrock) == [0.7, None, None]


async def test_a_refused_parameter_is_left_out_by_every_client_of_the_model(
    bedrock: BedrockServer, client: Client
) -> None:
    """The stream and the whole reply share the record; other models are unaffected."""
    bedrock.judge = refusing_temperature
    refused = RefusedParameters()
    await events_of(BedrockModel(client, options_with(NEW), refused=refused))
    await events_of(BedrockWholeReply(client, options_with(NEW), refused=refused))
    assert temperatures(bedrock) == [0.7, None, None]
    await events_of(BedrockModel(client, options_with(MODEL_ID), refused=refused))
    assert temperatures(bedrock)[3:] == [0.7, None]


async def test_turns_at_the_same_time_each_get_their_reply(bedrock: BedrockServer, client: Client) -> None:
    """Each is rejected at most once, whatever the others learn at the same time."""
    bedrock.judge = refusing_temperature
    model = BedrockModel(client, options_with(NEW))
    replies = await asyncio.gather(*(events_of(model) for _ in range(8)))
    assert {text_of(events) for events in replies} == {"Squat."}
    assert temperatures(bedrock).count(None) == 8


async def test_a_model_that_is_known_to_take_no_temperature_never_gets_one(
    bedrock: BedrockServer, client: Client
) -> None:
    """Its row says so; no request is rejected first."""
    bedrock.judge = refusing_temperature
    await events_of(BedrockModel(client, options_with("us.anthropic.claude-opus-4-8")))
    assert temperatures(bedrock) == [None]


@BOTH
async def test_a_refusal_that_quotes_the_user_is_not_remembered(
    bedrock: BedrockServer, client: Client, model_type: ModelType
) -> None:
    """An error may quote a message about a temperature; only a successful retry proves the cause."""
    bedrock.judge = lambda _: Refusal(400, "ValidationException", "cannot read: my temperature is 39")
    model = model_type(client, options_with())
    with pytest.raises(ModelRejected):
        await events_of(model)
    assert temperatures(bedrock) == [0.7, None]
    bedrock.judge = None
    await events_of(model)
    assert temperatures(bedrock)[2:] == [0.7]


async def test_a_refused_partial_reply_fails_and_is_never_sent_again(
    bedrock: BedrockServer, client: Client
) -> None:
    """The turn must reset the shown text; the model then reports that it cannot continue."""
    bedrock.judge = lambda received: (
        Refusal(400, "ValidationException", NO_PREFILL)
        if received.body["messages"][-1]["role"] == "assistant"
        else reply("Squat.")
    )
    model = BedrockModel(client, options_with())
    begun = msgspec.structs.replace(PROMPT, said="Begin")
    with pytest.raises(ModelRejected):
        await events_of(model, begun)
    assert not model.can_continue
    assert text_of(await events_of(model, begun)) == "Squat."
    assert len(bedrock.requests) == 2


@BOTH
async def test_cache_points_that_are_refused_are_left_out(
    bedrock: BedrockServer, client: Client, model_type: ModelType
) -> None:
    """The service uses a code that otherwise means that the model is not accessible."""
    bedrock.judge = lambda received: (
        Refusal(403, "AccessDeniedException", NO_CACHE)
        if "cachePoint" in str(received.body)
        else reply("Squat.")
    )
    model = model_type(client, options_with())
    assert text_of(await events_of(model, LONG)) == "Squat."
    assert text_of(await events_of(model, LONG)) == "Squat."
    assert ["cachePoint" in str(request.body) for request in bedrock.requests] == [True, False, False]


async def test_all_that_a_new_model_refuses_is_left_out_one_by_one(
    bedrock: BedrockServer, client: Client
) -> None:
    """Two refusals, then a reply, and no further refusals."""

    def judge(received: Received) -> ModelResponse:
        if "cachePoint" in str(received.body):
            return Refusal(403, "AccessDeniedException", NO_CACHE)
        return refusing_temperature(received)

    bedrock.judge = judge
    model = BedrockModel(client, options_with())
    assert text_of(await events_of(model, LONG)) == "Squat."
    assert text_of(await events_of(model, LONG)) == "Squat."
    assert len(bedrock.requests) == 4


async def test_a_refusal_without_the_parameter_in_the_request_is_no_reason_to_ask_again(
    bedrock: BedrockServer, client: Client
) -> None:
    """Otherwise it would be retried for ever."""
    bedrock.judge = lambda _: Refusal(400, "ValidationException", NO_TEMPERATURE)
    model = BedrockModel(client, options_with(temperature=None))
    with pytest.raises(ModelRejected):
        await events_of(model)
    assert len(bedrock.requests) == 1
