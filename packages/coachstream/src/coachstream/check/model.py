"""The model: does it answer?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coachstream.check.aws import aws_facts, aws_trouble, code_of, unexpected
from coachstream.check.model_lifecycle import known_standing, standing_of, today
from coachstream.check.report import Advice, Check, NotKnown, Trouble
from coachstream.conversation.model import Role
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage
from coachstream.extras import missing_aws
from coachstream.services import Services, bedrock_options, fallback_options
from coachstream.settings import BedrockSettings, DemoModelSettings

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient
    from coachstream.language.bedrock import BedrockOptions

_MODEL_ID = "COACHSTREAM_MODEL_ID"

_ACTION = "bedrock:InvokeModelWithResponseStream"
_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "ServiceQuotaExceededException"})


async def model_check(services: Services, *, call: bool) -> Check:
    """What is configured, and how it is tried; `call` makes the model write one token."""
    match services.settings.model:
        case DemoModelSettings() as demo:
            return Check(
                part="model",
                choice=demo.kind,
                facts={"pause": f"{demo.delay_s:g} s"},
                connect=_demo_answers,
                look=_demo_answers,
            )
        case BedrockSettings() as bedrock:
            region = bedrock.region or services.settings.region
            where = await aws_facts("bedrock-runtime", region)
            return Check(
                part="model",
                choice=bedrock.kind,
                facts={**_facts(bedrock), **where},
                connect=lambda: _ask(
                    services,
                    services.bedrock_runtime,
                    bedrock_options(bedrock),
                    where,
                    _MODEL_ID,
                    call=call,
                ),
                look=lambda: _look_up(bedrock_options(bedrock), _MODEL_ID),
            )


async def fallback_check(services: Services, *, call: bool) -> Check:
    """Who is asked when a reply breaks off, and how that is tried; `call` makes it write one token."""
    model = services.settings.model
    if not isinstance(model, BedrockSettings) or model.fallback is None:
        return Check(part="fallback model", choice="off", facts={}, off="The model is asked once more.")
    options = fallback_options(model)
    where = await aws_facts(
        "bedrock-runtime", model.fallback.region or model.region or services.settings.region
    )
    variable = _MODEL_ID if model.fallback.model_id is None else "COACHSTREAM_FALLBACK_MODEL_ID"
    return Check(
        part="fallback model",
        choice=model.kind,
        facts={"model id": options.model_id, "continues": _continues(options), **where},
        connect=lambda: _ask(
            services, services.fallback_bedrock_runtime, options, where, variable, call=call
        ),
        look=lambda: _look_up(options, variable),
    )


async def _demo_answers() -> str:
    return "It is no language model, and says so."


def _facts(bedrock: BedrockSettings) -> dict[str, str]:
    guardrail = bedrock.guardrail
    return {
        "model id": bedrock.model_id,
        "temperature": "the model's own" if bedrock.temperature is None else f"{bedrock.temperature:g}",
        "max tokens": str(bedrock.max_tokens),
        "guardrail": "off" if guardrail is None else f"{guardrail.id}, version {guardrail.version}",
        "prompt caching": "on" if bedrock.prompt_caching else "off",
        "continues": _continues(bedrock_options(bedrock)),
    }


def _continues(options: BedrockOptions) -> str:
    return "what broke off" if options.can_continue else "no, begins anew"


async def _ask(
    services: Services,
    open_client: AwsClient[BedrockRuntimeClient],
    options: BedrockOptions,
    where: dict[str, str],
    variable: str,
    *,
    call: bool,
) -> str | Advice:
    """Whether the model can be called, and how long: what its service says, and what its lifecycle is."""
    if (missing := missing_aws("Bedrock")) is not None:
        raise Trouble(missing.problem, missing.remedy)
    standing = await standing_of(options.model_id, where.get("region"), services.aws, on=today())
    over = Trouble(standing.sentence, f"{standing.remedy} {_set_by(variable)}")
    try:
        answer = await _call(open_client, options, where, variable, call=call)
    except Trouble:
        if standing.is_over:
            raise over from None
        raise
    if standing.is_over and not call:
        raise over
    message = f"{answer} {standing.sentence}"
    return Advice(message, over.remedy) if standing.remedy else message


async def _look_up(options: BedrockOptions, variable: str) -> Advice:
    """What the table says, where there is no network."""
    standing = known_standing(options.model_id, on=today())
    remedy = f"{standing.remedy} {_set_by(variable)}"
    if standing.is_over:
        raise Trouble(standing.sentence, remedy)
    if not standing.remedy:
        raise NotKnown(f"Not tried. {standing.sentence}")
    return Advice(standing.sentence, remedy)


async def _call(
    open_client: AwsClient[BedrockRuntimeClient],
    options: BedrockOptions,
    where: dict[str, str],
    variable: str,
    *,
    call: bool,
) -> str:
    """One token, or a question without a message, which no model can answer and nobody pays for."""
    from botocore.exceptions import ClientError

    try:
        with aws_trouble(_ACTION, where.get("endpoint", "Bedrock")):
            try:
                if call:
                    await _write_one_token(open_client, options)
                    return "The model answers (one token)."
                client = await open_client()
                response = await client.converse_stream(modelId=options.model_id, messages=[])
                response["stream"].close()
            except ClientError as error:
                _raise_refusal_of_model(error, options.model_id, variable)
                raise
    except ClientError as error:
        if not call and code_of(error) == "ValidationException":
            return (
                "Bedrock is reached and takes the credentials (it refused a request without a message). "
                "Whether the model may be used, only --call-model tells."
            )
        raise _refusal(error, options.model_id, variable) from None
    return "Bedrock is reached and takes the credentials."


def _raise_refusal_of_model(error: ClientError, model_id: str, variable: str) -> None:
    """Raise `Trouble` where the service refused the model, and not the request."""
    from coachstream.language.bedrock.refusals import Reason, meaning_of

    code = code_of(error)
    meaning = meaning_of(code.lower().removesuffix("exception"), error.response["Error"].get("Message", ""))
    if isinstance(meaning, Reason):
        raise Trouble(
            f"{model_id} cannot be used: {meaning} ({code}).", f"{meaning.remedy} {_set_by(variable)}"
        ) from None


def _set_by(variable: str) -> str:
    return f"This one is set by {variable}."


async def _write_one_token(open_client: AwsClient[BedrockRuntimeClient], options: BedrockOptions) -> None:
    """The request of a turn, guardrail and all, but for one token."""
    from coachstream.language.bedrock.request import stream_request

    prompt = Prompt("check", (), (PromptMessage(Role.USER, "Say OK."),))
    client = await open_client()
    request = stream_request(prompt, msgspec.structs.replace(options, max_tokens=1))
    response = await client.converse_stream(**request)
    async for _ in response["stream"]:
        pass


def _refusal(error: ClientError, model_id: str, variable: str) -> Trouble:
    code = code_of(error)
    if code == "ValidationException":
        return Trouble(
            f"Bedrock does not accept a request for {model_id} ({code}).",
            "Does this region have the model? Some are called by an inference profile only (`us.` before the "
            f"id). Look at {variable}, and at BEDROCK_GUARDRAIL_ID if it is set.",
        )
    if code in _THROTTLED:
        return Trouble(f"Bedrock is reached, but over its quota ({code}).", "Try again in a minute.")
    return unexpected(error, _ACTION)
