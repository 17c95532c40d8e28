"""The model: does it answer?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coachstream.check.aws import aws_facts, aws_trouble, code_of, unexpected
from coachstream.check.report import Check, Trouble
from coachstream.conversation.model import Role
from coachstream.conversation.prompt import Prompt, PromptMessage
from coachstream.packages import missing_aws
from coachstream.services import Services, bedrock_options
from coachstream.settings import BedrockSettings, DemoModelSettings

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

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
            )
        case BedrockSettings() as bedrock:
            region = bedrock.region or services.settings.region
            where = await aws_facts("bedrock-runtime", region)
            return Check(
                part="model",
                choice=bedrock.kind,
                facts={**_facts(bedrock), **where},
                connect=lambda: _ask(services, bedrock, where, call=call),
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
    }


async def _ask(services: Services, bedrock: BedrockSettings, where: dict[str, str], *, call: bool) -> str:
    """One token, or a question without a message, which no model can answer and nobody pays for."""
    if (missing := missing_aws("Bedrock")) is not None:
        raise Trouble(missing.problem, missing.remedy)
    from botocore.exceptions import ClientError

    try:
        with aws_trouble(_ACTION, where.get("endpoint", "Bedrock")):
            if call:
                await _write_one_token(services, bedrock)
                return "The model answers (one token)."
            client = await services.bedrock_runtime()
            response = await client.converse_stream(modelId=bedrock.model_id, messages=[])
            response["stream"].close()
    except ClientError as error:
        if not call and code_of(error) == "ValidationException":
            return (
                "Bedrock is reached and takes the credentials (it refused a request without a message). "
                "Whether the model may be used, only --call-model tells."
            )
        raise _refusal(error, bedrock) from None
    return "Bedrock is reached and takes the credentials."


async def _write_one_token(services: Services, bedrock: BedrockSettings) -> None:
    """The request of a turn, guardrail and all, but for one token."""
    from coachstream.language.bedrock.request import stream_request

    prompt = Prompt("check", (), (PromptMessage(Role.USER, "Say OK."),))
    options = msgspec.structs.replace(bedrock_options(bedrock), max_tokens=1)
    client = await services.bedrock_runtime()
    response = await client.converse_stream(**stream_request(prompt, options))
    async for _ in response["stream"]:
        pass


def _refusal(error: ClientError, bedrock: BedrockSettings) -> Trouble:
    code = code_of(error)
    if code == "ResourceNotFoundException":
        return Trouble(
            f"The model {bedrock.model_id} is not there, or is not enabled ({code}).",
            "Enable it in the Bedrock console of this region (Model access), or set COACHSTREAM_MODEL_ID.",
        )
    if code == "ValidationException":
        return Trouble(
            f"Bedrock does not accept a request for {bedrock.model_id} ({code}).",
            "Does this region have the model? Some are called by an inference profile only (`us.` before the "
            "id). Look at COACHSTREAM_MODEL_ID, and at BEDROCK_GUARDRAIL_ID if it is set.",
        )
    if code in _THROTTLED:
        return Trouble(f"Bedrock is reached, but over its quota ({code}).", "Try again in a minute.")
    return unexpected(error, _ACTION)
