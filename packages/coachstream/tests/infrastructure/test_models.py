"""Which models a policy allows: those that are called, and those behind inference profiles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.templates import Template

pytestmark = pytest.mark.usefixtures("node")

ACCOUNT = "123456789012"
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-pro-v1:0"
APPLICATION = f"arn:aws:bedrock:us-west-2:{ACCOUNT}:application-inference-profile/abc123"
PROVISIONED = f"arn:aws:bedrock:us-west-2:{ACCOUNT}:provisioned-model/xyz789"


def access(
    model_id: str,
    *,
    stack_region: str = "us-west-2",
    region: str | None = None,
    foundation_models: tuple[str, ...] = (),
) -> tuple[str, tuple[str, ...]]:
    """The invoked ARN, and the models behind it."""
    from aws_cdk import App, Environment, Stack

    from coachstream.infrastructure.models import model_access

    stack = Stack(App(), "S", env=Environment(account=ACCOUNT, region=stack_region))
    found = model_access(stack, model_id, region=region, foundation_models=foundation_models)
    template = Template({"Resources": {}})
    invoked, *behind = (template.resolve(stack.resolve(arn)) for arn in (found.invoked, *found.behind))
    return invoked, tuple(behind)


def models(name: str, *regions: str) -> tuple[str, ...]:
    """ARNs of foundation models, which belong to no account."""
    return tuple(f"arn:aws:bedrock:{region}::foundation-model/{name}" for region in regions)


def profile(name: str, region: str = "us-west-2") -> str:
    """The ARN of a profile, which belongs to the calling account."""
    return f"arn:aws:bedrock:{region}:{ACCOUNT}:inference-profile/{name}"


@pytest.mark.parametrize("region", [None, "us-east-1"])
def test_a_model_is_allowed_in_the_region_of_the_call(region: str | None) -> None:
    """In the stack's region or the one that is set; a plain model has no others behind it."""
    assert access(NOVA, region=region) == (models(NOVA, region or "us-west-2")[0], ())


@pytest.mark.parametrize(
    ("geography", "region", "destinations"),
    [
        ("us", "us-east-1", ["us-east-1", "us-east-2", "us-west-2"]),
        ("us", "ca-central-1", ["ca-central-1", "us-east-1", "us-east-2", "us-west-2"]),
        (
            "eu",
            "eu-central-1",
            ["eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"],
        ),
        ("jp", "ap-northeast-1", ["ap-northeast-1", "ap-northeast-3"]),
        ("au", "ap-southeast-2", ["ap-southeast-2", "ap-southeast-4"]),
    ],
)
def test_a_profile_of_a_geography_goes_to_its_regions(
    geography: str, region: str, destinations: list[str]
) -> None:
    """The profile in the calling region, and its model in every destination, that region included."""
    invoked, behind = access(f"{geography}.{HAIKU}", stack_region=region)
    assert invoked == profile(f"{geography}.{HAIKU}", region)
    assert behind == models(HAIKU, *destinations)


def test_a_global_profile_goes_to_a_model_that_is_in_no_region() -> None:
    """It also goes to the model in the calling region."""
    assert access(f"global.{HAIKU}", stack_region="eu-west-1") == (
        profile(f"global.{HAIKU}", "eu-west-1"),
        models(HAIKU, "eu-west-1", ""),
    )


def test_a_profile_can_be_named_by_its_arn() -> None:
    """Its region is the ARN's, whatever the stack's."""
    arn = profile(f"us.{HAIKU}", "us-east-2")
    assert access(arn) == (arn, models(HAIKU, "us-east-1", "us-east-2", "us-west-2"))


def test_other_arns_need_no_models_behind_them() -> None:
    """Provisioned throughput, for example, is called by its ARN."""
    assert access(PROVISIONED) == (PROVISIONED, ())


def test_an_opaque_profile_needs_its_models_listed() -> None:
    """Its id does not reveal them; a guess would allow too much or nothing."""
    behind = models(HAIKU, "us-west-2", "us-east-1")
    assert access(APPLICATION, foundation_models=behind) == (APPLICATION, behind)
    with pytest.raises(ValueError, match="does not reveal its models"):
        access(APPLICATION)


def test_listed_models_apply_only_to_their_own_profile() -> None:
    """From one list, the model and its fallback each take their own."""
    told = (*models(HAIKU, "us-west-2", "us-west-1"), *models(NOVA, "us-east-1"))
    assert access(f"us.{HAIKU}", foundation_models=told)[1] == models(HAIKU, "us-west-2", "us-west-1")
    assert access(f"us.{NOVA}", foundation_models=told)[1] == models(NOVA, "us-east-1")
    assert access(NOVA, foundation_models=told) == (models(NOVA, "us-west-2")[0], ())


@pytest.mark.parametrize(
    ("model_id", "region"),
    [(f"us.{HAIKU}", "eu-central-1"), (f"eu.{HAIKU}", "us-east-1"), (f"apac.{HAIKU}", "eu-west-1")],
)
def test_a_profile_of_another_continent_is_refused(model_id: str, region: str) -> None:
    """The error appears at deployment; otherwise every turn would fail."""
    with pytest.raises(ValueError, match=f"cannot be called in {region}"):
        access(model_id, stack_region=region)
    there = {"us": "us-west-2", "eu": "eu-west-1", "apac": "ap-south-1"}[model_id.partition(".")[0]]
    assert access(model_id, stack_region=region, region=there)[0] == profile(model_id, there)


@settings(max_examples=25)
@given(
    geography=st.sampled_from(["us", "eu", "apac", "jp", "au", "global"]),
    name=st.from_regex(r"[a-z]{2,9}\.[a-z0-9-]{1,20}-v[1-9](:[0-9])?", fullmatch=True),
)
def test_no_policy_has_a_wildcard(geography: str, name: str) -> None:
    """Whatever the model."""
    region = {"us": "us-west-2", "eu": "eu-west-1"}.get(geography, "ap-northeast-1")
    invoked, behind = access(f"{geography}.{name}", stack_region=region)
    assert behind
    assert not any("*" in arn or not arn.startswith("arn:aws:bedrock:") for arn in (invoked, *behind))
