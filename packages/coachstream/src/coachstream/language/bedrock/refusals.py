"""Classifies Bedrock's rejections: of the request, of one of its parameters, or of the model as such.

The error codes are ambiguous: `ValidationException` may mean that no such model can be called here, and
`AccessDeniedException` that a model does not support caching. The messages are not, so they are compared with
known ones. They are not passed on, because they may quote the prompt. For the same reason a message about the
model must *begin* like Bedrock's: nothing that a user writes can make a model look unusable.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from coachstream.dated_facts import Provenance
from coachstream.language.bedrock.parameters import Parameter

_SENTENCES = Provenance(
    source="Bedrock user guide, 'Troubleshooting Amazon Bedrock API Error Codes'; as reported in github.com: "
    "browser-use/browser-use pull request 5448, aws-samples/serverless-patterns pull request 2855, "
    "fourTheorem/podwhisperer pull request 24, langgenius/dify issue 2829, "
    "langchain-ai/langchain-aws issue 1019, aws-samples/anthropic-on-aws pull request 252, "
    "BerriAI/litellm pull requests 28704 and 39210, anomalyco/opencode issue 29760, "
    "aws-samples/amazon-bedrock-client-for-mac issue 112",
    looked_up=date(2026, 11, 27),
)
"""The sources of the messages below."""

DATED_FACTS = {"sentences of refusals": _SENTENCES}

_NOT_FOUND = "resourcenotfound"
_DENIED = "accessdenied"
_INVALID = "validation"


class Reason(StrEnum):
    """Why a model cannot be used; the value is text for the log."""

    ENDED = "the model has reached its end of life on Bedrock"
    LEGACY = "the model is Legacy, and this account has not called it in the last 30 days"
    NO_AGREEMENT = "this account has not subscribed to the model, or has not said what it is used for"
    NOT_PERMITTED = "the policy of the caller does not allow to call the model"
    NO_ACCESS = "this account has no access to the model"
    NEEDS_PROFILE = "the model is called through an inference profile only"
    NOT_HERE = "there is no such model or inference profile in this region"
    NO_CONVERSE = "the model cannot be called by the Converse API that is used"
    NO_GUARDRAIL = "there is no such guardrail, or not this version of it, in this region"
    NO_REGION = "no region is set"
    SETTINGS = "the SDK does not take the settings of the call"

    @property
    def remedy(self) -> str:
        """The remedy for an operator."""
        return _REMEDIES[self]


_OTHER_MODEL = "Set COACHSTREAM_MODEL_ID (of a fallback, COACHSTREAM_FALLBACK_MODEL_ID) to an active model"
_CHECK = "`coachstream check` says what Bedrock knows of it."
_REMEDIES = {
    Reason.ENDED: f"{_OTHER_MODEL}. {_CHECK}",
    Reason.LEGACY: f"{_OTHER_MODEL}: a Legacy model is closed to accounts that do not use it. {_CHECK}",
    Reason.NO_AGREEMENT: "An administrator has to call the model once, in the Bedrock console's playground "
    "for instance; that subscribes the account.",
    Reason.NOT_PERMITTED: "Allow bedrock:InvokeModelWithResponseStream (and bedrock:InvokeModel) on the "
    "model and on the models behind its inference profile; a deployment names them by foundationModels.",
    Reason.NO_ACCESS: f"Request access in this region's Bedrock console, or use another one. {_OTHER_MODEL}.",
    Reason.NEEDS_PROFILE: "Put the geography before the model's id, `us.` for example, or `global.`.",
    Reason.NOT_HERE: f"Look at the id, at COACHSTREAM_MODEL_REGION and at AWS_REGION. {_CHECK}",
    Reason.NO_CONVERSE: f"{_OTHER_MODEL} that streams by ConverseStream.",
    Reason.NO_GUARDRAIL: "Look at BEDROCK_GUARDRAIL_ID, BEDROCK_GUARDRAIL_VERSION and the region.",
    Reason.NO_REGION: "Set AWS_REGION or COACHSTREAM_MODEL_REGION.",
    Reason.SETTINGS: "Look at the variables of the model and of AWS. `coachstream check` tries them.",
}

_BEGINNINGS: tuple[tuple[str, str, Reason], ...] = (
    (_NOT_FOUND, "this model version has reached the end of its life", Reason.ENDED),
    (_NOT_FOUND, "access denied. this model is marked by provider as legacy", Reason.LEGACY),
    (_NOT_FOUND, "model use case details have not been submitted", Reason.NO_AGREEMENT),
    (_NOT_FOUND, "the guardrail", Reason.NO_GUARDRAIL),
    (_DENIED, "model access is denied due to", Reason.NO_AGREEMENT),
    (_DENIED, "user: ", Reason.NOT_PERMITTED),
    (_INVALID, "invocation of model id", Reason.NEEDS_PROFILE),
    (_INVALID, "the provided model doesn't support on-demand throughput", Reason.NEEDS_PROFILE),
    (_INVALID, "the provided model identifier is invalid", Reason.NOT_HERE),
    (_INVALID, "the provided inference profile", Reason.NOT_HERE),
    (_INVALID, "access to anthropic models is not allowed from", Reason.NO_ACCESS),
    (_INVALID, "operation not allowed", Reason.NO_ACCESS),
    (_INVALID, "this model is not available", Reason.NO_ACCESS),
    (_INVALID, "this action doesn't support the model", Reason.NO_CONVERSE),
    (_INVALID, "the model is unsupported for streaming", Reason.NO_CONVERSE),
    (_INVALID, "the guardrail identifier or version", Reason.NO_GUARDRAIL),
)
"""Codes as `errors` normalizes them, the beginnings of messages in lower case, and their meaning."""

_OTHERWISE = {_NOT_FOUND: Reason.NOT_HERE, _DENIED: Reason.NO_ACCESS}
"""The meaning of codes that always concern the model, because a call names nothing else."""

_PARAMETERS: tuple[tuple[str, str, Parameter], ...] = (
    (_INVALID, "temperature", Parameter.TEMPERATURE),
    (_INVALID, "prefill", Parameter.PREFILL),
    (_INVALID, "must end with a user message", Parameter.PREFILL),
    (_INVALID, "last turn", Parameter.PREFILL),
    (_INVALID, "prompt caching", Parameter.CACHE_POINTS),
    (_INVALID, "cachepoint", Parameter.CACHE_POINTS),
    (_INVALID, "cache point", Parameter.CACHE_POINTS),
    (_DENIED, "prompt caching", Parameter.CACHE_POINTS),
)
"""Codes, words that occur in the message, and the parameter they indicate. The words may come from the user's
text instead; a retry without the parameter shows whether they did."""


def meaning_of(code: str, sentence: str) -> Reason | Parameter | None:
    """Why the model cannot be used, or which parameter it rejects; None if neither is indicated.

    Args:
        code: the service's error code, in lower case and without `exception`.
        sentence: the service's message.
    """
    said = sentence.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    for of, beginning, reason in _BEGINNINGS:
        if code == of and said.startswith(beginning):
            return reason
    for of, words, parameter in _PARAMETERS:
        if code == of and words in said:
            return parameter
    return _OTHERWISE.get(code)
