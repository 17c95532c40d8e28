"""Which ARNs the policy must allow for a call of a model.

A cross-region inference profile routes a call to one of several regions, and the model must be allowed in
each of them, but only through the profile (Bedrock user guide, "Geographic cross-Region inference" and
"Global cross-Region inference"). `aws bedrock get-inference-profile` shows the actual destinations; if they
differ from `inference_profiles`, name the models explicitly (`foundation_models`).
"""

from __future__ import annotations

import re

import msgspec
from aws_cdk import ArnFormat, Stack, Token

from coachstream.infrastructure.inference_profiles import CONTINENTS, REGIONS

_GLOBAL = "global"
_PROFILE = re.compile(r"(?P<geography>[a-z]{2}|us-gov|apac|global)\.(?P<model>[a-z0-9-]+\..+)")
_ARN = re.compile(
    r"arn:[a-z-]+:bedrock:(?P<region>[a-z0-9-]*):(?P<account>\d*):(?P<kind>[a-z-]+)/(?P<name>.+)"
)


class ModelAccess(msgspec.Struct, frozen=True, kw_only=True):
    """The ARNs that a call of one model or profile uses.

    Attributes:
        invoked: ARN of the called model or profile.
        behind: ARNs of the foundation models to which a profile routes calls.
    """

    invoked: str
    behind: tuple[str, ...] = ()


def model_access(
    stack: Stack, model_id: str, *, region: str | None, foundation_models: tuple[str, ...] = ()
) -> ModelAccess:
    """Return the ARNs to allow for a model's id or ARN, called in a region (the stack's by default).

    Raises:
        ValueError: the models behind the id are neither known nor in `foundation_models`; or it is a profile
            that does not exist in this region.
    """
    where = stack.region if region is None else region
    arn = _ARN.fullmatch(model_id)
    if arn is None:
        profile = _PROFILE.fullmatch(model_id)
        if profile is None:
            return ModelAccess(invoked=_foundation_model(stack, where, model_id))
        invoked = stack.format_arn(
            service="bedrock", region=where, resource="inference-profile", resource_name=model_id
        )
        return _through(stack, invoked, model_id, where, foundation_models)
    if arn["kind"] == "inference-profile":
        return _through(stack, model_id, arn["name"], arn["region"], foundation_models)
    if arn["kind"] == "application-inference-profile":
        if not foundation_models:
            raise ValueError(f"{model_id} does not reveal its models; name their ARNs (foundationModels)")
        return ModelAccess(invoked=model_id, behind=foundation_models)
    return ModelAccess(invoked=model_id)


def _through(
    stack: Stack, invoked: str, name: str, source: str, foundation_models: tuple[str, ...]
) -> ModelAccess:
    profile = _PROFILE.fullmatch(name)
    if profile is not None:
        _check_region(name, profile["geography"], source)
    if foundation_models:
        # One list for the model and its fallback: each profile uses its own models.
        own = tuple(
            arn for arn in foundation_models if profile is None or arn.endswith(f"/{profile['model']}")
        )
        if own:
            return ModelAccess(invoked=invoked, behind=own)
    if profile is not None and profile["geography"] == _GLOBAL:
        # Calls that leave the region go to a foundation model whose ARN has no region.
        behind = tuple(_foundation_model(stack, region, profile["model"]) for region in (source, ""))
        return ModelAccess(invoked=invoked, behind=behind)
    regions = None if profile is None else REGIONS.get(profile["geography"])
    if profile is None or regions is None:
        raise ValueError(f"the regions of {name} are unknown; name the ARNs of its models (foundationModels)")
    if not Token.is_unresolved(source) and source not in regions:
        regions = (*regions, source)
    return ModelAccess(
        invoked=invoked,
        behind=tuple(_foundation_model(stack, region, profile["model"]) for region in sorted(regions)),
    )


def _check_region(name: str, geography: str, source: str) -> None:
    """Reject a profile of another geography, such as the default model's `us`: every turn would fail."""
    begins = CONTINENTS.get(geography)
    others = tuple(each for each in CONTINENTS.values() if each != begins)
    if begins is not None and not Token.is_unresolved(source) and source.startswith(others):
        raise ValueError(
            f"{name} cannot be called in {source}; name another model (modelId) or region (modelRegion)"
        )


def _foundation_model(stack: Stack, region: str, name: str) -> str:
    """The ARN of a foundation model, which has no account; the global one has no region either."""
    return stack.format_arn(
        service="bedrock",
        region=region,
        account="",
        resource="foundation-model",
        resource_name=name,
        arn_format=ArnFormat.SLASH_RESOURCE_NAME,
    )


def guardrail_arn(stack: Stack, guardrail: str, *, region: str) -> str:
    """The ARN of a guardrail, given as an id or ARN."""
    if guardrail.startswith("arn:"):
        return guardrail
    return stack.format_arn(
        service="bedrock",
        region=region,
        resource="guardrail",
        resource_name=guardrail,
    )
