"""The model: can it be called?"""

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
    from types_aiobotocore_bedrock_runtime.type_defs import ConverseStreamRequestTypeDef

    from coachstream.language.bedrock import BedrockOptions
    from coachstream.language.bedrock.client import OpenClient

_MODEL_ID = "COACHSTREAM_MODEL_ID"
_ANALYSIS_ID = "COACHSTREAM_ANALYSIS_MODEL_ID"
_SUMMARY_ID = "COACHSTREAM_SUMMARY_MODEL_ID"

_ACTION = "bedrock:InvokeModelWithResponseStream"
_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "ServiceQuotaExceededException"})


async def model_check(services: Services, *, call: bool) -> Check:
    """Return the configuration and its checks; `call` generates one token."""
    match services.settings.model:
        case DemoModelSettings() as demo:
            return Check(
                part="model",
                choice=demo.kind,
                facts={"pause": f"{demo.delay_s:g} s"},
                connect=_demo_works,
                look=_demo_works,
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
    """Return the fallback model and its checks; `call` generates one token."""
    model = services.settings.model
    if not isinstance(model, BedrockSettings) or model.fallback is None:
        return Check(
            part="fallback model",
            choice="off",
            facts={},
            off="A failed reply calls the same model once more.",
        )
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


async def analysis_check(services: Services, *, call: bool) -> Check:
    """Return the model that analyses messages and its checks; `call` generates one token."""
    model = services.settings.model
    if not isinstance(model, BedrockSettings) or model.analysis_model is None:
        return Check(
            part="analysis model",
            choice="off",
            facts={},
            off="Workouts and memories are found by command only.",
        )
    return await _small_model(
        services, model, model.analysis_model, "analysis model", _ANALYSIS_ID, call=call
    )


async def summary_checks(services: Services, *, call: bool) -> list[Check]:
    """Return the checks of the model that writes summaries and titles, if it is none of the other models."""
    model = services.settings.model
    if not isinstance(model, BedrockSettings):
        return []
    if model.summary_model in {model.model_id, model.analysis_model}:
        return []
    return [await _small_model(services, model, model.summary_model, "summary model", _SUMMARY_ID, call=call)]


async def _small_model(
    services: Services, model: BedrockSettings, model_id: str, part: str, variable: str, *, call: bool
) -> Check:
    options = bedrock_options(
        msgspec.structs.replace(model, model_id=model_id, guardrail=None, can_continue=None)
    )
    where = await aws_facts("bedrock-runtime", model.region or services.settings.region)
    return Check(
        part=part,
        choice=model.kind,
        facts={"model id": options.model_id, **where},
        connect=lambda: _ask(services, services.bedrock_runtime, options, where, variable, call=call),
        look=lambda: _look_up(options, variable),
    )


async def _demo_works() -> str:
    return "It is not a language model, and labels its replies."


def _facts(bedrock: BedrockSettings) -> dict[str, str]:
    guardrail = bedrock.guardrail
    return {
        "model id": bedrock.model_id,
        "temperature": "the model's own" if bedrock.temperature is None else f"{bedrock.temperature:g}",
        "max tokens": str(bedrock.max_tokens),
        "guardrail": "off"
        if guardrail is None
        else f"{guardrail.id}, version {guardrail.version}, mode {guardrail.mode}",
        "prompt caching": "on" if bedrock.prompt_caching else "off",
        "continues": _continues(bedrock_options(bedrock)),
    }


def _continues(options: BedrockOptions) -> str:
    return "a partial reply" if options.can_continue else "no, starts the reply again"


async def _ask(
    services: Services,
    open_client: OpenClient,
    options: BedrockOptions,
    where: dict[str, str],
    variable: str,
    *,
    call: bool,
) -> str | Advice:
    """Check whether the model can be called, and its lifecycle."""
    if (missing := missing_aws("Bedrock")) is not None:
        raise Trouble(missing.problem, missing.remedy)
    standing = await standing_of(options.model_id, where.get("region"), services.aws, on=today())
    over = Trouble(standing.sentence, f"{standing.remedy} {_set_by(variable)}")
    try:
        outcome = await _call(open_client, options, where, variable, call=call)
    except Trouble:
        if standing.is_over:
            raise over from None
        raise
    if standing.is_over and not call:
        raise over
    message = f"{outcome} {standing.sentence}"
    return Advice(message, over.remedy) if standing.remedy else message


async def _look_up(options: BedrockOptions, variable: str) -> Advice:
    """Look the model up in the built-in table, without the network."""
    standing = known_standing(options.model_id, on=today())
    remedy = f"{standing.remedy} {_set_by(variable)}"
    if standing.is_over:
        raise Trouble(standing.sentence, remedy)
    if not standing.remedy:
        raise NotKnown(f"Not tried. {standing.sentence}")
    return Advice(standing.sentence, remedy)


async def _call(
    open_client: OpenClient,
    options: BedrockOptions,
    where: dict[str, str],
    variable: str,
    *,
    call: bool,
) -> str:
    """Generate one token, or send a request without messages, which is rejected and not billed."""
    from botocore.exceptions import ClientError

    try:
        with aws_trouble(_ACTION, where.get("endpoint", "Bedrock")):
            try:
                if call:
                    await _write_one_token(open_client, options)
                    return "The model generated one token."
                await _stream(open_client, {"modelId": options.model_id, "messages": []}, options)
            except ClientError as error:
                _raise_refusal_of_model(error, options.model_id, variable)
                raise
    except ClientError as error:
        if not call and code_of(error) == "ValidationException":
            return (
                "Bedrock is reachable and accepts the credentials (it rejected a request without messages). "
                "Only --call-model checks whether the model can be used."
            )
        raise _refusal(error, options.model_id, variable) from None
    return "Bedrock is reachable and accepts the credentials."


def _raise_refusal_of_model(error: ClientError, model_id: str, variable: str) -> None:
    """Raise `Trouble` if the service refused the model rather than the request."""
    from coachstream.language.bedrock.refusals import Reason, meaning_of

    code = code_of(error)
    meaning = meaning_of(code.lower().removesuffix("exception"), error.response["Error"].get("Message", ""))
    if isinstance(meaning, Reason):
        raise Trouble(
            f"{model_id} cannot be used: {meaning} ({code}).", f"{meaning.remedy} {_set_by(variable)}"
        ) from None


def _set_by(variable: str) -> str:
    return f"It is set by {variable}."


async def _write_one_token(open_client: OpenClient, options: BedrockOptions) -> None:
    """Send the request of a turn, with its guardrail, limited to one token."""
    from coachstream.language.bedrock.request import stream_request

    prompt = Prompt("check", (), (PromptMessage(Role.USER, "Say OK."),))
    request = stream_request(prompt, msgspec.structs.replace(options, max_tokens=1))
    await _stream(open_client, request, options)


async def _stream(
    open_client: OpenClient, request: ConverseStreamRequestTypeDef, options: BedrockOptions
) -> None:
    """Send a request as a turn does, and read the whole response."""
    from coachstream.language.bedrock.events import ReplyReader
    from coachstream.language.bedrock.reply_stream import open_stream

    reply = ReplyReader(guardrail_warns=False)
    response, events = await open_stream(
        await open_client(), request, reply, decoded_by_sdk=options.decoded_by_sdk
    )
    try:
        while await events.read() is not None:
            pass
    finally:
        response.close()
        await events.aclose()


def _refusal(error: ClientError, model_id: str, variable: str) -> Trouble:
    code = code_of(error)
    if code == "ValidationException":
        return Trouble(
            f"Bedrock does not accept a request for {model_id} ({code}).",
            "Is the model available in this region? Some can only be called through an inference profile "
            f"(`us.` before the id). Check {variable}, and BEDROCK_GUARDRAIL_ID if it is set.",
        )
    if code in _THROTTLED:
        return Trouble(f"Bedrock is reachable, but the quota is exceeded ({code}).", "Try again in a minute.")
    return unexpected(error, _ACTION)
