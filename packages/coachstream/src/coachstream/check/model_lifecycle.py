"""The lifecycle of a model: reported by Bedrock or, if that fails, by the built-in table.

The control plane is called with the permissions of the current user. The functions' role never has them: it
may only call models.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from coachstream.aws.clients import AwsSession, Connection
from coachstream.check.aws import aws_trouble, code_of
from coachstream.check.report import Trouble
from coachstream.extras import missing_aws
from coachstream.language.bedrock.model_families import UNKNOWN, family_of
from coachstream.language.bedrock.refusals import Reason

if TYPE_CHECKING:
    from coachstream.aws.bedrock_control import BedrockControlClient, InferenceProfile, ModelDetails

WARNED_AHEAD = timedelta(days=183)
"""How long before a model's end of life to warn. A Legacy period lasts six months at most (Bedrock user
guide, "Model lifecycle"), and a new model has to be tried with one's own prompts."""

ANSWERS_IN_S = 5.0
"""The timeout of the control plane; it leaves half of a check's time to the model itself."""

_PROFILE = re.compile(r"(?:[a-z]{2}|us-gov|apac|global)\.[a-z0-9-]+\..+")
_ARN = re.compile(r"arn:[a-z-]+:bedrock:(?P<region>[a-z0-9-]*):\d*:(?P<kind>[a-z-]+)/(?P<name>.+)")
_ON_DEMAND = "ON_DEMAND"
_NOT_THERE = {"ResourceNotFoundException", "ValidationException"}
_PLAN = "Try another model with your prompts, and set it before that day."


class Standing(msgspec.Struct, frozen=True):
    """The lifecycle status of a model.

    Attributes:
        sentence: the status, and its source.
        remedy: what to do; empty if nothing has to be done.
        is_over: whether calls always fail.
    """

    sentence: str
    remedy: str = ""
    is_over: bool = False


class _NotAsked(Exception):
    """Bedrock did not report the status; the message has the reason."""


class _NotThere(Exception):
    """Bedrock reports that the model or profile does not exist in this region."""


def today() -> date:
    """Return the reference date."""
    return datetime.now(UTC).date()


async def standing_of(model_id: str, region: str | None, session: AwsSession, *, on: date) -> Standing:
    """Ask Bedrock; if that fails, use the built-in table, and say so.

    Args:
        model_id: id or ARN of a model or of an inference profile.
        region: the region in which it is called; None for the SDK's default.
        session: has the credentials of the current user.
        on: the reference date.
    """
    arn = _ARN.fullmatch(model_id)
    kind = arn["kind"] if arn else "inference-profile" if _PROFILE.fullmatch(model_id) else "foundation-model"
    try:
        if kind in {"inference-profile", "application-inference-profile"}:
            return await _standing_behind(await _profile(session, model_id, region), region, session, on)
        if kind == "foundation-model":
            details = await _details(session, arn["name"] if arn else model_id, region)
            return _standing(details, model_id, on, is_called_directly=True)
    except _NotThere:
        return _missing(model_id, on)
    except _NotAsked as reason:
        why = str(reason)
    else:
        why = f"it is a {kind}"
    known = known_standing(model_id, on=on)
    sentence = f"Bedrock could not be asked about its lifecycle ({why}). {known.sentence}"
    return msgspec.structs.replace(known, sentence=sentence)


def known_standing(model_id: str, *, on: date) -> Standing:
    """Return the status in the built-in table, without asking Bedrock."""
    family = family_of(model_id)
    if family is UNKNOWN:
        return Standing("It is not in the table of this version, so it is called with conservative settings.")
    source = f"the table of {family.provenance.looked_up}"
    return _judged(f"according to {source}", family.legacy_from, family.end_of_life, on=on)


async def _standing_behind(
    profile: InferenceProfile, region: str | None, session: AwsSession, on: date
) -> Standing:
    """Return the status of the model behind an inference profile."""
    arns = [model["modelArn"] for model in profile["models"]]
    regions = sorted({there for arn in arns if (there := arn.split(":")[3])})
    names = sorted({arn.rpartition("/")[2] for arn in arns})
    if not names:
        raise _NotAsked("its inference profile names no model")
    # A profile can be called from a region that it does not route to, where the model is not listed.
    where = region if region in regions or not regions else regions[0]
    details = await _details(session, names[0], where)
    standing = _standing(details, names[0], on, is_called_directly=False)
    leads_to = f" Its inference profile routes to {', '.join(regions)}." if regions else ""
    return msgspec.structs.replace(standing, sentence=standing.sentence + leads_to)


def _missing(model_id: str, on: date) -> Standing:
    """Return the status of a model that Bedrock does not list: ended, or not in this region."""
    end = family_of(model_id).end_of_life
    if end is not None and end <= on:
        return Standing(f"It reached its end of life on {end}.", Reason.ENDED.remedy, is_over=True)
    return _unusable(Reason.NOT_HERE)


def _standing(details: ModelDetails, model_id: str, on: date, *, is_called_directly: bool) -> Standing:
    types = details.get("inferenceTypesSupported")
    if is_called_directly and types and _ON_DEMAND not in types:
        return _unusable(Reason.NEEDS_PROFILE)
    if details.get("responseStreamingSupported") is False:
        return _unusable(Reason.NO_CONVERSE)
    lifecycle = details.get("modelLifecycle", {})
    legacy, end_time = lifecycle.get("legacyTime"), lifecycle.get("endOfLifeTime")
    legacy_from = None if legacy is None else legacy.date()
    if lifecycle.get("status") == "LEGACY":
        legacy_from = min(legacy_from or on, on)
    end = family_of(model_id).end_of_life if end_time is None else end_time.date()
    return _judged("according to Bedrock", legacy_from, end, on=on)


def _unusable(reason: Reason) -> Standing:
    return Standing(f"It cannot be used: {reason}.", reason.remedy, is_over=True)


def _judged(source: str, legacy_from: date | None, end: date | None, *, on: date) -> Standing:
    if end is not None and end <= on:
        return Standing(f"It reached its end of life on {end}, {source}.", Reason.ENDED.remedy, is_over=True)
    ends = "" if end is None else f" and ends on {end}"
    if legacy_from is not None and legacy_from <= on:
        sentence = (
            f"It is Legacy{ends}, {source}: accounts that do not call it for a while lose access earlier."
        )
        return Standing(sentence, _PLAN if end else Reason.LEGACY.remedy)
    if end is not None and end - on <= WARNED_AHEAD:
        return Standing(f"It is active{ends}, {source}.", _PLAN)
    return Standing(f"It is active{ends}, {source}.")


async def _profile(session: AwsSession, model_id: str, region: str | None) -> InferenceProfile:
    async with _control_plane(session, region, "bedrock:GetInferenceProfile") as bedrock:
        return await bedrock.get_inference_profile(inferenceProfileIdentifier=model_id)


async def _details(session: AwsSession, name: str, region: str | None) -> ModelDetails:
    async with _control_plane(session, region, "bedrock:GetFoundationModel") as bedrock:
        return (await bedrock.get_foundation_model(modelIdentifier=name))["modelDetails"]


@asynccontextmanager
async def _control_plane(
    session: AwsSession, region: str | None, action: str
) -> AsyncIterator[BedrockControlClient]:
    """Open a client for one request.

    Raises:
        _NotThere: the model or profile does not exist in this region.
        _NotAsked: the request failed.
    """
    if (missing := missing_aws("Bedrock")) is not None:
        raise _NotAsked(missing.problem)
    from botocore.exceptions import ClientError

    client = session.bedrock(Connection(region=region, read_timeout_s=ANSWERS_IN_S))
    try:
        with aws_trouble(action, "Bedrock's control plane"):
            yield await client()
    except Trouble as trouble:
        raise _NotAsked(str(trouble).rstrip(".")) from None
    except ClientError as error:
        code = code_of(error)
        raise (_NotThere if code in _NOT_THERE else _NotAsked)(f"{action}: {code}") from None
    finally:
        await client.aclose()
